/**
 * What a failure of such a server means for a bridge. Each adapter decides by number which kind it is; messages of servers quote values of
 * rows, so that only numbers, and names that we have asked for ourselves, leave.
 */
import { QiaoError } from '@qiao/exchange';

export type FailureKind = 'unreachable' | 'lost' | 'tls' | 'login' | 'rights' | 'busy' | 'tooOld' | 'data' | 'schema';

/** `what` is the server's own number or the driver's code: `error 18456`, `ORA-01017`. */
export function failure(kind: FailureKind, what: string, hint?: string): QiaoError {
  const [code, message, usual, fate] = WORDS[kind];
  return new QiaoError(code, `${message} (${what})`, { hint: hint ?? usual, fate, cause: new Error(what) });
}

const WORDS: Readonly<Record<FailureKind, readonly [string, string, string, 'transient' | 'permanent']>> = {
  unreachable: [
    'SOURCE_UNAVAILABLE',
    'the database cannot be reached',
    'check that the server runs and that host and port of the data source are open',
    'transient',
  ],
  lost: ['SOURCE_UNAVAILABLE', 'the connection was cut', 'see the log of the database server', 'transient'],
  tls: [
    'SOURCE_TLS_REFUSED',
    'no connection by TLS came about',
    "compare `tls` of the data source with the server's certificate, or write `tls: disable` if the network is trusted",
    'permanent',
  ],
  login: [
    'SOURCE_RIGHTS',
    'the database refused the login',
    'check user, password and database of the data source',
    'permanent',
  ],
  rights: [
    'SOURCE_RIGHTS',
    'the user of the data source lacks a right',
    'qiao bridge check -f FILE lists what is missing with its GRANT',
    'permanent',
  ],
  busy: ['SOURCE_BUSY', 'the database cannot do this at the moment', 'it is tried again', 'transient'],
  tooOld: [
    'SOURCE_BUSY',
    'the database no longer has the rows as they were when the reading began',
    'let it keep them for longer, or share fewer rows',
    'transient',
  ],
  data: [
    'SOURCE_DATA',
    'the source cannot read its own rows',
    'look for an expression of a view that fails',
    'permanent',
  ],
  schema: [
    'SOURCE_SCHEMA',
    'the database refuses the statement',
    'the table no longer is what the bridge was checked against: qiao bridge check -f FILE',
    'permanent',
  ],
};

/** A driver's failure before any server answered, by the code of the system or of TLS; undefined for what is none. */
export function networkFailure(code: string): QiaoError | undefined {
  if (/^E(CONN|HOST|NET|NOTFOUND|TIMEDOUT|PIPE|AI_)/.test(code)) return failure('unreachable', code);
  return /CERT|SIGNED|ALTNAME|_TLS_|SSL/.test(code) ? failure('tls', code) : undefined;
}
