/** What a failure of Oracle, or of its driver, means for a bridge: decided by number (manual, Database Error Messages), never by message text. */
import { QiaoError } from '@qiao/exchange';
import { type FailureKind, failure, networkFailure } from '../source-only/failure.ts';

const ORA: Readonly<Record<number, FailureKind>> = {
  ...of('login', [1004, 1005, 1017, 1045, 28000, 28001, 28002, 28009, 28040]),
  ...of('rights', [942, 1031, 1720, 2030, 28100, 28108, 28112, 28113, 41900]),
  ...of('busy', [54, 60, 257, 1013, 1652, 4021, 4031, 4036, 8103, 18, 20, 30006, 51]),
  ...of('tooOld', [1555, 1466, 22924]),
  ...of(
    'lost',
    [28, 600, 603, 604, 1012, 1033, 1034, 1089, 1090, 1092, 3113, 3114, 3135, 7445, 12518, 12519, 12520, 12528],
  ),
  ...of('unreachable', [12154, 12170, 12505, 12514, 12521, 12537, 12541, 12543, 12545, 12547]),
  ...of('tls', [28759, 28860, 29019, 29024]),
  ...of('data', [1426, 1427, 1476, 1722, 1801, 1830, 1841, 1843, 1847, 1850, 1858, 1861, 6502, 6512, 29275]),
};

/** The driver's own, where no server has answered. */
const NJS: Readonly<Record<number, FailureKind>> = {
  ...of('unreachable', [503, 504, 510, 511, 518, 519, 530]),
  ...of('lost', [3, 500, 501, 509, 513, 521, 522]),
  ...of('tls', [505, 506, 507, 508]),
  ...of('busy', [40, 76, 123]),
};

/** Encrypted lines of Oracle's own (native network encryption) and versions before 12.1 are beyond the driver without Oracle's client. */
const BEYOND: Readonly<Record<number, string>> = {
  138: 'the server is older than 12.1, which the driver does not speak to: share through the exchange tables of this node',
  533: "the server asks for Oracle's own encryption (SQLNET.ENCRYPTION_SERVER = REQUIRED), which the driver does not have: offer TCPS",
};

/** A QiaoError with its fate. One that is already classified passes through. Never throws. */
export function classify(error: unknown): QiaoError {
  if (error instanceof QiaoError) return error;
  const { code = '', cause } = (error ?? {}) as { code?: string; cause?: { code?: string } };
  const [, family = '', digits = ''] = /^(ORA|NJS|DPY|DPI)-0*(\d+)$/.exec(code) ?? [];
  const number = Number(digits);
  const what = family === '' ? code : `${family}-${digits.padStart(family === 'ORA' ? 5 : 3, '0')}`;
  if (family === 'ORA') return failure(ORA[number] ?? 'schema', what);
  if (family === 'NJS')
    return failure(NJS[number] ?? (BEYOND[number] === undefined ? 'lost' : 'schema'), what, BEYOND[number]);
  return networkFailure(cause?.code ?? code) ?? failure('lost', what === '' ? 'no code' : what);
}

function of(kind: FailureKind, numbers: readonly number[]): Record<number, FailureKind> {
  return Object.fromEntries(numbers.map((number) => [number, kind]));
}
