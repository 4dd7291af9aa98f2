/**
 * Patterns that values must match as a whole, in the part of regular expressions that a finite automaton decides: every state is
 * followed at once, so the time is at most the length of the value times the size of the pattern, whatever was written. What needs
 * going back (references, looking ahead or behind) does not exist here.
 */

/** The longest pattern, in characters. */
export const PATTERN_MAX_LENGTH = 1_000;
/** The most states: repetitions are written out, so `(a{100}){100}` is ten thousand. */
const MOST_STATES = 2_000;
/** Longer values do not match: nobody waits for one row. */
const LONGEST_VALUE = 10_000;
const DEEPEST = 50;

type CharacterTest = (character: string) => boolean;

type Node =
  | { kind: 'one'; test: CharacterTest }
  | { kind: 'all'; nodes: Node[] }
  | { kind: 'any'; nodes: Node[] }
  | { kind: 'repeat'; node: Node; least: number; most: number };

/** Makes a pattern ready; `problem` says where it cannot be read and what is not understood. Nothing is thrown. */
export function compilePattern(text: string): { matches?: (value: string) => boolean; problem?: string } {
  if (text.length > PATTERN_MAX_LENGTH) return { problem: `at most ${PATTERN_MAX_LENGTH} characters` };
  try {
    return { matches: matcher(new Program(new Parser(text).parse())) };
  } catch (error) {
    if (error instanceof Unreadable) return { problem: error.message };
    throw error;
  }
}

class Unreadable extends Error {}

/** Alternatives → sequences → repetitions → atoms. */
class Parser {
  readonly #characters: readonly string[];
  #at = 0;
  #depth = 0;

  constructor(text: string) {
    const characters = Array.from(text);
    // A value is always matched as a whole.
    const start = characters[0] === '^' ? 1 : 0;
    const hasEnd = characters.at(-1) === '$' && characters.at(-2) !== '\\';
    this.#characters = characters.slice(start, hasEnd ? -1 : undefined);
  }

