/**
 * One bridge's share of the log until its next delivery: changes through the bridge's transforms, folded to the last one per key, then
 * decided against the digests as a scan decides. So a row that leaves the filter is a delete, and a change that comes again is none.
 *
 * Folding: a delivery commits as one at the destination, so of several changes of a key only the last matters. It is counted under the kind
 * by which it leaves, those before it under their own as folded. A change of a key is two: a delete of the old and an insert of the new one.
 * Deletes go first, children before parents, so that a unique value is free before another row takes it.
 */
import type { LogChange } from '@qiao/adapters';
import { joinRow, KINDS, type Kind, MAX_ROW_BYTES, splitRow } from '@qiao/exchange';
import { type DigestRow, type ExchangeDatabase, GONE, type LogOwes } from '../exchange-database/index.ts';
import { digestOf } from './compare.ts';
import { giveDeletes, giveRows } from './giveChanges.ts';
import type { After, FollowedTable, KeyChanges, Look, TableChanges } from './keyChanges.ts';
import type { ScanOutput } from './output.ts';
import type { PlannedTable } from './plan.ts';
import { Refusals } from './refusals.ts';
import { leavingKey } from './rowsByKey.ts';

/** Rows of one table to be read by their keys. */
export interface UnreadRows {
  readonly index: number;
  readonly table: PlannedTable;
  /** Row text of the key columns, as the source has them. */
  readonly keys: Buffer;
}

/** Rows of one table to be looked at: those that there are, and those that are not. */
export interface LookedAtRows {
  readonly index: number;
  readonly table: PlannedTable;
  /** Row text of the key columns, as the source has them, without LF. */
  readonly keys: readonly string[];
}

const CHANGE_BYTES = 64;

export class LogChanges {
  readonly #tables: readonly TableChanges[];
  readonly #guard: { readonly rows: number; readonly share: number };
  readonly #arrivals: Pick<ExchangeDatabase['arrivals'], 'getMany'>;
  /** Deletes of the transaction that came last, by table. */
  readonly #deletes: number[];
  #transaction = '';
  /** What waits, roughly. */
  bytes = 0;

