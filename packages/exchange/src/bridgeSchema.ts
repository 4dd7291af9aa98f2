/**
 * How a bridge is written, in YAML by operators and in JSON between hub and nodes. Every object is strict: a key nobody
 * knows is an error. The message of each rule says what is expected; schemaProblems.ts puts before it what was found.
 */
import { z } from 'zod';
import { checkSchema } from './checks/checkSchema.ts';
import { TABLE_NAME_MAX } from './content.ts';
import { parseBytes, parseDuration } from './duration.ts';
import { FILTER_MAX_LENGTH, parseFilter } from './filter.ts';
import { MAX_TABLES } from './header.ts';
import { CODE } from './ids.ts';
import { columnName, fileName, name } from './nameSchema.ts';
import { cronProblem, isTimeZone, isWindow } from './schedule.ts';
import { transformSchema } from './transform/transformSchema.ts';

/** Defaults of what an operator may leave out. */
export const BRIDGE_DEFAULTS = {
  lateAfter: '5m',
  explainedAlertShare: 1,
  windowBytes: '16MiB',
  deleteGuard: { rows: 1_000, share: 0.05 },
  stopAfterQuarantined: 1_000,
  wholeScanEvery: '24h',
} as const;

const code = z.string().regex(CODE, 'a code: a to z, 0 to 9 and -, at most 32 characters, a letter first');

const tableName = name(TABLE_NAME_MAX, 'a table name');
const schemaName = name(TABLE_NAME_MAX, 'a schema name');

const duration = (leastMs: number, mostMs: number, what: string) =>
  z.string(what).refine(
    (text) => {
      const ms = parseDuration(text);
      return ms !== undefined && ms >= leastMs && ms <= mostMs;
    },
    { error: what },
  );

const bytes = (least: number, most: number, what: string) =>
  z.string(what).refine(
    (text) => {
      const found = parseBytes(text);
      return found !== undefined && found >= least && found <= most;
    },
    { error: what },
  );

const DAY_MS = 86_400_000;

const timeZone = z.string().refine(isTimeZone, { error: 'a time zone such as Asia/Shanghai' });

const share = z.number().min(0, 'a share from 0 to 1').max(1, 'a share from 0 to 1');

const filter = z.string().superRefine((text, context) => {
  const problem =
    text.length > FILTER_MAX_LENGTH ? `at most ${FILTER_MAX_LENGTH} characters` : parseFilter(text).problem;
  if (problem !== undefined) context.addIssue({ code: 'custom', message: problem, params: { code: 'FILTER_INVALID' } });
});

const cron = z.string().superRefine((text, context) => {
  const problem = cronProblem(text);
  if (problem !== undefined) {
    context.addIssue({ code: 'custom', message: `a cron expression such as */5 * * * * (${problem})` });
  }
});

export const tableSchema = z.strictObject({
  name: tableName,
  schema: schemaName.optional(),
  key: z.array(columnName).min(1, 'one key column or more').optional(),
  columns: z.array(columnName).min(1, 'one column or more').optional(),
  where: filter.optional(),
  cursor: z
    .strictObject({
      column: columnName,
      lag: z
        .union(
          [duration(1_000, 366 * DAY_MS, ''), z.int().min(0)],
          'a duration from 1s to 366d, such as 10m, or for a column of numbers a whole number from 0',
        )
        .optional(),
      timeZone: timeZone.optional(),
    })
    .optional(),
  transform: z.array(transformSchema).optional(),
  checks: z.array(checkSchema).optional(),
});

export const destinationSchema = z.strictObject({
  node: code,
  dataSource: code,
  tables: z.record(
    tableName,
    z.strictObject({
      to: tableName,
      schema: schemaName.optional(),
      ownership: z
        .union([z.enum(['whole', 'none']), z.strictObject({ where: filter })], 'whole, none or {where: FILTER}')
        .optional(),
      landing: z.enum(['mirror', 'journal']).optional(),
      onDelete: z.enum(['delete', 'mark']).optional(),
      markColumn: columnName.optional(),
      conflict: z
        .union(
          [z.enum(['sourceWins', 'targetWins']), z.strictObject({ newestWins: columnName })],
          'sourceWins, targetWins or {newestWins: COLUMN}',
        )
        .optional(),
      journalColumns: z
        .strictObject({
          operation: columnName.optional(),
          batchNo: columnName.optional(),
          sourceDepartment: columnName.optional(),
          appliedAt: columnName.optional(),
          processed: columnName.optional(),
        })
        .optional(),
      mark: z.enum(['target']).optional(),
    }),
  ),
});

export const scheduleSchema = z.union(
  [
    z.enum(['realtime', 'manual']),
    z.strictObject({
      every: duration(1_000, 366 * DAY_MS, 'a duration from 1s to 366d, such as 30s').optional(),
      cron: cron.optional(),
      timeZone: timeZone.optional(),
    }),
  ],
  'realtime, manual, {every: 30s} or {cron: "*/5 * * * *", timeZone: Asia/Shanghai}',
);

export const bridgeSchema = z.strictObject({
  kind: z.literal('Bridge', 'Bridge'),
  name: code,
  title: name(200, 'a title'),
  source: z.strictObject({
    node: code,
    dataSource: code,
    capture: z.enum(['compare', 'log', 'trigger', 'cursor']),
    wholeScanEvery: duration(60_000, 366 * DAY_MS, 'a duration from 60s to 366d, such as 24h').optional(),
    tables: z.array(tableSchema).min(1, 'one table or more').max(MAX_TABLES, `at most ${MAX_TABLES} tables`),
  }),
  schedule: scheduleSchema,
  destinations: z.array(destinationSchema).min(1, 'one destination or more').max(100, 'at most 100 destinations'),
  lateAfter: duration(1_000, 366 * DAY_MS, 'a duration from 1s to 366d, such as 5m').optional(),
  limits: z
    .strictObject({
      rowsPerSecond: z.int().min(1, '1 or more').max(10_000_000, 'at most 10000000').optional(),
      window: z.string().refine(isWindow, { error: 'a daily window such as 20:00-06:00' }).optional(),
      timeZone: timeZone.optional(),
      retention: z
        .strictObject({
          bytes: bytes(64 * 1024, 1024 ** 4, 'a size from 64KiB to 1024GiB, such as 8GiB').optional(),
          days: z.int().min(1, '1 or more').max(3_650, 'at most 3650').optional(),
        })
        .optional(),
    })
    .optional(),
  explainedAlertShare: share.optional(),
  windowBytes: bytes(64 * 1024, 1024 ** 3, 'a size from 64KiB to 1GiB, such as 16MiB').optional(),
  deleteGuard: z.strictObject({ rows: z.int().min(0, '0 or more').optional(), share: share.optional() }).optional(),
  stopAfterQuarantined: z.int().min(1, '1 or more').max(10_000, 'at most 10000').optional(),
  resource: name(64, 'a resource code').optional(),
  purpose: name(200, 'a purpose').optional(),
  files: z.record(fileName, z.string()).optional(),
});

/** A bridge as written. */
export type WrittenBridge = z.infer<typeof bridgeSchema>;
export type WrittenTable = z.infer<typeof tableSchema>;
export type WrittenDestination = z.infer<typeof destinationSchema>;
