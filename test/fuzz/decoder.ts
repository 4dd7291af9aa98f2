// What a fuzzed decoder is: a name, some valid inputs to begin with, and one way in. Two answers are right: a value within all
// stated limits, or a QiaoError with a stable code. Everything else is a finding.

export type InputKind = 'message' | 'text' | 'bytes';

export interface Decoder {
  readonly name: string;
  /** How inputs are built and so how they are mutated: protobuf, text, or bytes without a shape. */
  readonly kind: InputKind;
  /** Valid inputs; mutation begins here and at the corpus. */
  readonly seeds: readonly Uint8Array[];
  /** Words of the language, for `text`. */
  readonly words?: readonly string[];
  /**
   * Decodes and proves the value: limits, and that what is written again is read the same. Returns a short word for what came
   * out, so that inputs with a new outcome are kept. Throws QiaoError for what is refused, anything else for a finding.
   */
  take(input: Uint8Array): string | Promise<string>;
  /** Inputs longer than this are cut. */
  readonly maxBytes?: number;
  /** One input may take this long; default one second. */
  readonly slowMs?: number;
  /** Runs once at the end. */
  close?(): void | Promise<void>;
}

/** A promise of a decoder that an input broke. */
export class Broken extends Error {
  constructor(what: string) {
    super(what);
    this.name = 'Broken';
  }
}

/** Throws Broken unless it holds. */
export function holds(condition: boolean, what: string): void {
  if (!condition) throw new Broken(what);
}
