/**
 * Reads and writes bridge definitions: YAML from operators with every problem at once, canonical JSON between hub and
 * nodes. Both have one shape (bridgeSchema.ts); reading resolves defaults and units.
 */
import type {
  BridgeCursor,
  BridgeDefinition,
  BridgeLimits,
  BridgeTable,
  Destination,
  DestinationTable,
  JournalColumns,
} from './bridge.ts';
import { bridgeProblems } from './bridgeChecks.ts';
import { BridgeFiles } from './bridgeFiles.ts';
import {
  BRIDGE_DEFAULTS,
  bridgeSchema,
  destinationSchema,
  scheduleSchema,
  tableSchema,
  type WrittenBridge,
  type WrittenDestination,
  type WrittenTable,
} from './bridgeSchema.ts';
import { checkOf, writtenCheck } from './checks/checkSchema.ts';
import { bytesText, durationText, parseBytes, parseDuration } from './duration.ts';
import { type Problem, ProblemsError } from './errors.ts';
import { own, sorted } from './mapping.ts';
import type { Schedule } from './schedule.ts';
import { schemaProblems, withoutUnknownKeys } from './schemaProblems.ts';
import { transformOf, writtenTransform } from './transform/transformSchema.ts';
import { readYaml, YAML_MAX_BYTES } from './yamlText.ts';

/** Names of a journal's own columns where the bridge gives none. */
export const DEFAULT_JOURNAL_COLUMNS: Readonly<JournalColumns> = {
  operation: 'qiao_operation',
  batchNo: 'qiao_batch_no',
  sourceDepartment: 'qiao_source_department',
  appliedAt: 'qiao_applied_at',
  processed: 'qiao_processed',
};

/** Reads a bridge as an operator writes it. Every problem at once; a definition only when none but warnings is left. */
export function parseBridge(yamlText: string): { definition?: BridgeDefinition; problems: Problem[] } {
  const { value, problems } = readYaml(yamlText);
  return problems.length > 0 ? { problems } : readBridge(value);
}

/** Reads a definition that travelled as JSON. Throws ProblemsError with every problem. */
export function parseBridgeJson(json: string): BridgeDefinition {
  const { definition, problems } = readBridge(readJson(json));
  if (definition === undefined) throw new ProblemsError(problems);
  return definition;
}

/** The definition as JSON: one text per definition, every default written out. parseBridgeJson reads it back the same. */
export function bridgeJson(definition: BridgeDefinition): string {
  return JSON.stringify(writtenBridge(definition));
}

function readJson(json: string): unknown {
  const problem = (message: string) => new ProblemsError([{ code: 'JSON_INVALID', path: '', message, hint: '' }]);
  if (json.length > YAML_MAX_BYTES)
    throw problem(`Found ${json.length} characters; expected at most ${YAML_MAX_BYTES}.`);
  let hasForeignKey = false;
  let value: unknown;
  try {
    value = JSON.parse(json, (key, one: unknown) => {
      hasForeignKey ||= key === '__proto__';
      return one;
    });
  } catch (error) {
    throw problem(`Found a definition that is no JSON: ${error instanceof Error ? error.message : String(error)}.`);
  }
  // As in YAML: what reads the value below would leave the key out without a word.
  if (hasForeignKey) throw problem('Found key __proto__; no mapping has it.');
  return value;
}

function readBridge(value: unknown): { definition?: BridgeDefinition; problems: Problem[] } {
  const known = withoutUnknownKeys(bridgeSchema, value);
  const problems = [...schemaProblems(bridgeSchema, value), ...captureProblems(known), ...scheduleProblems(known)];
  const files = new BridgeFiles(at(known, 'files'));
  problems.push(...limitProblems(known), ...bridgeProblems(partsOf(known, files)), ...files.problems);
  if (problems.some((problem) => problem.warning !== true)) return { problems };
  const definition = definitionOf(bridgeSchema.parse(value), files);
  const tooLarge = sizeProblem(definition);
  return tooLarge === undefined ? { definition, problems } : { problems: [...problems, tooLarge] };
}

