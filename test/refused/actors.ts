// Who speaks at the doors: the nodes of one platform, and those who only look like them.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Signed } from '@qiao/contract/signed';
import { Authority, type Context, createKeyAndCsr, Signer } from '@qiao/security';
import { START_MS, type TestNode, TestWorld } from '../../packages/hub/src/world.testing.ts';

export const DAY_MS = 86_400_000;
/** Certificates of the world live a hundred days. */
export const AFTER_ALL_MS = START_MS + 101 * DAY_MS;

export let folder: string;
export let world: TestWorld;
export let health: TestNode;
export let civil: TestNode;
export let city: TestNode;
export let watch: TestNode;
/** "health" as another platform knows it: same identity and code, another authority. */
export let foreignHealth: Signer;
/** The certificate of "health" from before it joined again. */
export let oldHealth: TestNode;
export let ids: { bridgeId: Uint8Array; laneId: Uint8Array };
export let otherIds: { bridgeId: Uint8Array; laneId: Uint8Array };

/** Makes everybody, before any door is tried. */
export async function startActors(): Promise<void> {
  folder = mkdtempSync(join(tmpdir(), 'qiao-refused-'));
  world = await TestWorld.create();
  [health, civil, city] = [await world.join('health'), await world.join('civil'), await world.join('city')];
  watch = await world.join('watch', 'monitor');
  ids = await world.bridge('births', health, civil);
  otherIds = await world.bridge('deaths', city, civil);
  oldHealth = await certified(world.authority, 'health', health.id);
  const elsewhere = await Authority.create(join(folder, 'elsewhere'), {
    platformId: world.platform.id,
    platformCode: 'demo',
    nowMs: START_MS,
  });
  foreignHealth = (await certified(elsewhere, 'health', health.id)).signer;
}

export async function endActors(): Promise<void> {
  await world[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
}

async function certified(authority: Authority, code: string, id: Uint8Array): Promise<TestNode> {
  const { keyPem, csrDer } = await createKeyAndCsr(code);
  const options = {
    role: 'agent',
    platformId: world.platform.id,
    nodeId: id,
    code,
    days: 100,
    nowMs: START_MS,
  } as const;
  const certificate = await authority.issue(csrDer, options);
  return { id, code, certificate, signer: new Signer(keyPem, certificate) };
}

/** What a door knows besides the message. */
export interface Circumstances {
  readonly nowMs?: number;
  /** "health" was thrown out. */
  readonly revoked?: boolean;
  /** The newest fencing token of "health". */
  readonly fencingToken?: bigint;
}

export const taken = 'taken';

export function signedAs(signer: Signer, context: Context, message: { finish(): Uint8Array }): Signed {
  return signer.sign(context, message.finish());
}
