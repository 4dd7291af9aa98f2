/**
 * Callers without a proven certificate, who may join and nothing else. Owns what they may take: how many calls at once, how long
 * a call lasts and how much it says. Everything is decided at the call's headers, before a byte of its message is read.
 */
import { Metadata as GrpcMetadata, type ServerInterceptingCallInterface } from '@grpc/grpc-js';
import { QiaoError } from '@qiao/exchange';
import { Metadata } from 'nice-grpc-common';
import { toServerError } from './problemStatus.ts';

/** Calls at once, in all and of one address; a whole department may stand behind one. */
const MAX_CALLS = 64;
const MAX_CALLS_OF_ADDRESS = 16;
/** A join is a token, a signing request and a few keys. */
const MESSAGE_MAX_BYTES = 64 * 1024;

export interface StrangerRules {
  /** Paths begin with one of these: `/package.Service/`. */
  readonly openServices: readonly string[];
  readonly callMs: number;
}

export class Strangers {
  readonly #rules: StrangerRules;
  readonly #ofAddress = new Map<string, number>();
  #calls = 0;

  constructor(rules: StrangerRules) {
    this.#rules = rules;
  }

  /** Lets a stranger's call begin and returns what to do at its end; undefined when it was answered with a refusal. */
  admit(path: string, call: ServerInterceptingCallInterface): (() => void) | undefined {
    if (!this.#rules.openServices.some((prefix) => path.startsWith(prefix))) {
      refuse(call, certificateRequired());
      return undefined;
    }
    // Without its port: a new connection is not a new address.
    const address = call.getPeer().replace(/:\d+$/, '');
    const ofAddress = this.#ofAddress.get(address) ?? 0;
    if (this.#calls >= MAX_CALLS || ofAddress >= MAX_CALLS_OF_ADDRESS) {
      refuse(
        call,
        new QiaoError('TOO_MANY_STRANGERS', 'too many calls without a certificate are under way', {
          hint: 'call again in a moment',
          fate: 'transient',
        }),
      );
      return undefined;
    }
    this.#calls += 1;
    this.#ofAddress.set(address, ofAddress + 1);
    limitMessage(call);
    const { callMs } = this.#rules;
    const timer = setTimeout(() => refuse(call, tooSlow(callMs)), callMs);
    return () => {
      clearTimeout(timer);
      this.#calls -= 1;
      const left = (this.#ofAddress.get(address) ?? 1) - 1;
      if (left > 0) this.#ofAddress.set(address, left);
      else this.#ofAddress.delete(address);
    };
  }
}

export function certificateRequired(): QiaoError {
  return new QiaoError(
    'CERTIFICATE_REQUIRED',
    'the call came without a certificate that this platform issued and that is valid today',
    {
      hint: 'join first (qiao operator join --token TOKEN), or name the right context: --context DIR',
    },
  );
}

function tooSlow(callMs: number): QiaoError {
  return new QiaoError('CALL_TOO_SLOW', `the call took more than ${callMs} ms; whether it was done is not known`, {
    hint: 'ask the operator whether the token was used',
    fate: 'ambiguous',
  });
}

function refuse(call: ServerInterceptingCallInterface, error: QiaoError): void {
  const trailer = Metadata();
  const { code, details } = toServerError(error, trailer);
  const metadata = new GrpcMetadata();
  for (const [key, values] of trailer) {
    for (const value of values) metadata.add(key, typeof value === 'string' ? value : Buffer.from(value));
  }
  // nice-grpc and grpc-js give the same standard codes two enums.
  // oxlint-disable-next-line typescript/no-unsafe-enum-assignment
  call.sendStatus({ code, details, metadata });
}

/** grpc-js knows one limit for a whole server; that of a single call stands in its decoder, which has no public door. */
function limitMessage(call: ServerInterceptingCallInterface): void {
  const inside = call as { maxReceiveMessageSize?: number; decoder?: { maxReadMessageLength?: number } };
  inside.maxReceiveMessageSize = MESSAGE_MAX_BYTES;
  if (inside.decoder !== undefined) inside.decoder.maxReadMessageLength = MESSAGE_MAX_BYTES;
}
