// What several stories share: bridges as YAML, tables as both databases write them, waiting until books and tables agree.

import { type BooksLine, type BusinessDatabase, type Platform, readBoard, readBooks, until } from '@qiao/testkit';

export interface BridgePlan {
  readonly name: string;
  readonly from: string;
  readonly source: string;
  /** Default `compare`. */
  readonly capture?: string;
  readonly table?: string;
  readonly where?: string;
  readonly schedule?: string;
  readonly to: readonly { node: string; dataSource: string; table: string; more?: string }[];
  readonly more?: string;
}

/** A bridge of one table, as an operator would write it. */
export function bridgeYaml(plan: BridgePlan): string {
  const table = plan.table ?? 'person';
  const destinations = plan.to.map(
    ({ node, dataSource, table: target, more = 'ownership: whole' }) =>
      `  - node: ${node}\n    dataSource: ${dataSource}\n    tables:\n      ${table}: { to: ${target}, ${more} }\n`,
  );
  return `kind: Bridge
name: ${plan.name}
title: ${plan.name}
source:
  node: ${plan.from}
  dataSource: ${plan.source}
  capture: ${plan.capture ?? 'compare'}
  tables:
    - name: ${table}
${plan.where === undefined ? '' : `      where: ${JSON.stringify(plan.where)}\n`}schedule: ${plan.schedule ?? 'realtime'}
destinations:
${destinations.join('')}${plan.more ?? ''}`;
}

/** Checks, stores, deploys and starts bridges; throws with everything printed when one is refused. */
export async function applyBridges(platform: Platform, ...yamls: string[]): Promise<void> {
  for (const yaml of yamls) {
    const answer = await platform.qiaoWith(yaml, 'apply', '-f', '-');
    if (answer.code !== 0) throw new Error(`apply ended with ${answer.code}\n${answer.stdout}${answer.stderr}`);
  }
}

/** Waits until a query answers the same at both ends. */
export async function untilSame(
  platform: Platform,
  source: Pick<BusinessDatabase, 'rows'>,
  sourceSql: string,
  target: Pick<BusinessDatabase, 'rows'>,
  targetSql: string,
  deadlineMs = 90_000,
): Promise<(string | null)[][]> {
  const expected = JSON.stringify(await source.rows(sourceSql));
  return until(
    platform,
    `the same rows at both ends: ${targetSql}`,
    async () => {
      const rows = await target.rows(targetSql);
      return JSON.stringify(rows) === expected && rows;
    },
    deadlineMs,
  );
}

/** The line of one lane in the books. */
export async function booksLine(platform: Platform, bridge: string, destination?: string): Promise<BooksLine> {
  const { lines } = await readBooks(platform, bridge);
  const found = lines.find((line) => destination === undefined || line.destinationNode === destination);
  if (found === undefined) throw new Error(`no line for ${bridge} ${destination ?? ''}`);
  return found;
}

/** Waits until nothing is under way on a lane and at least so many rows were sent. */
export async function untilAtRest(
  platform: Platform,
  bridge: string,
  sentAtLeast: number,
  destination?: string,
  deadlineMs = 90_000,
): Promise<BooksLine> {
  return until(
    platform,
    `${bridge} at rest with ${sentAtLeast} rows sent`,
    async () => {
      const line = await booksLine(platform, bridge, destination);
      return line.sent.total >= sentAtLeast && line.inFlightDeliveries === 0 && line;
    },
    deadlineMs,
  );
}

/** Waits until the books balance, or say why they do not, and no alert is open. */
export async function untilPeaceful(platform: Platform): Promise<void> {
  await until(platform, 'balanced books and no open alert', async () => {
    const { alerts } = await readBoard(platform);
    const { verdict } = await readBooks(platform);
    return alerts.length === 0 && /BALANCED|EXPLAINED/.test(verdict);
  });
}

/** What `qiao hub confirm` shows. */
export interface Restore {
  readonly waiting: boolean;
  readonly reason: string;
  readonly learned: readonly string[];
  readonly nodes: readonly { code: string; reportedAtMs: number; joinedAfterBackup: boolean }[];
}

/** Waits until so many agents have told a restored hub what they know. */
export async function untilCollected(platform: Platform, nodes: number): Promise<Restore> {
  return await until(platform, `${nodes} nodes have reported`, async () => {
    const answer = await platform.tryQiao('hub', 'confirm', '--json');
    if (answer.code !== 0) return false;
    const state = JSON.parse(answer.stdout) as Restore;
    return state.waiting && state.nodes.filter((one) => one.reportedAtMs > 0).length === nodes && state;
  });
}

/** Rows by outcome of a line. */
export function byOutcome(line: BooksLine): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const { outcome, rows } of line.outcomes) {
    const word = outcome
      .replace('OUTCOME_', '')
      .toLowerCase()
      .replace(/_([a-z])/g, (_all, letter: string) => letter.toUpperCase());
    sums[word] = (sums[word] ?? 0) + rows;
  }
  return sums;
}

export const PERSON_TABLE =
  'CREATE TABLE person (id INTEGER PRIMARY KEY, name VARCHAR(64) NOT NULL, city CHAR(4) NOT NULL, note TEXT)';
export const TARGET_TABLE = (name: string) =>
  `CREATE TABLE ${name} (id BIGINT NOT NULL PRIMARY KEY, name VARCHAR(64) NOT NULL, city CHAR(4) NOT NULL, note TEXT)`;
export const PERSON_ROWS = 'SELECT id, name, city, note FROM person ORDER BY id';
export const TARGET_ROWS = (name: string) => `SELECT id, name, city, note FROM ${name} ORDER BY id`;

/** Values for INSERT INTO person: ids from `first`, all of one city. */
export function people(first: number, count: number, city: string, name = '王'): string {
  return Array.from(
    { length: count },
    (_none, index) => `(${first + index}, '${name}${first + index}', '${city}', 'note ${index}')`,
  ).join(', ');
}
