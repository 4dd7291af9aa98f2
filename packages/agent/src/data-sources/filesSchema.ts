// A directory of files in agent.yaml: what its tables are. docs/files.md explains every key.

import { OWN_PREFIX } from '@qiao/adapters';
import { parseTypeText } from '@qiao/exchange';
import { z } from 'zod';

/** A path below the directory, of plain names. */
const folder = z
  .string()
  .regex(
    /^(?!\.qiao(\/|$))(?!.*(^|\/)\.{0,2}(\/|$))[^\0]+$/,
    'expected a path below the directory, such as population or in/population, and not .qiao',
  );
/** As many as a sheet has, but for the journal's own. */
const MOST_COLUMNS = 16_380;
const typeText = z.string().refine((text) => parseTypeText(text) !== undefined, {
  error: 'expected a type: text(20), integer(64), decimal(12,2), float(64), boolean, date, timestamp(6), uuid, json, …',
});
const columnTypes = z
  .record(z.string().min(1), typeText)
  .refine((columns) => Object.keys(columns).length > 0, { error: 'expected at least one column' })
  .refine((columns) => Object.keys(columns).length <= MOST_COLUMNS, {
    error: `expected at most ${MOST_COLUMNS} columns`,
  });

const filesTable = {
  folder: folder.optional(),
  encoding: z.enum(['utf-8', 'gbk', 'gb18030']).default('utf-8'),
  delimiter: z.enum([',', ';', '\t', '|']).default(','),
  header: z.boolean().default(true),
  /** A field without quotes that is this text is null. */
  null: z
    .string()
    .max(32)
    .regex(/^[^",;|\t\r\n]*$/, 'expected a text without quotes, delimiters and line ends')
    .default(''),
  columns: columnTypes,
  format: z.enum(['csv', 'jsonl', 'xlsx']).default('csv'),
  /** XLSX: the sheet’s name; default the first, and for a target Sheet1. */
  sheet: z
    .string()
    .max(31)
    .regex(/^[^[\]:*?/\\\p{Cc}]+$/u, 'expected a name that a sheet may have, without [ ] : * ? / \\')
    .optional(),
};
const sourceFiles = {
  ...filesTable,
  /** Names of the files, with * and ?. */
  files: z.string().min(1).max(255).optional(),
  marker: z.string().min(1).max(32).optional(),
};

/** One data source. */
export const files = z
  .strictObject({
    adapter: z.literal('files'),
    directory: z.string().min(1),
    /** A file that did not change for so long is whole. */
    settledAfterMs: z.int().min(0).max(3_600_000).default(10_000),
    tables: z.record(
      z.string().regex(/^(?!\.qiao(\/|$))[^\0]+$/, 'expected a name other than .qiao'),
      z.discriminatedUnion('nature', [
        z
          .strictObject({ nature: z.literal('state'), ...sourceFiles, key: z.array(z.string().min(1)).min(1) })
          .refine(({ key, columns }) => key.every((name) => Object.hasOwn(columns, name)), {
            path: ['key'],
            error: 'expected names of declared columns',
          }),
        z.strictObject({ nature: z.literal('drop'), ...sourceFiles }).refine(({ columns }) => !hasOwnNames(columns), {
          path: ['columns'],
          error: 'names that begin with qiao_ are the product’s own',
        }),
        z.strictObject({ nature: z.literal('target'), ...filesTable }),
      ]),
    ),
  })
  .refine(({ tables }) => areFoldersApart(tables), {
    path: ['tables'],
    error: 'a table of nature target needs a folder of its own',
  });

/** A folder that rows land in is no other table's. */
function areFoldersApart(
  tables: Readonly<Record<string, { readonly nature: string; readonly folder?: string | undefined }>>,
): boolean {
  const folders = Object.entries(tables).map(([name, { nature, folder = name }]) => ({ nature, folder }));
  return folders.every(
    ({ nature, folder }) => nature !== 'target' || folders.filter((other) => other.folder === folder).length === 1,
  );
}

function hasOwnNames(columns: Readonly<Record<string, unknown>>): boolean {
  return Object.keys(columns).some((name) => name.startsWith(OWN_PREFIX));
}
