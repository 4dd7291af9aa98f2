// What is wrong right now: a pure look at books, heartbeats and directory. Keeping alerts open and resolving them is alerts.ts.

import type { OutcomeCount } from '@qiao/contract/counts';
import type { Board, BoardLane } from '@qiao/contract/monitor';
import {
  BridgeState,
  type DirectoryBridge,
  type DirectoryNode,
  ServiceCondition,
  ServiceLeg,
  type ServiceState,
} from '@qiao/contract/node';
import { idText, intended, isFinal, kindOf, outcomeOf, sameBytes } from '@qiao/exchange';
import { type CertificateFacts, readCertificate } from '@qiao/security';
import type { Nodes } from '../ingest/nodes.ts';
import { HUB_SILENT_AFTER_MS } from '../reconciliation/heard.ts';

export interface Condition {
  /** What makes two sightings the same: the code and the identity of what it is about. */
  readonly key: string;
  readonly level: 'warning' | 'fault';
  readonly code: string;
  readonly subject: string;
  readonly message: string;
  readonly hint: string;
}

export interface ConditionFacts {
  readonly nodes: Pick<Nodes, 'directory' | 'agents' | 'state' | 'hubHeardAtMs'>;
  readonly board: Pick<Board, 'lanes'>;
  /** Broken book entries that nobody looked into, per node. */
  readonly brokenEntries: readonly { readonly nodeId: string; readonly code: string; readonly count: number }[];
  readonly nowMs: number;
  readonly nodeSilentAfterMs: number;
  readonly serviceDownAfterMs: number;
  /** When a service was first seen retrying, by key; kept by the caller between looks. */
  readonly retryingSinceMs: Map<string, number>;
}

const DOWN = {
  [ServiceLeg.CAPTURE]: 'CAPTURE_DOWN',
  [ServiceLeg.SEND]: 'SEND_DOWN',
  [ServiceLeg.APPLY]: 'APPLY_DOWN',
} as const;

/** What one heartbeat may raise, and how long its own words may be: a node speaks for itself and must not drown the others. */
const PER_NODE_MAX = 100;
const WORDS_MAX = 500;

/** Every condition that holds now, each once: a heartbeat may name the same thing twice. */
export function findConditions(facts: ConditionFacts): Condition[] {
  const found = [
    ...facts.board.lanes.flatMap((lane) => booksConditions(facts, lane)),
    ...entryConditions(facts),
    ...nodeConditions(facts),
    ...certificateConditions(facts),
    ...hubConditions(facts),
  ];
  return [...new Map(found.map((condition) => [condition.key, condition])).values()];
}

function booksConditions({ nodes }: ConditionFacts, { books }: BoardLane): Condition[] {
  if (books === undefined) return [];
  const subject = `${books.bridge} → ${books.destinationNode}`;
  const identity = idText(books.laneId);
  const [late, deviating] = [
    books.remarks.find((text) => text.includes('wait too long')),
    books.remarks.find((text) => text.includes('fail:')),
  ];
  const found: Condition[] = [];
  if (late !== undefined) {
    found.push({
      key: `DELIVERY_LATE ${identity}`,
      level: 'warning',
      code: 'DELIVERY_LATE',
      subject,
      message: late,
      hint: `qiao reconcile ${books.bridge} --deliveries --verdict deviation`,
    });
  }
  if (deviating !== undefined) {
    found.push({
      key: `DEVIATION ${identity}`,
      level: 'warning',
      code: 'DEVIATION',
      subject,
      message: deviating,
      hint: `qiao reconcile ${books.bridge} --deliveries --verdict deviation`,
    });
  }
  if (books.openRows > 0n) {
    found.push({
      key: `ROWS_QUARANTINED ${identity}`,
      level: 'warning',
      code: 'ROWS_QUARANTINED',
      subject,
      message: `${books.openRows} rows wait in quarantine or behind such rows`,
      hint: `qiao quarantine list --bridge ${books.bridge}`,
    });
  }
  const share =
    nodes.directory?.bridges.find(({ bridgeId }) => idText(bridgeId) === idText(books.bridgeId))?.explainedAlertShare ??
    1;
  const [sent, explained] = [Number(books.sent?.total ?? 0n), explainedRows(books.outcomes)];
  if (share < 1 && explained > share * sent) {
    found.push({
      key: `EXPLAINED_PAST_THRESHOLD ${identity}`,
      level: 'warning',
      code: 'EXPLAINED_PAST_THRESHOLD',
      subject,
      message: `${explained} of ${sent} rows ended otherwise than they were sent to; the bridge allows ${share * 100} %`,
      hint: `qiao reconcile ${books.bridge}`,
    });
  }
  return found;
}

/** Rows with a final outcome that is not what their kind was sent to do. */
function explainedRows(outcomes: readonly OutcomeCount[]): number {
  return outcomes
    .map(({ sent, outcome, rows }) => ({ kind: kindOf(sent), outcome: outcomeOf(outcome), rows: Number(rows) }))
    .filter(({ kind, outcome }) => isFinal(outcome) && outcome !== intended(kind))
    .reduce((sum, { rows }) => sum + rows, 0);
}

