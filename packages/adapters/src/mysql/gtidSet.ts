/**
 * Sets of transactions as MySQL writes them: `uuid:1-5:7`, and with a tag `uuid:tag:1-3`, separated by commas. What a snapshot has seen is such a set: a
 * transaction is in the log before others see it, and in the set of the executed ones only after.
 */
import { QiaoError } from '@qiao/exchange';

/** Numbers are read up to here exactly; a server counts to 2^63. */
type Interval = readonly [first: bigint, last: bigint];

const SOURCE = /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/;
const TAG = /^[a-z_][a-z\d_]{0,31}$/;
const INTERVAL = /^(\d{1,19})(?:-(\d{1,19}))?$/;

export class GtidSet {
  /** `uuid` or `uuid:tag` → its numbers, rising. */
  readonly #intervals = new Map<string, Interval[]>();

  /** Throws LOG_POSITION_INVALID for what is no set. */
  constructor(text: string) {
    for (const each of text.replaceAll(/\s/g, '').toLowerCase().split(',')) if (each !== '') this.#read(each);
    for (const intervals of this.#intervals.values()) intervals.sort(([a], [b]) => (a < b ? -1 : 1));
  }

  /** `name`: `uuid` or `uuid:tag`. */
  has(name: string, number: bigint): boolean {
    const intervals = this.#intervals.get(name) ?? [];
    let [from, to] = [0, intervals.length];
    while (from < to) {
      const middle = (from + to) >> 1;
      const [first, last] = intervals[middle] as Interval;
      if (number < first) to = middle;
      else if (number > last) from = middle + 1;
      else return true;
    }
    return false;
  }

  /** Tags and numbers of one source: a tag stands for the numbers behind it. */
  #read(text: string): void {
    const [source = '', ...rest] = text.split(':');
    if (!SOURCE.test(source) || rest.length === 0) throw invalid();
    let name = source;
    for (const part of rest) {
      const interval = INTERVAL.exec(part);
      if (interval === null && !TAG.test(part)) throw invalid();
      if (interval === null) name = `${source}:${part}`;
      else {
        const first = BigInt(interval[1] as string);
        const last = interval[2] === undefined ? first : BigInt(interval[2]);
        if (first < 1n || last < first) throw invalid();
        this.#intervals.set(name, [...(this.#intervals.get(name) ?? []), [first, last]]);
      }
    }
  }
}

let readLast: { readonly text: string; readonly set: GtidSet } | undefined;

/** The same set is asked again and again, of one transaction after the other. Throws LOG_POSITION_INVALID. */
export function rememberedSet(text: string): GtidSet {
  if (readLast?.text !== text) readLast = { text, set: new GtidSet(text) };
  return readLast.set;
}

function invalid(): QiaoError {
  return new QiaoError('LOG_POSITION_INVALID', 'found a text that is no set of transactions');
}
