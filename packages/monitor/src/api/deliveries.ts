// The books line by line: one line per delivery, newest first.

import type { Amendment, DeliveryLine, ListDeliveriesRequest } from '@qiao/contract/monitor';
import { Verdict as ContractVerdict } from '@qiao/contract/monitor';
import { contractCounts, contractVerdict, idText, type KindCount, Matrix, type OutcomeCell } from '@qiao/exchange';
import { type RawBuilder, sql } from 'kysely';
import type { DeliveryRow, DeliveryState } from '../monitorDatabase.ts';
import { type BooksPorts, requireDays, wantedBridges } from '../reconciliation/books.ts';
import { type BoundsOf, waitingBounds, waitingOf } from '../reconciliation/unanswered.ts';

const LINES_DEFAULT = 1_000;
const PAGE = 500;

/** Lines of deliveries, read page by page. Throws BRIDGE_UNKNOWN, DAY_INVALID. */
export async function* listDeliveries(ports: BooksPorts, request: ListDeliveriesRequest): AsyncGenerator<DeliveryLine> {
  requireDays(request);
  const limit = request.limit === 0 ? LINES_DEFAULT : request.limit;
  const boundsOf = await waitingBounds(ports.database, ports.nowMs());
  let given = 0;
  for await (const page of pages(ports, request)) {
    const amendments = await amendmentsOf(ports, page);
    for (const row of page) {
      const line = deliveryLine(ports, row, amendments.get(placeOf(row)) ?? [], boundsOf);
      if (request.verdict !== ContractVerdict.UNSPECIFIED && line.verdict !== request.verdict) continue;
      yield line;
      given += 1;
      if (given >= limit) return;
    }
  }
}

/** Where a delivery stands in the order of the list. */
const PLACE = sql`(sealed_at_ms, lane_id, epoch, sequence, nonce)`;

/** From the last place of one page to the next, so that what comes meanwhile moves nothing. */
async function* pages(ports: BooksPorts, request: ListDeliveriesRequest): AsyncGenerator<DeliveryRow[]> {
  const bridges = request.bridge === '' ? undefined : wantedBridges(ports.nodes, request.bridge);
  const states = STATES_BEHIND[request.verdict];
  for (let last: DeliveryRow | undefined; ; ) {
    let query = ports.database
      .selectFrom('delivery')
      .selectAll()
      .orderBy('sealed_at_ms', 'desc')
      .orderBy('lane_id', 'desc')
      .orderBy('epoch', 'desc')
      .orderBy('sequence', 'desc')
      .orderBy('nonce', 'desc')
      .limit(PAGE);
    if (bridges !== undefined) {
      const ids = bridges.map(({ bridgeId }) => idText(bridgeId));
      query = query.where('bridge_id', 'in', ids);
    }
    if (states !== undefined) query = query.where('state', 'in', states);
    if (request.fromDay !== '') query = query.where('day', '>=', request.fromDay);
    if (request.toDay !== '') query = query.where('day', '<=', request.toDay);
    if (last !== undefined) query = query.where(before(last));
    const page = await query.execute();
    if (page.length > 0) yield page;
    if (page.length < PAGE) return;
    last = page.at(-1);
  }
}

function before({ sealed_at_ms, lane_id, epoch, sequence, nonce }: DeliveryRow): RawBuilder<boolean> {
  return sql`${PLACE} < (${sealed_at_ms}, ${lane_id}, ${epoch}, ${sequence}, ${nonce})`;
}

/** What a line of this verdict may be in the books: the clock makes a deviation of what waits too long. */
const STATES_BEHIND: Partial<Record<ContractVerdict, readonly DeliveryState[]>> = {
  [ContractVerdict.BALANCED]: ['balanced'],
  [ContractVerdict.EXPLAINED]: ['explained', 'inFlight', 'unstated'],
  [ContractVerdict.IN_FLIGHT]: ['inFlight', 'unstated'],
  [ContractVerdict.OPEN]: ['open'],
  [ContractVerdict.DEVIATION]: ['deviation', 'inFlight', 'unstated'],
};

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

/** Of a bridge that the directory does not name any more. */
const LATE_AFTER_MS = 300_000n;

function deliveryLine(
  { nodes }: BooksPorts,
  row: DeliveryRow,
  amendments: Amendment[],
  boundsOf: BoundsOf,
): DeliveryLine {
  const bridge = nodes.directory?.bridges.find(({ bridgeId }) => idText(bridgeId) === row.bridge_id);
  const ends = { senderId: Buffer.from(row.sender_id, 'hex'), receiverId: Buffer.from(row.receiver_id, 'hex') };
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
    ...verdictOfLine(row, boundsOf(bridge ?? { lateAfterMs: LATE_AFTER_MS }, ends)),
    revision: row.revision,
    amendments,
  };
}

function verdictOfLine(row: DeliveryRow, bounds: ReturnType<BoundsOf>): Pick<DeliveryLine, 'verdict' | 'reason'> {
  switch (waitingOf(row, bounds)) {
    case 'late':
      return { verdict: ContractVerdict.DEVIATION, reason: `late: ${row.reason}` };
    case 'forgotten':
      return { verdict: ContractVerdict.EXPLAINED, reason: `older than the other end’s books here: ${row.reason}` };
    case 'waits':
      return { verdict: ContractVerdict.IN_FLIGHT, reason: row.reason };
    default:
      return { verdict: contractVerdict(row.state === 'unstated' ? 'inFlight' : row.state), reason: row.reason };
  }
}
