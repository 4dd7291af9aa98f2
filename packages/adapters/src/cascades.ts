/**
 * Foreign keys by which the database itself deletes or changes rows of one table when rows of another go. A lane must not do through them
 * what it may never do itself: delete a row that it does not own. The preflight says so, and rows do not land where it is so (R10).
 */
import type { Problem } from '@qiao/exchange';
import type { TableRef, TargetTable } from './adapter.ts';
import { schemaError } from './targetServer.ts';

/** A foreign key that acts by itself, seen from the table that it refers to. */
export interface Referrer {
  /** Whose rows it deletes or changes. */
  readonly table: TableRef;
  /** Its name; where it has none, its columns. */
  readonly key: string;
  readonly toColumns: readonly string[];
  /** As SQL writes it: CASCADE, SET NULL, SET DEFAULT; anything else only refuses. */
  readonly onDelete: string;
  readonly onUpdate: string;
}

/** A table of the bridge, by the name that `Referrer.table` would give it. */
export interface LandingTable {
  readonly ref: TableRef;
  readonly target: TargetTable;
}

export interface ReferredTable extends LandingTable {
  readonly referrers: readonly Referrer[];
}

interface Cascade {
  readonly from: ReferredTable;
  readonly referrer: Referrer;
  /** What the key says, in SQL. */
  readonly rules: string;
}

/** What the preflight says of tables that are all the tables of a bridge at this target. */
export function cascadeProblems(tables: readonly ReferredTable[]): Problem[] {
  return tables.flatMap(setOff).map((cascade): Problem => {
    const { from, referrer } = cascade;
    const found = { code: 'FOREIGN_KEY_CASCADES', path: `${from.target.table}.${referrer.table.name}` };
    const why = stranger(cascade, tables);
    if (why !== undefined) return { ...found, message: why, hint: wayOut(cascade, tables) };
    return {
      ...found,
      message: `${said(cascade)}: rows that go with those of ${from.target.table} are not found any more when their own change arrives, and are counted so`,
      hint: `nothing to do where that is known; rows of ${referrer.table.name} that others put there go the same way`,
      warning: true,
    };
  });
}

/** Throws TARGET_SCHEMA where landing in one of the tables could take rows that the bridge does not own. */
export function proveOwn(tables: Iterable<ReferredTable>, bridge: readonly LandingTable[]): void {
  for (const cascade of [...tables].flatMap(setOff)) {
    const why = stranger(cascade, bridge);
    if (why !== undefined) throw schemaError(why);
  }
}

const ACTS = /^(CASCADE|SET NULL|SET DEFAULT)$/;

/** The keys that the lane's own writing makes act. */
function setOff(from: ReferredTable): Cascade[] {
  const { target } = from;
  if (target.landing === 'journal') return [];
  const isChanged = (name: string) =>
    !target.key.includes(name) && target.columns.some((column) => column.name === name);
  return from.referrers.flatMap((referrer) => {
    const rules = [
      ...(target.onDelete === 'delete' && ACTS.test(referrer.onDelete) ? [`ON DELETE ${referrer.onDelete}`] : []),
      ...(referrer.toColumns.some(isChanged) && ACTS.test(referrer.onUpdate) ? [`ON UPDATE ${referrer.onUpdate}`] : []),
    ];
    return rules.length === 0 ? [] : [{ from, referrer, rules: rules.join(' ') }];
  });
}

/** Why the rows that go are not the lane's to take; undefined when they are. */
function stranger(cascade: Cascade, bridge: readonly LandingTable[]): string | undefined {
  const { referrer } = cascade;
  const others = landingsOf(referrer, bridge);
  if (others.length > 0 && others.every(isOwned)) return undefined;
  const whose =
    others.length === 0 ? 'which this bridge does not bring' : 'of which this bridge may not take every row';
  return `${said(cascade)}: rows of ${referrer.table.name}, ${whose}, would go or change with rows of ${cascade.from.target.table}`;
}

function wayOut({ referrer, rules }: Cascade, bridge: readonly LandingTable[]): string {
  const { name } = referrer.table;
  const bring =
    landingsOf(referrer, bridge).length === 0
      ? `bring ${name} by this bridge too`
      : `write ownership: whole and onDelete: delete for ${name}`;
  const withoutUpdates = rules.includes('ON UPDATE') ? `, leave ${referrer.toColumns.join(', ')} out of columns` : '';
  return `make the key RESTRICT for both (a row that is still referred to then waits in quarantine), ${bring}${withoutUpdates}, or land without deletes (onDelete: mark)`;
}

function said({ referrer, rules }: Cascade): string {
  return `foreign key ${referrer.key} of ${referrer.table.name} says ${rules}`;
}

function landingsOf({ table }: Referrer, bridge: readonly LandingTable[]): LandingTable[] {
  return bridge.filter(({ ref }) => ref.name === table.name && ref.schema === table.schema);
}

/** What the lane sends may be deleted there too: with ownership `none` as with `whole`. */
function isOwned({ target }: LandingTable): boolean {
  return target.landing === 'mirror' && target.onDelete === 'delete' && typeof target.ownership === 'string';
}
