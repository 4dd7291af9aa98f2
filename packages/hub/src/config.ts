// Owns hub.yaml: its keys, limits and defaults. Whatever is not named here is refused; paths are relative to the hub's
// directory.

import { join, resolve } from 'node:path';
import { isUrl } from '@qiao/database';
import { CODE, QiaoError } from '@qiao/exchange';
import { readConfig } from '@qiao/runtime';
import { z } from 'zod';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

const code = z.string().regex(CODE, 'a code is a lower-case letter, then up to 31 of a-z 0-9 -');
const address = z
  .string()
  .regex(/^(\[[0-9a-fA-F:.]+\]|[^\s:/[\]]+):\d{1,5}$/, 'write host:port, for example 127.0.0.1:7400');
const url = z.string().regex(/^tls:\/\/\S+:\d{1,5}$/, 'write tls://host:port');
const bytes = z
  .number()
  .int()
  .min(MIB)
  .max(1024 * 1024 * GIB);
/** Where the password of the database URL is; never the password. */
const databasePassword = z.union([
  z.strictObject({ env: z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'expected the name of an environment variable') }),
  z.strictObject({ file: z.string().min(1) }),
]);
const timeZone = z.string().refine(isTimeZone, 'expected an IANA zone, for example Asia/Shanghai');

/** Upper limits of the streams, bytes; see BusSizes of the bus. */
const sizes = z
  .strictObject({
    upDataBytes: bytes,
    upControlBytes: bytes,
    telemetryBytes: bytes,
    nodeDataBytes: bytes,
    nodeControlBytes: bytes,
  })
  .partial();

const embeddedBus = z.strictObject({
  server: z.literal('embedded'),
  listen: address,
  /** What nodes are told to dial. */
  publicUrls: z.array(url).max(16).default([]),
  binary: z.string().min(1).optional(),
  /** Room for all streams; the server reserves each stream's upper limit. */
  maxStoreBytes: bytes.default(64 * GIB),
  sizes: sizes.default({}),
});

const externalBus = z.strictObject({
  server: z.literal('external'),
  /** What the hub dials, and what nodes are told to dial unless `publicUrls` says otherwise. */
  urls: z.array(url).min(1).max(16),
  publicUrls: z.array(url).max(16).default([]),
  /** Replicas of each stream: 1, or 3 in a cluster. */
  replicas: z.union([z.literal(1), z.literal(3), z.literal(5)]).default(3),
  sizes: sizes.default({}),
});

export const hubConfigSchema = z.strictObject({
  platform: z.strictObject({
    id: z.string().regex(/^[0-9a-f]{32}$/, 'expected 32 lower-case hexadecimal digits, as `qiao hub init` wrote them'),
    code,
    title: z.string().min(1).max(200),
    timeZone,
  }),
  listen: address,
  /** host:port that tokens and nodes are given, one per replica, tried in turn; `listen` when left out. */
  publicAddress: z
    .union([address, z.array(address).min(1).max(8)])
    .transform((given) => (typeof given === 'string' ? given : given.join(',')))
    .optional(),
  /** A file, or the URL of a PostgreSQL database that several replicas share. */
  database: z.string().min(1).default('hub.db'),
  databasePassword: databasePassword.optional(),
  /** Name of this replica: one running hub each. */
  replica: code.default('hub'),
  bus: z.discriminatedUnion('server', [embeddedBus, externalBus]),
  /** Days that the certificate of a node, monitor or operator lives. */
  certificateDays: z.number().int().min(1).max(3650).default(1095),
});

export type HubConfig = z.infer<typeof hubConfigSchema> & {
  /** Absolute path of the hub's directory. */
  readonly directory: string;
};

/** Reads DIR/hub.yaml. Throws CONFIG_NOT_FOUND, CONFIG_INVALID with every problem. */
export function readHubConfig(directory: string): HubConfig {
  const absolute = resolve(directory);
  const whenMissing =
    'name the directory of the hub with --dir; a new one is made by: qiao hub init --dir DIR --platform CODE';
  return { ...readConfig(join(absolute, 'hub.yaml'), hubConfigSchema, whenMissing), directory: absolute };
}

/** Throws REPLICA_ALONE: several hubs need one database and one bus that outlive each of them. */
export function requireReplicable({ replica, database, bus }: HubConfig): void {
  if (replica === 'hub' || (isUrl(database) && bus.server === 'external')) return;
  throw new QiaoError('REPLICA_ALONE', `the replica "${replica}" needs a PostgreSQL database and an outside bus`, {
    hint: 'database: postgres://…, bus: {server: external, …}; or leave `replica` out',
  });
}

export function isTimeZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}
