// The books line by line: one line per delivery, newest first.

import type { Amendment, DeliveryLine, ListDeliveriesRequest } from '@qiao/contract/monitor';
import { Verdict as ContractVerdict } from '@qiao/contract/monitor';
import {
  contractCounts,
  contractVerdict,
  idText,
  type KindCount,
  Matrix,
  type OutcomeCell,
  QiaoError,
} from '@qiao/exchange';
import type { DeliveryRow } from '../monitorDatabase.ts';
import type { BooksPorts } from '../reconciliation/books.ts';

const LINES_DEFAULT = 1_000;
const LINES_MAX = 100_000;
const PAGE = 500;

/** Lines of deliveries, read page by page. Throws BRIDGE_UNKNOWN. */
export async function* listDeliveries(ports: BooksPorts, request: ListDeliveriesRequest): AsyncGenerator<DeliveryLine> {
  const bridges = ports.nodes.directory?.bridges ?? [];
  const wanted = bridges.find(({ name }) => name === request.bridge);
  if (request.bridge !== '' && wanted === undefined) {
    throw new QiaoError('BRIDGE_UNKNOWN', `no bridge ${request.bridge} in the books`, { hint: 'qiao bridge list' });
  }
  const limit = Math.min(request.limit === 0 ? LINES_DEFAULT : request.limit, LINES_MAX);
  let given = 0;
  for (let offset = 0; given < limit; offset += PAGE) {
    let query = ports.database
      .selectFrom('delivery')
      .selectAll()
      .orderBy('sealed_at_ms', 'desc')
      .orderBy('lane_id')
      .orderBy('epoch', 'desc')
      .orderBy('sequence', 'desc')
      .limit(PAGE)
      .offset(offset);
    if (wanted !== undefined) query = query.where('bridge_id', '=', idText(wanted.bridgeId));
    if (request.fromDay !== '') query = query.where('day', '>=', request.fromDay);
    if (request.toDay !== '') query = query.where('day', '<=', request.toDay);
    const rows = await query.execute();
    const amendments = await amendmentsOf(ports, rows);
    for (const row of rows) {
      const line = deliveryLine(ports, row, amendments.get(placeOf(row)) ?? []);
      if (request.verdict !== ContractVerdict.UNSPECIFIED && line.verdict !== request.verdict) continue;
      yield line;
      given += 1;
      if (given >= limit) return;
    }
    if (rows.length < PAGE) return;
  }
}

/** What earlier revisions said, oldest first, of the deliveries that have any. */
async function amendmentsOf({ database }: BooksPorts, rows: readonly DeliveryRow[]): Promise<Map<string, Amendment[]>> {
  const found = new Map<string, Amendment[]>();
  for (const row of rows.filter(({ revision }) => revision > 1)) {
    const earlier = await database
      .selectFrom('amendment')
      .selectAll()
      .where('lane_id', '=', row.lane_id)
      .where('epoch', '=', row.epoch)
      .where('nonce', '=', row.nonce)
      .where('sequence', '=', row.sequence)
      .orderBy('revision')
      .execute();
    const amendments = earlier.map(({ revision, outcomes, state, amended_at_ms: amendedAtMs }) => ({
      revision,
      outcomes: Matrix.from(JSON.parse(outcomes) as OutcomeCell[]).contract(),
      verdict: contractVerdict(state === 'unstated' ? 'inFlight' : state),
      amendedAtMs: BigInt(amendedAtMs),
    }));
    found.set(placeOf(row), amendments);
  }
  return found;
}

function placeOf({ lane_id, epoch, nonce, sequence }: DeliveryRow): string {
  return `${lane_id}/${epoch}/${nonce}/${sequence}`;
}

function deliveryLine({ nodes, nowMs }: BooksPorts, row: DeliveryRow, amendments: Amendment[]): DeliveryLine {
  const bridge = nodes.directory?.bridges.find(({ bridgeId }) => idText(bridgeId) === row.bridge_id);
  const lateBefore = nowMs() - Number(bridge?.lateAfterMs ?? 300_000n);
  const isLate =
    (row.state === 'inFlight' && row.sealed_at_ms < lateBefore) ||
    (row.state === 'unstated' && row.received_at_ms < lateBefore);
  return {
    bridge: bridge?.name ?? row.bridge_id,
    destinationNode: nodes.node(row.receiver_id)?.code ?? row.receiver_id,
    laneId: Buffer.from(row.lane_id, 'hex'),
    epoch: BigInt(row.epoch),
    sequence: BigInt(row.sequence),
    sealedAtMs: BigInt(row.sealed_at_ms),
    appliedAtMs: BigInt(row.applied_at_ms),
    counts: contractCounts(JSON.parse(row.counts) as KindCount[]),
    outcomes: Matrix.from(JSON.parse(row.outcomes) as OutcomeCell[]).contract(),
    verdict: contractVerdict(isLate ? 'deviation' : row.state === 'unstated' ? 'inFlight' : row.state),
    reason: isLate ? `late: ${row.reason}` : row.reason,
    revision: row.revision,
    amendments,
  };
}
