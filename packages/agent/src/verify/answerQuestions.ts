/**
 * The answering end of a comparison: reads its own table and says what it holds, sealed for the lane's sender. It keeps nothing
 * on disk: a question that was lost with a process is asked again. Of each lane the newest question is read, several lanes side by side.
 */
import { ControlMessage } from '@qiao/contract/control';
import { type VerifyAnswer, type VerifyQuestion, VerifyReading, type VerifyRequest } from '@qiao/contract/verify';
import { BucketSums, idText, QiaoError, sameBytes } from '@qiao/exchange';
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
/** Readings side by side, and those of one department: a slow comparison keeps nobody else's waiting. */
const MOST_READING = 8;
const MOST_OF_ONE = 2;
/** Of what a timer can wait, twenty days. */
const LONGEST_MS = 20 * 86_400_000;
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

/** A reading under way, of one lane. */
interface Reading {
  readonly request: VerifyRequest;
  readonly senderId: string;
  readonly stop: AbortController;
  readonly done: Promise<void>;
}

/** Rows that all readings under way hold for their answers. */
interface Held {
  rows: number;
}

export function createAnswering(ports: AnswerPorts): Answering {
  const waiting = new Map<string, VerifyRequest>();
  const readings = new Map<string, Reading>();
  const answered = new Map<string, { question: string; atMs: number }>();
  const wakeup = createWakeup();
  const held: Held = { rows: 0 };

  const begin = (laneId: string, request: VerifyRequest, senderId: string): void => {
    const stop = new AbortController();
    const read = async (): Promise<void> => {
      try {
        await answer(ports, request, held, stop.signal);
        if (!stop.signal.aborted)
          answered.set(laneId, { question: questionName(request), atMs: ports.clock.elapsedMs() });
        if (answered.size > MOST_WAITING) answered.delete([...answered.keys()][0] as string);
      } finally {
        stop.abort();
        readings.delete(laneId);
        wakeup.wake();
      }
    };
    readings.set(laneId, { request, senderId, stop, done: read() });
    // Nobody waits for the answer any more.
    const leftMs = Math.min(Number(request.expiresAtMs) - ports.clock.nowMs(), LONGEST_MS);
    void ports.clock.sleep(leftMs, stop.signal).then(() => stop.abort());
  };
  const isAtOnceTooMany = (senderId: string): boolean =>
    [...readings.values()].filter((one) => one.senderId === senderId).length >= MOST_OF_ONE;

  return {
    take(request) {
      const lane = idText(request.laneId);
      const question = questionName(request);
      const reading = readings.get(lane);
      const last = answered.get(lane);
      const isRepeated = last?.question === question && ports.clock.elapsedMs() - last.atMs < REPEATED_MS;
      if (isRepeated || (reading !== undefined && !isNewer(request, reading.request))) return;
      if (waiting.size >= MOST_WAITING && !waiting.has(lane)) return;
      waiting.set(lane, request);
      reading?.stop.abort();
      wakeup.wake();
    },
    part: {
      name: 'verify-answers',
      async run(signal) {
        while (!signal.aborted) {
          for (const [lane, request] of waiting) {
            if (readings.size >= MOST_READING) break;
            const senderId = findLane(ports.desired.current(), lane)?.lane.senderId;
            if (senderId !== undefined && (readings.has(lane) || isAtOnceTooMany(senderId))) continue;
            waiting.delete(lane);
            if (senderId !== undefined && Number(request.expiresAtMs) >= ports.clock.nowMs())
              begin(lane, request, senderId);
          }
          await wakeup.wait(60_000, signal);
        }
        const left = [...readings.values()];
        for (const { stop } of left) stop.abort();
        await Promise.all(left.map(({ done }) => done));
      },
    },
  };
}

function questionName({ jobId, sealedKey, number }: VerifyRequest): string {
  return `${Buffer.from(jobId).toString('hex')}/${Buffer.from(sealedKey).toString('base64')}/${number}`;
}

/** Whether a question takes the place of one that is being answered: not the same asked again, nor an older one that came late. */
function isNewer(request: VerifyRequest, reading: VerifyRequest): boolean {
  const isSameTalk = sameBytes(request.jobId, reading.jobId) && sameBytes(request.sealedKey, reading.sealedKey);
  return !isSameTalk || request.number > reading.number;
}

async function answer(ports: AnswerPorts, request: VerifyRequest, held: Held, signal: AbortSignal): Promise<void> {
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
    const reading = await read(ports, found.bridge, found.lane, { key, question, held, signal, request });
    if (signal.aborted) return;
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
  readonly held: Held;
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
  { key, question, held, signal }: Asked,
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
  try {
    const unreadable = await readTarget(reading, dataSource, columns, question, limits, (row) => {
      rowsRead += 1;
      const bucket = key.bucket(row.key, bits);
      if (!wanted.has(bucket)) return;
      if (rows.length >= MOST_ROWS) throw tooMuch();
      if (held.rows >= MOST_ROWS) throw tooManyAsk();
      held.rows += 1;
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
  } finally {
    held.rows -= rows.length;
  }
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

function tooManyAsk(): QiaoError {
  return new QiaoError('READINGS_FULL', 'other comparisons hold as many rows as fit at once', {
    fate: 'transient',
    hint: 'it goes on by itself when they are answered',
  });
}

function tooMuch(): QiaoError {
  return new QiaoError('READING_TOO_LARGE', 'the buckets asked for hold too many rows', {
    hint: 'qiao bridge verify NAME',
  });
}
