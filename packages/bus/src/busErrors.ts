/**
 * The fate of a failure on the bus, decided here where the NATS error is still known. Everybody else sees QiaoErrors.
 */
import { QiaoError } from '@qiao/exchange';
import { NatsError } from 'nats';

/** nats.js codes that mean "the server took us off", whatever we were doing. */
const CONNECTION_CODES = new Set(['CONNECTION_CLOSED', 'CONNECTION_DRAINING', 'CONNECTION_REFUSED', 'DISCONNECT']);

/** JetStream `err_code` of a write that found no room: store failed, account limit, server storage, server memory. */
const FULL_ERR_CODES = new Set([10077, 10002, 10047, 10028, 10023]);

/** Where a request was when it failed: a publish that may have reached the stream is ambiguous, and is named so. */
export type Asking = 'publish' | 'request';

export function unreachable(why: string): QiaoError {
  return new QiaoError('BUS_UNREACHABLE', `the bus is away: ${why}`, {
    fate: 'transient',
    hint: 'qiao agent diagnose',
  });
}

export function closedError(): QiaoError {
  return new QiaoError('BUS_CLOSED', 'the bus connection was closed by this process');
}

/** The connection was lost after the message went out and before the answer came. */
export function interrupted(asking: Asking, subject: string): QiaoError {
  return asking === 'publish'
    ? new QiaoError('PUBLISH_INTERRUPTED', `the connection broke before ${subject} was acknowledged`, {
        fate: 'ambiguous',
      })
    : new QiaoError('REQUEST_INTERRUPTED', `the connection broke before ${subject} answered`, { fate: 'ambiguous' });
}

/** Turns what nats.js threw into a QiaoError; a QiaoError goes through untouched. */
export function busError(error: unknown, asking: Asking, subject: string): QiaoError {
  if (error instanceof QiaoError) return error;
  if (!(error instanceof NatsError)) {
    return new QiaoError('BUS_FAILED', `the bus client failed on ${subject}`, { fate: 'transient', cause: error });
  }
  const code = error.code;
  if (code === 'PERMISSIONS_VIOLATION') return deniedError(subject, error);
  if (code === 'TIMEOUT') {
    return asking === 'publish'
      ? new QiaoError('PUBLISH_TIMED_OUT', `no acknowledgement for ${subject} in time`, {
          fate: 'ambiguous',
          cause: error,
        })
      : new QiaoError('REQUEST_TIMED_OUT', `no answer on ${subject} in time`, { fate: 'ambiguous', cause: error });
  }
  if (code === '503') {
    return asking === 'publish'
      ? new QiaoError('STREAM_MISSING', `no stream keeps ${subject}; the hub makes it again`, {
          fate: 'transient',
          cause: error,
        })
      : new QiaoError('NO_RESPONDER', `nobody answers on ${subject}`, { fate: 'transient', cause: error });
  }
  if (code === 'MAX_PAYLOAD_EXCEEDED') return tooLarge(subject, undefined);
  if (CONNECTION_CODES.has(code)) return unreachable(code);
  return new QiaoError('BUS_FAILED', `the bus answered ${code} on ${subject}`, { fate: 'transient', cause: error });
}

export function deniedError(subject: string, cause?: unknown): QiaoError {
  return new QiaoError('BUS_DENIED', `the credentials of this process do not reach ${subject}`, {
    hint: 'qiao node show CODE, then join again',
    cause,
  });
}

export function tooLarge(subject: string, sizes: { found: number; allowed: number } | undefined): QiaoError {
  const facts = sizes === undefined ? '' : `: ${sizes.found} bytes found, at most ${sizes.allowed} expected`;
  return new QiaoError('MESSAGE_TOO_LARGE', `the message for ${subject} is too large for the bus${facts}`);
}

/** The error object inside a JetStream answer. */
export interface ApiError {
  readonly code: number;
  readonly err_code?: number;
  readonly description?: string;
}

/** A stream refused to store. A full down stream is one node's share, never a fault of the bus. */
export function storeError(subject: string, error: ApiError): QiaoError {
  const description = error.description ?? `code ${error.code}`;
  if (FULL_ERR_CODES.has(error.err_code ?? 0) || /maximum (bytes|messages) exceeded/.test(description)) {
    if (subject.startsWith('qiao.down.') && /maximum (bytes|messages) exceeded/.test(description)) {
      return new QiaoError('NODE_SHARE_FULL', `the share of the node behind ${subject} is full`, { fate: 'transient' });
    }
    return new QiaoError('STREAM_FULL', `the stream of ${subject} takes no more: ${description}`, {
      fate: 'transient',
    });
  }
  return new QiaoError('STREAM_REFUSED', `the stream of ${subject} refused: ${description}`, { fate: 'transient' });
}

/** An error as the other side wrote it into the headers of its answer: percent-encoded texts. */
interface AnsweredError {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
  readonly fate: string;
}

/** The error that a responder answered. It wrote the headers, so they may hold anything. */
export function answeredError({ code, message, hint, fate }: AnsweredError): QiaoError {
  return new QiaoError(/^[A-Z][A-Z0-9_]{0,63}$/.test(code) ? code : 'REQUEST_FAILED', decoded(message), {
    hint: decoded(hint),
    fate: fate === 'transient' || fate === 'ambiguous' ? fate : 'permanent',
  });
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return 'the other side failed and its words cannot be read';
  }
}
