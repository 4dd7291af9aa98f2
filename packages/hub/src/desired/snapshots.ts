// Owns the numbering and signing of desired states, and bringing them to whom they concern. A snapshot is stored, with its
// number, before anybody sees it; (generation, number) only rises; a state that did not change keeps its number. What a number
// stands for is read in the very transaction that gives it: of two replicas neither can store an older state as a newer one.

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
  type DirectoryBody,
  type Platform,
  readWorld,
  readWorldIn,
  type SnapshotBody,
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
  /** Whether this replica repeats the directory for all; every one brings out what is not brought out yet. */
  readonly isLeader: () => boolean;
  /** A restored hub that waits for a person hands nothing out. */
  readonly isHeld?: () => boolean;
  /** To the monitor, on telemetry. */
  readonly toMonitor: (bytes: Uint8Array) => Promise<void>;
}

export interface DesiredState extends Part {
  /** Another replica may have stored what it did not live to bring out. */
  look(): void;
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
  let isDirectoryOwed = true;
  /** Something could not be brought out. */
  let isOwed = false;
  const definitions: DefinitionCache = new Map();
  let refreshing: Promise<void> = Promise.resolve();

  const isHeld = ports.isHeld ?? (() => false);
  let isReminded = false;

  async function refreshNow(): Promise<void> {
    if (isHeld()) return;
    // Looked at without the store's write lock first: most often nothing changed.
    const seen = await readWorld(ports.store, ports.clock.nowMs(), definitions);
    if ((await changesOf(ports, seen, ports.store)).length === 0) return;
    const stored = await ports.store.transaction().execute(async (store) => {
      const world = await readWorldIn(store, ports.clock.nowMs(), definitions);
      const changes: Change[] = [];
      for (const change of await changesOf(ports, world, store)) if (await change.store()) changes.push(change);
      return changes;
    });
    if (stored.length === 0) return;
    crashPoint('desired.stored');
    isDirectoryOwed ||= stored.some(({ isDirectory }) => isDirectory);
    // Only for news: `run` refreshes after every wait, and a wake for nothing would keep it from ever waiting.
    wakeup.wake();
  }

  /** One at a time, so that a number never stands for two states. */
  function refresh(): Promise<void> {
    const next = refreshing.then(refreshNow);
    refreshing = next.catch(() => undefined);
    return next;
  }

  async function bringOut(): Promise<void> {
    if (isHeld()) return await remind();
    isReminded = false;
    isOwed = false;
    // The monitor first: whose rights were ended is cut there, too, before anything else is told.
    if (isDirectoryOwed) await bringOutDirectory();
    for (const { code, nodeId, number, signed } of await notBroughtOut(ports.store)) {
      try {
        await ports.toNode(code, snapshotMessage(ports, nodeId, signed));
        // The bus first, then the note: a crash between brings it out twice, and nodes pass over what is not newer.
        crashPoint('desired.published');
        await noteBroughtOut(ports.store, nodeId, number);
      } catch (error) {
        // One node whose share is full must not keep the others from theirs.
        isOwed = true;
        ports.log.debug({ node: code, err: describeError(error) }, 'a snapshot waits for the bus');
      }
    }
  }

  /** While this hub waits for a person: the snapshots of its backup, once. A node that holds a newer one comes and says so. */
  async function remind(): Promise<void> {
    if (isReminded) return;
    isReminded = true;
    const rows = await ports.store
      .selectFrom('snapshots')
      .innerJoin('nodes', 'nodes.id', 'snapshots.node_id')
      .select(['nodes.code', 'nodes.id', 'snapshots.signed'])
      .where('nodes.status', '=', 'joined')
      .execute();
    for (const { code, id, signed } of rows) {
      // Only a hint: a node that does not get it says hello within a minute.
      await ports.toNode(code, snapshotMessage(ports, id, signed)).catch(() => undefined);
    }
  }

  async function bringOutDirectory(): Promise<void> {
    isDirectoryOwed = false;
    try {
      const directory = await ports.store.selectFrom('directory').select('signed').executeTakeFirst();
      if (directory !== undefined) await ports.toMonitor(directory.signed);
    } catch (error) {
      isDirectoryOwed = true;
      isOwed = true;
      ports.log.debug({ err: describeError(error) }, 'the directory waits for the bus');
    }
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
    look: () => wakeup.wake(),
    busIsBack() {
      void owe(ports.store).then(
        () => {
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
          isOwed = true;
          ports.log.debug({ err: describeError(error) }, 'desired state waits for the bus');
        }
        await wakeup.wait(isOwed ? 2_000 : DIRECTORY_EVERY_MS, signal);
        if (signal.aborted) return;
        // The monitor may have begun after the last change: it hears the directory again and again.
        isDirectoryOwed ||= ports.isLeader();
        if (!isOwed) await refresh();
      }
    },
  };
}

/** A desired state that says something new, and how it is written down. */
interface Change {
  readonly isDirectory: boolean;
  /** False when it could not be signed. */
  store(): Promise<boolean>;
}

/** Compares the world with what `store` holds. */
async function changesOf(ports: DesiredPorts, world: World, store: HubDatabase): Promise<Change[]> {
  const stored = await storedDigests(store);
  const changes: Change[] = [];
  for (const node of world.nodes) {
    if (node.role !== 'agent' || node.status !== 'joined') continue;
    const body = composeSnapshot(world, ports.platform, node.id);
    const digest = digestOf(NodeSnapshot.encode({ ...body, generation: 0n, number: 0n, writtenAtMs: 0n }).finish());
    if (stored.get(node.id) === digest) continue;
    changes.push({ isDirectory: false, store: () => storeSnapshot(ports, store, node, body, digest) });
  }
  const body = composeDirectory(world, ports.platform);
  const digest = digestOf(Directory.encode({ ...body, generation: 0n, number: 0n, writtenAtMs: 0n }).finish());
  if (stored.get(DIRECTORY) !== digest) {
    changes.push({ isDirectory: true, store: () => storeDirectory(ports, store, body, digest) });
  }
  return changes;
}

