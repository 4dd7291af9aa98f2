/**
 * The asking end of a comparison: questions go out sealed, are asked again until they are answered, and answers are put
 * together from their parts. Nothing of it is on disk: an agent that starts again begins the comparison anew.
 */
import { ControlMessage } from '@qiao/contract/control';
import { type VerifyAnswer, VerifyQuestion, type VerifyReading } from '@qiao/contract/verify';
import { idText, QiaoError } from '@qiao/exchange';
import { createWakeup, type Wakeup } from '@qiao/runtime';
import { ComparisonKey } from '@qiao/security';
import type { DesiredPeer } from '../control/desired.ts';
import { readReading } from './messages.ts';
import type { VerifyPorts } from './ports.ts';
import { comparisonContext, PARTS_MAX } from './sealed.ts';

/** First pause before a question is asked again; it doubles. Large tables take their time, so the same number is no second question. */
const ASK_AGAIN_MS = 5_000;
const ASK_AGAIN_MOST_MS = 60_000;
/** Pause before a lane that was behind is asked anew. */
const BEHIND_MS = 1_000;

export interface Place {
  readonly laneId: Uint8Array;
  readonly jobId: Uint8Array;
}

interface Awaited {
  readonly number: number;
  readonly parts: (Uint8Array | undefined)[];
  problem: QiaoError | undefined;
}

export class Conversation {
  readonly key: ComparisonKey;
  readonly #ports: VerifyPorts;
  readonly #place: Place;
  readonly #peer: DesiredPeer;
  readonly #expiresAtMs: number;
  readonly #sealedKey: { readonly body: Uint8Array; readonly wrappedKey: Uint8Array };
  readonly #answered: Wakeup = createWakeup();
  #number = 0;
  #awaited: Awaited | undefined;

  private constructor(
    ports: VerifyPorts,
    place: Place,
    peer: DesiredPeer,
    expiresAtMs: number,
    key: ComparisonKey,
    sealedKey: { readonly body: Uint8Array; readonly wrappedKey: Uint8Array },
  ) {
    this.#ports = ports;
    this.#place = place;
    this.#peer = peer;
    this.#expiresAtMs = expiresAtMs;
    this.key = key;
    this.#sealedKey = sealedKey;
  }

  /** Makes a fresh comparison key and seals it for the receiver. Throws SEALING_KEY_INVALID. */
  static async begin(ports: VerifyPorts, place: Place, peer: DesiredPeer, expiresAtMs: number): Promise<Conversation> {
    const secret = ports.newSecret();
    const sealed = await ports.sealing.seal(secret, peer.sealingKey, comparisonContext(place, 0));
    return new Conversation(ports, place, peer, expiresAtMs, new ComparisonKey(secret), sealed);
  }

  /**
   * Asks and waits. A lane that is behind is asked anew until it has caught up. `onWait` is told at each pause without an answer what is
   * waited for. Throws the receiver's problem, or JOB_EXPIRED; JOB_STOPPED (transient) when the signal aborts.
   */
  async ask(question: VerifyQuestion, signal: AbortSignal, onWait: (until: string) => void): Promise<VerifyReading> {
    for (;;) {
      try {
        return await this.#askOnce(question, signal, onWait);
      } catch (error) {
        if (!(error instanceof QiaoError) || error.code !== 'LANE_BEHIND') throw error;
        onWait('until the lane has caught up');
        await this.#ports.clock.sleep(BEHIND_MS, signal);
      }
    }
  }

  /** An answer whose author was verified. What nobody waits for is dropped. */
  take(answer: VerifyAnswer): void {
    const awaited = this.#awaited;
    if (awaited === undefined || answer.number !== awaited.number) return;
    if (answer.code !== '') {
      awaited.problem = new DestinationProblem(answer);
    } else {
      const { part, parts } = answer;
      if (parts < 1 || parts > PARTS_MAX || part >= parts) return;
      // A reading that was asked for twice may come twice, cut otherwise: the newer one counts.
      if (awaited.parts.length !== parts)
        awaited.parts.splice(0, awaited.parts.length, ...Array.from({ length: parts }, () => undefined));
      awaited.parts[part] = answer.reading;
    }
    this.#answered.wake();
  }