/** A file that several columns go by is written out for each. */
function sizeProblem(definition: BridgeDefinition): Problem | undefined {
  const bytes = Buffer.byteLength(bridgeJson(definition));
  if (bytes <= YAML_MAX_BYTES) return undefined;
  return {
    code: 'BRIDGE_TOO_LARGE',
    path: '',
    message: `Found ${bytes} bytes with every file written out; expected at most ${YAML_MAX_BYTES}.`,
    hint: 'Take values out that do not occur, or divide the tables among several bridges.',
  };
}

// ------------------------------------------------------------------------------------- what the schema alone cannot say

function captureProblems(value: unknown): Problem[] {
  const capture = at(value, 'source', 'capture');
  if (at(value, 'source', 'wholeScanEvery') !== undefined && capture !== 'trigger') {
    const message = `Found wholeScanEvery: with capture: ${String(capture)}; only triggers miss what a whole scan finds.`;
    return [{ code: 'WHOLE_SCAN_UNUSED', path: 'source.wholeScanEvery', message, hint: 'Leave it out.' }];
  }
  return listAt(value, 'source', 'tables').flatMap((table, index): Problem[] => {
    const hasCursor = at(table, 'cursor') !== undefined;
    if (hasCursor === (capture === 'cursor')) return [];
    const path = `source.tables[${index}].cursor`;
    if (hasCursor) {
      const message = `Found cursor: with capture: ${String(capture)}, which does not read by it.`;
      return [{ code: 'CURSOR_UNUSED', path, message, hint: 'Write capture: cursor, or leave cursor: out.' }];
    }
    const message = 'Found capture: cursor, and no column to go by.';
    const hint = 'Add cursor: {column: COLUMN}: a column that rises with every insert and update.';
    return [{ code: 'CURSOR_MISSING', path, message, hint }];
  });
}

function scheduleProblems(value: unknown): Problem[] {
  const schedule = scheduleSchema.safeParse(at(value, 'schedule')).data;
  if (schedule === undefined || typeof schedule === 'string') return [];
  const add = (path: string, message: string, hint: string): Problem[] => [
    { code: 'SCHEDULE_INVALID', path, message, hint },
  ];
  const { every, cron, timeZone } = schedule;
  if ((every === undefined) === (cron === undefined)) {
    const found = every === undefined ? 'neither every: nor cron:' : 'both every: and cron:';
    return add(
      'schedule',
      `Found ${found}; expected one of them.`,
      'Write {every: 30s} or {cron: "*/5 * * * *", timeZone: Asia/Shanghai}.',
    );
  }
  if (cron !== undefined && timeZone === undefined) {
    return add('schedule.timeZone', 'Found cron: without a time zone.', 'Add timeZone: Asia/Shanghai.');
  }
  if (every !== undefined && timeZone !== undefined) {
    return add('schedule.timeZone', 'Found timeZone: with every:, which no zone changes.', 'Leave timeZone: out.');
  }
  return [];
}

function limitProblems(value: unknown): Problem[] {
  const window = at(value, 'limits', 'window');
  const timeZone = at(value, 'limits', 'timeZone');
  if ((window === undefined) === (timeZone === undefined)) return [];
  const path = 'limits.timeZone';
  return window === undefined
    ? [{ code: 'LIMITS_INVALID', path, message: 'Found timeZone: without window:.', hint: 'Leave it out.' }]
    : [
        {
          code: 'LIMITS_INVALID',
          path,
          message: 'Found window: without a time zone.',
          hint: 'Add timeZone: Asia/Shanghai.',
        },
      ];
}