async function storeSnapshot(
  ports: DesiredPorts,
  store: HubDatabase,
  node: { id: string; code: string },
  body: SnapshotBody,
  digest: string,
): Promise<boolean> {
  const { generation, number } = await nextNumber(store);
  const snapshot = NodeSnapshot.encode({ ...body, ...stamp(ports, generation, number) }).finish();
  let signed: Uint8Array;
  try {
    signed = Signed.encode(ports.sign('qiao.snapshot.v1', snapshot)).finish();
  } catch (error) {
    // One node whose state is too large to sign keeps its old one; the others get theirs.
    ports.log.error({ node: node.code, err: describeError(error) }, 'a snapshot could not be written');
    return false;
  }
  const row = { generation, number, digest, signed, brought_out: 0 };
  await store
    .insertInto('snapshots')
    .values({ node_id: node.id, ...row })
    .onConflict((conflict) => conflict.column('node_id').doUpdateSet(row))
    .execute();
  return true;
}

async function storeDirectory(
  ports: DesiredPorts,
  store: HubDatabase,
  body: DirectoryBody,
  digest: string,
): Promise<boolean> {
  const { generation, number } = await nextNumber(store);
  const directory = Directory.encode({ ...body, ...stamp(ports, generation, number) }).finish();
  const row = {
    generation,
    number,
    digest,
    signed: Signed.encode(ports.sign('qiao.directory.v1', directory)).finish(),
  };
  await store
    .insertInto('directory')
    .values({ id: 1, ...row })
    .onConflict((conflict) => conflict.column('id').doUpdateSet(row))
    .execute();
  return true;
}

function stamp({ clock }: DesiredPorts, generation: number, number: number) {
  return { generation: BigInt(generation), number: BigInt(number), writtenAtMs: BigInt(clock.nowMs()) };
}

/** Where the directory's digest stands among those of nodes: no node is called so. */
const DIRECTORY = 'directory';

/** Digests of the present generation; a restored hub's new generation writes everything anew. */
async function storedDigests(store: HubDatabase): Promise<Map<string, string>> {
  const snapshots = await store
    .selectFrom('snapshots')
    .innerJoin('hub_state', 'hub_state.generation', 'snapshots.generation')
    .select(['snapshots.node_id', 'snapshots.digest'])
    .execute();
  const directories = await store
    .selectFrom('directory')
    .innerJoin('hub_state', 'hub_state.generation', 'directory.generation')
    .select('directory.digest')
    .execute();
  return new Map([
    ...snapshots.map(({ node_id, digest }) => [node_id, digest] as const),
    ...directories.map(({ digest }) => [DIRECTORY, digest] as const),
  ]);
}

/** One counter for all snapshots and the directory: a number is never given twice inside a generation. */
async function nextNumber(store: HubDatabase): Promise<{ generation: number; number: number }> {
  return await store
    .updateTable('hub_state')
    .set((column) => ({ number: column('number', '+', 1) }))
    .returning(['generation', 'number'])
    .executeTakeFirstOrThrow();
}

/** Snapshots of joined nodes that the bus has not taken. */
async function notBroughtOut(
  store: HubDatabase,
): Promise<{ code: string; nodeId: string; number: number; signed: Uint8Array }[]> {
  const rows = await store
    .selectFrom('snapshots')
    .innerJoin('nodes', 'nodes.id', 'snapshots.node_id')
    .select(['nodes.code', 'snapshots.node_id', 'snapshots.number', 'snapshots.signed'])
    .where('snapshots.brought_out', '=', 0)
    .where('nodes.status', '=', 'joined')
    .execute();
  return rows.map(({ code, node_id: nodeId, number, signed }) => ({ code, nodeId, number, signed }));
}

/** A newer one that came meanwhile is still owed. */
async function noteBroughtOut(store: HubDatabase, nodeId: string, number: number): Promise<void> {
  await store
    .updateTable('snapshots')
    .set({ brought_out: 1 })
    .where('node_id', '=', nodeId)
    .where('number', '=', number)
    .execute();
}

/** What agents have not reported as theirs is owed again. */
async function owe(store: HubDatabase): Promise<void> {
  await store
    .updateTable('snapshots')
    .set({ brought_out: 0 })
    .where((on) =>
      on.exists(
        on
          .selectFrom('nodes')
          .select('nodes.id')
          .whereRef('nodes.id', '=', 'snapshots.node_id')
          .where('nodes.status', '=', 'joined')
          .where((older) =>
            older.or([
              older('nodes.actual_generation', '<', older.ref('snapshots.generation')),
              older.and([
                older('nodes.actual_generation', '=', older.ref('snapshots.generation')),
                older('nodes.actual_number', '<', older.ref('snapshots.number')),
              ]),
            ]),
          ),
      ),
    )
    .execute();
}

function snapshotMessage(ports: DesiredPorts, nodeId: string, signed: Uint8Array): Uint8Array {
  const body = { $case: 'snapshot' as const, value: Signed.decode(signed) };
  const payload = ControlMessage.encode({ toNodeId: parseId(nodeId), body }).finish();
  return Signed.encode(ports.sign('qiao.control.v1', payload)).finish();
}

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
