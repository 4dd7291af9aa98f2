/**
 * agent.yaml: what the department itself decides about its node. Strict: an unknown key is an error. Secrets are written as
 * `${ENV:NAME}` or `encrypted: …`; reading them is data-sources' business, this file only says where they may stand.
 */
import { z } from 'zod';
import { DEFAULT_CAPTURE_LIMITS } from './capture/ports.ts';
import { files } from './data-sources/filesSchema.ts';
import { HEARTBEAT_EVERY_MS } from './heartbeat/heartbeat.ts';
import { DEFAULT_SEND_LIMITS } from './send/ports.ts';

const code = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,31}$/, 'expected a code: lower-case letters, digits and hyphens, at most 32');
const MIB = 1024 * 1024;

/** A secret: text, `${ENV:NAME}`, or encrypted with this host's key. */
const secret = z.union([z.string(), z.strictObject({ encrypted: z.string().startsWith('qiaosec1:') })]);

const server = {
  host: z.string().min(1),
  database: z.string().min(1),
  user: z.string().min(1),
  password: secret.default(''),
  tls: z.union([z.literal('disable'), z.literal('require'), z.strictObject({ ca: z.string().min(1) })]).optional(),
};
const port = z.int().min(1).max(65_535);

const postgres = z.strictObject({
  adapter: z.literal('postgres'),
  ...server,
  port: port.default(5432),
  schema: z.string().min(1).optional(),
});

/** MySQL, MariaDB and what speaks their protocol; a table of another database of the same server is named `schema: OTHER`. */
const mysql = z.strictObject({ adapter: z.literal('mysql'), ...server, port: port.default(3306) });

/** SQL Server. */
const mssql = z.strictObject({
  adapter: z.literal('mssql'),
  ...server,
  port: port.default(1433),
  schema: z.string().min(1).optional(),
});

/** Oracle; `database` is the name of its service. Its driver checks certificates against the authorities that Node knows, and no others. */
const oracle = z.strictObject({
  adapter: z.literal('oracle'),
  ...server,
  tls: z.enum(['disable', 'require']).optional(),
  port: port.default(1521),
  schema: z.string().min(1).optional(),
});

/** 达梦, which has one database; how its driver, which the operator installs, is asked for TLS is not known here. */
const dameng = z.strictObject({
  adapter: z.literal('dameng'),
  host: server.host,
  user: server.user,
  password: server.password,
  tls: z.literal('disable').optional(),
  port: port.default(5236),
  schema: z.string().min(1).optional(),
  driver: z.string().min(1).optional(),
});

const sqlite = z.strictObject({ adapter: z.literal('sqlite'), file: z.string().min(1) });

const dataSource = z.discriminatedUnion('adapter', [postgres, mysql, mssql, oracle, dameng, sqlite, files]);
/** Exchange tables are read and written by the department itself and by the agent: files, and databases that are only read, are none. */
const exchange = z.discriminatedUnion('adapter', [postgres, mysql, sqlite]);

/** One rule of `exposes` or `accepts`: the table may be `*`; without columns, or with `*`, every column. */
const rule = z.strictObject({
  dataSource: code,
  schema: z.string().min(1).optional(),
  table: z.string().min(1),
  columns: z.union([z.literal('*'), z.array(z.string().min(1)).min(1)]).optional(),
});

