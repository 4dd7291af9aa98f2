// Whether the platform has come to rest after its faults were healed: every question an operator would ask before going home. Each
// answer is a sentence about what is not at rest yet; none means quiet.

import { join } from 'node:path';
import { streams } from '@qiao/bus';
import { type BoardState, readBoard, readBooks } from '@qiao/testkit';
import Sqlite from 'better-sqlite3';
import { NODES, type NodeCode } from './departments.ts';
import type { Play } from './play.ts';
import type { Stage } from './stage.ts';
import { compareTables, keysEverRefused } from './tables.ts';

/** What is not at rest; the cheap and telling questions first, the others only when these are answered. */
export async function unrest(play: Play): Promise<string[]> {
  const { stage } = play;
  const ended = [...stage.platform.programs]
    .filter(({ isRunning }) => !isRunning)
    .map(({ name }) => `${name} is not running`);
  if (ended.length > 0) return ended;
  const tables: string[] = [];
  for (const bridge of play.plan.bridges) {
    for (const lane of play.destinations(bridge.name)) tables.push(...(await compareTables(stage, bridge, lane)));
  }
  if (tables.length > 0) return tables;
  const stores = NODES.flatMap((node) => storesAtWork(stage, node));
  if (stores.length > 0) return stores;
  const books = await booksAtWork(play);
  if (books.length > 0) return books;
  return boardAtWork(play, await readBoard(stage.platform));
}

/**
 * What waits in the streams. Not asked of each seed: what a killed reader held comes again only after the consumer's ack wait, up to a
 * minute, and the seeds that run meanwhile get these late deliveries as one drill more.
 */
export async function waitingInStreams(stage: Stage): Promise<string[]> {
  return (
    (await stage.tap.streams())
      // Heartbeats come and go in the telemetry.
      .filter(({ name, messages }) => messages > (name === streams.telemetry() ? 5 : 0))
      .map(({ name, messages }) => `${messages} messages wait in ${name}`)
  );
}

/** Rows of each exchange database that are work under way. */
function storesAtWork(stage: Stage, node: NodeCode): string[] {
  const database = new Sqlite(join(stage.platform.agentDirectory(node), 'exchange.db'), { readonly: true });
  try {
    const count = (sql: string) => (database.prepare(sql).pluck().get() as number | undefined) ?? 0;
    const found = [
      ['deliveries in the inbox', count('SELECT count(*) FROM inbox')],
      ['control messages to send', count('SELECT count(*) FROM control_out')],
      [
        'deliveries without a receipt',
        count(
          "SELECT count(*) FROM delivery_out WHERE answer = 'awaited' AND lane IN (SELECT lane FROM lane_out WHERE phase <> 'ended')",
        ),
      ],
      ['book entries the monitor does not hold', count('SELECT last - through FROM book_cursor')],
    ] as const;
    return found.filter(([, rows]) => rows > 0).map(([what, rows]) => `${node}: ${rows} ${what}`);
  } finally {
    database.close();
  }
}

async function booksAtWork(play: Play): Promise<string[]> {
  const found: string[] = [];
  for (const bridge of play.plan.bridges) {
    const { lines } = await readBooks(play.stage.platform, bridge.name);
    for (const { node } of play.destinations(bridge.name)) {
      const line = lines.find(({ destinationNode }) => destinationNode === node);
      const where = `books of ${bridge.name} → ${node}`;
      if (line === undefined) found.push(`${where}: no line`);
      else if (line.inFlightDeliveries > 0) found.push(`${where}: ${line.inFlightDeliveries} deliveries in flight`);
      else if (line.verdict === 'VERDICT_DEVIATION') found.push(`${where}: deviation: ${line.remarks.join('; ')}`);
      else if (line.openRows > 0 && keysEverRefused(bridge).size === 0) {
        found.push(`${where}: ${line.openRows} open rows though the target refuses none`);
      }
    }
  }
  return found;
}

function boardAtWork(play: Play, board: BoardState): string[] {
  const names = new Set(play.plan.bridges.map(({ name }) => name));
  return [
    ...board.lanes
      .filter(({ books }) => names.has(books?.bridge ?? ''))
      .filter(({ capture, send, apply }) => ![capture, send, apply].every((state) => RESTING.has(state)))
      .map(
        ({ books, capture, send, apply, code }) =>
          `board: ${books?.bridge}: capture ${capture}, send ${send}, apply ${apply} ${code}`,
      ),
    ...board.alerts
      .filter(({ code, subject }) => !(code === 'ROWS_QUARANTINED' && refuses(play, subject)))
      .map(({ code, subject }) => `alert ${code}: ${subject}`),
  ];
}

/** Rows that the target was made to refuse wait for a person, who is told so. */
function refuses({ plan }: Play, subject: string): boolean {
  return plan.bridges.some((bridge) => subject.startsWith(`${bridge.name} `) && keysEverRefused(bridge).size > 0);
}

const RESTING = new Set(['SERVICE_CONDITION_RUNNING', 'SERVICE_CONDITION_UNSPECIFIED', '']);
