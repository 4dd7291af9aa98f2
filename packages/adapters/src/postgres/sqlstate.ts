/**
 * What a failure of PostgreSQL means for a lane, decided by SQLSTATE (manual, appendix A) and never by message text.
 * Messages and details of PostgreSQL may carry values of rows, so they stop here: what leaves names only codes,
 * constraints, tables and columns.
 */

import { QiaoError } from '@qiao/exchange';
import { RowRefusal } from '../sectionPort.ts';

/** A failure that belongs to single rows: a value or a constraint. `line` is the 1-based line of a COPY, when known. */
export class RowError extends RowRefusal {
  readonly sqlState: string;
  readonly code: string;
  readonly line: number | undefined;

  constructor(fields: ServerFields) {
    super(rowReason(fields));
    this.name = 'RowError';
    this.sqlState = fields.code ?? '';
    this.code = this.sqlState.startsWith('22') ? 'VALUE_INVALID' : (ROW_CODES[this.sqlState] ?? this.sqlState);
    const line = /^COPY [^\n]*?, line (\d+)/.exec(fields.where ?? '')?.[1];
    this.line = line === undefined ? undefined : Number(line);
  }

  /** Another order of the same rows may satisfy the constraint. */
  get isIntegrity(): boolean {
    return this.sqlState.startsWith('23');
  }
}

/** The parts of pg's DatabaseError that are read here. */
export interface ServerFields {
  code?: string;
  where?: string;
  constraint?: string;
  column?: string;
  table?: string;
  message?: string;
}

const ROW_CODES: Readonly<Record<string, string>> = {
  '23502': 'NOT_NULL',
  '23503': 'FOREIGN_KEY',
  '23505': 'UNIQUE',
  '23514': 'CHECK',
  '44000': 'CHECK',
};

/** Which end a failure happened at; it names the codes. */
export type Side = 'SOURCE' | 'TARGET';

/**
 * A RowError when single rows are to blame, else a QiaoError with its fate. Errors that are already classified pass
 * through. Never throws.
 */
export function classify(error: unknown, side: Side): QiaoError | RowError {
  if (error instanceof QiaoError || error instanceof RowError) return error;
  const fields = (typeof error === 'object' && error !== null ? error : {}) as ServerFields;
  const state = fields.code ?? '';
  const safeCause = new Error(state === '' ? 'no SQLSTATE' : `code ${state}`);
  const isServerState = /^[0-9A-Z]{5}$/.test(state) && !state.startsWith('E');
  if (!isServerState) {
    if (/does not support SSL/i.test(fields.message ?? '')) {
      return new QiaoError(
        `${side}_TLS_REFUSED`,
        'the database server does not offer TLS, which the data source asks for',
        {
          hint: 'switch on ssl in postgresql.conf, or write `tls: disable` in the data source if the network is trusted',
          cause: safeCause,
        },
      );
    }
    // Before any server's message: the driver gives these no code.
    if (/^SASL: Only mechanism|^Unknown authenticationOk/.test(fields.message ?? '')) {
      return new QiaoError(
        `${side}_RIGHTS`,
        'the database asks for the password in a way of its own, which is not spoken here: scram-sha-256 and md5 are',
        {
          hint: 'as a DBA of openGauss and its kin: password_encryption_type = 1, set the password of the account anew, and write md5 for it in pg_hba.conf',
          cause: safeCause,
        },
      );
    }
    if (/CERT|SIGNED|ALTNAME|TLS/.test(state)) {
      return new QiaoError(`${side}_TLS_REFUSED`, `the database server's certificate is not accepted (${state})`, {
        hint: "compare `tls.ca` of the data source with the server's certificate authority",
        cause: safeCause,
      });
    }
    return new QiaoError(`${side}_UNAVAILABLE`, `the database cannot be reached${state === '' ? '' : ` (${state})`}`, {
      fate: 'transient',
      hint: 'check that PostgreSQL runs and that host and port of the data source are open',
      cause: safeCause,
    });
  }
  if (isTransient(state)) {
    return new QiaoError(
      `${side}_${transientName(state)}`,
      `the database cannot do this at the moment (SQLSTATE ${state})`,
      {
        fate: 'transient',
        hint: TRANSIENT_HINTS[state] ?? 'it is tried again; see the log of the database server if it stays',
        cause: safeCause,
      },
    );
  }
  if (isRowState(state)) {
    if (side === 'TARGET') return new RowError(fields);
    return new QiaoError('SOURCE_DATA', `the source cannot read its own rows (${rowReason(fields)})`, {
      hint: 'look for characters that its encoding does not have, or an expression of a view that fails',
      cause: safeCause,
    });
  }
  if (state.startsWith('28')) {
    return new QiaoError(`${side}_RIGHTS`, `the database refused the login (SQLSTATE ${state})`, {
      hint: 'check user and password of the data source',
      cause: safeCause,
    });
  }
  if (state === '42501') {
    return new QiaoError(`${side}_RIGHTS`, `the user of the data source lacks a right: ${named(fields)}`, {
      hint: 'qiao bridge check -f FILE lists every missing right with its GRANT',
      cause: safeCause,
    });
  }
  if (side === 'TARGET' && state === '21000') {
    return new QiaoError('TARGET_SCHEMA', 'two different keys of the source are the same key at the target', {
      hint: 'give the key of the target table an exact type and a deterministic collation: qiao bridge check -f FILE',
      cause: safeCause,
    });
  }
  return new QiaoError(`${side}_SCHEMA`, `the database refuses the statement (SQLSTATE ${state}): ${named(fields)}`, {
    hint: 'the table no longer is what the bridge was checked against: qiao bridge check -f FILE',
    cause: safeCause,
  });
}

