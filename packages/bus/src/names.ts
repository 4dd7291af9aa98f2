/**
 * Names on the bus: subjects, streams, consumers and inbox prefixes. One platform owns one NATS account, so stream names
 * need no platform; subjects carry it because they travel into headers, logs and cascades. Who may use which name is
 * decided in `permissions.ts`, how streams are kept in `busAdministration.ts`.
 */
import { CODE, QiaoError } from '@qiao/exchange';

/** Data carries deliveries; control carries receipts, refusals, resends, snapshots, so that receipts flow when inboxes are full. */
export type BusLine = 'data' | 'control';

/** What a node tells the monitor. `directory` comes from the hub only. */
export type TelemetryKind = 'books' | 'heartbeat' | 'directory';

/** Subjects of one platform and node. Every function throws QiaoError BAD_CODE for a code that could not be a subject token. */
export const subjects = {
  up: (platform: string, node: string, line: BusLine): string => `qiao.up.${code(platform)}.${code(node)}.${line}`,
  down: (platform: string, node: string, line: BusLine): string => `qiao.down.${code(platform)}.${code(node)}.${line}`,
  telemetry: (platform: string, node: string, kind: TelemetryKind): string =>
    `qiao.telemetry.${code(platform)}.${code(node)}.${kind}`,
  /** Request and reply, hub to node. */
  command: (platform: string, node: string): string => `qiao.command.${code(platform)}.${code(node)}`,
  /** Request and reply, node to hub; no stream keeps it. */
  hello: (platform: string, node: string): string => `qiao.up.${code(platform)}.${code(node)}.hello`,
  /** Request and reply, monitor to hub. */
  directory: (platform: string, node: string): string => `qiao.up.${code(platform)}.${code(node)}.directory`,
  /** Every node's line upward, every node's telemetry: what the hub's streams keep. */
  everyUp: (platform: string, line: BusLine): string => `qiao.up.${code(platform)}.*.${line}`,
  everyTelemetry: (platform: string): string => `qiao.telemetry.${code(platform)}.*.*`,
  /** What the hub answers. */
  everyHello: (platform: string): string => `qiao.up.${code(platform)}.*.hello`,
  everyDirectory: (platform: string): string => `qiao.up.${code(platform)}.*.directory`,
} as const;

/** Names of streams. Each node has down streams of its own, so that a stream's size limit is that node's share. */
export const streams = {
  upData: (_platform?: string): string => 'QIAO_UP_DATA',
  upControl: (_platform?: string): string => 'QIAO_UP_CONTROL',
  telemetry: (_platform?: string): string => 'QIAO_TELEMETRY',
  downData: (node: string): string => `QIAO_DOWN_DATA_${code(node)}`,
  downControl: (node: string): string => `QIAO_DOWN_CONTROL_${code(node)}`,
} as const;

/** Names of durable consumers. Hub replicas share the router's; a node's consumer bears the node's code. */
export const consumers = {
  routerData: 'router-data',
  routerControl: 'router-control',
  monitor: 'monitor',
  node: (node: string): string => code(node),
} as const;

/** Prefix of a client's private reply subjects. The default `_INBOX` would let neighbours listen. */
export function inboxPrefix(node: string): string {
  return `_INBOX_${code(node)}`;
}

/** What nodes say instead of `$JS.API.`: see accountBorders.ts. */
export const NODE_API = 'qiao.js.';

/** What JetStream puts before the place of a message in its reply subject. */
export const ACK_PREFIX = '$JS.ACK.';

/** JetStream's API as a client with this inbox prefix reaches it. The code `hub` is reserved, so the prefix tells the side of the border. */
export function streamApi(prefix: string): string {
  return prefix === inboxPrefix('hub') ? '$JS.API.' : NODE_API;
}

/** The node whose subject this is: `qiao.<direction>.<platform>.<node>.…`. Throws QiaoError BAD_SUBJECT for any other shape. */
export function nodeOfSubject(subject: string): string {
  const tokens = subject.split('.');
  const node = tokens[3];
  if (tokens[0] !== 'qiao' || node === undefined || !CODE.test(node)) {
    throw new QiaoError('BAD_SUBJECT', `found subject ${subject}, expected qiao.<direction>.<platform>.<node>`);
  }
  return node;
}

function code(text: string): string {
  // A dot or a wildcard in a code would widen a permission to a neighbour's subjects.
  if (!CODE.test(text)) {
    throw new QiaoError('BAD_CODE', `found code ${JSON.stringify(text)}, expected ${CODE.source}`);
  }
  return text;
}
