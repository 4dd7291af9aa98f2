/**
 * Reads YAML that people write: 1.2, core schema, one document. What surprises is refused instead of guessed at: anchors
 * and aliases (they can explode), repeated keys, keys that are no text (`01:` would become `1`), unknown tags.
 */
import {
  type Document,
  type ErrorCode,
  isAlias,
  isNode,
  isScalar,
  LineCounter,
  type Pair,
  parseDocument,
  visit,
  type YAMLError,
} from 'yaml';
import type { Problem } from './errors.ts';

/** The longest text that is read: 512 KiB, as the contract allows for a definition. */
export const YAML_MAX_BYTES = 512 * 1024;

const MOST_PROBLEMS = 100;

/** The plain value of a YAML text; without one, every problem with its line as path. Nothing is thrown. */
export function readYaml(text: string): { value?: unknown; problems: Problem[] } {
  const bytes = Buffer.byteLength(text);
  if (bytes > YAML_MAX_BYTES) {
    return { problems: [invalid('', `Found ${bytes} bytes; expected at most ${YAML_MAX_BYTES}.`)] };
  }
  if (nestsTooDeeply(text)) return { problems: [invalid('', 'Found YAML that cannot be read: it nests too deeply.')] };
  const lines = new LineCounter();
  const lineOf = (offset: number | undefined): string =>
    offset === undefined ? '' : `line ${lines.linePos(offset).line}`;
  try {
    // The library compares each key with every other; problemsOfNodes looks them up.
    const options = { version: '1.2', schema: 'core', merge: false, uniqueKeys: false } as const;
    const document = parseDocument(text, { ...options, lineCounter: lines, prettyErrors: false });
    const [broken] = document.errors;
    // What stands behind a broken place is read otherwise than it was meant: one problem, not its echoes.
    if (broken !== undefined) return { problems: [syntaxProblem(broken, lineOf(broken.pos[0]))] };
    const problems = document.warnings.map((warning) => syntaxProblem(warning, lineOf(warning.pos[0])));
    problems.push(...problemsOfNodes(document, lineOf));
    if (problems.length > 0) return { problems: problems.slice(0, MOST_PROBLEMS) };
    return { value: document.toJS({ maxAliasCount: 0 }), problems };
  } catch (error) {
    // The parser recurses: a very deep document overflows the stack, which is an answer too.
    const why = error instanceof RangeError ? 'it nests too deeply' : String(error);
    return { problems: [invalid('', `Found YAML that cannot be read: ${why}.`)] };
  }
}

/** Far more than any file needs. Indentation reaches it by itself only past the most bytes. */
const DEEPEST = 1_000;
const RUN_OF_INDICATORS = new RegExp(`(?:[-?][ \\t]+){${DEEPEST}}`);

/** The parser keeps half a kilobyte for each open bracket, so half a megabyte of them would fill the memory of a hub. */
function nestsTooDeeply(text: string): boolean {
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const character = text.charCodeAt(at);
    if (character === OPEN_BRACKET || character === OPEN_BRACE) {
      depth += 1;
      // Brackets inside of quotes are counted, too: nobody writes a thousand that never close.
      if (depth > DEEPEST) return true;
    } else if (character === CLOSE_BRACKET || character === CLOSE_BRACE) {
      depth = Math.max(0, depth - 1);
    }
  }
  return RUN_OF_INDICATORS.test(text);
}

const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

function problemsOfNodes(document: Document, lineOf: (offset: number | undefined) => string): Problem[] {
  const problems: Problem[] = [];
  visit(document, {
    Node(_, node) {
      const anchor = isAlias(node) ? node.source : node.anchor;
      if (anchor === undefined) return;
      const message = `Found ${isAlias(node) ? 'alias *' : 'anchor &'}${anchor}; expected plain values.`;
      problems.push({ code: 'YAML_ALIAS', path: lineOf(node.range?.[0]), message, hint: 'Write the value out.' });
    },
    Map(_, map) {
      const keys = new Set<string>();
      for (const pair of map.items) {
        const problem = problemOfKey(pair, keys);
        if (problem !== undefined)
          problems.push({ ...problem, path: lineOf(isNode(pair.key) ? pair.key.range?.[0] : undefined) });
      }
    },
  });
  return problems;
}

function problemOfKey({ key }: Pair, seen: Set<string>): Omit<Problem, 'path'> | undefined {
  if (!isScalar(key))
    return {
      code: 'KEY_NOT_TEXT',
      message: 'Found a key that is no scalar; expected text.',
      hint: 'Write the key as plain text.',
    };
  if (typeof key.value !== 'string') {
    const found = key.source ?? String(key.value);
    return {
      code: 'KEY_NOT_TEXT',
      message: `Found key ${found}; expected text.`,
      hint: `Write it in quotes: "${found}".`,
    };
  }
  if (key.value === '__proto__')
    return { code: 'UNKNOWN_KEY', message: 'Found key __proto__; no mapping has it.', hint: 'Take it out.' };
  if (seen.has(key.value)) {
    return { code: 'KEY_TWICE', message: `Found key ${key.value} twice in one mapping.`, hint: 'Keep one of them.' };
  }
  seen.add(key.value);
  return undefined;
}

const UNCLOSED = [
  'a line without what closes it: the colon behind a key, a quote or a bracket',
  'Write key: value, with a half-width colon and a blank behind it; close what is open.',
] as const;

/** The mistakes that people make, in their own words: what was found, and how to mend it. */
const SYNTAX: Readonly<Partial<Record<ErrorCode, readonly [found: string, hint: string]>>> = {
  TAB_AS_INDENT: ['a tab at the beginning of the line; expected blanks', 'Write two blanks for each tab.'],
  BAD_INDENT: [
    'a line that begins at another column than its neighbours',
    'Begin all keys of one mapping at the same column.',
  ],
  BLOCK_AS_IMPLICIT_KEY: [
    'a key inside of the value of another: the next line begins too far to the right, or a text has a colon with a blank behind it',
    'Begin all keys of one mapping at the same column; put a text with a colon in quotes.',
  ],
  MISSING_CHAR: UNCLOSED,
  MULTILINE_IMPLICIT_KEY: UNCLOSED,
  MULTIPLE_DOCS: ['a second document behind ---; expected one', 'Write each in a file of its own.'],
};

function syntaxProblem({ code, message }: YAMLError, path: string): Problem {
  const [found, hint] = SYNTAX[code] ?? [`invalid YAML: ${message.replace(/\.$/, '')}`, 'Mend the YAML there.'];
  return { code: 'YAML_INVALID', path, message: `Found ${found}.`, hint };
}

function invalid(path: string, message: string): Problem {
  return { code: 'YAML_INVALID', path, message, hint: 'Mend the YAML there.' };
}