  parse(): Node {
    const node = this.#alternatives();
    if (this.#at < this.#characters.length) throw this.#unreadable('a ) that nothing opened');
    return node;
  }

  #alternatives(): Node {
    if (++this.#depth > DEEPEST) throw this.#unreadable(`more than ${DEEPEST} groups inside each other`);
    const nodes = [this.#sequence()];
    while (this.#take('|')) nodes.push(this.#sequence());
    this.#depth--;
    return nodes.length === 1 ? (nodes[0] as Node) : { kind: 'any', nodes };
  }

  #sequence(): Node {
    const nodes: Node[] = [];
    while (this.#next !== undefined && this.#next !== '|' && this.#next !== ')') nodes.push(this.#repeated());
    return { kind: 'all', nodes };
  }

  #repeated(): Node {
    const node = this.#atom();
    const times = this.#times();
    if (times === undefined) return node;
    // Elsewhere it says how greedy the first one is; read as a repetition of its own, `\d+?` would let an empty value pass.
    if (/^[*+?{]$/.test(this.#next ?? '')) {
      throw this.#unreadable(`${this.#next} after a quantifier (leave one out, or repeat a group)`);
    }
    return { kind: 'repeat', node, ...times };
  }

  #times(): { least: number; most: number } | undefined {
    if (this.#take('*')) return { least: 0, most: Number.POSITIVE_INFINITY };
    if (this.#take('+')) return { least: 1, most: Number.POSITIVE_INFINITY };
    if (this.#take('?')) return { least: 0, most: 1 };
    if (!this.#take('{')) return undefined;
    const least = this.#number();
    let most = least;
    if (this.#take(',')) most = this.#next === '}' ? Number.POSITIVE_INFINITY : this.#number();
    if (!this.#take('}') || most < least) throw this.#unreadable('a repetition other than {2}, {2,} or {2,4}');
    return { least, most };
  }

  #number(): number {
    let digits = '';
    while (/^\d$/.test(this.#next ?? '') && digits.length < 5) digits += this.#taken();
    if (digits === '') throw this.#unreadable('a repetition other than {2}, {2,} or {2,4}');
    return Number(digits);
  }

  #atom(): Node {
    const character = this.#taken();
    switch (character) {
      case '(':
        return this.#group();
      case '[':
        return { kind: 'one', test: this.#characterSet() };
      case '.':
        return { kind: 'one', test: (found) => !/[\n\r\u2028\u2029]/.test(found) };
      case '\\':
        return { kind: 'one', test: this.#escaped() };
      case '*':
      case '+':
      case '?':
      case '{':
        throw this.#unreadable(`${character} with nothing to repeat`);
      case '^':
      case '$':
        throw this.#unreadable(`${character} inside; a value is always matched as a whole`);
      default:
        return { kind: 'one', test: (found) => found === character };
    }
  }

  #group(): Node {
    if (this.#take('?') && !this.#take(':')) throw this.#unreadable('(?; only (…) and (?:…) are known here');
    const node = this.#alternatives();
    if (!this.#take(')')) throw this.#unreadable('the end; expected )');
    return node;
  }

  #characterSet(): CharacterTest {
    const isNegated = this.#take('^');
    const tests: CharacterTest[] = [];
    while (!this.#take(']')) {
      const low = this.#taken();
      if (low === '\\') {
        tests.push(this.#escaped());
      } else if (this.#next === '-' && this.#characters[this.#at + 1] !== ']') {
        this.#at++;
        const high = this.#taken();
        const [from, to] = [low.codePointAt(0) as number, high.codePointAt(0) as number];
        if (high === '\\' || to < from) throw this.#unreadable(`the range ${low}-${high}`);
        tests.push((found) => {
          const code = found.codePointAt(0) as number;
          return code >= from && code <= to;
        });
      } else tests.push((found) => found === low);
    }
    return (found) => tests.some((test) => test(found)) !== isNegated;
  }

  #escaped(): CharacterTest {
    const character = this.#taken();
    const known = CLASSES[character];
    if (known !== undefined) return (found) => known.test(found);
    if (character === 'p' || character === 'P') return this.#property(character === 'P');
    const code = CONTROLS[character] ?? character;
    if (code === character && /[A-Za-z0-9]/.test(character)) throw this.#unreadable(`\\${character}`);
    return (found) => found === code;
  }

  #property(isNegated: boolean): CharacterTest {
    let name = '';
    if (this.#take('{')) while (!this.#take('}')) name += this.#taken();
    const property = Object.hasOwn(PROPERTIES, name) ? PROPERTIES[name] : undefined;
    if (property === undefined) {
      throw this.#unreadable(`\\p{${name}}; expected one of ${Object.keys(PROPERTIES).join(', ')}`);
    }
    return (found) => property.test(found) !== isNegated;
  }

  get #next(): string | undefined {
    return this.#characters[this.#at];
  }

  #take(character: string): boolean {
    const isIt = this.#next === character;
    if (isIt) this.#at++;
    return isIt;
  }

  #taken(): string {
    const character = this.#characters[this.#at++];
    if (character === undefined) throw this.#unreadable('the end in the middle');
    return character;
  }

  #unreadable(found: string): Unreadable {
    return new Unreadable(
      `Found ${found} at character ${Math.min(this.#at, this.#characters.length) + 1} of the pattern.`,
    );
  }
}

const CLASSES: Readonly<Record<string, RegExp>> = {
  d: /^[0-9]$/,
  D: /^[^0-9]$/u,
  w: /^[A-Za-z0-9_]$/,
  W: /^[^A-Za-z0-9_]$/u,
  s: /^\s$/u,
  S: /^\S$/u,
};
const CONTROLS: Readonly<Record<string, string>> = { t: '\t', n: '\n', r: '\r' };
const PROPERTIES: Readonly<Record<string, RegExp>> = { Han: /^\p{Script=Han}$/u, L: /^\p{L}$/u, N: /^\p{N}$/u };

/** A state either takes a character and goes on, or goes on to others without one; the last is the end. */
type State = { test: CharacterTest; to: number } | { forks: number[] };

class Program {
  readonly states: State[] = [];
  readonly start: number;
  readonly end: number;

  /** Built from the end: each node knows the state that follows it. */
  constructor(node: Node) {
    this.end = this.#add({ forks: [] });
    this.start = this.#build(node, this.end);
  }

  #build(node: Node, next: number): number {
    switch (node.kind) {
      case 'one':
        return this.#add({ test: node.test, to: next });
      case 'all':
        return node.nodes.reduceRight((after, each) => this.#build(each, after), next);
      case 'any':
        return this.#add({ forks: node.nodes.map((each) => this.#build(each, next)) });
      case 'repeat':
        return this.#repeat(node, next);
      default:
        return node satisfies never;
    }
  }

  #repeat({ node, least, most }: Extract<Node, { kind: 'repeat' }>, next: number): number {
    let start = next;
    if (most === Number.POSITIVE_INFINITY) {
      const loop = { forks: [next] };
      start = this.#add(loop);
      loop.forks.push(this.#build(node, start));
    } else {
      for (let count = least; count < most; count++) start = this.#add({ forks: [next, this.#build(node, start)] });
    }
    // Repeating what is empty adds no state, but is work all the same.
    for (let count = 0; count < least; count++) {
      const before = this.#build(node, start);
      if (before === start) break;
      start = before;
    }
    return start;
  }

  #add(state: State): number {
    if (this.states.length >= MOST_STATES) {
      throw new Unreadable(
        `Found a pattern of more than ${MOST_STATES} states; expected fewer or smaller repetitions.`,
      );
    }
    return this.states.push(state) - 1;
  }
}

function matcher({ states, start, end }: Program): (value: string) => boolean {
  // In which step each state was entered last: no clearing between steps.
  const entered = new Float64Array(states.length);
  let step = 0;
  const enter = (first: number, reached: number[]): void => {
    const open = [first];
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      if (entered[at] === step) continue;
      entered[at] = step;
      const state = states[at] as State;
      if ('forks' in state) open.push(...state.forks);
      if (!('forks' in state) || at === end) reached.push(at);
    }
  };
  return (value) => {
    if (value.length > LONGEST_VALUE) return false;
    step++;
    let reached: number[] = [];
    enter(start, reached);
    for (const character of value) {
      step++;
      const next: number[] = [];
      for (const at of reached) {
        const state = states[at] as State;
        if ('test' in state && state.test(character)) enter(state.to, next);
      }
      if (next.length === 0) return false;
      reached = next;
    }
    return reached.includes(end);
  };
}
