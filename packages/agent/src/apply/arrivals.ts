// Rows that arrive for a table that a bridge captures here in its turn: what the sender has of them, and the tables that they passed, are noted
// before they land, so that the capture knows them for what they are: nothing goes back to where it was, and what goes on carries its path.
// Before and not after, for the log may bring a change as soon as it is committed; that the sender has the row is true whether it lands here or
// not. A crash between leaves a note that the next attempt repeats.
//
// Where a newer row stays here, the other end of a pair has the older one, and may have made it knowing the newer one (its people set the time
// back, or its clock is late): nothing that happens here would ever send the newer one again. It is sent back.

import type { StoredAnswer } from '@qiao/adapters';
import {
  type BridgeDefinition,
  isSameTable,
  joinRow,
  type Outcome,
  PATH_MAX_PLACES,
  parseId,
  type Section,
  splitRow,
  type TablePlace,
} from '@qiao/exchange';
import { digestOf } from '../capture/compare.ts';
import { KeyEncoder } from '../capture/keys.ts';
import { type HeardTable, hear, heardOf } from '../capture/otherEnd.ts';
import type { Desired, DesiredBridge, DesiredLane } from '../control/desired.ts';
import type { Arrival, CaptureTable, DigestRow, ExchangeDatabase } from '../exchange-database/index.ts';
import { GONE } from '../exchange-database/index.ts';

const LF = 0x0a;

/** A table of a lane, as a bridge that is captured here takes it on. */
export interface WayOn {
  /** The bridge that carries the landed table on. */
  readonly bridgeId: string;
  /** Its name there. */
  readonly table: string;
  /** The sender's table. */
  readonly from: TablePlace;
  /** Where it goes on to. */
  readonly heard: HeardTable;
  /** It goes straight back, and what stays here is newer: the sender takes it. With another policy each could keep its own for ever. */
  readonly sendsBack: boolean;
}

/** By source table of the lane. */
export type WaysOn = ReadonlyMap<string, readonly WayOn[]>;

/** The tables of a lane that bridges of a circle, captured here change by change, take on as they are, each to one destination. */
export function waysOn(
  desired: Desired | undefined,
  { definition }: Pick<DesiredBridge, 'definition'>,
  { senderId, receiverId, destination }: Pick<DesiredLane, 'senderId' | 'receiverId' | 'destination'>,
): WaysOn {
  const found = new Map<string, WayOn[]>();
  for (const { name, schema } of definition.source.tables) {
    const landed = destination?.tables[name];
    if (destination === undefined || landed === undefined || landed.landing === 'journal') continue;
    const from = { node: senderId, dataSource: definition.source.dataSource, schema, table: name };
    const here = { node: receiverId, dataSource: destination.dataSource, schema: landed.schema, table: landed.to };
    const ways = [...(desired?.bridges.values() ?? [])].flatMap((bridge): WayOn[] => {
      if (!bridge.lanes.some((lane) => lane.senderId === receiverId)) return [];
      const table = takenOn(bridge.definition, here);
      const heard = table === undefined ? undefined : heardOf(bridge, table);
      if (table === undefined || heard === undefined) return [];
      const sendsBack = isSameTable(heard.place, from) && typeof landed.conflict === 'object';
      return [{ bridgeId: bridge.bridgeId, table, from, heard, sendsBack }];
    });
    if (ways.length > 0) found.set(name, ways);
  }
  return found;
}

/** Of one lane: what arrives for the tables that have a way back. */
export class Arrivals {
  readonly #ways: WaysOn;
  readonly #database: Pick<ExchangeDatabase, 'arrivals' | 'captures' | 'digests' | 'sendBacks' | 'transaction'>;

  constructor(
    ways: WaysOn,
    database: Pick<ExchangeDatabase, 'arrivals' | 'captures' | 'digests' | 'sendBacks' | 'transaction'>,
  ) {
    this.#ways = ways;
    this.#database = database;
  }

