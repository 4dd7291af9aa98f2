// The faults that a seed may choose: which, on whom, how much. What each does to the running platform is in faults.ts.

import { streams } from '@qiao/bus';
import { NODES, type NodeCode } from './departments.ts';
import type { Dice } from './dice.ts';
import type { BridgePlan } from './plan.ts';

export type ProcessName = NodeCode | 'hub' | 'monitor' | 'nats';
export type LinkName = NodeCode | 'monitor';
/** Who takes messages out of a stream of the bus. */
export type Reader = LinkName | 'hub';

export type Fault =
  /** kill -9, and a start when it is healed. */
  | { readonly kind: 'kill'; readonly process: ProcessName }
  /** SIGSTOP, and SIGCONT when it is healed. */
  | { readonly kind: 'freeze'; readonly process: ProcessName }
  /** Connections are reset, again and again while it lasts. */
  | { readonly kind: 'cut'; readonly link: LinkName }
  /** The bus cannot be reached. */
  | { readonly kind: 'refuse'; readonly link: LinkName }
  | { readonly kind: 'delay'; readonly link: LinkName; readonly ms: number }
  /** Nothing passes and nobody is told. */
  | { readonly kind: 'stall'; readonly link: LinkName }
  | { readonly kind: 'halfClose'; readonly link: LinkName; readonly side: 'caller' | 'callee' }
  /** Every call is made twice; the line is cut so that there are calls. */
  | { readonly kind: 'double'; readonly link: LinkName }
  /** Messages that wait in a stream are lost, some or all. */
  | { readonly kind: 'lose'; readonly reader: Reader; readonly stream: string; readonly share: number }
  /** … come in another order. */
  | { readonly kind: 'reorder'; readonly reader: Reader; readonly stream: string }
  /** Messages of the past come again, of any age. */
  | { readonly kind: 'repeat'; readonly subjectEnd: string; readonly messages: number }
  /** The bus loses its disks. */
  | { readonly kind: 'wipeBus' }
  | { readonly kind: 'fullDisk'; readonly node: NodeCode }
  | { readonly kind: 'clock'; readonly process: Exclude<ProcessName, 'nats'>; readonly offsetMs: number }
  /** PostgreSQL: its connections are ended. */
  | { readonly kind: 'terminate'; readonly node: NodeCode; readonly database: 'pg' | 'pg-in' }
  | { readonly kind: 'restartPostgres' }
  | { readonly kind: 'restartMysql' }
  | { readonly kind: 'readOnly'; readonly node: NodeCode }
  /** A target table is locked by its owner. */
  | { readonly kind: 'lock'; readonly bridge: string }
  /** The owner and the agent wait for each other. */
  | { readonly kind: 'deadlock'; readonly bridge: string }
  /** Each statement on the target table fails for a reason that is no row's. */
  | { readonly kind: 'statementError'; readonly bridge: string; readonly sqlState: string }
  | { readonly kind: 'stopStart'; readonly bridge: string }
  /** A next version that carries the same rows. */
  | { readonly kind: 'deploy'; readonly bridge: string }
  | { readonly kind: 'bind'; readonly bridge: string }
  | { readonly kind: 'unbind'; readonly bridge: string };

export type FaultKind = Fault['kind'];

const WEIGHTS: Readonly<Record<FaultKind, number>> = {
  kill: 8,
  freeze: 4,
  cut: 2,
  refuse: 2,
  delay: 2,
  stall: 2,
  halfClose: 2,
  double: 1,
  lose: 3,
  reorder: 2,
  repeat: 3,
  wipeBus: 1,
  fullDisk: 2,
  clock: 2,
  terminate: 2,
  restartPostgres: 2,
  restartMysql: 2,
  readOnly: 1,
  lock: 2,
  deadlock: 2,
  statementError: 2,
  stopStart: 2,
  deploy: 2,
  bind: 3,
  unbind: 3,
};

export const FAULT_KINDS = Object.keys(WEIGHTS) as FaultKind[];

const PROCESSES: readonly ProcessName[] = [...NODES, ...NODES, 'hub', 'monitor', 'nats'];
const LINKS: readonly LinkName[] = [...NODES, ...NODES, 'monitor'];
const HOUR_MS = 3_600_000;
/** Deadlock victim, out of disk, out of memory, a cancelled statement, a serialization failure, an administrator's shutdown. */
const ENVIRONMENT_ERRORS = ['40P01', '53100', '53200', '57014', '40001', '57P01'];

