// Owns the refusals table: what was refused, collapsed when the same comes again in a row, bounded per node and in all, and told
// to the audit: a few rows per node and minute, then one that counts the rest. Writing is grouped: many refusals at once share
// one commit, so a node that floods costs one write and not a thousand.

import { appendAudit } from '../audit/audit.ts';
import type { HubDatabase } from '../hubDatabase.ts';

export interface RefusalNote {
  readonly atMs: number;
  /** Code of the node whose subject carried the message. */
  readonly fromNode: string;
  /** Name of the bridge, or empty. */
  readonly bridge: string;
  /** 32 hexadecimal characters, or empty. */
  readonly laneId: string;
  readonly epoch: bigint;
  readonly sequence: bigint;
  readonly code: string;
  readonly message: string;
}

const KEPT_ROWS = 10_000;
const KEPT_ROWS_PER_NODE = 1_000;
const MESSAGE_CHARACTERS = 1_000;
const AUDIT_WINDOW_MS = 60_000;
const AUDITED_PER_WINDOW = 10;
/** Different refusals waiting for one commit; past it they are told as one of their node and code. */
const MAX_WAITING = 1_000;

/** No events of security: they stand in the table, the audit is kept for what a person must explain. */
const NOT_AUDITED = new Set(['DESTINATION_BUSY', 'NODE_SHARE_FULL', 'STREAM_FULL', 'STREAM_MISSING']);

interface Waiting {
  note: RefusalNote;
  times: number;
}

/** What the audit was told of one node since `fromMs`, and what it was not. */
interface Audited {
  readonly fromMs: number;
  rows: number;
  untold: number;
  lastAtMs: number;
}

export class RefusalBook {
  readonly #store: HubDatabase;
  readonly #audited = new Map<string, Audited>();
  #waiting = new Map<string, Waiting>();
  #writing: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(store: HubDatabase) {
    this.#store = store;
  }

  /** Writes a refusal down; durable when it resolves. */
  record(note: RefusalNote): Promise<void> {
    const fine = `${note.fromNode}\0${note.laneId}\0${note.code}`;
    const key = this.#waiting.has(fine) || this.#waiting.size < MAX_WAITING ? fine : `${note.fromNode}\0\0${note.code}`;
    const waiting = this.#waiting.get(key);
    if (waiting === undefined) this.#waiting.set(key, { note, times: 1 });
    else {
      waiting.note = note;
      waiting.times += 1;
    }
    // Everyone who comes while one commit is under way shares the next.
    this.#next ??= this.#writeNext();
    return this.#next;
  }

  async #writeNext(): Promise<void> {
    await this.#writing?.catch(() => undefined);
    const batch = [...this.#waiting.values()];
    this.#waiting = new Map();
    this.#next = undefined;
    const writing = this.#write(batch);
    this.#writing = writing;
    await writing;
  }

  async #write(batch: readonly Waiting[]): Promise<void> {
    await this.#store.transaction().execute(async (store) => {
      for (const { note, times } of batch) {
        const isNew = await writeOne(store, note, times);
        if (isNew && !NOT_AUDITED.has(note.code)) await this.#audit(store, note);
      }
      await prune(store, new Set(batch.map(({ note }) => note.fromNode)));
    });
  }

  /** Tells the audit how many refusals it was not told of in the minutes that ended before `nowMs`. */
  async tellRest(nowMs: number): Promise<void> {
    const ended = [...this.#audited].filter(([, { fromMs }]) => fromMs + AUDIT_WINDOW_MS <= nowMs);
    for (const [fromNode] of ended) this.#audited.delete(fromNode);
    const untold = ended.filter(([, audited]) => audited.untold > 0);
    if (untold.length === 0) return;
    await this.#store.transaction().execute(async (store) => {
      for (const [fromNode, audited] of untold) await auditRest(store, fromNode, audited);
    });
  }

  async #audit(store: HubDatabase, note: RefusalNote): Promise<void> {
    const { fromNode, atMs } = note;
    let audited = this.#audited.get(fromNode);
    if (audited !== undefined && audited.fromMs + AUDIT_WINDOW_MS <= atMs) {
      if (audited.untold > 0) await auditRest(store, fromNode, audited);
      audited = undefined;
    }
    audited ??= { fromMs: atMs, rows: 0, untold: 0, lastAtMs: atMs };
    this.#audited.set(fromNode, audited);
    audited.lastAtMs = atMs;
    if (audited.rows >= AUDITED_PER_WINDOW) {
      audited.untold += 1;
      return;
    }
    audited.rows += 1;
    await auditOne(store, note);
  }
}

/** True when the refusal is a row of its own, and not the last one of its node once more. */
async function writeOne(store: HubDatabase, note: RefusalNote, times: number): Promise<boolean> {
  const message = note.message.slice(0, MESSAGE_CHARACTERS);
  const last = await store
    .selectFrom('refusals')
    .select(['id', 'lane_id', 'code', 'epoch', 'times'])
    .where('from_node', '=', note.fromNode)
    .orderBy('id', 'desc')
    .limit(1)
    .executeTakeFirst();
  const isSame = last?.lane_id === note.laneId && last.code === note.code && last.epoch === Number(note.epoch);
  if (last !== undefined && isSame) {
    await store
      .updateTable('refusals')
      .set({ at_ms: note.atMs, sequence: Number(note.sequence), message, times: last.times + times })
      .where('id', '=', last.id)
      .execute();
    return false;
  }
  await store
    .insertInto('refusals')
    .values({
      at_ms: note.atMs,
      from_node: note.fromNode,
      bridge: note.bridge,
      lane_id: note.laneId,
      epoch: Number(note.epoch),
      sequence: Number(note.sequence),
      code: note.code,
      message,
      times,
    })
    .execute();
  return true;
}

async function auditOne(store: HubDatabase, note: RefusalNote): Promise<void> {
  await appendAudit(store, {
    atMs: note.atMs,
    actor: 'hub',
    action: 'delivery.refuse',
    subject: note.fromNode,
    success: false,
    detail: {
      code: note.code,
      bridge: note.bridge,
      lane: note.laneId,
      epoch: Number(note.epoch),
      sequence: Number(note.sequence),
    },
  });
}

/** One row for what the minute had beyond its share. */
async function auditRest(store: HubDatabase, fromNode: string, { untold, lastAtMs }: Audited): Promise<void> {
  await appendAudit(store, {
    atMs: lastAtMs,
    actor: 'hub',
    action: 'delivery.refuse',
    subject: fromNode,
    success: false,
    detail: { code: 'MORE_REFUSALS', times: untold },
  });
}

async function prune(store: HubDatabase, nodes: ReadonlySet<string>): Promise<void> {
  for (const node of nodes) {
    const tooOld = await store
      .selectFrom('refusals')
      .select('id')
      .where('from_node', '=', node)
      .orderBy('id', 'desc')
      .offset(KEPT_ROWS_PER_NODE)
      .limit(1)
      .executeTakeFirst();
    if (tooOld === undefined) continue;
    await store.deleteFrom('refusals').where('from_node', '=', node).where('id', '<=', tooOld.id).execute();
  }
  const tooOld = await store
    .selectFrom('refusals')
    .select('id')
    .orderBy('id', 'desc')
    .offset(KEPT_ROWS)
    .limit(1)
    .executeTakeFirst();
  if (tooOld !== undefined) await store.deleteFrom('refusals').where('id', '<=', tooOld.id).execute();
}
