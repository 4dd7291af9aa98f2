/** What a failure of SQL Server, or of its driver, means for a bridge: decided by number (manual, Database Engine events and errors), never by message text. */
import { QiaoError } from '@qiao/exchange';
import { type FailureKind, failure, networkFailure } from '../source-only/failure.ts';

const KINDS: Readonly<Record<number, FailureKind>> = {
  ...of('login', [4060, 4064, 18452, 18456, 18470, 18486, 18487, 18488, 40532]),
  ...of('rights', [229, 230, 262, 297, 300, 371, 916, 10010]),
  ...of(
    'busy',
    [701, 1204, 1205, 1222, 3961, 8645, 8651, 9002, 10928, 10929, 40197, 40501, 40613, 49918, 49919, 49920],
  ),
  ...of('tooOld', [3958, 3966, 3967, 3977]),
  ...of('lost', [596, 3980, 6005, 10053, 10054, 17187]),
  ...of('data', [220, 232, 241, 242, 244, 245, 248, 517, 535, 4860, 6522, 8114, 8115, 8134, 8152, 8169, 9420]),
};

/** ALLOW_SNAPSHOT_ISOLATION is off: taken away since the check. */
const NO_SNAPSHOTS = 3952;

interface DriverError {
  readonly code?: string;
  readonly number?: number;
  readonly message?: string;
  readonly cause?: unknown;
  readonly errors?: readonly unknown[];
}

/** A QiaoError with its fate. One that is already classified passes through. Never throws. */
export function classify(error: unknown): QiaoError {
  if (error instanceof QiaoError) return error;
  const { code = '', number, errors = [], cause } = (error ?? {}) as DriverError;
  if (number !== undefined && number > 0) {
    const hint = number === NO_SNAPSHOTS ? 'qiao bridge check -f FILE says what to set' : undefined;
    return failure(KINDS[number] ?? 'schema', `error ${number}`, hint);
  }
  const inner = [cause, ...errors].find((each) => (each as DriverError | undefined)?.code !== undefined);
  const innerCode = (inner as DriverError | undefined)?.code ?? '';
  const network = networkFailure(innerCode);
  if (network !== undefined) return network;
  if (code === 'ELOGIN') return failure('login', code);
  if (code === 'EENCRYPT') return failure('tls', code);
  if (code === 'ETIMEOUT') return failure('busy', code, 'the server did not answer in time');
  if (code === 'ESOCKET' || code === 'EINSTLOOKUP') return failure('unreachable', innerCode === '' ? code : innerCode);
  return failure('lost', code === '' ? 'no code' : code);
}

function of(kind: FailureKind, numbers: readonly number[]): Record<number, FailureKind> {
  return Object.fromEntries(numbers.map((number) => [number, kind]));
}
