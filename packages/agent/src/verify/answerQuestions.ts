/**
 * The answering end of a comparison: reads its own table and says what it holds, sealed for the lane's sender. It keeps nothing
 * on disk: a question that was lost with a process is asked again. One reading at a time, the newest question of each lane.
 */
import { ControlMessage } from '@qiao/contract/control';
import { type VerifyAnswer, type VerifyQuestion, VerifyReading, type VerifyRequest } from '@qiao/contract/verify';
import { BucketSums, idText, QiaoError } from '@qiao/exchange';
import { crashPoint, createWakeup, describeError, type Part } from '@qiao/runtime';
import { ComparisonKey } from '@qiao/security';
import { type DesiredBridge, type DesiredLane, findLane } from '../control/desired.ts';
import { refusedColumns } from '../control/permissions.ts';
import type { LaneIn } from '../exchange-database/index.ts';
import { MOST_ROWS, readQuestion } from './messages.ts';
import type { VerifyPorts } from './ports.ts';
import { comparisonContext, PART_BYTES, PARTS_MAX } from './sealed.ts';
import { readTarget, type TargetColumns, targetColumns } from './targetRows.ts';
import { TextDigest } from './textDigest.ts';

/** A bridge stops long before it has so many open rows. */
const MOST_OPEN_ROWS = 20_000;
/** Lanes whose questions wait; more are dropped and asked again. */
const MOST_WAITING = 64;
/** How long a reading waits for its lane before it says that the lane is behind. */
const LANE_WAIT_MS = 10_000;
const LANE_LOOK_MS = 100;
/** A repetition so soon after the answer crossed it on the way. */
const REPEATED_MS = 4_000;

type AnswerPorts = Pick<
  VerifyPorts,
  'database' | 'desired' | 'dataSources' | 'permissions' | 'keys' | 'clock' | 'log' | 'limits' | 'onQueued'
>;

export interface Answering {
  readonly part: Part;
  /** Takes a question whose author was verified. */
  take(request: VerifyRequest): void;
}

export function createAnswering(ports: AnswerPorts): Answering {
  const waiting = new Map<string, VerifyRequest>();
  const answered = new Map<string, { question: string; atMs: number }>();
  const wakeup = createWakeup();
  let running: string | undefined;

  return {
    take(request) {
      const lane = idText(request.laneId);
      const question = questionName(request);
      const last = answered.get(lane);
      const isRepeated = last?.question === question && ports.clock.elapsedMs() - last.atMs < REPEATED_MS;
      if (running === question || isRepeated) return;
      if (waiting.size >= MOST_WAITING && !waiting.has(lane)) return;
      waiting.set(lane, request);
      wakeup.wake();
    },
    part: {
      name: 'verify-answers',
      async run(signal) {
        while (!signal.aborted) {
          const [next] = waiting;
          if (next === undefined) {
            await wakeup.wait(60_000, signal);
            continue;
          }
          const [lane, request] = next;
          waiting.delete(lane);
          running = questionName(request);
          try {
            await answer(ports, request, signal);
            answered.set(lane, { question: running, atMs: ports.clock.elapsedMs() });
            if (answered.size > MOST_WAITING) answered.delete([...answered.keys()][0] as string);
          } finally {
            running = undefined;
          }
        }
      },
    },
  };
}

function questionName({ jobId, number }: VerifyRequest): string {
  return `${Buffer.from(jobId).toString('hex')}/${number}`;
}