function entryConditions({ brokenEntries }: ConditionFacts): Condition[] {
  return brokenEntries.map(({ nodeId, code, count }) => ({
    key: `DEVIATION entries ${nodeId}`,
    level: 'warning',
    code: 'DEVIATION',
    subject: `node ${code}`,
    message: `${count} entries of its books carry a signature or a shape that fails`,
    hint: `qiao node show ${code}; revoke it if its key may have been taken, else qiao alert resolve ID --reason TEXT`,
  }));
}

const DAY_MS = 86_400_000;
/** A certificate that nothing renewed is told of so long before its end, or in the last sixth of a shorter life. */
const ENDS_SOON_MS = 30 * DAY_MS;

/** Renewal is automatic in the last third: one that still ends soon belongs to a machine that is off, or to a person. */
function certificateConditions({ nodes, nowMs }: ConditionFacts): Condition[] {
  return (nodes.directory?.nodes ?? []).flatMap((node) => {
    if (node.revoked || node.certificate.length === 0) return [];
    const facts = factsOf(node.certificate);
    if (facts === undefined) return [];
    const leftMs = facts.notAfterMs - nowMs;
    if (leftMs > Math.min(ENDS_SOON_MS, (facts.notAfterMs - facts.notBeforeMs) / 6)) return [];
    const hasEnded = leftMs < 0;
    return [
      {
        key: `CERTIFICATE_ENDS ${idText(node.nodeId)}`,
        level: hasEnded ? 'fault' : 'warning',
        code: 'CERTIFICATE_ENDS',
        subject: `${facts.role} ${node.code}`,
        message: `its certificate ${hasEnded ? 'ended' : 'ends'} at ${new Date(facts.notAfterMs).toISOString()}`,
        hint: hintFor(facts.role, node.code, hasEnded),
      },
    ];
  });
}

function hintFor(role: string, code: string, hasEnded: boolean): string {
  if (hasEnded) return `qiao node invite ${code}, then join again on that machine`;
  return role === 'operator' ? 'qiao operator renew' : 'it renews itself as soon as it runs and reaches the hub';
}

function factsOf(certificate: Uint8Array): CertificateFacts | undefined {
  try {
    return readCertificate(certificate);
  } catch {
    return undefined;
  }
}

/** Nothing is routed meanwhile, and nobody is configured: it is off, out of reach, or was restored and waits for a person. */
function hubConditions({ nodes, nowMs }: ConditionFacts): Condition[] {
  const silentMs = nowMs - nodes.hubHeardAtMs;
  if (nodes.directory === undefined || silentMs <= HUB_SILENT_AFTER_MS) return [];
  return [
    {
      key: 'HUB_SILENT',
      level: 'fault',
      code: 'HUB_SILENT',
      subject: 'hub',
      message: `no word of the hub since ${new Date(nodes.hubHeardAtMs).toISOString()}`,
      hint: 'qiao hub status; a restored hub waits for: qiao hub confirm',
    },
  ];
}

function nodeConditions(facts: ConditionFacts): Condition[] {
  const retrying = new Set<string>();
  const found = facts.nodes.agents().flatMap((node) => conditionsOfNode(facts, node, retrying).slice(0, PER_NODE_MAX));
  // What no heartbeat names any more no longer retries.
  for (const key of facts.retryingSinceMs.keys()) if (!retrying.has(key)) facts.retryingSinceMs.delete(key);
  return found;
}

function conditionsOfNode(facts: ConditionFacts, node: DirectoryNode, retrying: Set<string>): Condition[] {
  const nodeId = idText(node.nodeId);
  const state = facts.nodes.state(nodeId);
  // A node that never spoke since it joined counts from the directory that first named it.
  const lastMs = state?.receivedAtMs ?? Number(facts.nodes.directory?.writtenAtMs ?? 0n);
  if (facts.nowMs - lastMs > facts.nodeSilentAfterMs) {
    // What a silent node's services do is unknown; its silence is the one alert.
    return [
      {
        key: `NODE_SILENT ${nodeId}`,
        level: 'fault',
        code: 'NODE_SILENT',
        subject: `node ${node.code}`,
        message: `no heartbeat for ${Math.round((facts.nowMs - lastMs) / 1000)} s`,
        hint: `on that machine: systemctl status qiao-agent, then qiao agent diagnose`,
      },
    ];
  }
  const { dataSources = [], services = [] } = state?.heartbeat ?? {};
  return [
    ...dataSources
      .filter(({ reachable }) => !reachable)
      .map(
        ({ name, code, message }): Condition => ({
          key: `DATA_SOURCE_UNREACHABLE ${nodeId} ${name.slice(0, 64)}`,
          level: 'fault',
          code: 'DATA_SOURCE_UNREACHABLE',
          subject: `data source ${name.slice(0, 64)} of ${node.code}`,
          message: `${code}: ${message}`.slice(0, WORDS_MAX),
          hint: `on that machine: qiao agent datasource test ${name.slice(0, 64)}`,
        }),
      ),
    ...services.flatMap((service) => serviceCondition(facts, node.code, service, retrying)),
    ...services.flatMap((service) => lostCondition(facts, node.code, service)),
    ...services.flatMap((service) => owedCondition(facts, node.code, service)),
    ...services.flatMap((service) => refusedCondition(facts, node.code, service)),
  ];
}

