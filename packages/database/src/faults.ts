// Owns what a failure of a store means: it is away or cannot work now (the same statement may pass later), or it refuses the
// value that it was given (the same statement fails for ever).

import { QiaoError } from '@qiao/exchange';

/** SQLSTATE of a server that goes, is full, was cut off, or lets another go first. */
const PASSING = /^(08|53|57|58|40001|40P01|55P03|25P0[23]|25006|XX000)/;
/** SQLSTATE of values: data exceptions, constraints, more than fits. */
const REFUSED = /^(22|23|54)/;

/** The error as hub and monitor see it: away is a QiaoError with a fate, everything else goes through untouched. */
export function postgresError(error: unknown, address: string, isCommit = false): unknown {
  if (error instanceof QiaoError || !isPassing(error)) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return isCommit
    ? new QiaoError('DATABASE_COMMIT_UNKNOWN', `${address} did not answer a commit: ${reason}`, {
        fate: 'ambiguous',
        hint: 'ask for the present state before trying again',
        cause: error,
      })
    : new QiaoError('DATABASE_UNAVAILABLE', `${address} cannot work now: ${reason}`, {
        fate: 'transient',
        hint: 'is PostgreSQL running, reachable, and has it room?',
        cause: error,
      });
}

/** A connection that broke carries no SQLSTATE, or one of a server that goes. */
export function isPassing(error: unknown): boolean {
  const state = sqlState(error);
  return state === undefined ? error instanceof Error : PASSING.test(state);
}

/** The store works and refuses a value: a constraint, a number out of range, a text that it cannot hold. */
export function isValueRefused(error: unknown): boolean {
  const state = sqlState(error);
  if (state !== undefined) return REFUSED.test(state);
  return /^SQLITE_(CONSTRAINT|MISMATCH|TOOBIG)/.test(codeOf(error));
}

/** The store itself failed (away, full, locked …), whatever it was given. */
export function isStoreFault(error: unknown): boolean {
  if (error instanceof QiaoError) return /^DATABASE_(UNAVAILABLE|COMMIT_UNKNOWN)$/.test(error.code);
  if (isValueRefused(error)) return false;
  return sqlState(error) !== undefined || codeOf(error).startsWith('SQLITE_');
}

function sqlState(error: unknown): string | undefined {
  const code = codeOf(error);
  return /^[0-9A-Z]{5}$/.test(code) && error instanceof Error && 'severity' in error ? code : undefined;
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