async function answer(ports: AnswerPorts, request: VerifyRequest, signal: AbortSignal): Promise<void> {
  if (Number(request.expiresAtMs) < ports.clock.nowMs()) return;
  const found = findLane(ports.desired.current(), idText(request.laneId));
  if (found === undefined) return;
  const { laneId, jobId, number } = request;
  const queue = (parts: readonly Partial<VerifyAnswer>[]): void => {
    const atMs = ports.clock.nowMs();
    ports.database.transaction(() => {
      for (const part of parts) {
        const message = ControlMessage.fromPartial({
          toNodeId: Buffer.from(found.lane.senderId, 'hex'),
          body: { $case: 'verifyAnswer', value: { laneId, jobId, number, ...part } },
        });
        const topic = `verifyAnswer:${idText(laneId)}:${part.part ?? 0}`;
        ports.database.controlOut.add(ControlMessage.encode(message).finish(), atMs, topic);
      }
    });
    ports.onQueued();
  };
  try {
    const { key, question } = await openQuestion(ports, request);
    const reading = await read(ports, found.bridge, found.lane, { key, question, signal, request });
    crashPoint('verify.read');
    const bytes = VerifyReading.encode(reading).finish();
    const parts = Math.max(1, Math.ceil(bytes.length / PART_BYTES));
    if (parts > PARTS_MAX) throw tooMuch();
    queue(
      Array.from({ length: parts }, (_none, part) => ({
        part,
        parts,
        reading: key.seal(
          'reading',
          bytes.subarray(part * PART_BYTES, (part + 1) * PART_BYTES),
          comparisonContext(request, number, part, parts),
        ),
      })),
    );
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof QiaoError)) ports.log.error({ err: describeError(error) }, 'a comparison failed');
    const { code, message, hint } = problemOf(error);
    queue([{ code: code.slice(0, 64), message: message.slice(0, 1_000), hint: hint.slice(0, 200) }]);
  }
}

/** What the sender is told. What passes by itself has one name, so that it asks again. */
function problemOf(error: unknown): { code: string; message: string; hint: string } {
  if (!(error instanceof QiaoError)) {
    return {
      code: 'UNEXPECTED',
      message: 'the comparison failed at the destination',
      hint: 'read the log of its agent',
    };
  }
  const { message, hint } = error;
  return { code: isPassing(error) ? 'TARGET_UNREACHABLE' : error.code, message, hint };
}

function isPassing({ code, fate }: QiaoError): boolean {
  return fate === 'transient' && code !== 'LANE_BEHIND' && code !== 'EPOCH_MOVED';
}

async function openQuestion(
  { keys }: AnswerPorts,
  request: VerifyRequest,
): Promise<{ key: ComparisonKey; question: VerifyQuestion }> {
  if (request.sealing !== keys.sealing) {
    throw new QiaoError(
      'COMPARISON_UNREADABLE',
      `the key is sealed otherwise than with ${keys.sealing}, which this node opens`,
    );
  }
  const secret = await keys.open(request.sealedKey, request.wrappedKey, comparisonContext(request, 0));
  const key = new ComparisonKey(secret);
  const opened = key.open('question', request.question, comparisonContext(request, request.number));
  return { key, question: readQuestion(opened) };
}

interface Asked {
  readonly key: ComparisonKey;
  readonly question: VerifyQuestion;
  readonly request: VerifyRequest;
  readonly signal: AbortSignal;
}

async function read(
  ports: AnswerPorts,
  bridge: DesiredBridge,
  lane: DesiredLane,
  asked: Asked,
): Promise<VerifyReading> {
  const { question } = asked;
  const target = lane.destination?.tables[question.table];
  if (lane.destination === undefined || target === undefined) {
    throw new QiaoError('VERSION_REFUSED', 'the bridge’s present version does not land that table here', {
      hint: `qiao bridge show ${bridge.name}`,
    });
  }
  const names = question.columns.map(({ name }) => name);
  const refused = refusedColumns(lane.destination, question.table, names, ports.permissions);
  if (refused.length > 0) {
    throw new QiaoError('ACCEPT_DENIED', `column(s) ${refused.join(', ')} are not named in this node’s accepts`, {
      hint: `add them to accepts in agent.yaml, or leave them out of bridge ${bridge.name}`,
    });
  }
  const dataSource = await ports.dataSources.open(lane.destination.dataSource);
  const columns = await targetColumns(dataSource, target, question);
  const { comparable, notComparable } = columns;
  if (question.what?.$case === 'shape') {
    return VerifyReading.fromPartial({ comparable: [...comparable], notComparable: [...notComparable] });
  }
  const before = await caughtUp(ports, asked);
  const found = await readRows(ports, dataSource, columns, asked);
  const after = laneNow(ports, asked);
  return VerifyReading.fromPartial({
    ...found,
    comparable: [...comparable],
    epoch: { ordinal: before.epoch, nonce: before.nonce },
    appliedBefore: before.appliedSequence,
    // The lane applies one delivery at a time, and remembers it after the target has committed: one more may be in the rows.
    appliedAfter: after.appliedSequence + 1n,
    openKeys: openKeys(ports, asked),
  });
}

type Found = Pick<VerifyReading, 'rowsRead' | 'unreadable'> & Partial<Pick<VerifyReading, 'sums' | 'rows' | 'text'>>;