  /** Before the rows land. */
  note(sections: readonly Section[]): void {
    this.#database.transaction(() => {
      for (const section of sections) {
        for (const way of this.#ways.get(section.table) ?? []) {
          const held = this.#heldOf(way);
          const path = [...(section.path ?? []), way.from];
          if (held === undefined || path.length > PATH_MAX_PLACES) continue;
          hear(this.#database, held.id, arrivalsOf(section, held), path, way.heard);
        }
      }
    });
  }

  /** With the answer, in its transaction; the sections as they were sent. Which rows had which outcome nobody says, but of those that wait. */
  landed(sections: readonly Section[], { outcomes, open }: Pick<StoredAnswer, 'outcomes' | 'open'>): void {
    for (const [place, section] of sections.entries()) {
      const waiting = new Set(open.filter((row) => row.section === place).map(({ index }) => index));
      const has = (wanted: Outcome) =>
        outcomes.some(
          ({ table, sent, outcome }) => table === section.table && sent === section.kind && outcome === wanted,
        );
      const [hasKept, hasNothing] = [has('keptTarget'), has('deletedNothing')];
      for (const way of this.#ways.get(section.table) ?? []) {
        const held = this.#heldOf(way);
        if (held === undefined || !this.#database.arrivals.hasAny(held.id)) continue;
        const said = arrivalsOf(section, held).filter((_row, index) => !waiting.has(index));
        if (hasKept) {
          this.#database.arrivals.stayed(held.id, said);
          if (way.sendsBack && section.kind !== 'delete') this.#sendBack(held, said);
        } else this.#database.arrivals.landed(held.id, said);
        if (hasNothing && way.heard.circle === 'ring') this.#passOn(held, said);
      }
    }
  }

  /** Where some stayed, all are looked at, but for those that are here as they were sent there. */
  #sendBack({ id }: CaptureTable, said: readonly Arrival[]): void {
    const known = this.#knownOf(id, said);
    this.#database.sendBacks.keepAgainst(
      id,
      said.filter(({ key, digest }) => known.get(key)?.[1] !== digest),
    );
  }

  /** Deletes of rows that were never here change nothing that the capture could find, and concern the next node of the ring all the same. */
  #passOn({ id }: CaptureTable, said: readonly Arrival[]): void {
    const known = this.#knownOf(id, said);
    this.#database.arrivals.lookAt(
      id,
      said.filter(({ key }) => !known.has(key)),
    );
  }

  #knownOf(tableId: number, said: readonly Arrival[]): ReadonlyMap<string, DigestRow> {
    return this.#database.digests.getMany(tableId, said.map(({ key }) => key).sort());
  }

  #heldOf({ bridgeId, table }: WayOn): CaptureTable | undefined {
    return this.#database.captures.table(parseId(bridgeId), table);
  }
}

/** Name of the source table under which the bridge takes on what lands here. */
function takenOn({ source }: BridgeDefinition, here: TablePlace): string | undefined {
  if (source.capture !== 'log' && source.capture !== 'trigger') return undefined;
  const table = source.tables.find(({ name, schema }) =>
    isSameTable({ node: here.node, dataSource: source.dataSource, schema, table: name }, here),
  );
  if (table === undefined || table.where !== undefined || table.transform.length + table.checks.length > 0) {
    return undefined;
  }
  return table.name;
}

function arrivalsOf(section: Section, held: { readonly layout: string; readonly keyLayout: string }): Arrival[] {
  const columns = JSON.parse(held.layout) as string[];
  const keyLayout = JSON.parse(held.keyLayout) as string[];
  const isDelete = section.kind === 'delete';
  const places = (isDelete ? keyLayout.slice(0, -1) : columns).map((name) => section.columns.indexOf(name));
  // Of a row that came in part nobody knows what the other end has.
  if (places.includes(-1) || (!isDelete && !section.wholeRows)) return [];
  const isInOrder = places.length === section.columns.length && places.every((place, index) => place === index);
  const keys = KeyEncoder.ofEncoding(keyLayout.at(-1) ?? '');
  const arrivals: Arrival[] = [];
  const rows = Buffer.from(section.rows.buffer, section.rows.byteOffset, section.rows.byteLength);
  for (let start = 0; start < rows.length; ) {
    const end = rows.indexOf(LF, start);
    const sent = rows.subarray(start, end + 1);
    start = end + 1;
    const line = isInOrder ? sent : inOrder(sent, places);
    arrivals.push({ key: keys.encode(line, 0, line.length - 1), digest: isDelete ? GONE : digestOf(line) });
  }
  return arrivals;
}

function inOrder(line: Buffer, places: readonly number[]): Buffer {
  const fields = splitRow(line.toString('utf8', 0, line.length - 1));
  return Buffer.from(`${joinRow(places.map((place) => fields[place] as string | null))}\n`);
}
