/**
 * Files that a bridge names: dictionaries and lists too long for the YAML. They lie beside it and travel inside it, under `files:`,
 * so that a version is whole and never changes; whoever hands the YAML over writes them there.
 */
import { stringify } from 'yaml';
import type { Problem } from './errors.ts';
import { pathText } from './schemaProblems.ts';
import { readYaml } from './yamlText.ts';

/** The files of one bridge. What cannot be read is empty here and a problem in `problems`. */
export class BridgeFiles {
  readonly problems: Problem[] = [];
  readonly #texts: Readonly<Record<string, unknown>>;
  readonly #reported = new Set<string>();

  /** `files:` of a bridge, as written. */
  constructor(files: unknown) {
    this.#texts = typeof files === 'object' && files !== null ? (files as Record<string, unknown>) : {};
  }

  /** A dictionary: the columns `from` and `to`. */
  map(name: string): Record<string, string> {
    const map = Object.create(null) as Record<string, string>;
    for (const { line, fields } of this.#rows(name, ['from', 'to'])) {
      const [from = '', to = ''] = fields;
      if (Object.hasOwn(map, from))
        this.#add(name, `Found value ${from} a second time in line ${line}.`, 'Keep one of them.');
      map[from] = to;
    }
    return map;
  }

  /** A list: the column of this heading. */
  list(name: string, heading: 'value' | 'code'): string[] {
    return [...new Set(this.#rows(name, [heading]).map(({ fields }) => fields[0] as string))];
  }

  #rows(name: string, headings: readonly string[]): { line: number; fields: string[] }[] {
    const text = Object.hasOwn(this.#texts, name) ? this.#texts[name] : undefined;
    if (typeof text !== 'string') {
      this.#add(
        name,
        `Found no file ${name}.`,
        'Keep it beside the YAML and hand both over with qiao, or write it under files:.',
      );
      return [];
    }
    const [first, ...rows] = csvRows(text.replace(/^\ufeff/, ''));
    const places = headings.map((heading) => first?.fields.findIndex((field) => field.trim() === heading) ?? -1);
    if (first === undefined || places.includes(-1)) {
      this.#add(
        name,
        `Found no heading ${headings.join(',')} in its first line.`,
        `Write ${headings.join(',')} as first line.`,
      );
      return [];
    }
    const short = rows.find(({ fields }) => fields.length !== first.fields.length);
    if (short !== undefined) {
      const message = `Found ${short.fields.length} fields in line ${short.line}; expected ${first.fields.length}.`;
      this.#add(name, message, 'Write fields with commas in double quotes.');
      return [];
    }
    return rows.map(({ line, fields }) => ({ line, fields: places.map((place) => fields[place] as string) }));
  }

  #add(name: string, message: string, hint: string): void {
    if (this.#reported.has(name)) return;
    this.#reported.add(name);
    this.problems.push({ code: 'FILE_INVALID', path: pathText(['files', name]), message, hint });
  }
}

/** The files that a bridge names and does not hold yet; none for YAML that cannot be read, which others say. */
export function missingFiles(yaml: string): string[] {
  const { value } = readYaml(yaml);
  if (typeof value !== 'object' || value === null || Object.hasOwn(value, 'files')) return [];
  const names = new Set<string>();
  const visit = (each: unknown): void => {
    if (typeof each !== 'object' || each === null) return;
    if (!Array.isArray(each) && 'file' in each && typeof each.file === 'string') names.add(each.file);
    for (const inner of Object.values(each)) visit(inner);
  };
  visit((value as { source?: unknown }).source);
  return [...names];
}

/** The YAML with the files written behind it. */
export function withFiles(yaml: string, files: Readonly<Record<string, string>>): string {
  if (Object.keys(files).length === 0) return yaml;
  return `${yaml.replace(/\n*$/, '\n')}${stringify({ files }, { lineWidth: 0 })}`;
}

/** RFC 4180; lines without any field are skipped. */
function csvRows(text: string): { line: number; fields: string[] }[] {
  const rows: { line: number; fields: string[] }[] = [];
  const field = /(?:"([^"]*(?:""[^"]*)*)"|([^",\r\n]*))(,|\r?\n|$)/gy;
  let fields: string[] = [];
  let line = 1;
  let startedAt = 1;
  for (let match = field.exec(text); match !== null; match = field.exec(text)) {
    const [whole, quoted, plain = '', end] = match;
    fields.push(quoted?.replaceAll('""', '"') ?? plain);
    line += whole.split('\n').length - 1;
    if (end === ',') continue;
    if (fields.length > 1 || fields[0] !== '') rows.push({ line: startedAt, fields });
    fields = [];
    startedAt = line;
    if (field.lastIndex >= text.length) return rows;
  }
  // A quote in the middle of a field: what follows cannot be divided.
  return [...rows, { line: startedAt, fields: [] }];
}
