// Owns the numbering and signing of desired states, and bringing them to whom they concern. A snapshot is stored, with its
// number, before anybody sees it; (generation, number) only rises; a state that did not change keeps its number.

import { createHash } from 'node:crypto';
import { ControlMessage } from '@qiao/contract/control';
import { Directory, NodeSnapshot } from '@qiao/contract/node';
import { Signed } from '@qiao/contract/signed';
import { parseId, QiaoError } from '@qiao/exchange';
import { type Clock, crashPoint, createWakeup, describeError, type Log, type Part } from '@qiao/runtime';
import type { HubDatabase } from '../hubDatabase.ts';
import {
  composeDirectory,
  composeSnapshot,
  type DefinitionCache,
  type Platform,
  readWorld,
  type World,
} from './compose.ts';

export interface DesiredPorts {
  readonly store: HubDatabase;
  readonly platform: Platform;
  readonly clock: Clock;
  readonly log: Log;
  readonly sign: (context: 'qiao.snapshot.v1' | 'qiao.directory.v1' | 'qiao.control.v1', payload: Uint8Array) => Signed;
  /** To a node's down control stream; waits for the bus. Throws transient errors while it is away. */
  readonly toNode: (code: string, bytes: Uint8Array) => Promise<void>;
  /** To the monitor, on telemetry. */
  readonly toMonitor: (bytes: Uint8Array) => Promise<void>;
}

export interface DesiredState extends Part {
  /** Composes every snapshot anew and stores those that changed; bringing them out happens behind. */
  refresh(): Promise<void>;
  /** The node's newest snapshot, for its hello. Throws NODE_UNKNOWN. */
  snapshotOf(nodeId: string): Promise<Signed>;
  /** The bus is back, maybe empty: what nodes have not reported as theirs goes out again. */
  busIsBack(): void;
}

const DIRECTORY_EVERY_MS = 30_000;

