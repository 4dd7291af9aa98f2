/** What a failure of 达梦, or of its driver, means for a bridge: decided by number , as far as numbers are known here, never by message text. */
import { QiaoError } from '@qiao/exchange';
import { type FailureKind, failure, networkFailure } from '../source-only/failure.ts';

const KINDS: Readonly<Record<number, FailureKind>> = {
  [-2501]: 'login',
  [-2502]: 'login',
  [-5501]: 'rights',
  [-5502]: 'rights',
  [-5503]: 'rights',
  [-5504]: 'rights',
  [-5505]: 'rights',
  [-5506]: 'rights',
  [-5567]: 'rights',
  [-6403]: 'busy',
  [-6407]: 'busy',
  [-6509]: 'busy',
  [-7120]: 'tooOld',
  6001: 'unreachable',
  6007: 'lost',
  6060: 'unreachable',
};

/** The login's own encryption, which the OpenSSL of newer Nodes no longer has. */
const LOGIN_CIPHER = 6071;

/** A QiaoError with its fate. One that is already classified passes through. Never throws. */
export function classify(error: unknown): QiaoError {
  if (error instanceof QiaoError) return error;
  const {
    code,
    errorNum,
    errCode,
    message = '',
  } = (error ?? {}) as Record<'code' | 'errorNum' | 'errCode', string | number | undefined> & { message?: string };
  const network = networkFailure(String(code ?? ''));
  if (network !== undefined) return network;
  // The driver writes the number in brackets in front of its message; nothing behind it is read.
  const number = Number(errCode ?? errorNum ?? /^\[(-?\d+)\]/.exec(message)?.[1] ?? Number.NaN);
  if (Number.isNaN(number)) return failure('lost', code === undefined ? 'no code' : String(code));
  if (number === LOGIN_CIPHER) {
    return failure(
      'tls',
      `error ${number}`,
      'the login is encrypted with a cipher that Node needs NODE_OPTIONS=--openssl-legacy-provider for',
    );
  }
  return failure(KINDS[number] ?? 'schema', `error ${number}`);
}
