/**
 * Reads and writes bridge definitions: YAML from operators with every problem at once, canonical JSON between hub and
 * nodes. Both have one shape (bridgeSchema.ts); reading resolves defaults and units.
 */
import type {
  BridgeDefinition,
  BridgeLimits,
  BridgeTable,
  Destination,
  DestinationTable,
  JournalColumns,
  Transform,
} from './bridge.ts';
import { bridgeProblems } from './bridgeChecks.ts';
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
import { bytesText, durationText, parseBytes, parseDuration } from './duration.ts';
import { type Problem, ProblemsError } from './errors.ts';
import type { Schedule } from './schedule.ts';
import { schemaProblems, withoutUnknownKeys } from './schemaProblems.ts';
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
  problems.push(...limitProblems(known), ...bridgeProblems(partsOf(known)));
  if (problems.some((problem) => problem.warning !== true)) return { problems };
  return { definition: definitionOf(bridgeSchema.parse(value)), problems };
}

// ------------------------------------------------------------------------------------- what the schema alone cannot say

function captureProblems(value: unknown): Problem[] {
  const capture = at(value, 'source', 'capture');
  if (capture !== 'log' && capture !== 'trigger' && capture !== 'cursor') return [];
  return [
    {
      code: 'CAPTURE_NOT_AVAILABLE',
      path: 'source.capture',
      message: `Found capture: ${capture}, which this version does not run yet; expected compare.`,
      hint: 'Write capture: compare.',
    },
  ];
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
function partsOf(value: unknown): Parameters<typeof bridgeProblems>[0] {
  const tables = listAt(value, 'source', 'tables');
  return {
    source: {
      node: textOf(at(value, 'source', 'node')),
      dataSource: textOf(at(value, 'source', 'dataSource')),
      tables: tables.map((table) => {
        const { data } = tableSchema.safeParse(table);
        return data === undefined ? undefined : tableOf(data);
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

function definitionOf(written: WrittenBridge): BridgeDefinition {
  const { node, dataSource, tables } = written.source;
  return {
    kind: 'Bridge',
    name: written.name,
    title: written.title,
    source: { node, dataSource, capture: 'compare', tables: tables.map(tableOf) },
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

function tableOf(written: WrittenTable): BridgeTable {
  const { name, schema, key, columns, where, transform = [], checks = [] } = written;
  return { name, ...present({ schema, key, columns, where }), transform: transform.map(transformOf), checks };
}

function transformOf(written: NonNullable<WrittenTable['transform']>[number]): Transform {
  const { rename, dictionary, mask } = written;
  if (rename !== undefined) return { rename: own(Object.entries(rename)) };
  if (dictionary !== undefined) {
    const { map, otherwise = 'refuse' } = dictionary;
    return { dictionary: { ...dictionary, map: own(Object.entries(map)), otherwise } };
  }
  return { mask: { ...(mask as NonNullable<typeof mask>), with: mask?.with ?? '*' } };
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
        ...present({ markColumn }),
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
      tables: source.tables.map((table) => ({
        name: table.name,
        schema: table.schema,
        key: table.key,
        columns: table.columns,
        where: table.where,
        transform: table.transform.map(sortedTransform),
        checks: table.checks.map(({ column, required }) => ({ column, required })),
      })),
    },
    schedule: writtenSchedule(definition.schedule),
    destinations: definition.destinations.map(({ node, dataSource, tables }) => ({
      node,
      dataSource,
      tables: sorted(tables, ({ to, schema, ownership, landing, onDelete, markColumn, journalColumns, mark }) => ({
        to,
        schema,
        ownership: typeof ownership === 'string' ? ownership : { where: ownership.where },
        landing,
        onDelete,
        markColumn,
        journalColumns: journalColumns === undefined ? undefined : { ...DEFAULT_JOURNAL_COLUMNS, ...journalColumns },
        mark,
      })),
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

function sortedTransform(transform: Transform): Transform {
  if ('rename' in transform) return { rename: sorted(transform.rename, (name) => name) };
  if ('dictionary' in transform) {
    const { column, map, otherwise } = transform.dictionary;
    return { dictionary: { column, map: sorted(map, (text) => text), otherwise } };
  }
  const { column, keepFirst, keepLast, with: cover } = transform.mask;
  return { mask: { column, keepFirst, keepLast, with: cover } };
}

/** Order in a mapping means nothing, so the canonical text has its keys sorted. */
function sorted<T, U>(record: Readonly<Record<string, T>>, write: (value: T) => U): Record<string, U> {
  const entries = Object.entries(record).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return Object.fromEntries(entries.map(([key, value]) => [key, write(value)]));
}

/**
 * A mapping that holds its own keys and nothing else: tables and columns may be called `constructor` or `toString`, and an
 * ordinary object would answer for them although nobody wrote them.
 */
function own<T>(entries: readonly (readonly [string, T])[]): Record<string, T> {
  const mapping = Object.create(null) as Record<string, T>;
  for (const [key, value] of entries) mapping[key] = value;
  return mapping;
}

type Present<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

function present<T extends object>(fields: T): Present<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Present<T>;
}
