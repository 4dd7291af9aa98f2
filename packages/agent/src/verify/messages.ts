/**
 * What the two ends of a comparison tell each other under its key, read and proven: the other department's bytes may be anything.
 * What is refused is refused with a code, and nothing of it is quoted.
 */
import { VerifyQuestion, VerifyReading, type VerifyRow } from '@qiao/contract/verify';
import { BUCKET_BITS_MAX, checkRows, QiaoError, readMessage, SECTION_MAX_COLUMNS } from '@qiao/exchange';

/** Rows that one reading names. */
export const MOST_ROWS = 250_000;

const HASH_BYTES = 16;
const TEXT_BYTES = 32;
/** With the question itself, its epoch and its buckets. */
const MOST_IN_QUESTION = SECTION_MAX_COLUMNS + 3;
/** With the reading itself and its epoch. */
const MOST_IN_READING = MOST_ROWS + 2;
const LF = Buffer.from('\n');
const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);

/** Throws QUESTION_INVALID. */
export function readQuestion(bytes: Uint8Array): VerifyQuestion {
  const refuse = invalid('QUESTION_INVALID', 'question');
  const question = decoded(() => readMessage(VerifyQuestion, bytes, 'question', MOST_IN_QUESTION), refuse);
  const { columns, keyColumns, compared, epoch, afterSequence, what } = question;
  if (columns.length === 0 || keyColumns > columns.length) throw refuse('a key of more columns than there are');
  const names = new Set(columns.map(({ name }) => name));
  if (names.size < columns.length || !compared.every((name) => names.has(name)))
    throw refuse('columns that do not match');
  if ((epoch?.ordinal ?? 0n) > MAX_SAFE || afterSequence > MAX_SAFE) throw refuse('a place past 2^53');
  if (what?.$case === 'sums' || what?.$case === 'rows') {
    const { bits, buckets } = what.value;
    if (bits > BUCKET_BITS_MAX || !buckets.every((bucket) => bucket < 2 ** bits))
      throw refuse('buckets past their limit');
  }
  return question;
}

/** The answer to `question`. Throws READING_INVALID. */
export function readReading(bytes: Uint8Array, question: VerifyQuestion): VerifyReading {
  const refuse = invalid('READING_INVALID', 'reading');
  const reading = decoded(() => readMessage(VerifyReading, bytes, 'reading', MOST_IN_READING), refuse);
  if (reading.openKeys.length % HASH_BYTES !== 0) throw refuse('hashes of keys of another length');
  if (reading.text.length !== 0 && reading.text.length !== TEXT_BYTES) throw refuse('a digest of another length');
  if (reading.rowsRead > MAX_SAFE || reading.unreadable > MAX_SAFE) throw refuse('a count past 2^53');
  for (const row of reading.rows) proveRow(row, question, refuse);
  return reading;
}

function proveRow(row: VerifyRow, { columns, keyColumns, what }: VerifyQuestion, refuse: Refuse): void {
  if (row.keyHash.length !== HASH_BYTES || row.digest.length !== HASH_BYTES) throw refuse('a hash of another length');
  const isAsked = what?.$case === 'rows' && row.bucket < 2 ** what.value.bits;
  if (!isAsked) throw refuse('rows that were not asked for');
  if (row.key.length === 0) return;
  // A key that the comparison finds to be gone travels as a delete: it must be row text of the key's columns.
  const fields = keyColumns === 0 ? columns.length : keyColumns;
  let lines: number;
  try {
    lines = checkRows(Buffer.concat([row.key, LF]), fields);
  } catch {
    throw refuse('a key that is no row text');
  }
  if (lines !== 1) throw refuse('a key that is no row text');
}

type Refuse = (found: string) => QiaoError;

function invalid(code: string, kind: string): Refuse {
  return (found) =>
    new QiaoError(code, `found ${found} in the ${kind} of a comparison`, {
      hint: 'compare the versions of both ends: qiao node list',
    });
}

function decoded<T>(decode: () => T, refuse: Refuse): T {
  try {
    return decode();
  } catch {
    throw refuse('bytes that cannot be read');
  }
}