/** The parts that can be read although others cannot. */
function partsOf(value: unknown, files: BridgeFiles): Parameters<typeof bridgeProblems>[0] {
  const name = textOf(at(value, 'name'));
  const tables = listAt(value, 'source', 'tables');
  return {
    source: {
      node: textOf(at(value, 'source', 'node')),
      dataSource: textOf(at(value, 'source', 'dataSource')),
      tables: tables.map((table) => {
        const { data } = tableSchema.safeParse(table);
        return data === undefined ? undefined : tableOf(data, name, files);
      }),
    },
    tableNames: tables.map((table) => at(table, 'name')).filter((name) => typeof name === 'string'),
    destinations: listAt(value, 'destinations').map((destination) => {
      const { data } = destinationSchema.safeParse(destination);
      return data === undefined ? undefined : destinationOf(data);
    }),
    landedNames: listAt(value, 'destinations').map((destination) => {
      const tables = at(destination, 'tables');
      return typeof tables === 'object' && tables !== null ? Object.keys(tables) : [];
    }),
  };
}

function at(value: unknown, ...path: string[]): unknown {
  let found = value;
  for (const key of path) {
    if (typeof found !== 'object' || found === null) return undefined;
    found = (found as Record<string, unknown>)[key];
  }
  return found;
}