export function createDesiredState(ports: DesiredPorts): DesiredState {
  const wakeup = createWakeup();
  /** Node codes that have a snapshot to be brought out. */
  const owed = new Set<string>();
  let isDirectoryOwed = true;
  let directory: { digest: string; signed: Uint8Array } | undefined;
  const definitions: DefinitionCache = new Map();
  let refreshing: Promise<void> = Promise.resolve();

  async function refreshNow(): Promise<void> {
    const world = await readWorld(ports.store, ports.clock.nowMs(), definitions);
    const stored = await storedDigests(ports.store);
    let isNews = false;
    for (const node of world.nodes) {
      if (node.role !== 'agent' || node.status !== 'joined') continue;
      try {
        if (await renewSnapshot(ports, world, node.id, stored.get(node.id))) {
          crashPoint('desired.stored');
          owed.add(node.code);
          isNews = true;
        }
      } catch (error) {
        // One node whose state is too large to sign keeps its old one; the others get theirs.
        ports.log.error({ node: node.code, err: describeError(error) }, 'a snapshot could not be written');
      }
    }
    const renewed = await renewDirectory(ports, world, directory);
    if (renewed !== directory) {
      directory = renewed;
      isDirectoryOwed = true;
      isNews = true;
    }
    // Only for news: `run` refreshes after every wait, and a wake for nothing would keep it from ever waiting.
    if (isNews) wakeup.wake();
  }

  /** One at a time, so that a number never stands for two states. */
  function refresh(): Promise<void> {
    const next = refreshing.then(refreshNow);
    refreshing = next.catch(() => undefined);
    return next;
  }

  async function bringOut(): Promise<void> {
    const failures: unknown[] = [];
    // The monitor first: whose rights were ended is cut there, too, before anything else is told.
    if (isDirectoryOwed && directory !== undefined) {
      const told = directory;
      await ports.toMonitor(told.signed).then(
        () => {
          if (directory === told) isDirectoryOwed = false;
        },
        (error: unknown) => failures.push(error),
      );
    }
    // A copy: one that fails is owed again, and a node without room must not keep the news from those behind it.
    for (const code of [...owed]) {
      const signed = await storedByCode(ports.store, code);
      // Taken off first: a change that comes while it is on its way puts it back.
      owed.delete(code);
      if (signed === undefined) continue;
      try {
        await ports.toNode(code, snapshotMessage(ports, signed.nodeId, signed.bytes));
        crashPoint('desired.published');
      } catch (error) {
        owed.add(code);
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  return {
    name: 'desired-state',
    refresh,
    async snapshotOf(nodeId) {
      await refreshing;
      const row = await ports.store
        .selectFrom('snapshots')
        .select('signed')
        .where('node_id', '=', nodeId)
        .executeTakeFirst();
      if (row === undefined)
        throw new QiaoError('NODE_UNKNOWN', 'this node has no desired state here', { hint: 'qiao node list' });
      return Signed.decode(row.signed);
    },
    busIsBack() {
      void behindNodes(ports.store).then(
        (codes) => {
          for (const code of codes) owed.add(code);
          isDirectoryOwed = true;
          wakeup.wake();
        },
        (error: unknown) => ports.log.warn({ err: describeError(error) }, 'nodes that are behind could not be read'),
      );
    },
    async run(signal) {
      await refresh();
      while (!signal.aborted) {
        try {
          await bringOut();
        } catch (error) {
          ports.log.debug({ err: describeError(error) }, 'desired state waits for the bus');
        }
        await wakeup.wait(owed.size > 0 ? 2_000 : DIRECTORY_EVERY_MS, signal);
        if (signal.aborted) return;
        // The monitor may have begun after the last change: it hears the directory again and again.
        isDirectoryOwed = true;
        if (owed.size === 0) await refresh();
      }
    },
  };
}

/** Writes the node's snapshot when it says something new; answers whether it did. */
async function renewSnapshot(
  ports: DesiredPorts,
  world: World,
  nodeId: string,
  stored: string | undefined,
): Promise<boolean> {
  const body = composeSnapshot(world, ports.platform, nodeId);
  const digest = digestOf(NodeSnapshot.encode({ ...body, generation: 0n, number: 0n, writtenAtMs: 0n }).finish());
  if (stored === digest) return false;
  await ports.store.transaction().execute(async (store) => {
    const { generation, number } = await nextNumber(store);
    const snapshot = {
      ...body,
      generation: BigInt(generation),
      number: BigInt(number),
      writtenAtMs: BigInt(ports.clock.nowMs()),
    };
    const signed = Signed.encode(ports.sign('qiao.snapshot.v1', NodeSnapshot.encode(snapshot).finish())).finish();
    const row = { generation, number, digest, signed };
    await store
      .insertInto('snapshots')
      .values({ node_id: nodeId, ...row })
      .onConflict((conflict) => conflict.column('node_id').doUpdateSet(row))
      .execute();
  });
  return true;
}

/** Digests of the present generation; a restored hub's new generation writes every snapshot anew. */
async function storedDigests(store: HubDatabase): Promise<Map<string, string>> {
  const rows = await store
    .selectFrom('snapshots')
    .innerJoin('hub_state', 'hub_state.generation', 'snapshots.generation')
    .select(['snapshots.node_id', 'snapshots.digest'])
    .execute();
  return new Map(rows.map(({ node_id, digest }) => [node_id, digest]));
}

async function renewDirectory(
  ports: DesiredPorts,
  world: World,
  before: { digest: string; signed: Uint8Array } | undefined,
): Promise<{ digest: string; signed: Uint8Array }> {
  const body = composeDirectory(world, ports.platform);
  const digest = digestOf(Directory.encode({ ...body, generation: 0n, number: 0n, writtenAtMs: 0n }).finish());
  if (before?.digest === digest) return before;
  const { generation, number } = await nextNumber(ports.store);
  const directory = {
    ...body,
    generation: BigInt(generation),
    number: BigInt(number),
    writtenAtMs: BigInt(ports.clock.nowMs()),
  };
  return {
    digest,
    signed: Signed.encode(ports.sign('qiao.directory.v1', Directory.encode(directory).finish())).finish(),
  };
}

/** One counter for all snapshots and the directory: a number is never given twice inside a generation. */
async function nextNumber(store: HubDatabase): Promise<{ generation: number; number: number }> {
  return await store
    .updateTable('hub_state')
    .set((column) => ({ number: column('number', '+', 1) }))
    .returning(['generation', 'number'])
    .executeTakeFirstOrThrow();
}

async function storedByCode(
  store: HubDatabase,
  code: string,
): Promise<{ nodeId: string; bytes: Uint8Array } | undefined> {
  const row = await store
    .selectFrom('snapshots')
    .innerJoin('nodes', 'nodes.id', 'snapshots.node_id')
    .select(['snapshots.node_id', 'snapshots.signed'])
    .where('nodes.code', '=', code)
    .where('nodes.status', '=', 'joined')
    .executeTakeFirst();
  return row === undefined ? undefined : { nodeId: row.node_id, bytes: row.signed };
}

/** Agents whose last report is older than their desired state. */
async function behindNodes(store: HubDatabase): Promise<string[]> {
  const rows = await store
    .selectFrom('nodes')
    .innerJoin('snapshots', 'snapshots.node_id', 'nodes.id')
    .select('nodes.code')
    .where('nodes.status', '=', 'joined')
    .where((on) =>
      on.or([
        on('nodes.actual_generation', '<', on.ref('snapshots.generation')),
        on.and([
          on('nodes.actual_generation', '=', on.ref('snapshots.generation')),
          on('nodes.actual_number', '<', on.ref('snapshots.number')),
        ]),
      ]),
    )
    .execute();
  return rows.map((row) => row.code);
}

function snapshotMessage(ports: DesiredPorts, nodeId: string, signed: Uint8Array): Uint8Array {
  const body = { $case: 'snapshot' as const, value: Signed.decode(signed) };
  const payload = ControlMessage.encode({ toNodeId: parseId(nodeId), body }).finish();
  return Signed.encode(ports.sign('qiao.control.v1', payload)).finish();
}

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