const NO_DATABASE = 'there is no database of that name now: restore it, or correct `database` of the data source';

const TRANSIENT_HINTS: Readonly<Record<string, string>> = {
  '3D000': NO_DATABASE,
  '57P04': NO_DATABASE,
  '53100': 'the disk of the database server is full: make room',
  '53300': 'the database server has no free connection: raise max_connections or lower other users of it',
  '25006': 'the database is read-only at the moment (a standby?): point the data source to the primary',
  '55P03': 'another session holds a lock on the table: see pg_stat_activity',
  '57014': 'the statement was cancelled or took longer than the limit',
};

/** Connection, resources, shutdown, deadlock, serialization, lock and time limits. */
function isTransient(state: string): boolean {
  return (
    /^(08|40|53|57|58)/.test(state) ||
    state === '3D000' ||
    state === '55P03' ||
    state === '55006' ||
    state === '25006' ||
    state === '25P03' ||
    state === '25P04'
  );
}

function transientName(state: string): 'FULL' | 'BUSY' | 'UNAVAILABLE' {
  if (state === '53100') return 'FULL';
  return /^(40|55)/.test(state) || state === '57014' ? 'BUSY' : 'UNAVAILABLE';
}

/** Data exceptions, integrity, RAISE of a trigger, WITH CHECK OPTION. */
function isRowState(state: string): boolean {
  return /^(22|23)/.test(state) || state === '44000' || state === 'P0001';
}

function rowReason(fields: ServerFields): string {
  return `SQLSTATE ${fields.code ?? '?'}${fields.constraint === undefined ? '' : `, constraint ${fields.constraint}`}${
    fields.column === undefined ? '' : `, column ${fields.column}`
  }`;
}

/** Names out of the server's fields; its message only for schema errors, whose messages carry identifiers, not values. */
function named(fields: ServerFields): string {
  if (fields.code?.startsWith('42')) return fields.message ?? 'no detail';
  return (
    [fields.table, fields.column, fields.constraint].filter((part) => part !== undefined).join(', ') || 'no detail'
  );
}
