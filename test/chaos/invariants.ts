// What must be true of a seed at rest, whatever happened to it: each row has exactly one outcome, both ends hold the same receipts,
// nothing was applied twice, and no program logged what nobody foresaw. Whether it came to rest at all is quiet.ts.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type BooksLine, readBooks } from '@qiao/testkit';
import { brokenMarks } from './marks.ts';
import type { BridgePlan, DestinationPlan } from './plan.ts';
import type { Play } from './play.ts';
import type { Stage } from './stage.ts';
import { keysEverRefused } from './tables.ts';

/** Sentences about what is broken; empty when everything holds. */
export async function brokenInvariants(play: Play, marks: LogMarks): Promise<string[]> {
  const found: string[] = [];
  for (const bridge of play.plan.bridges) {
    const { lines } = await readBooks(play.stage.platform, bridge.name);
    for (const line of lines) found.push(...brokenSums(line));
    for (const lane of play.destinations(bridge.name)) {
      const line = lines.find(({ destinationNode }) => destinationNode === lane.node);
      if (line === undefined) continue;
      if (!play.wasBoundAgain(bridge.name, lane)) found.push(...unexplained(bridge, line));
      if (bridge.shape === 'journal') found.push(...(await journalCounts(play.stage, bridge, lane, line)));
    }
  }
  found.push(...(await brokenDeliveries(play)), ...(await brokenMarks(play)), ...unexpectedLogLines(play, marks));
  return found;
}

/** Σ outcomes = sent, of the whole lane. */
function brokenSums({ bridge, destinationNode, sent, outcomes, deliveries, receipted }: BooksLine): string[] {
  const sum = outcomes.reduce((total, { rows }) => total + rows, 0);
  const where = `books of ${bridge} → ${destinationNode}`;
  return [
    ...(sum === sent.total ? [] : [`${where}: ${sent.total} rows sent, ${sum} outcomes`]),
    ...(deliveries === receipted ? [] : [`${where}: ${deliveries} deliveries, ${receipted} receipts`]),
  ];
}

/** Each delivery for itself: sums of a lane could hide two mistakes. */
async function brokenDeliveries({ stage, plan }: Play): Promise<string[]> {
  const found: string[] = [];
  for (const { name } of plan.bridges) {
    const request = { bridge: name, fromDay: '', toDay: '', verdict: 0 as never, limit: 10_000 };
    for await (const { sequence, epoch, counts, outcomes, verdict } of stage.platform.books.listDeliveries(request)) {
      const sent = counts.reduce((total, { inserts, updates, deletes }) => total + inserts + updates + deletes, 0n);
      const sum = outcomes.reduce((total, { rows }) => total + rows, 0n);
      if (sent !== sum)
        found.push(`delivery ${name} ${epoch}.${sequence}: ${sent} rows sent, ${sum} outcomes (${verdict})`);
    }
  }
  return found;
}

/** In a world where only the lane writes the target, each kind does what it was sent to do. */
function unexplained(bridge: BridgePlan, line: BooksLine): string[] {
  const expected = new Set(['INSERT INSERTED', 'UPDATE UPDATED', 'DELETE DELETED']);
  if (keysEverRefused(bridge).size > 0) {
    for (const kind of ['INSERT', 'UPDATE', 'DELETE']) expected.add(`${kind} QUARANTINED`).add(`${kind} HELD`);
  }
  const found = new Map<string, number>();
  for (const { sent, outcome, rows } of line.outcomes) {
    const cell = `${sent.replace(/^.*_/, '')} ${outcome.replace(/^OUTCOME_/, '')}`;
    if (rows > 0 && !expected.has(cell)) found.set(cell, (found.get(cell) ?? 0) + rows);
  }
  return [...found].map(
    ([cell, rows]) => `books of ${line.bridge} → ${line.destinationNode}: ${rows} rows ${cell}, which nothing explains`,
  );
}

/** A journal keeps each change as a row: one applied twice shows. */
async function journalCounts(
  stage: Stage,
  bridge: BridgePlan,
  { node, dataSource, table }: DestinationPlan,
  line: BooksLine,
): Promise<string[]> {
  const rows = await stage
    .database(node, dataSource)
    .rows(`SELECT qiao_operation, count(*) FROM ${table} GROUP BY qiao_operation`);
  const found = Object.fromEntries(rows.map(([operation, count]) => [operation, Number(count)]));
  const sent = { I: line.sent.inserts, U: line.sent.updates, D: line.sent.deletes };
  return Object.entries(sent)
    .filter(([operation, count]) => (found[operation] ?? 0) !== count)
    .map(
      ([operation, count]) =>
        `journal of ${bridge.name} at ${node}: ${found[operation] ?? 0} rows of ${operation}, ${count} were sent`,
    );
}

/** How long each program's log was when the seed began. */
export type LogMarks = ReadonlyMap<string, number>;

export function markLogs(stage: Stage): LogMarks {
  return new Map(stage.platform.programs.map(({ name }) => [name, logOf(stage, name).length]));
}

/** What a program says that is started on a full disk, before it ends: its service manager starts it again. */
const STARTED_WITHOUT_ROOM = /^(error DISK_FULL: |→ df -h )/;

/** Lines of error, and failures of a kind that nobody foresaw: each is a mistake even when the exchange got over it. */
function unexpectedLogLines({ stage, plan }: Play, marks: LogMarks): string[] {
  const found = new Set<string>();
  for (const [name, mark] of marks) {
    const hadNoRoom = plan.faults.some(({ fault }) => fault.kind === 'fullDisk' && fault.node === name);
    for (const text of logOf(stage, name).subarray(mark).toString('utf8').split('\n')) {
      const line = parsed(text);
      if (line === undefined) {
        if (hadNoRoom && STARTED_WITHOUT_ROOM.test(text)) continue;
        if (text.trim() !== '' && !text.includes('"level":"')) found.add(`log of ${name}: ${text.slice(0, 300)}`);
        continue;
      }
      const isUnforeseen = line.err?.code === 'UNEXPECTED' || line.err?.code === 'INTERNAL';
      if (line.level !== 'error' && line.level !== 'fatal' && !isUnforeseen) continue;
      found.add(
        `log of ${name}: ${line.level} ${line.msg ?? ''} ${line.part ?? ''} ${line.code ?? ''} ${line.err?.code ?? ''} ${line.err?.message ?? ''} ${line.err?.stack?.split('\n')[1]?.trim() ?? ''}`,
      );
    }
  }
  return [...found];
}

interface LogLine {
  readonly level: string;
  readonly msg?: string;
  readonly part?: string;
  readonly code?: string;
  readonly err?: { readonly code?: string; readonly message?: string; readonly stack?: string };
}

function parsed(text: string): LogLine | undefined {
  try {
    return JSON.parse(text) as LogLine;
  } catch {
    return undefined;
  }
}

function logOf(stage: Stage, name: string): Buffer {
  const file = join(stage.directory, `${name}.log`);
  return existsSync(file) ? readFileSync(file) : Buffer.alloc(0);
}
