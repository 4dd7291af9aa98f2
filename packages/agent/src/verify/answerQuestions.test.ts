import { once } from 'node:events';
import { ControlMessage } from '@qiao/contract/control';
import { type VerifyAnswer, VerifyQuestion, VerifyReading, VerifyRequest } from '@qiao/contract/verify';
import { idText, parseId } from '@qiao/exchange';
import { createWakeup, type Log, silentLog } from '@qiao/runtime';
import { ComparisonKey } from '@qiao/security';
import { describe, expect, test } from 'vitest';
import { createDataSources } from '../data-sources/registry.ts';
import { LANE, ReceiverWorld, TestSender } from '../receive/sender.testing.ts';
import { createAnswering } from './answerQuestions.ts';
import { readReading } from './messages.ts';
import { comparisonContext } from './sealed.ts';

const SECRET = new Uint8Array(32).fill(5);
const KEY = new ComparisonKey(SECRET);
const PLACE = { laneId: parseId(LANE), jobId: new Uint8Array(16).fill(1) };

const QUESTION = VerifyQuestion.fromPartial({
  table: 'person',
  columns: [
    { name: 'id', typeJson: '{"type":"integer","bits":64}' },
    { name: 'name', typeJson: '{"type":"text"}' },
  ],
  keyColumns: 1,
  compared: ['id', 'name'],
  epoch: { ordinal: 0n, nonce: new Uint8Array(16) },
  what: { $case: 'shape', value: true },
});

const typed = (typeJson: string) =>
  VerifyQuestion.encode({
    ...QUESTION,
    columns: QUESTION.columns.map((column, index) => (index === 1 ? { ...column, typeJson } : column)),
  }).finish();

/** What is answered to the bytes of a question, and every line that the answering end logs meanwhile. */
async function asked(question: Uint8Array, change: Partial<VerifyRequest> = {}) {
  using world = new ReceiverWorld();
  await using sources = disposing(
    createDataSources([{ name: 'target', adapter: 'sqlite' as const, file: world.targetFile }]),
  );
  const lines: string[] = [];
  const note = (...said: unknown[]) => void lines.push(JSON.stringify(said));
  const log = Object.assign(Object.create(silentLog()) as Log, { info: note, warn: note, error: note });
  const stop = new AbortController();
  const looked = Promise.withResolvers<void>();
  const answering = createAnswering({
    database: world.database,
    desired: world.desired,
    dataSources: sources,
    permissions: { exposes: [], accepts: [{ dataSource: 'target', table: '*' }], defaultSchema: () => undefined },
    keys: { sealing: 'plain', open: async (body) => body },
    clock: {
      ...world.clock,
      nowMs: () => {
        looked.resolve();
        return world.clock.atMs;
      },
      sleep: untilAborted,
    },
    log,
    limits: { snapshotMaxMs: 10_000 } as never,
    onQueued: () => stop.abort(),
  });
  answering.take(
    VerifyRequest.fromPartial({
      ...PLACE,
      number: 1,
      sealedKey: SECRET,
      sealing: 'plain',
      question: KEY.seal('question', question, comparisonContext(PLACE, 1)),
      expiresAtMs: BigInt(world.clock.atMs + 60_000),
      ...change,
    }),
  );
  const running = answering.part.run(stop.signal);
  // One that is dropped queues nothing: the clock was looked at, and then nothing is left to do.
  if (change.expiresAtMs !== undefined) {
    await looked.promise;
    setImmediate(() => stop.abort());
  }
  await running;
  const answers: VerifyAnswer[] = world.database.controlOut.next(10).flatMap(({ message }) => {
    const { body } = ControlMessage.decode(message);
    return body?.$case === 'verifyAnswer' ? [body.value] : [];
  });
  return { answers, lines: lines.join('\n') };
}

/** A wait that lasts as long as it may. */
async function untilAborted(_ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted === false) await once(signal, 'abort');
}

function disposing<T extends { close(): Promise<void> }>(one: T): T & AsyncDisposable {
  return Object.assign(one, { [Symbol.asyncDispose]: () => one.close() });
}

