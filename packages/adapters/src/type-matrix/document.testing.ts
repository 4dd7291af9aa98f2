/** The pairs of one source as a section of its TYPES.md: what each type is exact or lossy into, from the same table that the check asks. */
import { judgePair, type Limit, limitText } from '../pairs.ts';
import type { MatrixColumn } from './column.testing.ts';
import { pairedColumn, SYSTEMS, type System } from './systems.testing.ts';

const BEGIN = '<!-- pairs: from pairs.ts, by `vitest -u` of type-matrix/document.test.ts -->';
const END = '<!-- end of pairs -->';

/** The document with its section as it has to be. Throws where the section is missing. */
export function withPairs(document: string, source: System): string {
  const begin = document.indexOf(BEGIN);
  const end = document.indexOf(END);
  if (begin === -1 || end < begin) throw new Error(`the document has no section between ${BEGIN} and ${END}`);
  return `${document.slice(0, begin)}${BEGIN}\n\n${pairsOf(source)}\n${document.slice(end)}`;
}

function pairsOf(source: System): string {
  const notes = new Map<string, string>();
  const mark = (text: string) => {
    if (!notes.has(text)) notes.set(text, String(notes.size + 1));
    return notes.get(text);
  };
  const head = ['from', ...SYSTEMS.map(({ title }) => `into ${title}`)];
  const rows = source.columns.map((column) => [code(column), ...SYSTEMS.map((target) => cellOf(column, target, mark))]);
  return `${tableOf([head, ...rows])}\n\n${[...notes].map(([text, number]) => `${number}. ${text}`).join('\n')}\n`;
}

/** As the formatter leaves it. */
function tableOf(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  const line = (row: readonly string[]) => `| ${row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(' | ')} |`;
  const [head = [], ...rest] = rows;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rest.map(line)].join('\n');
}

function cellOf(column: MatrixColumn, target: System, mark: (text: string) => string | undefined): string {
  const exact: string[] = [];
  const lossy: string[] = [];
  for (const into of target.columns) {
    if (into.sql.includes('CHARACTER SET')) continue;
    const { fit, isolates } = judgePair(column.type, target.adapter, pairedColumn(into));
    if (fit.kind === 'refused') continue;
    const said = [...(fit.kind === 'lossy' ? [`Lossy: ${fit.why}.`] : []), ...isolates.map(isolated)];
    const marks = said.length === 0 ? '' : ` (${said.map(mark).join(', ')})`;
    (fit.kind === 'lossy' ? lossy : exact).push(`${code(into)}${marks}`);
  }
  const all = [...exact, ...(lossy.length === 0 ? [] : [`lossy: ${lossy.join(', ')}`])];
  return all.length === 0 ? 'refused' : all.join(', ');
}

function isolated(limit: Limit): string {
  return `Isolated: rows with ${limitText(limit)}.`;
}

function code({ name, sql }: MatrixColumn): string {
  return `\`${name ?? sql}\``;
}