export function planFault(dice: Dice, bridges: readonly BridgePlan[], kinds?: ReadonlySet<FaultKind>): Fault {
  const wanted = FAULT_KINDS.filter((kind) => kinds?.has(kind) ?? true);
  const suited = (kind: FaultKind) => bridges.filter(NEEDS[kind] ?? (() => true));
  const possible = wanted.filter((kind) => suited(kind).length > 0);
  // A hunt for one kind meets seeds that have nothing to do it to; their timelines say so.
  const kind = dice.weighted((possible.length > 0 ? possible : wanted).map((name) => [name, WEIGHTS[name]] as const));
  const bridge = dice.pick(possible.length > 0 ? suited(kind) : bridges);
  const link = dice.pick(LINKS);
  switch (kind) {
    case 'kill':
    case 'freeze':
      return { kind, process: dice.pick(PROCESSES) };
    case 'cut':
    case 'refuse':
    case 'stall':
    case 'double':
      return { kind, link };
    case 'delay':
      return { kind, link, ms: dice.between(20, 400) };
    case 'halfClose':
      return { kind, link, side: dice.pick(['caller', 'callee'] as const) };
    case 'lose':
      return { kind, ...planStream(dice, link), share: dice.pick([0.2, 0.5, 1]) };
    case 'reorder':
      return { kind, ...planStream(dice, link) };
    case 'repeat':
      return {
        kind,
        subjectEnd: dice.pick(['.data', '.control', '.books', '.directory']),
        messages: dice.between(1, 50),
      };
    case 'wipeBus':
    case 'restartPostgres':
    case 'restartMysql':
      return { kind };
    case 'fullDisk':
    case 'readOnly':
      return { kind, node: dice.pick(NODES) };
    case 'clock':
      return {
        kind,
        process: dice.pick([...NODES, 'hub', 'monitor'] as const),
        offsetMs: dice.pick([-24 * HOUR_MS, -HOUR_MS, -90_000, 90_000, HOUR_MS, 24 * HOUR_MS]),
      };
    case 'terminate':
      return { kind, node: dice.pick(NODES), database: dice.pick(['pg', 'pg-in'] as const) };
    case 'lock':
    case 'deadlock':
    case 'stopStart':
    case 'deploy':
    case 'bind':
    case 'unbind':
      return { kind, bridge: bridge.name };
    case 'statementError':
      return { kind, bridge: bridge.name, sqlState: dice.pick(ENVIRONMENT_ERRORS) };
    default:
      return kind satisfies never;
  }
}

/** At either end. */
const usesMysql = ({ from, destinations }: BridgePlan) =>
  from.dataSource === 'my' || destinations.some(({ dataSource }) => dataSource === 'my-in');
const landsInPostgres = ({ destinations }: BridgePlan) => destinations.some(({ dataSource }) => dataSource === 'pg-in');

/** What a fault of a bridge needs: a lock of PostgreSQL, a destination to add, one that can be ended. */
const NEEDS: Readonly<Partial<Record<FaultKind, (bridge: BridgePlan) => boolean>>> = {
  restartMysql: usesMysql,
  deadlock: landsInPostgres,
  statementError: landsInPostgres,
  bind: ({ spare }) => spare !== undefined,
  unbind: ({ destinations }) => destinations.length > 1,
};

/** A stream on the way from or to whoever is behind this link: upward the hub takes it, downward the node itself. */
function planStream(dice: Dice, link: LinkName): { reader: Reader; stream: string } {
  if (link === 'monitor') return { reader: link, stream: streams.telemetry() };
  return dice.pick([
    { reader: link, stream: streams.downData(link) },
    { reader: link, stream: streams.downControl(link) },
    { reader: 'hub', stream: streams.upData() },
    { reader: 'hub', stream: streams.upControl() },
  ] as const);
}

export function describeFault(fault: Fault): string {
  const { kind, ...facts } = fault;
  return [kind, ...Object.entries(facts).map(([name, value]) => `${name}=${String(value)}`)].join(' ');
}
