// Rows of a two-way pair that arrive: what the other end has of them is noted before they land, so that the capture of the same table
// knows them for what they are and sends nothing back. Before and not after, for the log may bring a change as soon as it is committed;
// that the other end has the row is true whether it lands here or not. A crash between leaves a note that the next attempt repeats.
//
// Where a newer row stays here, the other end has the older one, and may have made it knowing the newer one (its people set the time back, or
// its clock is late): nothing that happens here would ever send the newer one again. It is sent back.

import type { StoredAnswer } from '@qiao/adapters';
import { type BridgeDefinition, joinRow, parseId, type Section, splitRow } from '@qiao/exchange';
import { digestOf } from '../capture/compare.ts';
import { KeyEncoder } from '../capture/keys.ts';
import { type Desired, type DesiredBridge, type DesiredLane, isOver } from '../control/desired.ts';
import type { Arrival, CaptureTable, ExchangeDatabase } from '../exchange-database/index.ts';
import { GONE } from '../exchange-database/index.ts';

const LF = 0x0a;

export interface WayBack {
  /** The bridge that carries the landed table back. */
  readonly bridgeId: string;
  /** Its name there. */
  readonly table: string;
  /** What stays here is newer: the other end takes it. With another policy each could keep its own for ever. */
  readonly newestWins: boolean;
}

/** By source table of the lane. */
export type WaysBack = ReadonlyMap<string, WayBack>;

/**
 * The tables of a lane that a bridge captured here takes straight back to where they come from, as they are, and nowhere else: with other
 * destinations a change has to go on.
 */
export function wayBack(
  desired: Desired | undefined,
  { definition }: Pick<DesiredBridge, 'definition'>,
  lane: Pick<DesiredLane, 'senderId' | 'destination'>,
): WaysBack {
  const found = new Map<string, WayBack>();
  for (const back of desired?.bridges.values() ?? []) {
    const lanes = back.lanes.filter((each) => each.senderId === desired?.nodeId && !isOver(back, each));
    if (lanes.length === 0 || lanes.some(({ receiverId }) => receiverId !== lane.senderId)) continue;
    for (const { name } of definition.source.tables) {
      const table = returningTable(name, definition, lane, back.definition, lanes);
      const newestWins = typeof lane.destination?.tables[name]?.conflict === 'object';
      if (table !== undefined) found.set(name, { bridgeId: back.bridgeId, table, newestWins });
    }
  }
  return found;
}

/** Of one lane: what arrives for the tables that have a way back. */
export class Arrivals {
  readonly #ways: WaysBack;
  readonly #database: Pick<ExchangeDatabase, 'arrivals' | 'captures' | 'digests' | 'transaction'>;

  constructor(ways: WaysBack, database: Pick<ExchangeDatabase, 'arrivals' | 'captures' | 'digests' | 'transaction'>) {
    this.#ways = ways;
    this.#database = database;
  }

  /** Before the rows land. */
  note(sections: readonly Section[]): void {
    this.#database.transaction(() => {
      for (const section of sections) {
        const held = this.#heldOf(this.#ways.get(section.table));
        if (held !== undefined) this.#database.arrivals.put(held.id, arrivalsOf(section, held));
      }
    });
  }

  /**
   * With the answer, in its transaction; the sections as they were sent. Which rows stayed nobody says: where some did, all of their section are
   * looked at, but for those that wait, and those that are here as they were sent there.
   */
  landed(sections: readonly Section[], { outcomes, open }: Pick<StoredAnswer, 'outcomes' | 'open'>): void {
    for (const [place, section] of sections.entries()) {
      const way = this.#ways.get(section.table);
      const hasKept = outcomes.some(
        ({ table, sent, outcome }) => table === section.table && sent === section.kind && outcome === 'keptTarget',
      );
      if (!hasKept || way?.newestWins !== true || section.kind === 'delete') continue;
      const held = this.#heldOf(way);
      if (held === undefined) continue;
      const waiting = new Set(open.filter((row) => row.section === place).map(({ index }) => index));
      const said = arrivalsOf(section, held).filter((_row, index) => !waiting.has(index));
      const { arrivals, digests } = this.#database;
      const known = digests.getMany(held.id, said.map(({ key }) => key).sort());
      arrivals.keepAgainst(
        held.id,
        said.filter(({ key, digest }) => known.get(key)?.[1] !== digest),
      );
    }
  }

  #heldOf(way: WayBack | undefined): CaptureTable | undefined {
    return way === undefined ? undefined : this.#database.captures.table(parseId(way.bridgeId), way.table);
  }
}

function returningTable(
  name: string,
  there: BridgeDefinition,
  { destination }: Pick<DesiredLane, 'destination'>,
  back: BridgeDefinition,
  lanes: readonly DesiredLane[],
): string | undefined {
  const target = destination?.tables[name];
  const origin = there.source.tables.find((table) => table.name === name);
  if (target === undefined || target.landing === 'journal' || origin === undefined) return undefined;
  if (back.source.capture !== 'log' || back.source.dataSource !== destination?.dataSource) return undefined;
  const table = back.source.tables.find((each) => each.name === target.to && isSameSchema(each.schema, target.schema));
  if (table === undefined || table.where !== undefined || table.transform.length + table.checks.length > 0) {
    return undefined;
  }
  const comesBack = lanes.every(({ destination: its }) => {
    const landed = its?.tables[table.name];
    return (
      its?.dataSource === there.source.dataSource && landed?.to === name && isSameSchema(landed.schema, origin.schema)
    );
  });
  return comesBack ? table.name : undefined;
}

/** A schema left out is the data source's own one, which may be the one that is named. */
function isSameSchema(one: string | undefined, other: string | undefined): boolean {
  return one === undefined || other === undefined || one === other;
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
