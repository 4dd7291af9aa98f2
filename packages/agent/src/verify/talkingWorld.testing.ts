/** For tests only: lanes whose destinations answer comparisons as they are told. */
import { randomBytes } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { DataSource } from '@qiao/adapters';
import { ControlMessage } from '@qiao/contract/control';
import { VerifyAnswer, VerifyQuestion, VerifyReading, type VerifyRequest } from '@qiao/contract/verify';
import { BucketSums, idText, parseId } from '@qiao/exchange';
import { ComparisonKey } from '@qiao/security';
import { BRIDGE_ID, RECEIVER_ID } from '../capture/captureWorld.testing.ts';
import { CursorWorld } from '../capture/cursorWorld.testing.ts';
import type { LaneOut } from '../exchange-database/index.ts';
import { moveAnswer } from '../send/settle.ts';
import { createVerifyService } from './jobs.ts';
import type { VerifyPorts } from './ports.ts';
import { comparisonContext } from './sealed.ts';

const BRIDGE = parseId(BRIDGE_ID);

/** What a destination says to a question of its lane; undefined when it is silent. */
export type Saying = (
  lane: string,
  what: NonNullable<VerifyQuestion['what']>['$case'],
) => Partial<VerifyAnswer> | undefined;

/** Lanes whose destination answers as it is told; counts who reads the source at once. */
export class TalkingWorld extends CursorWorld {
  saying: Saying = () => undefined;
  /** Lanes whose destination was asked something. */
  readonly asked = new Set<string>();
  /** Lanes whose last question was answered with a reading. */
  readonly answered = new Set<string>();
  /** How many read the source at once at most. */
  mostReading = 0;
  /** Set while nobody's reading of the source goes on. */
  held: (() => void)[] | undefined;
  #reading = 0;
  readonly #secret = randomBytes(32);
  readonly service = createVerifyService({
    ...this.ports,
    desired: {
      current: () => ({
        ...this.desired,
        peers: new Map([[RECEIVER_ID, { nodeId: RECEIVER_ID, code: 'civil', sealingKey: new Uint8Array(65) }]]),
      }),
      onChange: () => () => undefined,
    },
    sealing: { name: 'none', seal: async (body: Uint8Array) => ({ body, wrappedKey: new Uint8Array(1) }) },
    limits: { ...this.ports.limits, retentionMs: 86_400_000 },
    permissions: { exposes: [{ dataSource: 'his', table: '*' }], accepts: [], defaultSchema: () => undefined },
    newSecret: () => this.#secret,
    captureTrouble: () => '',
    onQueued: () => this.#hear(),
    clock: {
      nowMs: () => this.nowMs,
      elapsedMs: () => performance.now(),
      sleep: async () => await pause(1),
    },
  } as unknown as VerifyPorts);

  /** So many lanes, streaming, with all rows delivered and settled. */
  async streaming(count = 3, rows = 10): Promise<readonly Uint8Array[]> {
    this.fill(rows);
    await this.scan();
    const more = Array.from({ length: count - 1 }, () => this.addLane());
    const lanes = [this.destination, ...more].map(({ lane }) => lane);
    await this.scan();
    await this.deliver();
    for (const lane of lanes) {
      const { epoch } = this.database.lanesOut.get(lane) as LaneOut;
      const deliveries = this.database.deliveriesOut.range(lane, epoch, 0n, 1n << 50n, 100);
      this.database.transaction(() => {
        for (const delivery of deliveries) moveAnswer(this.database, delivery, 'settled', this.nowMs);
      });
      this.database.lanesOut.setPhase(lane, 'streaming');
    }
    await this.#count();
    return lanes;
  }

  verify(lane: Uint8Array): Uint8Array {
    this.nowMs += 1;
    const [job] = this.service.start([{ kind: 'verify', bridge: BRIDGE, lane, options: {}, operator: 'zhang' }]);
    return job?.job as Uint8Array;
  }

  #hear(): void {
    for (const { number, message } of this.database.controlOut.next(100)) {
      const { body } = ControlMessage.decode(message);
      this.database.controlOut.sent(number);
      if (body?.$case !== 'verifyRequest') continue;
      this.asked.add(idText(body.value.laneId));
      // Not before whoever asks waits for it.
      setImmediate(() => this.#answer(body.value));
    }
  }

  #answer({ laneId, jobId, number, question }: VerifyRequest): void {
    const key = new ComparisonKey(this.#secret);
    const place = { laneId, jobId };
    const { what } = VerifyQuestion.decode(key.open('question', question, comparisonContext(place, number)));
    const said = what === undefined ? undefined : this.saying(idText(laneId), what.$case);
    if (what === undefined || said === undefined) return;
    // Of an empty table.
    const empty = VerifyReading.fromPartial({
      comparable: ['id', 'name', 'at'],
      sums: what.$case === 'sums' ? new BucketSums(what.value.bits).encode() : new Uint8Array(),
    });
    const reading = key.seal('reading', VerifyReading.encode(empty).finish(), comparisonContext(place, number));
    if (said.code === undefined) this.answered.add(idText(laneId));
    this.service.takeAnswer(VerifyAnswer.fromPartial({ laneId, jobId, number, part: 0, parts: 1, reading, ...said }));
  }

  /** Counts the readings of the source that are under way. */
  async #count(): Promise<void> {
    const source = (await this.source) as DataSource;
    const open = source.snapshot.bind(source);
    const snapshot: DataSource['snapshot'] = async (options) => {
      this.#reading += 1;
      this.mostReading = Math.max(this.mostReading, this.#reading);
      const { held } = this;
      if (held !== undefined) await new Promise<void>((go) => held.push(go));
      const opened = await open(options);
      const close = opened[Symbol.asyncDispose].bind(opened);
      opened[Symbol.asyncDispose] = async () => {
        // Long enough that another would be seen beside it.
        await pause(20);
        this.#reading -= 1;
        await close();
      };
      return opened;
    };
    Object.assign(source, { snapshot });
  }
}
