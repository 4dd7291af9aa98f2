/**
 * What must hold across the parts of a bridge, beyond each part's own shape: names that refer to each other, ownership
 * that does not overlap, landings that make sense. What only the databases know (columns, types, rights) is preflight.
 */
import type { BridgeDefinition, Destination, DestinationTable } from './bridge.ts';
import type { Problem } from './errors.ts';
import { didYouMean } from './nearestName.ts';
import { areDisjoint } from './ownership.ts';
import { pathText } from './schemaProblems.ts';
import { leavingNames, traceColumns } from './transform/columns.ts';

/** The parts of a bridge that could be read; undefined where one could not, so that the rest is checked all the same. */
export interface BridgeParts {
  source: {
    node: string;
    dataSource: string;
    tables: readonly (BridgeDefinition['source']['tables'][number] | undefined)[];
  };
  /** Names of all source tables, also of those that could not be read. */
  tableNames: readonly string[];
  destinations: readonly (Destination | undefined)[];
  /** Per destination, the source tables that it names, also where the destination could not be read. */
  landedNames: readonly (readonly string[])[];
}

/** Every problem across the parts. */
export function bridgeProblems(parts: BridgeParts): Problem[] {
  return [
    ...sourceProblems(parts),
    ...parts.destinations.flatMap((_, index) => destinationProblems(parts, index)),
    ...sharedTargets(parts),
  ];
}

function sourceProblems({ source, tableNames }: BridgeParts): Problem[] {
  const problems: Problem[] = [];
  for (const [index, name] of tableNames.entries()) {
    if (tableNames.indexOf(name) !== index) {
      problems.push({
        code: 'TABLE_TWICE',
        path: `source.tables[${index}].name`,
        message: `Found table ${name} twice.`,
        hint: 'Counts go by this name: exchange the second one in a bridge of its own.',
      });
    }
  }
  for (const [index, table] of source.tables.entries()) {
    if (table !== undefined)
      problems.push(...traceColumns(table, undefined, table.key, `source.tables[${index}]`).problems);
  }
  return problems;
}

function destinationProblems(parts: BridgeParts, index: number): Problem[] {
  const { source, tableNames, destinations } = parts;
  const destination = destinations[index];
  const problems = landedNameProblems(tableNames, parts.landedNames[index] ?? [], index);
  if (destination === undefined) return problems;
  const add = (code: string, at: string, message: string, hint: string): void => {
    problems.push({ code, path: `destinations[${index}]${at}`, message, hint });
  };
  const same = destinations.findIndex((each) => each !== undefined && isSamePlace(each, destination));
  if (same !== index) {
    const message = `Found ${placeText(destination)} as destinations[${same}] already.`;
    add('DESTINATION_TWICE', '', message, 'Name its tables in one destination.');
  }
  for (const [name, target] of Object.entries(destination.tables)) {
    const at = pathText(['tables', name]);
    for (const problem of [...landingProblems(target), ...conflictProblems(target)]) {
      add(problem.code, `.${at}${problem.path}`, problem.message, problem.hint);
    }
    const origin = source.tables.find((table) => table?.name === name);
    const leaving = origin === undefined ? undefined : leavingNames(origin);
    if (typeof target.conflict === 'object' && leaving?.includes(target.conflict.newestWins) === false) {
      const message = `Found no column ${target.conflict.newestWins} among those that leave.`;
      add(
        'CONFLICT_COLUMN_MISSING',
        `.${at}.conflict.newestWins`,
        message,
        didYouMean(target.conflict.newestWins, leaving),
      );
    }
    if (
      origin !== undefined &&
      isSamePlace(destination, source) &&
      target.to === origin.name &&
      (target.schema ?? '') === (origin.schema ?? '')
    ) {
      const hint = 'Name another table or data source.';
      add('LANDS_ON_ITS_SOURCE', `.${at}.to`, `Found table ${name} as its own destination.`, hint);
    }
  }
  return problems;
}