function listAt(value: unknown, ...path: string[]): unknown[] {
  const found = at(value, ...path);
  return Array.isArray(found) ? found : [];
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

// ---------------------------------------------------------------------------------------------- from written to resolved

function definitionOf(written: WrittenBridge, files: BridgeFiles): BridgeDefinition {
  const { node, dataSource, capture, wholeScanEvery = BRIDGE_DEFAULTS.wholeScanEvery, tables } = written.source;
  return {
    kind: 'Bridge',
    name: written.name,
    title: written.title,
    source: {
      node,
      dataSource,
      capture,
      ...(capture === 'trigger' ? { wholeScanEveryMs: parseDuration(wholeScanEvery) as number } : {}),
      tables: tables.map((table) => tableOf(table, written.name, files)),
    },
    schedule: scheduleOf(written.schedule),
    destinations: written.destinations.map(destinationOf),
    lateAfterMs: parseDuration(written.lateAfter ?? BRIDGE_DEFAULTS.lateAfter) as number,
    ...(written.limits === undefined ? {} : { limits: limitsOf(written.limits) }),
    explainedAlertShare: written.explainedAlertShare ?? BRIDGE_DEFAULTS.explainedAlertShare,
    windowBytes: parseBytes(written.windowBytes ?? BRIDGE_DEFAULTS.windowBytes) as number,
    deleteGuard: {
      rows: written.deleteGuard?.rows ?? BRIDGE_DEFAULTS.deleteGuard.rows,
      share: written.deleteGuard?.share ?? BRIDGE_DEFAULTS.deleteGuard.share,
    },
    stopAfterQuarantined: written.stopAfterQuarantined ?? BRIDGE_DEFAULTS.stopAfterQuarantined,
    ...present({ resource: written.resource, purpose: written.purpose }),
  };
}

function limitsOf({ rowsPerSecond, window, timeZone, retention }: NonNullable<WrittenBridge['limits']>): BridgeLimits {
  const { bytes, days } = retention ?? {};
  const kept = present({ bytes: bytes === undefined ? undefined : parseBytes(bytes), days });
  return present({ rowsPerSecond, window, timeZone, retention: retention === undefined ? undefined : kept });
}

function scheduleOf(written: WrittenBridge['schedule']): Schedule {
  if (typeof written === 'string') return { kind: written };
  if (written.every !== undefined) return { kind: 'interval', everyMs: parseDuration(written.every) as number };
  return { kind: 'cron', cron: written.cron as string, timeZone: written.timeZone as string };
}

function tableOf(written: WrittenTable, bridge: string, files: BridgeFiles): BridgeTable {
  const { name, schema, key, columns, where, transform = [], checks = [] } = written;
  const cursor = written.cursor === undefined ? undefined : cursorOf(written.cursor);
  return {
    name,
    ...present({ schema, key, columns, where, cursor }),
    transform: transform.map((step) => transformOf(step, bridge, files)),
    checks: checks.map((check) => checkOf(check, files)),
  };
}

function cursorOf({ column, lag, timeZone }: NonNullable<WrittenTable['cursor']>): BridgeCursor {
  const lagMs = typeof lag === 'string' ? parseDuration(lag) : undefined;
  const lagSteps = typeof lag === 'number' ? lag : undefined;
  return { column, ...present({ lagMs, lagSteps, timeZone }) };
}

function destinationOf({ node, dataSource, tables }: WrittenDestination): Destination {
  const entries = Object.entries(tables).map(([name, written]): [string, DestinationTable] => {
    const {
      to,
      schema,
      ownership = 'none',
      landing = 'mirror',
      onDelete = 'delete',
      markColumn,
      conflict,
      journalColumns,
    } = written;
    const journal = landing === 'journal' || journalColumns !== undefined;
    return [
      name,
      {
        to,
        ...present({ schema }),
        ownership,
        landing,
        onDelete,
        // The default is not written out, so that nodes which know no policy can read the bridge.
        ...present({ markColumn, conflict: conflict === 'sourceWins' ? undefined : conflict }),
        ...(journal ? { journalColumns: { ...DEFAULT_JOURNAL_COLUMNS, ...present(journalColumns ?? {}) } } : {}),
        mark: 'target',
      },
    ];
  });
  return { node, dataSource, tables: own(entries) };
}

// ---------------------------------------------------------------------------------------------- from resolved to written

function writtenBridge(definition: BridgeDefinition): WrittenBridge {
  const { kind, name, title, source, limits, explainedAlertShare, deleteGuard, resource, purpose } = definition;
  return {
    kind,
    name,
    title,
    source: {
      node: source.node,
      dataSource: source.dataSource,
      capture: source.capture,
      wholeScanEvery: source.wholeScanEveryMs === undefined ? undefined : durationText(source.wholeScanEveryMs),
      tables: source.tables.map((table) => ({
        name: table.name,
        schema: table.schema,
        key: table.key,
        columns: table.columns,
        where: table.where,
        cursor: table.cursor === undefined ? undefined : writtenCursor(table.cursor),
        transform: table.transform.map(writtenTransform),
        checks: table.checks.map(writtenCheck),
      })),
    },
    schedule: writtenSchedule(definition.schedule),
    destinations: definition.destinations.map(({ node, dataSource, tables }) => ({
      node,
      dataSource,
      tables: sorted(
        tables,
        ({ to, schema, ownership, landing, onDelete, markColumn, conflict, journalColumns, mark }) => ({
          to,
          schema,
          ownership: typeof ownership === 'string' ? ownership : { where: ownership.where },
          landing,
          onDelete,
          markColumn,
          conflict,
          journalColumns: journalColumns === undefined ? undefined : { ...DEFAULT_JOURNAL_COLUMNS, ...journalColumns },
          mark,
        }),
      ),
    })),
    lateAfter: durationText(definition.lateAfterMs),
    limits:
      limits === undefined
        ? undefined
        : {
            rowsPerSecond: limits.rowsPerSecond,
            window: limits.window,
            timeZone: limits.timeZone,
            retention:
              limits.retention === undefined
                ? undefined
                : {
                    bytes: limits.retention.bytes === undefined ? undefined : bytesText(limits.retention.bytes),
                    days: limits.retention.days,
                  },
          },
    explainedAlertShare,
    windowBytes: bytesText(definition.windowBytes),
    deleteGuard: { rows: deleteGuard.rows, share: deleteGuard.share },
    stopAfterQuarantined: definition.stopAfterQuarantined,
    resource,
    purpose,
  };
}

function writtenCursor({ column, lagMs, lagSteps, timeZone }: BridgeCursor): WrittenTable['cursor'] {
  return { column, lag: lagMs === undefined ? lagSteps : durationText(lagMs), timeZone };
}

function writtenSchedule(schedule: Schedule): WrittenBridge['schedule'] {
  switch (schedule.kind) {
    case 'realtime':
    case 'manual':
      return schedule.kind;
    case 'interval':
      return { every: durationText(schedule.everyMs) };
    case 'cron':
      return { cron: schedule.cron, timeZone: schedule.timeZone };
    default:
      return schedule satisfies never;
  }
}

type Present<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

function present<T extends object>(fields: T): Present<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Present<T>;
}