  async #askOnce(
    question: VerifyQuestion,
    signal: AbortSignal,
    onWait: (until: string) => void,
  ): Promise<VerifyReading> {
    const { clock } = this.#ports;
    this.#number += 1;
    const awaited: Awaited = { number: this.#number, parts: [], problem: undefined };
    this.#awaited = awaited;
    const message = this.#message(question);
    for (let pauseMs = ASK_AGAIN_MS; ; pauseMs = Math.min(pauseMs * 2, ASK_AGAIN_MOST_MS)) {
      this.#send(message);
      const untilMs = clock.elapsedMs() + pauseMs;
      while (clock.elapsedMs() < untilMs) {
        if (signal.aborted) throw new QiaoError('JOB_STOPPED', 'the agent is stopping', { fate: 'transient' });
        if (clock.nowMs() > this.#expiresAtMs) throw this.#expired();
        if (awaited.problem !== undefined) throw awaited.problem;
        const reading = this.#open(awaited, question);
        if (reading !== undefined) return reading;
        await this.#answered.wait(Math.max(1, untilMs - clock.elapsedMs()), signal);
      }
      onWait('until the destination answers');
    }
  }

  #message(question: VerifyQuestion): Uint8Array {
    const { laneId, jobId } = this.#place;
    const sealed = this.key.seal(
      'question',
      VerifyQuestion.encode(question).finish(),
      comparisonContext(this.#place, this.#number),
    );
    const message = ControlMessage.fromPartial({
      toNodeId: Buffer.from(this.#peer.nodeId, 'hex'),
      body: {
        $case: 'verifyRequest',
        value: {
          laneId,
          jobId,
          number: this.#number,
          sealedKey: this.#sealedKey.body,
          wrappedKey: this.#sealedKey.wrappedKey,
          sealing: this.#ports.sealing.name,
          question: sealed,
          expiresAtMs: BigInt(this.#expiresAtMs),
        },
      },
    });
    return ControlMessage.encode(message).finish();
  }

  #send(message: Uint8Array): void {
    const { database, clock } = this.#ports;
    // One topic for the lane: a question that still waits for the bus is replaced by the newer one.
    database.controlOut.add(message, clock.nowMs(), `verify:${idText(this.#place.laneId)}`);
    this.#ports.onQueued();
  }

  #open({ number, parts }: Awaited, question: VerifyQuestion): VerifyReading | undefined {
    if (parts.length === 0 || parts.some((part) => part === undefined)) return undefined;
    const opened = (parts as Uint8Array[]).map((part, index) =>
      this.key.open('reading', part, comparisonContext(this.#place, number, index, parts.length)),
    );
    return readReading(Buffer.concat(opened), question);
  }

  #expired(): QiaoError {
    return new QiaoError('JOB_EXPIRED', 'the destination did not answer in time', {
      hint: 'qiao monitor nodes  # is it there? then ask again',
    });
  }
}

/** What the destination says of itself, within the limits of the contract: an operator reads it, no log does. */
export class DestinationProblem extends QiaoError {
  constructor({ code, message, hint }: Pick<VerifyAnswer, 'code' | 'message' | 'hint'>) {
    super(CODE.test(code) ? code : 'DESTINATION_FAILED', message.slice(0, 1_000), {
      hint: hint.slice(0, 200),
      fate: TRANSIENT.has(code) ? 'transient' : 'permanent',
    });
  }
}

const CODE = /^[A-Z][A-Z0-9_]{2,63}$/;

/** Problems of a destination that pass by themselves. */
const TRANSIENT: ReadonlySet<string> = new Set(['LANE_BEHIND', 'EPOCH_MOVED', 'TARGET_UNREACHABLE']);
