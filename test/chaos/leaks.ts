// Rows stay in the databases of the two ends, keys in the files that hold them, passwords nowhere in clear. After its seeds everything that a stage wrote is
// searched for seeded names and for every key, password and token of the platform: as bytes, hexadecimal, base64 and JSON's escapes.
// A search that finds nothing proves little, so each one must find again what is planted before it.

import { createPrivateKey, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { readToken } from '@qiao/security';
import { WITNESS_NAME, WITNESS_NOTE } from './schema.ts';
import type { Stage } from './stage.ts';

/** Something that may be read in its own places alone. */
export interface Witness {
  /** What it is; never its value. */
  readonly what: string;
  readonly value: Uint8Array;
  /** Paths below the searched directory where it belongs. */
  readonly home: RegExp;
}

/** Business databases, and what the agents keep to exchange. */
const ROWS_LIVE = /^business\/|^[a-z]+\/exchange(-tables)?\.db/;
const NOWHERE = /^(?!)/;
const DRILL_FILE = 'leak-drill.log';
/** Where a process that crashes leaves its memory. */
const CRASH_FILES = /^(core|report)\b/;
const QUESTIONS: readonly (readonly string[])[] = [
  ['reconcile', '--json'],
  ['quarantine', 'list', '--json'],
  ['audit', 'list', '--json'],
  ['bridge', 'show', 'no-such-bridge'],
];

/** Sentences about what is readable where it does not belong; `said` are texts of the run, such as timelines. */
export async function whatLeaked(stage: Stage, said: readonly string[]): Promise<string[]> {
  const witnesses = witnessesOf(stage);
  const search = new Search(witnesses);
  const found = new Set<string>();
  const look = (where: string, bytes: Uint8Array) => {
    for (const { what } of search.in(bytes, where)) found.add(`${what} is readable in ${where}`);
  };
  const answers = await Promise.all(QUESTIONS.map((words) => stage.platform.tryQiao(...words)));
  for (const [index, { stdout, stderr }] of answers.entries())
    look(`the answer to qiao ${QUESTIONS[index]?.join(' ')}`, Buffer.from(stdout + stderr));
  look('the timelines', Buffer.from(said.join('\n')));
  for (const { subject, data } of stage.tap.heard('')) look(`a message on ${subject}`, data);
  for (const name of readdirSync(process.cwd()).filter((file) => CRASH_FILES.test(file))) {
    look(name, readFileSync(name));
  }
  for (const sentence of leaksIn(stage.directory, witnesses)) found.add(sentence);
  return [...found, ...missedDrill(stage.directory, witnesses)];
}

/** Every file below the directory. */
export function leaksIn(directory: string, witnesses: readonly Witness[]): string[] {
  const search = new Search(witnesses);
  return filesBelow(directory).flatMap((file) => {
    const where = relative(directory, file);
    return search.in(contentsOf(file), where).map(({ what }) => `${what} is readable in ${where}`);
  });
}

/** Plants every witness in every form, one after another, and says what the search does not find. */
function missedDrill(directory: string, witnesses: readonly Witness[]): string[] {
  const file = join(directory, DRILL_FILE);
  const search = new Search(witnesses);
  try {
    return witnesses.flatMap(({ what, value }) =>
      formsOf(value).flatMap(({ form, bytes }) => {
        writeFileSync(file, Buffer.concat([randomBytes(7), bytes, randomBytes(7)]));
        const isFound = search.in(readFileSync(file), DRILL_FILE).some((leak) => leak.what === what);
        return isFound ? [] : [`the search for leaks does not find ${what} as ${form}: it proves nothing`];
      }),
    );
  } finally {
    rmSync(file, { force: true });
  }
}

export interface Form {
  readonly form: string;
  readonly bytes: Buffer;
}

/** How a value may come to be written. */
export function formsOf(value: Uint8Array): Form[] {
  const raw = Buffer.from(value);
  const hex = raw.toString('hex');
  const forms: Form[] = [
    { form: 'bytes', bytes: raw },
    { form: 'hexadecimal', bytes: Buffer.from(hex) },
    { form: 'HEXADECIMAL', bytes: Buffer.from(hex.toUpperCase()) },
  ];
  // Inside a longer text base64 depends on where it begins; what its neighbours decide is left out.
  for (const before of [0, 1, 2]) {
    const whole = Buffer.concat([Buffer.alloc(before), raw]);
    const first = Math.ceil((before * 8) / 6);
    const last = Math.floor((whole.length * 8) / 6);
    for (const encoding of ['base64', 'base64url'] as const) {
      forms.push({
        form: `${encoding} after ${before}`,
        bytes: Buffer.from(whole.toString(encoding).slice(first, last)),
      });
    }
  }
  const text = raw.toString('utf8');
  if (Buffer.from(text).equals(raw)) {
    const escaped = text.replace(/[^\x20-\x7e]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
    forms.push({ form: 'JSON', bytes: Buffer.from(escaped) }, { form: 'UTF-16', bytes: Buffer.from(text, 'utf16le') });
  }
  return forms;
}

/** Many needles at once: the first two bytes choose the few that are compared. */
class Search {
  readonly #byPrefix: ({ readonly bytes: Buffer; readonly witness: Witness }[] | undefined)[] = [];

  constructor(witnesses: readonly Witness[]) {
    for (const witness of witnesses) {
      for (const { bytes } of formsOf(witness.value)) {
        const prefix = bytes.readUInt16LE(0);
        (this.#byPrefix[prefix] ??= []).push({ bytes, witness });
      }
    }
  }

  /** Witnesses that are in these bytes and do not belong there. */
  in(bytes: Uint8Array, where: string): Witness[] {
    const found = new Set<Witness>();
    const byPrefix = this.#byPrefix;
    for (let at = 0; at + 1 < bytes.length; at += 1) {
      const candidates = byPrefix[(bytes[at] as number) | ((bytes[at + 1] as number) << 8)];
      if (candidates === undefined) continue;
      for (const { bytes: needle, witness } of candidates) {
        if (found.has(witness) || at + needle.length > bytes.length) continue;
        if (needle.compare(bytes, at, at + needle.length) === 0 && !witness.home.test(where)) found.add(witness);
      }
    }
    return [...found];
  }
}

/** The seeded names, and every secret that the platform's files hold. */
function witnessesOf(stage: Stage): Witness[] {
  const witnesses: Witness[] = [WITNESS_NAME, WITNESS_NOTE].map((text) => ({
    what: 'a row’s value',
    value: Buffer.from(text),
    home: ROWS_LIVE,
  }));
  for (const [node, password] of stage.passwords) {
    // In agent.yaml it stands encrypted.
    witnesses.push({ what: `a password of ${node}`, value: Buffer.from(password), home: NOWHERE });
  }
  for (const [index, token] of stage.platform.invited.entries()) {
    witnesses.push({ what: `join token ${index}`, value: Buffer.from(token), home: NOWHERE });
    witnesses.push({ what: `the secret of join token ${index}`, value: readToken(token).secret, home: NOWHERE });
  }
  for (const file of filesBelow(stage.directory)) {
    const where = relative(stage.directory, file);
    const home = new RegExp(`^${where.replaceAll('.', '\\.')}$`);
    for (const value of secretsIn(where, file)) witnesses.push({ what: `the secret of ${where}`, value, home });
  }
  return witnesses;
}

function secretsIn(where: string, file: string): Buffer[] {
  if (where.endsWith('.seed')) return [Buffer.from(readFileSync(file, 'utf8').trim())];
  if (/\/(key\.pem|authority\.key)$/.test(where)) {
    const { d } = createPrivateKey(readFileSync(file)).export({ format: 'jwk' });
    return [Buffer.from(String(d), 'base64url')];
  }
  if (/\/(host|rows|masking)\.key$/.test(where)) return [Buffer.from(readFileSync(file, 'utf8').trim(), 'base64')];
  if (where.endsWith('/sealing.key')) {
    const { privateKey } = JSON.parse(readFileSync(file, 'utf8')) as { privateKey: string };
    return [Buffer.from(privateKey, 'base64')];
  }
  return [];
}

/** A store that runs drops files meanwhile. */
function contentsOf(file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return Buffer.alloc(0);
  }
}

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map((name) => join(directory, name))
    .filter((file) => statSync(file, { throwIfNoEntry: false })?.isFile() === true);
}