describe('what another department asks', () => {
  test('is answered', async () => {
    const { answers, lines } = await asked(VerifyQuestion.encode(QUESTION).finish());
    expect(answers).toMatchObject([{ code: '', part: 0, parts: 1 }]);
    const opened = KEY.open('reading', answers[0]?.reading ?? new Uint8Array(), comparisonContext(PLACE, 1));
    expect(readReading(opened, QUESTION)).toMatchObject({ comparable: ['id', 'name'], notComparable: [] });
    expect(lines).toBe('');
  });

  test.each([
    ['a type that is no JSON', typed('secretvalue'), 'COLUMN_TYPE_UNREADABLE'],
    ['a type of nothing', typed('null'), 'COLUMN_TYPE_UNREADABLE'],
    ['a type that nobody knows', typed('{"type":"secretvalue"}'), 'COLUMN_TYPE_UNREADABLE'],
    ['bytes that are no message', Buffer.from('\x0a\x7fsecretvalue'), 'QUESTION_INVALID'],
    ['a field of another kind', Uint8Array.of(0x0b), 'QUESTION_INVALID'],
    ['a key of more columns', VerifyQuestion.encode({ ...QUESTION, keyColumns: 3 }).finish(), 'QUESTION_INVALID'],
    [
      'compared columns that are none',
      VerifyQuestion.encode({ ...QUESTION, compared: ['x'] }).finish(),
      'QUESTION_INVALID',
    ],
    [
      'buckets past their limit',
      VerifyQuestion.encode({ ...QUESTION, what: { $case: 'sums', value: { bits: 17, buckets: [] } } }).finish(),
      'QUESTION_INVALID',
    ],
    [
      'a table that does not land here',
      VerifyQuestion.encode({ ...QUESTION, table: 'secretvalue' }).finish(),
      'VERSION_REFUSED',
    ],
  ])('with %s is refused with a code, and quoted nowhere', async (_what, question, code) => {
    const { answers, lines } = await asked(question);
    expect(answers).toMatchObject([{ code }]);
    expect(JSON.stringify(answers.map(({ message, hint }) => [message, hint])) + lines).not.toContain('secret');
    expect(lines).toBe('');
  });

  test('after its time is not answered', async () => {
    expect(await asked(VerifyQuestion.encode(QUESTION).finish(), { expiresAtMs: 1n })).toEqual({
      answers: [],
      lines: '',
    });
  });
});