/** A parcel serves every lane of its bridge, so every destination takes every table, and no other. */
function landedNameProblems(tableNames: readonly string[], landedNames: readonly string[], index: number): Problem[] {
  const missing = tableNames
    .filter((name) => !landedNames.includes(name))
    .map(
      (name): Problem => ({
        code: 'TABLE_NOT_LANDED',
        path: `destinations[${index}].tables`,
        message: `Found no entry for table ${name}; every table of the source lands at every destination.`,
        hint: `Add ${name}: {to: TABLE}, or carry it in a bridge of its own.`,
      }),
    );
  const unknown = landedNames
    .filter((name) => !tableNames.includes(name))
    .map(
      (name): Problem => ({
        code: 'TABLE_UNKNOWN',
        path: `destinations[${index}].${pathText(['tables', name])}`,
        message: `Found table ${name}; the source of this bridge has none of that name.`,
        hint: didYouMean(name, tableNames),
      }),
    );
  return [...missing, ...unknown];
}

function landingProblems(target: DestinationTable): Problem[] {
  const problems: Problem[] = [];
  const add = (code: string, path: string, message: string, hint: string): void => {
    problems.push({ code, path, message, hint });
  };
  if (target.onDelete === 'mark' && target.landing === 'journal') {
    add(
      'LANDING_CONFLICT',
      '.onDelete',
      'Found onDelete: mark with landing: journal.',
      'A journal records deletes as rows: leave onDelete out.',
    );
  } else if (target.onDelete === 'mark' && target.markColumn === undefined) {
    add(
      'MARK_COLUMN_MISSING',
      '.markColumn',
      'Found onDelete: mark without a column to mark.',
      'Add markColumn: COLUMN.',
    );
  }
  if (target.onDelete === 'delete' && target.markColumn !== undefined) {
    add(
      'MARK_COLUMN_UNUSED',
      '.markColumn',
      'Found markColumn without onDelete: mark.',
      'Add onDelete: mark, or leave markColumn out.',
    );
  }
  const journal = Object.values(target.journalColumns ?? {});
  if (target.landing === 'mirror' && target.journalColumns !== undefined) {
    add(
      'JOURNAL_COLUMNS_UNUSED',
      '.journalColumns',
      'Found journalColumns without landing: journal.',
      'Add landing: journal, or leave journalColumns out.',
    );
  } else if (new Set(journal).size !== journal.length) {
    add('COLUMN_TWICE', '.journalColumns', 'Found two journal columns of one name.', 'Give each its own name.');
  }
  return problems;
}

/** A policy keeps rows of the target: nothing else may change or remove them. */
function conflictProblems({ conflict, landing, ownership }: DestinationTable): Problem[] {
  if (conflict === undefined) return [];
  if (landing === 'journal') {
    return [
      {
        code: 'CONFLICT_UNUSED',
        path: '.conflict',
        message: 'Found a conflict policy with landing: journal.',
        hint: 'A journal takes every change as a row of its own: leave conflict out.',
      },
    ];
  }
  if (ownership === 'none') return [];
  return [
    {
      code: 'CONFLICT_OWNERSHIP',
      path: '.conflict',
      message: 'Found a conflict policy in a table of which the end of a load removes rows.',
      hint: 'Write ownership: none, or leave conflict out.',
    },
  ];
}

/** Two tables of this bridge that land in one target table must own disjoint rows. */
function sharedTargets({ destinations }: BridgeParts): Problem[] {
  const landings = destinations.flatMap((destination, index) =>
    destination === undefined
      ? []
      : Object.entries(destination.tables).map(([name, target]) => ({
          place: `${placeText(destination)} ${target.schema ?? ''} ${target.to}`,
          path: `destinations[${index}].${pathText(['tables', name])}`,
          target,
        })),
  );
  const problems: Problem[] = [];
  for (const [index, landing] of landings.entries()) {
    for (const other of landings.slice(0, index)) {
      if (landing.place !== other.place || areDisjoint(landing.target.ownership, other.target.ownership)) continue;
      problems.push({
        code: 'OWNERSHIP_OVERLAPS',
        path: `${landing.path}.ownership`,
        message: `Found table ${landing.target.to} as target of ${other.path} too, and rows that both may own.`,
        hint: 'Divide it by one column: ownership: {where: "city_code = \'3702\'"}, or write none.',
      });
    }
  }
  return problems;
}

function isSamePlace(a: { node: string; dataSource: string }, b: { node: string; dataSource: string }): boolean {
  return a.node === b.node && a.dataSource === b.dataSource;
}

function placeText({ node, dataSource }: { node: string; dataSource: string }): string {
  return `${node}/${dataSource}`;
}
