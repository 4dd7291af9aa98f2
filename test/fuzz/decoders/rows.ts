// Rows and what carries them: content, row text, fields.

import {
  checkRows,
  decodeContent,
  encodeContent,
  joinRow,
  PATH_MAX_PLACES,
  SECTION_MAX_COLUMNS,
  type Section,
  splitRow,
} from '@qiao/exchange';
import { type Decoder, holds } from '../decoder.ts';

const SECTIONS: Section[] = [
  {
    table: 'person',
    kind: 'insert',
    columns: ['id', 'name', 'note'],
    keyColumns: 1,
    rowCount: 2,
    rows: Buffer.from('1\tAnna\ta\\tb\\\\\n2\t\\N\t桥\n'),
    wholeRows: true,
  },
  {
    table: 'person',
    kind: 'delete',
    columns: ['id'],
    keyColumns: 1,
    rowCount: 1,
    rows: Buffer.from('3\n'),
    wholeRows: false,
    path: [
      { node: 'a'.repeat(32), dataSource: 'own', table: 'person' },
      { node: 'b'.repeat(32), dataSource: 'own', schema: 'public', table: 'person' },
    ],
  },
];

const WORDS = ['\\N', '\t', '\n', '\\t', '\\\\', '\\n', '\\r', '\r', '\\x', '\0'];

export function rowDecoders(): Decoder[] {
  return [
    {
      name: 'content',
      kind: 'message',
      seeds: [encodeContent(SECTIONS), encodeContent(SECTIONS.slice(1)), new Uint8Array()],
      take(input) {
        const sections = decodeContent(input);
        for (const { columns, keyColumns, rowCount, rows, path = [] } of sections) {
          holds(path.length <= PATH_MAX_PLACES, 'a path past its limit');
          holds(columns.length <= SECTION_MAX_COLUMNS && keyColumns <= columns.length, 'columns past their limit');
          holds(rowCount >= 1 && rowCount <= rows.length, 'more rows than bytes');
        }
        const again = decodeContent(encodeContent(sections));
        holds(same(sections, again), 'content that is not read as it was written');
        return `sections ${Math.min(sections.length, 3)} ${sections
          .map(({ kind }) => kind)
          .slice(0, 3)
          .join()}`;
      },
    },
    {
      name: 'row-text',
      kind: 'text',
      words: WORDS,
      seeds: ['1\tAnna\ta\\tb\n', '\\N\t\\N\t\\N\n', '1\t2\t桥\n4\t5\t\\\\N\n', ''].map((text) => Buffer.from(text)),
      take(input) {
        const lines = checkRows(input, 3);
        const text = Buffer.from(input).toString('utf8');
        const rows = text === '' ? [] : text.slice(0, -1).split('\n');
        holds(rows.length === lines, 'another number of lines than was counted');
        for (const row of rows) {
          const fields = splitRow(row);
          holds(fields.length === 3, 'another number of fields than was proven');
          holds(joinRow(fields) === row, 'a row that is not written as it was read');
        }
        return `lines ${Math.min(lines, 4)} ${text.includes('\\N')} ${text.includes('\\t')}`;
      },
    },
  ];
}

function same(a: readonly Section[], b: readonly Section[]): boolean {
  const text = (sections: readonly Section[]) =>
    JSON.stringify(sections.map((section) => ({ ...section, rows: Buffer.from(section.rows).toString('latin1') })));
  return text(a) === text(b);
}
