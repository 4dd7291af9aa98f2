// The monitor's answers over gRPC, and the few of them that a browser may ask.

import type { Board, BoardLink } from '@qiao/contract/monitor';
import { MonitorServiceDefinition } from '@qiao/contract/monitor';
import { safeCount } from '@qiao/exchange';
import { type Caller, type HttpService, httpService, type RpcService, service } from '@qiao/rpc';
import type { Clock, Wakeup } from '@qiao/runtime';
import { acknowledgeAlert, listAlerts, resolveAlert } from '../alerts/alerts.ts';
import { readBooks } from '../reconciliation/books.ts';
import { listAuditHeads } from './auditHeads.ts';
import { type BoardPorts, readBoard, readNodeStates } from './board.ts';
import { listDeliveries } from './deliveries.ts';

export interface ServicePorts extends BoardPorts {
  readonly clock: Clock;
  /** Woken after every change of the books. */
  readonly changed: Wakeup;
  openBoard(caller: Caller): BoardLink;
}

/** A watcher sees a change at most this often, and the board again without one at least so often. */
const WATCH_PAUSE_MS = 1_000;
const WATCH_IDLE_MS = 5_000;

export function monitorService(ports: ServicePorts): RpcService {
  return service(MonitorServiceDefinition, {
    reconcile: (request) => readBooks(ports, request),
    listDeliveries: (request) => listDeliveries(ports, request),
    getBoard: () => readBoard(ports),
    watchBoard: (_request, { signal }) => watchBoard(ports, signal),
    listAlerts: async ({ includeResolved }) => ({ alerts: await listAlerts(ports.database, includeResolved) }),
    acknowledgeAlert: ({ id }, { caller }) =>
      acknowledgeAlert(ports.database, safeCount(id), caller.name, ports.nowMs()),
    resolveAlert: ({ id, reason }, { caller }) =>
      resolveAlert(ports.database, safeCount(id), { by: caller.name, reason, nowMs: ports.nowMs() }),
    listAuditHeads: () => listAuditHeads(ports.database),
    openBoard: async (_request, { caller }) => ports.openBoard(caller),
    listNodeStates: async () => ({ nodes: readNodeStates(ports) }),
  });
}

/** What the board's page may call: reading only. */
export function boardService(ports: BoardPorts): HttpService {
  return httpService(MonitorServiceDefinition, { getBoard: () => readBoard(ports) }, ['getBoard']);
}

async function* watchBoard(ports: ServicePorts, signal: AbortSignal): AsyncGenerator<Board> {
  while (!signal.aborted) {
    yield await readBoard(ports);
    await ports.clock.sleep(WATCH_PAUSE_MS, signal);
    await ports.changed.wait(WATCH_IDLE_MS, signal);
  }
}
