// The last third of the authority's ten years: hub, nodes and operators get certificates for the same keys that live on, while rows travel
// and without a person at any node.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  Authority,
  fromPem,
  hostsOfCertificate,
  lifeOf,
  readIdentity,
  renewalRequest,
  toPem,
  verifyIssued,
} from '@qiao/security';
import { type BusinessDatabase, dieAtEach, Platform, sqliteDatabase, until } from '@qiao/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  applyBridges,
  bridgeYaml,
  PERSON_ROWS,
  PERSON_TABLE,
  people,
  TARGET_ROWS,
  TARGET_TABLE,
  untilPeaceful,
  untilSame,
} from './world.ts';

const DAY_MS = 86_400_000;

let folder: string;
let source: BusinessDatabase;
let target: BusinessDatabase;
let platform: Platform;

function liveAt(days: number): void {
  process.env.QIAO_CLOCK_OFFSET_FILE = join(folder, 'clock');
  writeFileSync(process.env.QIAO_CLOCK_OFFSET_FILE, String(days * DAY_MS));
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'qiao-authority-'));
  liveAt(-0.8);
  source = sqliteDatabase(join(folder, 'source.db'));
  target = sqliteDatabase(join(folder, 'target.db'));
  await source.run(PERSON_TABLE, `INSERT INTO person VALUES ${people(1, 20, '3702')}`);
  await target.run(TARGET_TABLE('ex_person'));
  platform = await Platform.start({
    nodes: [
      {
        code: 'health',
        dataSources: { his: source.config },
        more: { limits: { compareEveryMs: 200, helloMs: 1_000 } },
      },
      { code: 'civil-affairs', dataSources: { own: target.config }, more: { limits: { helloMs: 1_000 } } },
    ],
    hubConfig: { certificateDays: 1 },
  });
  await applyBridges(
    platform,
    bridgeYaml({
      name: 'births',
      from: 'health',
      source: 'his',
      to: [{ node: 'civil-affairs', dataSource: 'own', table: 'ex_person' }],
    }),
  );
});
afterAll(async () => {
  await platform?.[Symbol.asyncDispose]();
  await source?.[Symbol.asyncDispose]();
  await target?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
  delete process.env.QIAO_CLOCK_OFFSET_FILE;
});

const identityOf = (code: string) => join(platform.directory, code, 'identity');

/** As if the platform had been founded 2,500 days ago: TLS has the machine's clock, and what is renewed must be good today. */
async function age(hub: string, trusting: readonly string[]): Promise<void> {
  const nowMs = Date.now() - 2_500 * DAY_MS;
  const authority = await (await Authority.open(hub)).renewed(nowMs);
  for (const directory of trusting) writeFileSync(join(directory, 'authority.pem'), toPem(authority, 'CERTIFICATE'));
  const identity = readIdentity(hub);
  const certificate = await (await Authority.open(hub)).issue(await renewalRequest(identity), {
    role: 'hub',
    platformId: identity.platformId,
    nodeId: identity.nodeId,
    code: identity.nodeCode,
    days: 3_650,
    hosts: hostsOfCertificate(identity.certificate),
    nowMs,
  });
  writeFileSync(join(hub, 'certificate.pem'), toPem(certificate, 'CERTIFICATE'));
}

async function travels(first: number): Promise<void> {
  await source.run(`INSERT INTO person VALUES ${people(first, 10, '3702')}`);
  await untilSame(platform, source, PERSON_ROWS, target, TARGET_ROWS('ex_person'));
  await untilPeaceful(platform);
}

test('the authority and the hub renew their certificates for the same keys, and whoever trusts them follows', async () => {
  await travels(1_000);
  const read = (directory: string, name: string) => readFileSync(join(directory, name), 'utf8');
  const endOf = (directory: string) => lifeOf(fromPem(read(directory, 'authority.pem'), 'CERTIFICATE')).notAfterMs;
  const identities = ['hub', 'monitor', 'health', 'civil-affairs'].map(identityOf);
  const hub = identityOf('hub');

  const nodes = [platform.agent('health'), platform.agent('civil-affairs'), platform.monitor];
  for (const program of [...nodes, platform.hub]) await program.stop();
  await age(hub, [...identities, platform.context]);
  const endedMs = endOf(hub);
  liveAt(0);
  // It dies when its database has the new certificate and its files have not.
  await dieAtEach(platform.hub, ['authority.renewed']).over;
  for (const program of nodes) await program.start();
  await until(platform, 'every node has the authority’s new certificate', () =>
    identities.every((directory) => endOf(directory) > endedMs),
  );
  await travels(2_000);
  await platform.qiao('operator', 'renew');

  // All of them started again: what they show and what they trust is new.
  for (const program of [...nodes, platform.hub]) await program.stop();
  await platform.hub.start();
  for (const program of nodes) await program.start();
  await travels(3_000);
  expect(platform.logs).not.toMatch(/MONITOR_UNKNOWN|KEY_MISMATCH|CONTROL_FOREIGN/);

  for (const directory of [...identities, platform.context]) {
    const authority = fromPem(read(directory, 'authority.pem'), 'CERTIFICATE');
    const shown = fromPem(read(hub, 'certificate.pem'), 'CERTIFICATE');
    expect(verifyIssued(shown, authority, endedMs + DAY_MS).code).toBe('hub');
  }
  const audit = JSON.parse((await platform.qiao('audit', 'list', '--json')).stdout) as { action: string }[];
  expect(audit.filter(({ action }) => action === 'authority.renew')).toHaveLength(1);
});
