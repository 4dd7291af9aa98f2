// Logging: a line is a fixed sentence with fields. Row contents and secrets never reach it; the redaction list below is the
// second fence, for a field somebody named carelessly.

import { type DestinationStream, type Logger, pino } from 'pino';

export type Log = Logger;

export interface LogOptions {
  /** What the process is: "hub", "agent", "monitor" or "cli". */
  readonly component: string;
  /** pino's levels; `info` when not given. */
  readonly level?: string;
  /** Where the lines go; standard error when not given, so that standard output stays for answers. */
  readonly destination?: DestinationStream;
}

/** Field names that are never printed, at the top of a line and one object below. */
const SECRET_FIELDS = [
  'password',
  'passphrase',
  'secret',
  'token',
  'seed',
  'jwt',
  'credentials',
  'authorization',
  'cookie',
  'privateKey',
  'keyPem',
  'url',
  'connectionString',
  'row',
  'rows',
  'line',
  'fields',
  'content',
  'body',
];

export function createLog({ component, level = 'info', destination }: LogOptions): Log {
  return pino(
    {
      level,
      base: { component },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`]), censor: '[redacted]' },
    },
    destination ?? pino.destination({ fd: 2, sync: true }),
  );
}

let silent: Log | undefined;

/** The log that says nothing, for tests and one-shot commands. There is one: to make a log costs more than much that is given one. */
export function silentLog(): Log {
  silent ??= pino({ level: 'silent' });
  return silent;
}