  constructor(
    tables: readonly FollowedTable[],
    guard: { readonly rows: number; readonly share: number },
    arrivals: Pick<ExchangeDatabase['arrivals'], 'getMany'>,
  ) {
    this.#arrivals = arrivals;
    const none = () => ({ insert: 0, update: 0, delete: 0 });
    this.#tables = tables.map((each) => ({
      ...each,
      keys: new Map(),
      folded: none(),
      nameless: none(),
      refusals: new Refusals(undefined, false),
    }));
    this.#deletes = tables.map(() => 0);
    this.#guard = guard;
  }

  /** Takes one change of the table at `index`. What it returns cannot be followed: then a scan is owed, and nothing of this may be kept. */
  take(index: number, change: LogChange, transaction: string): LogOwes | undefined {
    const one = this.#tables[index] as TableChanges;
    const { name } = one.table;
    this.bytes += change.line.length + CHANGE_BYTES;
    if (this.#transaction !== transaction) {
      this.#transaction = transaction;
      this.#deletes.fill(0);
    }
    switch (change.kind) {
      case 'truncate':
        return { code: 'LOG_TRUNCATED', message: `table ${name} was emptied by TRUNCATE` };
      case 'untold':
        return { code: 'LOG_ROWS', message: `rows of table ${name} changed in a way that the log does not give` };
      case 'reshaped':
        return { code: 'LOG_TABLES', message: `the columns of table ${name} are others than they were` };
      case 'delete':
        return this.#guarded(index, this.#deleted(one, change.line));
      case 'insert':
      case 'update':
        if (change.refused !== undefined) this.#refused(one, change.kind, change);
        else if (change.missing !== undefined) return this.#part(one, change, change.missing);
        else this.#row(one, change.kind, change);
        return undefined;
      default:
        return change.kind satisfies never;
    }
  }

  /** A part needs a row to be laid over: where the destinations do not have it as it was, it is read whole. */
  settleParts({ digests, arrivals }: Pick<ExchangeDatabase, 'digests' | 'arrivals'>): void {
    for (const { table, held, keys } of this.#tables) {
      const parts = [...keys].filter(([, { after }]) => after.standing === 'part');
      if (parts.length === 0) continue;
      const asked = parts.map(([key]) => key).sort();
      const [found, words] = [digests.getMany(held.id, asked), arrivals.getMany(held.id, asked)];
      for (const [key, changes] of parts) {
        const stored = found.get(key);
        if (stored?.[2] === 1 && !isRefused(stored) && !words.has(key)) continue;
        changes.after = { standing: 'unread', line: table.keys.decode(key) };
      }
    }
  }

  /** What has to be read before anything is given. */
  get unread(): UnreadRows[] {
    return this.#tables.flatMap(({ keys, table }, index) => {
      const lines = [...keys.values()].flatMap((changes) =>
        changes.after.standing === 'unread' && !isLook(changes) ? [changes.after.line] : [],
      );
      return lines.length === 0 ? [] : [{ index, table, keys: Buffer.concat(lines) }];
    });
  }

  /** What is to be looked at before anything is given. */
  get looks(): LookedAtRows[] {
    return this.#tables.flatMap(({ keys: changed, table }, index) => {
      const keys = [...changed.values()].flatMap((changes) =>
        changes.after.standing === 'unread' && isLook(changes)
          ? [changes.after.line.toString('utf8').slice(0, -1)]
          : [],
      );
      return keys.length === 0 ? [] : [{ index, table, keys }];
    });
  }

  /** A row that was to be read, as it is now: perhaps later than the change, which the log then brings once more. */
  fill(index: number, line: Buffer): void {
    const one = this.#tables[index] as TableChanges;
    const { key, after } = this.#afterOf(one, line);
    const waiting = key === undefined ? undefined : one.keys.get(key);
    if (waiting?.after.standing !== 'unread') return;
    waiting.after = after;
    this.bytes += line.length;
  }

  /** Rows that were to be looked at, and that there are not. */
  missing(index: number, keys: readonly string[]): void {
    const { keys: changed, table } = this.#tables[index] as TableChanges;
    for (const key of keys.flatMap((text) => leavingKey(table, text))) {
      const waiting = changed.get(key);
      if (waiting?.after.standing !== 'unread') continue;
      waiting.kind = 'delete';
      waiting.after = { standing: 'deleted', line: table.keys.decode(key) };
    }
  }

  /** A row to which nothing happened here is read, and leaves where the other end has another one. */
  lookAt(index: number, key: string, look: Look): void {
    const { keys, table } = this.#tables[index] as TableChanges;
    // What happened to it since goes anyway.
    if (keys.has(key)) return;
    keys.set(key, { kind: 'update', after: { standing: 'unread', line: table.keys.decode(key) }, look });
    this.bytes += CHANGE_BYTES;
  }

  /** Hands everything over, each key once, in the order of keys; empty afterwards. */
  give(database: Pick<ExchangeDatabase, 'digests' | 'arrivals' | 'sendBacks'>, output: ScanOutput): void {
    this.#give(database, output, () => true);
  }

  /** Writes down what was refused since the last time, in the caller's transaction. */
  keepRefusals(store: ExchangeDatabase['refusals']): void {
    for (const one of this.#tables) {
      one.refusals.keep(store, one.held.id);
      one.refusals = new Refusals(undefined, false);
    }
  }

  /** The same of what needs not be read any more. */
  giveKnown(database: Pick<ExchangeDatabase, 'digests' | 'arrivals' | 'sendBacks'>, output: ScanOutput): void {
    this.#give(database, output, ({ after }) => after.standing !== 'unread');
  }

  #give(
    database: Pick<ExchangeDatabase, 'digests' | 'arrivals' | 'sendBacks'>,
    output: ScanOutput,
    isGiven: (changes: KeyChanges) => boolean,
  ): void {
    const given = this.#tables.map((one) => {
      // Digests lie in the order of keys: what is asked and written in it touches each page once.
      const keys = [...one.keys].flatMap(([key, changes]) => (isGiven(changes) ? [key] : [])).sort();
      const { id } = one.held;
      const found = {
        digests: database.digests.getMany(id, keys),
        words: database.arrivals.getMany(id, keys),
        kept: database.sendBacks.keptOf(id, keys),
      };
      return { one, keys, found };
    });
    for (const { one, keys, found } of given) noteRefusals(one, keys, found.digests);
    for (const { one, keys, found } of given.toReversed()) giveDeletes(one, keys, found, output);
    for (const { one, keys, found } of given) {
      giveRows(one, keys, found, output, 'insert');
      giveRows(one, keys, found, output, 'update');
      for (const kind of KINDS) {
        if (one.folded[kind] > 0) output.folded(one.table.name, kind, one.folded[kind]);
        if (one.nameless[kind] > 0) output.kept(one.table.name, kind, 'refused', true, one.nameless[kind]);
        one.folded[kind] = 0;
        one.nameless[kind] = 0;
      }
      for (const key of keys) one.keys.delete(key);
    }
    this.bytes = 0;
  }

  #row(one: TableChanges, kind: 'insert' | 'update', { line, oldKey }: LogChange): void {
    const { key, after } = this.#afterOf(one, line);
    this.#move(one, key, kind, after, oldKey);
  }

  /** A row that cannot be carried: its key alone came, if that can. */
  #refused(one: TableChanges, kind: 'insert' | 'update', { line, oldKey, refused = '' }: LogChange): void {
    const found = line.length === 0 ? undefined : this.#keyOf(one, line);
    this.#move(one, found?.key, kind, refusedRow(found?.line ?? line, line, { code: refused, column: '' }), oldKey);
  }

  /** A whole row as it leaves. */
  #afterOf({ table: { keys, transform } }: TableChanges, line: Buffer): { key: string | undefined; after: After } {
    if (transform.isIdentity) {
      const key = keys.encode(line, 0, line.length - 1);
      return {
        key,
        after: line.length <= MAX_ROW_BYTES ? { standing: 'row', line } : refusedRow(keys.decode(key), line, TOO_LARGE),
      };
    }
    const result = transform.apply(line, 0, line.length - 1);
    const keyLine = result.kind === 'row' ? result.line : result.keyLine;
    const key = keyLine === undefined ? undefined : keys.encode(keyLine, 0, keyLine.length - 1);
    switch (result.kind) {
      case 'row':
        return { key, after: { standing: 'row', line: result.line } };
      case 'filtered':
        return { key, after: { standing: 'filtered', line: keyLine ?? line, digest: `F${digestOf(line).slice(1)}` } };
      case 'refused':
        return { key, after: refusedRow(keyLine ?? line, line, result) };
      default:
        return result satisfies never;
    }
  }

  /** A row that may have had another key before. */
  #move(one: TableChanges, key: string | undefined, kind: Kind, after: After, oldKey: Buffer | undefined): void {
    const moved = oldKey === undefined ? undefined : this.#keyOf(one, oldKey);
    if (moved !== undefined && moved.key !== key) {
      this.#set(one, moved.key, 'delete', { standing: 'deleted', line: moved.line });
      this.#set(one, key, 'insert', after);
    } else this.#set(one, key, kind, after);
  }

  /** An update that leaves columns out: laid over what this delivery knows of the row, sent without them, or read by its key. */
  #part(one: TableChanges, change: LogChange, missing: readonly number[]): LogOwes | undefined {
    const { transform, layout, read, name } = one.table;
    const { oldKey } = change;
    if (missing.some((place) => place < read.keyColumns)) {
      return { code: 'LOG_ROWS', message: `the log does not carry the key of a row of ${name}` };
    }
    const fields = fieldsOf(change.line);
    const keyLine = Buffer.from(`${joinRow(fields.slice(0, read.keyColumns))}\n`);
    const own = this.#keyOf(one, oldKey ?? keyLine);
    const before = own === undefined ? undefined : one.keys.get(own.key)?.after;
    if (!transform.isIdentity || own === undefined) {
      this.#move(one, this.#keyOf(one, keyLine)?.key, 'update', { standing: 'unread', line: keyLine }, oldKey);
    } else if (before?.standing === 'row') {
      const known = fieldsOf(before.line);
      const whole = fields.map((field, place) => (missing.includes(place) ? (known[place] as string | null) : field));
      this.#row(one, 'update', { ...change, line: Buffer.from(`${joinRow(whole)}\n`) });
    } else if (!one.takesParts || oldKey !== undefined || (before !== undefined && before.standing !== 'part')) {
      // A journal has no row to lay it over, nor has any destination one under another key.
      this.#move(one, this.#keyOf(one, keyLine)?.key, 'update', { standing: 'unread', line: keyLine }, oldKey);
    } else {
      const sent = layout.columns.map((_, place) => place).filter((place) => !missing.includes(place));
      const columns = [...new Set([...(before?.columns ?? []), ...sent])].sort((x, y) => x - y);
      const known = before === undefined ? [] : fieldsOf(before.line);
      const merged = columns.map((place) =>
        missing.includes(place) ? known[before?.columns.indexOf(place) ?? -1] : fields[place],
      ) as (string | null)[];
      const line = Buffer.from(`${joinRow(merged)}\n`);
      const isCarried = line.length <= MAX_ROW_BYTES;
      this.#set(
        one,
        own.key,
        'update',
        isCarried ? { standing: 'part', line, columns } : refusedRow(own.line, line, TOO_LARGE),
      );
    }
    return undefined;
  }

  /** Returns the key, where there is one. */
  #deleted(one: TableChanges, line: Buffer): string | undefined {
    const found = line.length === 0 ? undefined : this.#keyOf(one, line);
    if (found === undefined) one.nameless.delete += 1;
    else this.#set(one, found.key, 'delete', { standing: 'deleted', line: found.line });
    return found?.key;
  }

  /** The key as it leaves, from a line that begins with it. */
  #keyOf({ table }: TableChanges, line: Buffer): { key: string; line: Buffer } | undefined {
    const keyLine = table.transform.keyLine(line);
    if (keyLine === undefined) return undefined;
    const key = table.keys.encode(keyLine, 0, keyLine.length - 1);
    return { key, line: table.keys.decode(key) };
  }

  #set(one: TableChanges, key: string | undefined, kind: Kind, after: After): void {
    if (key === undefined) {
      one.nameless[kind] += 1;
      return;
    }
    const before = one.keys.get(key);
    if (before === undefined || before.look !== undefined) {
      one.keys.set(key, { kind, after, look: undefined });
      return;
    }
    one.folded[before.kind] += 1;
    before.kind = kind;
    before.after = after;
  }

  /** An emptied source must not empty its destinations: the scan that is owed asks a person. */
  #guarded(index: number, key: string | undefined): LogOwes | undefined {
    const { held, table, heard } = this.#tables[index] as TableChanges;
    // What another node deleted its own guard let through.
    const word = key === undefined || heard === undefined ? undefined : this.#arrivals.getMany(held.id, [key]).get(key);
    if (word?.digest === GONE) return undefined;
    const deletes = (this.#deletes[index] as number) + 1;
    this.#deletes[index] = deletes;
    if (deletes <= this.#guard.rows || deletes <= this.#guard.share * held.digestCount) return undefined;
    return {
      code: 'LOG_GUARD',
      message: `one transaction deletes more rows of ${table.name} than the deleteGuard lets through`,
    };
  }
}

/** Nothing happened to it here, and nothing stayed. */
function isLook({ look }: KeyChanges): boolean {
  return look !== undefined && look.against === undefined;
}

/** What is refused of these keys, and what was and is not any more. */
function noteRefusals(one: TableChanges, keys: readonly string[], digests: ReadonlyMap<string, DigestRow>): void {
  for (const key of keys) {
    const { after } = one.keys.get(key) as KeyChanges;
    const stored = digests.get(key);
    if (stored !== undefined && isRefused(stored)) one.refusals.lookAgain(key);
    if (after.standing === 'refused') one.refusals.add(after.code, after.column, key);
  }
}

/** It came once and could not be carried: the destinations have what was before, if anything. */
function isRefused([, digest]: DigestRow): boolean {
  return digest.startsWith('R');
}

const TOO_LARGE = { code: 'ROW_TOO_LARGE', column: '' };

function refusedRow(keyLine: Buffer, line: Buffer, { code, column }: { code: string; column: string }): After {
  return { standing: 'refused', line: keyLine, digest: `R${digestOf(line).slice(1)}`, code, column };
}

function fieldsOf(line: Buffer): (string | null)[] {
  return splitRow(line.toString('utf8', 0, line.length - 1));
}
