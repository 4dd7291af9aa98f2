import { randomBytes } from 'node:crypto';
import type { DataSource } from '@qiao/adapters';
import { type BridgeTable, parseId } from '@qiao/exchange';
import { expect, test } from 'vitest';
import { BRIDGE_ID, placeThere } from '../capture/captureWorld.testing.ts';
import { CursorWorld } from '../capture/cursorWorld.testing.ts';
import { type PlannedTable, planTables } from '../capture/plan.ts';
import { TriggerWorld } from '../capture/triggerWorld.testing.ts';
import type { DesiredBridge } from '../control/desired.ts';
import { type Finding, GONE, type Job, type TableCounts } from '../exchange-database/index.ts';
import type { VerifyPorts } from './ports.ts';
import { sendRows } from './sendRows.ts';

const REFUSING: BridgeTable['transform'] = [{ dictionary: { column: 'name', map: { a: 'A' }, otherwise: 'refuse' } }];

interface Case {
  readonly what: string;
  readonly finding: Finding;
  readonly sql?: string;
  readonly transform?: BridgeTable['transform'];
  readonly gone: readonly number[];
}

// Rows 4 and 5 are gone at the source; before what was found is sent, row 4 is there again.
test.each<Case>([
  { what: 'as it was', finding: 'extra', gone: [5] },
  { what: 'refused by the bridge', finding: 'extra', transform: REFUSING, gone: [5] },
  { what: 'refused by the bridge, and sent again', finding: 'resend', transform: REFUSING, gone: [5] },
  { what: 'without a value to go by', finding: 'extra', sql: "INSERT INTO person VALUES (4, 'back', NULL)", gone: [] },
  {
    what: 'unreadable',
    finding: 'extra',
    sql: "INSERT INTO person VALUES (4, x'ff', '2024-05-01 10:00:00')",
    gone: [],
  },
])('a row that came back to a table read by a cursor is not deleted: $what', async (one) => {
  using world = new CursorWorld();
  world.fill(10);
  await world.scan();
  world.sql('DELETE FROM person WHERE id IN (4, 5)');
  world.sql(one.sql ?? "INSERT INTO person VALUES (4, 'back', '2024-05-01 10:00:00')");
  world.bridgeTables[0] = { ...world.person, transform: one.transform ?? [] };
  const counts = await send(world, one.finding, [4, 5]);
  await world.deliver();
  const there = world.destination.rows('person').map((line) => Number(line.split('\t')[0]));
  expect([4, 5].filter((id) => !there.includes(id))).toEqual(one.gone);
  expect(there.length).toBe(10 - one.gone.length);
  expect(counts).toMatchObject({ sentRows: 0, sentDeletes: one.gone.length, left: 2 - one.gone.length });
});

test('what the destination said of a row is void once the row was sent again', async () => {
  using world = new TriggerWorld();
  world.sql("INSERT INTO person VALUES (1, 'a', 'x'), (2, 'b', 'x')");
  await world.install();
  await world.step();
  // Deleted there; here the delete was refused, and a person has the rows sent again.
  world.destination.tables.get('person')?.delete('1');
  const [[key] = ['']] = world.database.digests.after(world.tableId, '', 1);
  const said = [{ key, digest: GONE }];
  world.database.transaction(() => world.database.arrivals.put(world.tableId, said, [placeThere('person')]));
  expect(await send(world, 'missing', [1])).toMatchObject({ sentRows: 1 });
  await world.deliver();
  expect(world.destination.rows('person')).toEqual(world.rows());
  world.sql('DELETE FROM person WHERE id = 1');
  await world.step();
  expect(world.destination.rows('person')).toEqual(world.rows());
});

/** Sends what a job has found: these rows of `person`, owned by the lane. */
async function send(world: CursorWorld | TriggerWorld, finding: Finding, ids: readonly number[]): Promise<TableCounts> {
  const { database, desired, destination } = world;
  const ports = world.ports as unknown as VerifyPorts;
  const bridge = desired.bridges.get(BRIDGE_ID) as DesiredBridge;
  const dataSource = (await world.source) as DataSource;
  const [table] = (await planTables(dataSource, bridge.definition, ports.hasher)) as [PlannedTable];
  const id = randomBytes(16);
  const options = { tables: [], rowsPerSecond: 0, where: '', dryRun: false, allowedDeletes: 0 };
  database.jobs.add({
    job: id,
    kind: finding === 'resend' ? 'resend' : 'resync',
    bridge: parseId(BRIDGE_ID),
    lane: destination.lane,
    options: { ...options, fromMs: 0, toMs: 0, reason: '', includeJournals: false },
    operator: 'test',
    createdAtMs: world.nowMs,
  });
  const rows = ids.map((row) => ({ key: table.keys.encode(Buffer.from(String(row)), 0, String(row).length) }));
  const facts = { table: table.name, reference: '', finding, cause: 'unknown', owned: true } as const;
  database.jobs.addRows(
    id,
    rows.map((row) => ({ ...facts, ...row })),
  );
  const counts = { table: table.name, sentRows: 0, sentDeletes: 0, left: 0 } as TableCounts;
  const epoch = database.lanesOut.get(destination.lane)?.epoch ?? 0n;
  const job = database.jobs.get(id) as Job;
  const signal = new AbortController().signal;
  await sendRows(
    { ports, job, desired, bridge, dataSource, epoch, findings: [counts], signal },
    table,
    world.tableId,
    counts,
  );
  return counts;
}