const limits = z.strictObject({
  /** Pause between two scans of a realtime bridge with compare. */
  compareEveryMs: z.int().min(100).max(86_400_000).default(DEFAULT_CAPTURE_LIMITS.compareEveryMs),
  parcelBytes: z
    .int()
    .min(64 * 1024)
    .max(32 * MIB)
    .default(DEFAULT_CAPTURE_LIMITS.parcelBytes),
  outboxBudgetBytes: z.int().min(MIB).default(DEFAULT_CAPTURE_LIMITS.outboxBudgetBytes),
  /** Bodies are compressed before they are sealed; `none` spends bandwidth to spare the processor. */
  compression: z.enum(['zstd', 'none']).default(DEFAULT_CAPTURE_LIMITS.compression),
  /** What a database may keep of its log for this node; past it the log is given up, and the tables are scanned. */
  logBudgetBytes: z
    .int()
    .min(16 * MIB)
    .default(DEFAULT_CAPTURE_LIMITS.logBudgetBytes),
  /** Pause between two questions to the database about what it keeps. */
  logWatchMs: z.int().min(200).max(60_000).default(DEFAULT_CAPTURE_LIMITS.logWatchMs),
  snapshotMaxMs: z.int().min(1_000).default(DEFAULT_CAPTURE_LIMITS.snapshotMaxMs),
  resendAfterMs: z.int().min(100).default(DEFAULT_SEND_LIMITS.resendAfterMs),
  resendMostMs: z.int().min(100).default(DEFAULT_SEND_LIMITS.resendMostMs),
  retentionMs: z.int().min(0).default(DEFAULT_SEND_LIMITS.retentionMs),
  laneBudgetBytes: z
    .int()
    .min(16 * MIB)
    .default(DEFAULT_SEND_LIMITS.laneBudgetBytes),
  laneBudgetDays: z.number().positive().max(3_650).default(DEFAULT_SEND_LIMITS.laneBudgetDays),
  /** Pause between two heartbeats; data sources are probed at every second one. */
  heartbeatMs: z.int().min(200).max(60_000).default(HEARTBEAT_EVERY_MS),
  /** Pause between two questions to the hub: whether the snapshot is the newest, and whose the lanes are. */
  helloMs: z.int().min(1_000).max(300_000).default(60_000),
  /** Book entries kept after the monitor held them, for a monitor that is restored from a backup or lost. */
  keptBookEntries: z.int().min(100).max(10_000_000).default(100_000),
  /** Deliveries of one agent's inbox, bytes: past it senders are told to wait. */
  inboxBudgetBytes: z
    .int()
    .min(16 * MIB)
    .default(512 * MIB),
  /** … of one lane: past it its sender is told to wait, and no other lane notices. A bridge's larger window goes before it. */
  inboxLaneBudgetBytes: z
    .int()
    .min(MIB)
    .default(64 * MIB),
  inboxLaneDeliveries: z.int().min(16).default(1_000),
});

/** An operator: the name in the certificate, or its fingerprint (SHA-256, hexadecimal), which the hub cannot give to somebody else. */
const operator = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,31}$|^sha256:[0-9a-f]{64}$/, 'expected an operator’s name, or sha256: and 64 digits');

const operators = z.strictObject({
  /** May read contents of quarantined rows of this node, sealed for their own session. */
  mayRead: z.array(operator).default([]),
  /** May also change them. */
  mayEdit: z.array(operator).default([]),
});

const log = z.strictObject({
  level: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal']).default('info'),
  pretty: z.boolean().default(false),
});

export const agentConfigSchema = z.strictObject({
  node: z.strictObject({ code }),
  /** Where identity, exchange database and exchange tables live. Relative to the file. */
  directory: z.string().min(1),
  dataSources: z.record(code, dataSource).default({}),
  /** Replaces the built-in data source `exchange` (a SQLite file in the directory). */
  exchange: exchange.optional(),
  exposes: z.array(rule).default([]),
  accepts: z.array(rule).default([]),
  /** Who may see or change what lies in quarantine here. Nobody, unless named. */
  operators: operators.prefault({}),
  /** Whose keys a person here must have confirmed before anything is sealed for them: of nobody, of who has new ones, of everybody. */
  confirmDestinations: z.enum(['none', 'changed', 'all']).default('none'),
  limits: limits.prefault({}),
  log: log.prefault({}),
});

export type AgentConfig = z.infer<typeof agentConfigSchema>;
export type AgentDataSource = z.infer<typeof dataSource>;
export type AgentSecret = z.infer<typeof secret>;
