// The board: one line per lane with its books and the state of its services, the nodes, the open alerts.

import type { Board, BoardLane, NodeState } from '@qiao/contract/monitor';
import {
  BridgeState,
  type DirectoryBridge,
  type LaneAssignment,
  ServiceCondition,
  ServiceLeg,
  type ServiceState,
} from '@qiao/contract/node';
import { idText } from '@qiao/exchange';
import { listAlerts } from '../alerts/alerts.ts';
import { type BooksPorts, readBooks } from '../reconciliation/books.ts';

export type BoardPorts = BooksPorts;

/** Everything an operator sees at a glance. */
export async function readBoard(ports: BoardPorts): Promise<Board> {
  const books = await readBooks(ports, {
    bridge: '',
    fromDay: '',
    toDay: '',
    fromDepartment: '',
    toDepartment: '',
    byDay: false,
  });
  const bridges = ports.nodes.directory?.bridges ?? [];
  const lanes: BoardLane[] = [];
  for (const bridge of bridges) {
    for (const lane of bridge.lanes) {
      const line = books.lines.find(({ laneId }) => idText(laneId) === idText(lane.laneId));
      if (line !== undefined && bridge.state !== BridgeState.RETIRED) {
        lanes.push({ books: line, ...(await laneState(ports, bridge, lane)) });
      }
    }
  }
  return {
    atMs: books.atMs,
    timeZone: books.timeZone,
    lanes,
    nodes: readNodeStates(ports),
    alerts: await listAlerts(ports.database, false),
    verdict: books.verdict,
  };
}

/** Every agent of the directory with its last heartbeat. */
export function readNodeStates({ nodes, nowMs, nodeSilentAfterMs }: BoardPorts): NodeState[] {
  return nodes.agents().map((node) => {
    const state = nodes.state(idText(node.nodeId));
    return {
      code: node.code,
      title: node.title,
      departmentTitle: node.departmentTitle,
      silent: state === undefined || nowMs() - state.receivedAtMs > nodeSilentAfterMs,
      lastHeartbeatAtMs: BigInt(state?.receivedAtMs ?? 0),
      ...(state === undefined ? {} : { heartbeat: state.heartbeat }),
    };
  });
}

async function laneState(
  ports: BoardPorts,
  bridge: DirectoryBridge,
  lane: LaneAssignment,
): Promise<Omit<BoardLane, 'books'>> {
  const sending = liveServices(ports, lane.senderId, bridge);
  const receiving = liveServices(ports, lane.receiverId, bridge);
  const ofLane = (service: ServiceState) => Buffer.compare(service.laneId, lane.laneId) === 0;
  const capture = sending.find(({ leg }) => leg === ServiceLeg.CAPTURE);
  const send = sending.find((service) => service.leg === ServiceLeg.SEND && ofLane(service));
  const apply = receiving.find((service) => service.leg === ServiceLeg.APPLY && ofLane(service));
  const services = [capture, send, apply].filter((service) => service !== undefined);
  const worstOf =
    services.find(({ condition }) => condition === ServiceCondition.STUCK) ??
    services.find(({ condition }) => condition === ServiceCondition.RETRYING) ??
    services.find(({ condition, code }) => condition === ServiceCondition.RUNNING && code !== '');
  const last = await ports.database
    .selectFrom('delivery')
    .select(({ fn }) => fn.max<number | null>('applied_at_ms').as('at'))
    .where('lane_id', '=', idText(lane.laneId))
    .executeTakeFirst();
  return {
    bridgeState: bridge.state,
    capture: capture?.condition ?? ServiceCondition.UNSPECIFIED,
    send: send?.condition ?? ServiceCondition.UNSPECIFIED,
    apply: apply?.condition ?? ServiceCondition.UNSPECIFIED,
    code: worstOf?.code ?? '',
    message: worstOf?.message ?? '',
    waitingDeliveries: (send?.waitingDeliveries ?? 0n) + (apply?.waitingDeliveries ?? 0n),
    lastAppliedAtMs: BigInt(last?.at ?? 0),
  };
}

/** Services of a bridge as the node last told; none while it is silent, since then nobody knows. */
function liveServices(ports: BoardPorts, nodeId: Uint8Array, bridge: DirectoryBridge): ServiceState[] {
  const state = ports.nodes.state(idText(nodeId));
  if (state === undefined || ports.nowMs() - state.receivedAtMs > ports.nodeSilentAfterMs) return [];
  return state.heartbeat.services.filter(({ bridgeId }) => Buffer.compare(bridgeId, bridge.bridgeId) === 0);
}
