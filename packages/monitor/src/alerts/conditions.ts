// What is wrong right now: a pure look at books, heartbeats and directory. Keeping alerts open and resolving them is alerts.ts.

import type { Board, BoardLane } from '@qiao/contract/monitor';
import {
  BridgeState,
  type DirectoryBridge,
  ServiceCondition,
  ServiceLeg,
  type ServiceState,
} from '@qiao/contract/node';
import { idText } from '@qiao/exchange';
import type { Nodes } from '../ingest/nodes.ts';

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
  readonly nodes: Nodes;
  readonly board: Pick<Board, 'lanes'>;
  /** Broken book entries per node code. */
  readonly brokenEntries: ReadonlyMap<string, number>;
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

/** Every condition that holds now. */
export function findConditions(facts: ConditionFacts): Condition[] {
  return [
    ...facts.board.lanes.flatMap((lane) => booksConditions(lane)),
    ...entryConditions(facts),
    ...nodeConditions(facts),
  ];
}

function booksConditions({ books }: BoardLane): Condition[] {
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
      hint: `qiao reconcile ${books.bridge} --deliveries`,
    });
  }
  if (deviating !== undefined) {
    found.push({
      key: `DEVIATION ${identity}`,
      level: 'warning',
      code: 'DEVIATION',
      subject,
      message: deviating,
      hint: `qiao reconcile ${books.bridge} --deliveries`,
    });
  }
  return found;
}

function entryConditions({ brokenEntries }: ConditionFacts): Condition[] {
  return [...brokenEntries].map(([code, count]) => ({
    key: `DEVIATION entries ${code}`,
    level: 'warning',
    code: 'DEVIATION',
    subject: `node ${code}`,
    message: `${count} entries of its books carry a signature or a shape that fails`,
    hint: `qiao node show ${code}; revoke it if its key may have been taken`,
  }));
}

function nodeConditions(facts: ConditionFacts): Condition[] {
  const found: Condition[] = [];
  for (const node of facts.nodes.directory?.nodes ?? []) {
    if (node.revoked || node.certificate.length === 0) continue;
    const state = facts.nodes.state(idText(node.nodeId));
    // A node that never spoke since it joined counts from the directory that first named it.
    const lastMs = state?.receivedAtMs ?? Number(facts.nodes.directory?.writtenAtMs ?? 0n);
    if (facts.nowMs - lastMs > facts.nodeSilentAfterMs) {
      found.push({
        key: `NODE_SILENT ${idText(node.nodeId)}`,
        level: 'fault',
        code: 'NODE_SILENT',
        subject: `node ${node.code}`,
        message: `no heartbeat for ${Math.round((facts.nowMs - lastMs) / 1000)} s`,
        hint: `on that machine: systemctl status qiao-agent, then qiao agent diagnose`,
      });
      // What a silent node's services do is unknown; its silence is the one alert.
      continue;
    }
    for (const source of state?.heartbeat.dataSources ?? []) {
      if (source.reachable) continue;
      found.push({
        key: `DATA_SOURCE_UNREACHABLE ${idText(node.nodeId)} ${source.name}`,
        level: 'fault',
        code: 'DATA_SOURCE_UNREACHABLE',
        subject: `data source ${source.name} of ${node.code}`,
        message: `${source.code}: ${source.message}`,
        hint: `on that machine: qiao agent datasource test ${source.name}`,
      });
    }
    for (const service of state?.heartbeat.services ?? []) found.push(...serviceCondition(facts, node.code, service));
  }
  return found;
}

function serviceCondition(facts: ConditionFacts, nodeCode: string, service: ServiceState): Condition[] {
  const code = DOWN[service.leg as keyof typeof DOWN];
  if (code === undefined) return [];
  const key = `${code} ${nodeCode} ${Buffer.from(service.bridgeId).toString('hex')} ${Buffer.from(service.laneId).toString('hex')}`;
  if (service.condition !== ServiceCondition.RETRYING) facts.retryingSinceMs.delete(key);
  else if (!facts.retryingSinceMs.has(key)) facts.retryingSinceMs.set(key, facts.nowMs);
  const retriesTooLong = facts.nowMs - (facts.retryingSinceMs.get(key) ?? facts.nowMs) >= facts.serviceDownAfterMs;
  if (service.condition !== ServiceCondition.STUCK && !retriesTooLong) return [];
  const bridge = bridgeOf(facts.nodes, service);
  if (bridge === undefined || bridge.state === BridgeState.RETIRED) return [];
  return [
    {
      key,
      level: 'fault',
      code,
      subject: `${bridge.name} at ${nodeCode}`,
      message: `${service.code}: ${service.message}`,
      hint: service.hint,
    },
  ];
}

function bridgeOf(nodes: Nodes, service: ServiceState): DirectoryBridge | undefined {
  return nodes.directory?.bridges.find(
    ({ bridgeId }) => idText(bridgeId) === Buffer.from(service.bridgeId).toString('hex'),
  );
}