function serviceCondition(
  facts: ConditionFacts,
  nodeCode: string,
  service: ServiceState,
  retrying: Set<string>,
): Condition[] {
  const code = DOWN[service.leg as keyof typeof DOWN];
  const bridge = bridgeOf(facts.nodes, service);
  if (code === undefined || bridge === undefined || bridge.state === BridgeState.RETIRED) return [];
  const key = `${code} ${nodeCode} ${Buffer.from(service.bridgeId).toString('hex')} ${Buffer.from(service.laneId).toString('hex')}`;
  if (service.condition === ServiceCondition.RETRYING) {
    retrying.add(key);
    if (!facts.retryingSinceMs.has(key)) facts.retryingSinceMs.set(key, facts.nowMs);
  }
  const retriesTooLong =
    retrying.has(key) && facts.nowMs - (facts.retryingSinceMs.get(key) ?? facts.nowMs) >= facts.serviceDownAfterMs;
  if (service.condition !== ServiceCondition.STUCK && !retriesTooLong) return [];
  return [
    {
      key,
      level: 'fault',
      code,
      subject: `${bridge.name} at ${nodeCode}`,
      message: `${service.code}: ${service.message}`.slice(0, WORDS_MAX),
      hint: service.hint.slice(0, WORDS_MAX),
    },
  ];
}

/** A capture that goes on, and lacks what its source no longer tells: both ends agree again, and a person should know. */
function lostCondition({ nodes }: ConditionFacts, nodeCode: string, service: ServiceState): Condition[] {
  const bridge = bridgeOf(nodes, service);
  if (service.leg !== ServiceLeg.CAPTURE || service.condition !== ServiceCondition.RUNNING) return [];
  if (service.code === '' || bridge === undefined || bridge.state === BridgeState.RETIRED) return [];
  return [
    {
      key: `HISTORY_LOST ${nodeCode} ${idText(bridge.bridgeId)}`,
      level: 'warning',
      code: 'HISTORY_LOST',
      subject: `${bridge.name} at ${nodeCode}`,
      message: `${service.code}: ${service.message}`.slice(0, WORDS_MAX),
      hint: service.hint.slice(0, WORDS_MAX),
    },
  ];
}

/** Rows were cancelled and travel again by themselves; until they did, a person knows that they are missing. */
function owedCondition({ nodes }: ConditionFacts, nodeCode: string, service: ServiceState): Condition[] {
  const bridge = bridgeOf(nodes, service);
  if (service.owes === undefined || bridge === undefined || bridge.state === BridgeState.RETIRED) return [];
  const isSuspended = service.owes.code === 'LANE_SUSPENDED';
  const code = isSuspended ? 'LANE_SUSPENDED' : 'ROWS_OWED';
  return [
    {
      key: `${code} ${nodeCode} ${Buffer.from(service.laneId).toString('hex')}`,
      level: isSuspended ? 'fault' : 'warning',
      code,
      subject: `${bridge.name} at ${nodeCode}`,
      message: `${service.owes.code}: ${service.owes.reason}`.slice(0, WORDS_MAX),
      hint: isSuspended
        ? 'look why the destination is silent; the lane loads anew by itself when it answers'
        : `qiao bridge show ${bridge.name}  # the rows travel again by themselves once the cause is over`,
    },
  ];
}

/** Rows that the last scan refused: the destinations do not have them, and no book of the lane names them. */
function refusedCondition({ nodes }: ConditionFacts, nodeCode: string, service: ServiceState): Condition[] {
  const bridge = bridgeOf(nodes, service);
  if (service.leg !== ServiceLeg.CAPTURE || service.openRows === 0n) return [];
  if (bridge === undefined || bridge.state === BridgeState.RETIRED) return [];
  return [
    {
      key: `ROWS_REFUSED ${nodeCode} ${idText(bridge.bridgeId)}`,
      level: 'warning',
      code: 'ROWS_REFUSED',
      subject: `${bridge.name} at ${nodeCode}`,
      message: `${service.openRows} rows of the source cannot travel, and no destination has them as they are`,
      hint: `qiao bridge refused ${bridge.name}`,
    },
  ];
}

function bridgeOf(nodes: ConditionFacts['nodes'], service: ServiceState): DirectoryBridge | undefined {
  return nodes.directory?.bridges.find(({ bridgeId }) => sameBytes(bridgeId, service.bridgeId));
}
