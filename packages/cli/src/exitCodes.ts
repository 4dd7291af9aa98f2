// The exit codes of `qiao`, documented in docs/cli.md; scripts depend on them, so they never change meaning.

import { QiaoError } from '@qiao/exchange';

export const EXIT = {
  done: 0,
  /** Something nobody foresaw. */
  unexpected: 1,
  /** The command line itself is wrong. */
  usage: 2,
  /** What was given is wrong: a bridge file, a configuration, a token, a name that does not exist. */
  refused: 3,
  /** The hub, the monitor, a node or a data source does not answer. */
  unreachable: 4,
  /** The certificate shown may not do this. */
  notAllowed: 5,
  /** A check found problems: preflight, `bridge check`, `bridge test`, `audit verify`; rows that were refused again: `quarantine replay`. */
  problems: 6,
  /** `reconcile --check`: the books are neither balanced nor explained, somebody whom they need was not heard, or a service is stuck. */
  notBalanced: 7,
} as const;

const BY_CODE: Readonly<Record<string, number>> = {
  UNREACHABLE: EXIT.unreachable,
  HUB_UNREACHABLE: EXIT.unreachable,
  MONITOR_UNREACHABLE: EXIT.unreachable,
  BUS_UNREACHABLE: EXIT.unreachable,
  SOURCE_UNREACHABLE: EXIT.unreachable,
  DATA_SOURCE_UNREACHABLE: EXIT.unreachable,
  NODE_SILENT: EXIT.unreachable,
  UNAUTHENTICATED: EXIT.notAllowed,
  PERMISSION_DENIED: EXIT.notAllowed,
  CERTIFICATE_REQUIRED: EXIT.notAllowed,
  ROLE_REFUSED: EXIT.notAllowed,
  CALLER_REVOKED: EXIT.notAllowed,
  NOT_ALLOWED: EXIT.notAllowed,
  ROW_ACCESS_DENIED: EXIT.notAllowed,
  CERTIFICATE_EXPIRED: EXIT.notAllowed,
  AUDIT_BROKEN: EXIT.problems,
};

/** The exit code for a failure: by its code, else by its fate. */
export function exitCodeOf(error: unknown): number {
  if (!(error instanceof QiaoError)) return EXIT.unexpected;
  return BY_CODE[error.code] ?? (error.fate === 'permanent' ? EXIT.refused : EXIT.unreachable);
}