describe('a comparison that was asked for so slowly that it does not end', () => {
  const OTHER_LANE = 'f'.repeat(32);
  const SLOW: VerifyQuestion = {
    ...QUESTION,
    epoch: { ordinal: 1n, nonce: new Uint8Array(16).fill(7) },
    rowsPerSecond: 1,
    what: { $case: 'sums', value: { bits: 4, buckets: [] } },
  };

  /** An answering end that reads for the first lane, one row a second of ten thousand, and waits before the second step. */
  async function reading() {
    const world = new ReceiverWorld();
    await world.receive(new TestSender().opening());
    await world.apply();
    world.sql(`WITH RECURSIVE n (v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < 10000)
     INSERT INTO person SELECT v, 'x' FROM n`);
    const now = world.desired.current();
    const [bridge] = now?.bridges.values() ?? [];
    const [lane] = bridge?.lanes ?? [];
    if (now === undefined || bridge === undefined || lane === undefined) throw new Error('a bridge with a lane');
    const lanes = [lane, { ...lane, laneId: OTHER_LANE }];
    world.desired.replace({ ...now, number: 9n, bridges: new Map([[bridge.bridgeId, { ...bridge, lanes }]]) });
    const sources = createDataSources([{ name: 'target', adapter: 'sqlite', file: world.targetFile }]);
    const waits: { readonly ms: number; readonly signal: AbortSignal; readonly end: () => void }[] = [];
    const waited = createWakeup();
    const queued = createWakeup();
    const answering = createAnswering({
      database: world.database,
      desired: world.desired,
      dataSources: sources,
      permissions: { exposes: [], accepts: [{ dataSource: 'target', table: '*' }], defaultSchema: () => undefined },
      keys: { sealing: 'plain', open: async (body) => body },
      clock: {
        ...world.clock,
        elapsedMs: () => performance.now(),
        async sleep(ms, signal = new AbortController().signal) {
          const { promise, resolve } = Promise.withResolvers<void>();
          waits.push({ ms, signal, end: resolve });
          waited.wake();
          await Promise.race([promise, untilAborted(ms, signal)]);
        },
      },
      log: silentLog(),
      limits: { snapshotMaxMs: 10_000 } as never,
      onQueued: () => queued.wake(),
    });
    const stop = new AbortController();
    const running = answering.part.run(stop.signal);
    const ask = (laneId: string, question: VerifyQuestion, number: number) => {
      const place = { laneId: parseId(laneId), jobId: PLACE.jobId };
      answering.take(
        VerifyRequest.fromPartial({
          ...place,
          number,
          sealedKey: SECRET,
          sealing: 'plain',
          question: KEY.seal('question', VerifyQuestion.encode(question).finish(), comparisonContext(place, number)),
          expiresAtMs: BigInt(world.clock.atMs + 86_400_000),
        }),
      );
    };
    ask(LANE, SLOW, 1);
    const pauses = () => waits.filter(({ ms }) => ms < 86_400_000);
    while (pauses().length === 0) await waited.wait(10_000);
    const answers = (): string[] =>
      world.database.controlOut.next(10).flatMap(({ message }) => {
        const { body } = ControlMessage.decode(message);
        if (body?.$case !== 'verifyAnswer') return [];
        return [`${idText(body.value.laneId).slice(0, 4)} ${body.value.number} ${body.value.code}`];
      });
    return {
      ask,
      queued,
      answers,
      pause: pauses()[0] as (typeof waits)[number],
      ends: waits.find(({ ms }) => ms === 86_400_000) as (typeof waits)[number],
      async [Symbol.asyncDispose]() {
        stop.abort();
        await running;
        await sources.close();
        world[Symbol.dispose]();
      },
    };
  }

  test('keeps no other comparison waiting', async () => {
    await using slow = await reading();
    slow.ask(OTHER_LANE, QUESTION, 1);
    await slow.queued.wait(10_000);
    expect(slow.answers()).toEqual([`${OTHER_LANE.slice(0, 4)} 1 `]);
    expect(slow.pause.signal.aborted).toBe(false);
  });

  test('ends when its lane asks the next question, which is answered', async () => {
    await using slow = await reading();
    slow.ask(LANE, SLOW, 1);
    expect(slow.pause.signal.aborted).toBe(false);
    slow.ask(LANE, QUESTION, 2);
    expect(slow.pause.signal.aborted).toBe(true);
    await slow.queued.wait(10_000);
    expect(slow.answers()).toEqual([`${LANE.slice(0, 4)} 2 `]);
  });

  test('ends when nobody waits for it any more, and says nothing', async () => {
    await using slow = await reading();
    slow.ends.end();
    if (!slow.pause.signal.aborted) await once(slow.pause.signal, 'abort');
    slow.ask(LANE, QUESTION, 2);
    await slow.queued.wait(10_000);
    expect(slow.answers()).toEqual([`${LANE.slice(0, 4)} 2 `]);
  });
});

describe('what the other end has read', () => {
  const rows = { ...QUESTION, what: { $case: 'rows' as const, value: { bits: 4, buckets: [3] } } };
  const row = {
    keyHash: new Uint8Array(16),
    digest: new Uint8Array(16),
    owned: true,
    key: Buffer.from('1'),
    bucket: 3,
    outside: false,
  };
  const reading = (fields: object) => VerifyReading.encode(VerifyReading.fromPartial(fields)).finish();

  test('is read when it answers the question', () => {
    expect(readReading(reading({ rows: [row] }), rows).rows).toHaveLength(1);
  });

  test.each([
    ['bytes that are no message', Buffer.from('\x0a\x7fsecretvalue')],
    ['a key of two columns', reading({ rows: [{ ...row, key: Buffer.from('1\tsecretvalue') }] })],
    ['a key of two rows', reading({ rows: [{ ...row, key: Buffer.from('1\nsecretvalue') }] })],
    ['a key that is no text', reading({ rows: [{ ...row, key: Uint8Array.of(0xff) }] })],
    ['a short hash', reading({ rows: [{ ...row, keyHash: new Uint8Array(15) }] })],
    ['a bucket past the last', reading({ rows: [{ ...row, bucket: 16 }] })],
    ['half a hash of an open row', reading({ openKeys: new Uint8Array(24) })],
    ['half a digest', reading({ text: new Uint8Array(16) })],
  ])('is refused with %s, and not quoted', (_what, bytes) => {
    expect(() => readReading(bytes, rows)).toThrow(expect.objectContaining({ code: 'READING_INVALID' }));
    expect(() => readReading(bytes, rows)).not.toThrow(/secret/);
  });

  test('is refused with rows that were not asked for', () => {
    expect(() => readReading(reading({ rows: [row] }), QUESTION)).toThrow(
      expect.objectContaining({ code: 'READING_INVALID' }),
    );
  });
});
