// What a plan knows of a source table between two of its transactions: the keys that are there with their codes, those that are gone, those
// that an open transaction holds. Keys and codes are given out once; a code may travel from row to row.

export class Register {
  /** Key to code. */
  #rows = new Map<number, number>();
  #gone = new Set<number>();
  #nextKey: number;
  #nextCode: number;
  #touched = new Set<number>();
  /** Keys of a transaction that is still open: nobody else's. */
  #held: ReadonlySet<number> = new Set();
  /** Keys that had the same code or name, by a key that stands for all of them. */
  readonly #kin = new Map<number, number>();
  readonly #refused = new Set<number>();

  constructor(firstKey: number) {
    this.#nextKey = firstKey;
    this.#nextCode = firstKey;
  }

  get size(): number {
    return this.#rows.size;
  }

  /** Keys that the next transaction may change. */
  get free(): number[] {
    return [...this.#rows.keys()].filter((key) => !this.#held.has(key));
  }

  /** Keys that were deleted and may come back. */
  get gone(): number[] {
    return [...this.#gone].filter((key) => !this.#held.has(key));
  }

  newKey(): number {
    return this.#nextKey++;
  }

  /** A row with this key is there now; gives its new code. */
  put(key: number): number {
    const code = this.#nextCode++;
    this.#set(key, code);
    return code;
  }

  codeOf(key: number): number {
    const code = this.#rows.get(key);
    if (code === undefined) throw new Error(`no row ${key} in this plan`);
    return code;
  }

  /** The row takes a code that another one has or had. */
  take(key: number, code: number, from: number): void {
    this.#set(key, code);
    this.join(key, from);
  }

  /** What was refused under one of these keys may be under the other. */
  join(key: number, other: number): void {
    this.#kin.set(this.#head(key), this.#head(other));
  }

  remove(key: number): void {
    this.#rows.delete(key);
    this.#gone.add(key);
    this.#touched.add(key);
  }

  touch(key: number): void {
    this.#touched.add(key);
  }

  /** The target refuses a version of this row. */
  refuse(key: number): void {
    this.#refused.add(key);
  }

  /** Keys changed since the last call. */
  takeTouched(): ReadonlySet<number> {
    const touched = this.#touched;
    this.#touched = new Set();
    return touched;
  }

  hold(keys: ReadonlySet<number>): void {
    this.#held = keys;
  }

  /** Runs what is undone afterwards: keys and codes that it was given stay its own. */
  undone<T>(act: () => T): T {
    const [rows, gone] = [new Map(this.#rows), new Set(this.#gone)];
    const result = act();
    this.#rows = rows;
    this.#gone = gone;
    return result;
  }

  /** Keys of refused rows, and of all that shared a name or a code with one: what the target keeps of a refused row keeps its code. */
  get refused(): ReadonlySet<number> {
    const heads = new Set([...this.#refused].map((key) => this.#head(key)));
    return new Set([
      ...this.#refused,
      ...[...this.#kin.keys(), ...this.#kin.values()].filter((key) => heads.has(this.#head(key))),
    ]);
  }

  #set(key: number, code: number): void {
    this.#rows.set(key, code);
    this.#gone.delete(key);
    this.#touched.add(key);
  }

  #head(key: number): number {
    let head = key;
    for (let next = this.#kin.get(head); next !== undefined && next !== head; next = this.#kin.get(head)) head = next;
    return head;
  }
}