async function readRows(
  ports: AnswerPorts,
  dataSource: Awaited<ReturnType<AnswerPorts['dataSources']['open']>>,
  columns: TargetColumns,
  { key, question, signal }: Asked,
): Promise<Found> {
  const limits = { rowsPerSecond: question.rowsPerSecond, signal };
  const reading = { clock: ports.clock, maxMs: ports.limits.snapshotMaxMs };
  const { what } = question;
  if (what?.$case === 'sums') {
    const sums = new BucketSums(what.value.bits);
    const unreadable = await readTarget(reading, dataSource, columns, question, limits, (row) => {
      if (!row.outside) sums.add(key.bucket(row.key, sums.bits), key.digest(row.compared));
    });
    return { rowsRead: BigInt(sums.rows), unreadable: BigInt(unreadable), sums: sums.encode() };
  }
  if (what?.$case === 'text') {
    const text = new TextDigest(key);
    const unreadable = await readTarget(reading, dataSource, columns, question, limits, (row) => {
      if (!row.outside) text.add(row.compared);
    });
    return { rowsRead: BigInt(text.rows), unreadable: BigInt(unreadable), text: text.digest() };
  }
  if (what?.$case !== 'rows')
    throw new QiaoError('QUESTION_UNKNOWN', 'this agent does not know the question', { hint: 'update the agent' });
  const { bits, buckets } = what.value;
  const wanted = new Set(buckets);
  const rows: VerifyReading['rows'] = [];
  let rowsRead = 0;
  const unreadable = await readTarget(reading, dataSource, columns, question, limits, (row) => {
    rowsRead += 1;
    const bucket = key.bucket(row.key, bits);
    if (!wanted.has(bucket)) return;
    if (rows.length >= MOST_ROWS) throw tooMuch();
    rows.push({
      keyHash: Buffer.from(key.keyHash(row.key), 'hex'),
      digest: Buffer.from(key.digest(row.compared), 'hex'),
      owned: row.owned,
      bucket,
      outside: row.outside,
      key: row.owned ? Buffer.from(row.key) : new Uint8Array(0),
    });
  });
  return { rowsRead: BigInt(rowsRead), unreadable: BigInt(unreadable), rows };
}

/** Waits until the lane has applied what the question speaks of. Throws LANE_BEHIND, EPOCH_MOVED (transient). */
async function caughtUp(ports: AnswerPorts, asked: Asked): Promise<LaneIn> {
  const untilMs = ports.clock.elapsedMs() + LANE_WAIT_MS;
  for (;;) {
    const lane = ports.database.lanesIn.get(asked.request.laneId);
    const wanted = asked.question.epoch?.ordinal ?? 0n;
    if (lane !== undefined && lane.epoch > wanted) throw moved();
    if (lane !== undefined && lane.epoch === wanted && lane.appliedSequence >= asked.question.afterSequence)
      return lane;
    if (ports.clock.elapsedMs() >= untilMs || asked.signal.aborted) {
      throw new QiaoError('LANE_BEHIND', 'the lane has not caught up', { fate: 'transient', hint: 'qiao bridge list' });
    }
    await ports.clock.sleep(LANE_LOOK_MS, asked.signal);
  }
}

function laneNow(ports: AnswerPorts, asked: Asked): LaneIn {
  const lane = ports.database.lanesIn.get(asked.request.laneId);
  if (lane === undefined || lane.epoch !== asked.question.epoch?.ordinal) throw moved();
  return lane;
}

/** Hashes of the keys of this lane and table that wait in quarantine. */
function openKeys(ports: AnswerPorts, { key, question, request }: Asked): Uint8Array {
  const hashes = new Set<string>();
  for (const row of ports.database.quarantine.openOfLane(request.laneId, MOST_OPEN_ROWS)) {
    if (row.table === question.table) hashes.add(key.keyHash(Buffer.from(row.keyText)));
  }
  return Buffer.from([...hashes].join(''), 'hex');
}

function moved(): QiaoError {
  return new QiaoError('EPOCH_MOVED', 'the lane began another epoch', { fate: 'transient', hint: 'ask again' });
}

function tooMuch(): QiaoError {
  return new QiaoError('READING_TOO_LARGE', 'the buckets asked for hold too many rows', {
    hint: 'qiao bridge verify NAME',
  });
}
