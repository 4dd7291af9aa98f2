// Owns what a new version changes, in sentences for the operator who deploys it, and whether rows or columns that belong to
// the bridge change, which must be agreed to (`--backfill`). Pure.

import type { BridgeDefinition, BridgeTable, Destination, DestinationTable } from '@qiao/exchange';

export interface Effects {
  readonly sentences: readonly string[];
  /** Rows or columns that destinations hold already will be sent, changed or removed by the next scan. */
  readonly changesRows: boolean;
}

/** Compares the deployed version (undefined before the first deploy) with the one to deploy. */
export function effectsOf(before: BridgeDefinition | undefined, after: BridgeDefinition): Effects {
  if (before === undefined) {
    return {
      sentences: after.destinations.map(
        (destination) => `${place(destination)} is bound: it gets a load of every row, then the changes.`,
      ),
      changesRows: false,
    };
  }
  const capture = captureEffects(before.source.capture, after.source.capture);
  const tables = tableEffects(before.source.tables, after.source.tables);
  const destinations = destinationEffects(before.destinations, after.destinations);
  return {
    sentences: [...capture.sentences, ...tables.sentences, ...destinations.sentences, ...settingEffects(before, after)],
    changesRows: capture.changesRows || tables.changesRows || destinations.changesRows,
  };
}

type Capture = BridgeDefinition['source']['capture'];

function captureEffects(before: Capture, after: Capture): Effects {
  if (before === after) return { sentences: [], changesRows: false };
  if (after === 'cursor') {
    const sentence =
      'Capture goes by a cursor: the next scan reads every table whole; deletes at the source are captured no more.';
    return { sentences: [sentence], changesRows: false };
  }
  if (before !== 'cursor' || after === 'trigger') {
    const how = after === 'trigger' ? 'goes by triggers' : 'compares';
    const changesRows = before === 'cursor';
    const deleted = changesRows ? ' and deletes the rows that are gone at the source since it went by a cursor' : '';
    return { sentences: [`Capture ${how}: the next scan reads every table whole${deleted}.`], changesRows };
  }
  const sentence =
    'Capture compares: the next scan deletes the rows that are gone at the source since it went by a cursor.';
  return { sentences: [sentence], changesRows: true };
}

/**
 * The digests are over rows as they are sent, so the next scan finds by itself exactly the rows that a
 * new version sends differently: a backfill is one scan, and cannot be left out.
 */
function tableEffects(before: readonly BridgeTable[], after: readonly BridgeTable[]): Effects {
  const sentences: string[] = [];
  const settings: string[] = [];
  const previous = new Map(before.map((table) => [tableName(table), table]));
  for (const table of after) {
    const name = tableName(table);
    const old = previous.get(name);
    previous.delete(name);
    if (old === undefined) {
      sentences.push(`Table ${name} is added: the next scan sends every row of it to every destination as inserts.`);
      continue;
    }
    if (changed(old.where, table.where)) {
      sentences.push(
        `The filter of ${name} changes: the next scan sends rows that enter it as inserts and rows that leave it as deletes.`,
      );
    }
    if (changed(old.cursor, table.cursor) && old.cursor !== undefined && table.cursor !== undefined) {
      settings.push(`The cursor of ${name} changes: the next scan reads the whole table.`);
    }
    if (changed(old.key, table.key)) {
      sentences.push(
        `The key of ${name} changes: the next scan sends every row under its new key and deletes the old keys.`,
      );
    }
    if (changed(old.columns, table.columns)) {
      sentences.push(
        `The columns of ${name} change: the next scan sends every row whose content differs as an update.`,
      );
    }
    if (changed(old.transform, table.transform)) {
      sentences.push(
        `The transforms of ${name} change: the next scan sends every row that comes out differently as an update.`,
      );
    }
    if (changed(old.checks, table.checks)) {
      sentences.push(
        `The checks of ${name} change: rows they newly refuse are counted as refused and stay as they are.`,
      );
    }
  }
  for (const name of previous.keys()) {
    sentences.push(`Table ${name} is removed: its rows stay at the destinations and get no further changes.`);
  }
  return { sentences: [...sentences, ...settings], changesRows: sentences.length > 0 };
}

function destinationEffects(before: readonly Destination[], after: readonly Destination[]): Effects {
  const sentences: string[] = [];
  let changesRows = false;
  const previous = new Map(before.map((destination) => [place(destination), destination]));
  for (const destination of after) {
    const name = place(destination);
    const old = previous.get(name);
    previous.delete(name);
    if (old === undefined) {
      sentences.push(
        `${name} is bound: it gets a load of every row, then the changes; the other destinations get no load.`,
      );
      continue;
    }
    for (const [table, target] of Object.entries(destination.tables)) {
      const oldTarget = old.tables[table];
      if (oldTarget === undefined || !changed(oldTarget, target)) continue;
      sentences.push(targetEffect(name, table, oldTarget, target));
      changesRows = true;
    }
  }
  for (const name of previous.keys()) {
    sentences.push(
      `${name} is unbound: its lane ends, what is under way on it is cancelled and counted, its rows stay.`,
    );
  }
  return { sentences, changesRows };
}

function targetEffect(place: string, table: string, before: DestinationTable, after: DestinationTable): string {
  if (before.to !== after.to || before.schema !== after.schema) {
    return (
      `${place}: ${table} lands in ${after.to} instead of ${before.to} from now on; rows sent before stay in ${before.to}. ` +
      'To fill the new table, unbind and bind this destination.'
    );
  }
  return `${place}: how ${table} lands (ownership, landing, deletes or conflicts) changes for what is sent from now on.`;
}

function settingEffects(before: BridgeDefinition, after: BridgeDefinition): string[] {
  const sentences: string[] = [];
  if (changed(before.schedule, after.schedule)) sentences.push('The schedule changes from the next run on.');
  if (before.lateAfterMs !== after.lateAfterMs) {
    sentences.push(`A receipt is late after ${after.lateAfterMs / 1000} s instead of ${before.lateAfterMs / 1000} s.`);
  }
  if (changed(before.limits, after.limits) || before.windowBytes !== after.windowBytes) {
    sentences.push('The limits of the lanes change.');
  }
  if (changed(before.deleteGuard, after.deleteGuard)) {
    sentences.push(
      `A scan may delete at most ${after.deleteGuard.rows} rows or ${after.deleteGuard.share * 100} % before it stops and asks.`,
    );
  }
  if (before.stopAfterQuarantined !== after.stopAfterQuarantined) {
    sentences.push(
      `A lane stops at ${after.stopAfterQuarantined} open rows instead of ${before.stopAfterQuarantined}.`,
    );
  }
  return sentences;
}

function tableName(table: BridgeTable): string {
  return table.schema === undefined ? table.name : `${table.schema}.${table.name}`;
}

function place(destination: Destination): string {
  return `${destination.node}/${destination.dataSource}`;
}

function changed(before: unknown, after: unknown): boolean {
  return JSON.stringify(before) !== JSON.stringify(after);
}
