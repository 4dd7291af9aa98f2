/**
 * Which rows of a target table a lane may delete, and the proof that two lanes own none in common. A proof that cannot be
 * made counts as an overlap: two filters are disjoint when every way to satisfy both (their disjunctive normal forms,
 * pair by pair) names some column that cannot hold what both ask of it. Single contradictions are in contradiction.ts.
 */
import type { ColumnType } from './columnType.ts';
import { type Atom, areContradictory } from './contradiction.ts';
import { type Filter, parseFilter } from './filter.ts';

/** `none` restricts only what the end of a load may remove. */
export type Ownership = 'whole' | 'none' | { where: string };

type TypeOf = (column: string) => ColumnType | undefined;

// Two filters of a handful of ORs each; beyond that no proof is attempted.
const MOST_WAYS = 256;

/**
 * True only when provably no row is owned by both. `none` owns nothing, so it is disjoint with everything. `typeOf` gives
 * the target's column types, where known: it makes ranges provable and spares no other work.
 */
export function areDisjoint(a: Ownership | Filter, b: Ownership | Filter, typeOf: TypeOf = () => undefined): boolean {
  if (a === 'none' || b === 'none') return true;
  const ways = waysOf(a);
  const others = waysOf(b);
  if (ways === undefined || others === undefined) return false;
  return ways.every((way) => others.every((other) => isImpossible([...way, ...other], typeOf)));
}

/** A conjunction of atoms. */
type Way = readonly Atom[];

/** Every way to satisfy an ownership; undefined when there are too many or the filter cannot be read. */
function waysOf(ownership: Exclude<Ownership, 'none'> | Filter): Way[] | undefined {
  if (ownership === 'whole') return [[]];
  if ('kind' in ownership) return expand(ownership, false);
  const { filter } = parseFilter(ownership.where);
  return filter === undefined ? undefined : expand(filter, false);
}

/** Disjunctive normal form of a filter or (negated) of its opposite. De Morgan holds in three-valued logic too. */
function expand(filter: Filter, negated: boolean): Way[] | undefined {
  switch (filter.kind) {
    case 'not':
      return expand(filter.filter, !negated);
    case 'and':
    case 'or': {
      const parts: Way[][] = [];
      for (const each of filter.filters) {
        const ways = expand(each, negated);
        if (ways === undefined) return undefined;
        parts.push(ways);
      }
      return (filter.kind === 'and') !== negated ? product(parts) : union(parts);
    }
    case 'between': {
      const { column, low, high } = filter;
      const isInside = filter.negated === negated;
      const below: Atom = { kind: 'compare', column, operator: isInside ? '>=' : '<', literal: low };
      const above: Atom = { kind: 'compare', column, operator: isInside ? '<=' : '>', literal: high };
      return isInside ? [[below, above]] : [[below], [above]];
    }
    case 'compare':
      return [[negated ? { ...filter, operator: OPPOSITE[filter.operator] } : filter]];
    case 'in':
    case 'isNull':
    case 'like':
      return [[{ ...filter, negated: filter.negated !== negated }]];
    default:
      return filter satisfies never;
  }
}

const OPPOSITE = { '=': '<>', '<>': '=', '<': '>=', '>=': '<', '>': '<=', '<=': '>' } as const;

function product(parts: readonly Way[][]): Way[] | undefined {
  let ways: Way[] = [[]];
  for (const part of parts) {
    if (ways.length * part.length > MOST_WAYS) return undefined;
    ways = ways.flatMap((way) => part.map((more) => [...way, ...more]));
  }
  return ways;
}

function union(parts: readonly Way[][]): Way[] | undefined {
  const ways = parts.flat();
  return ways.length > MOST_WAYS ? undefined : ways;
}

function isImpossible(atoms: Way, typeOf: TypeOf): boolean {
  return atoms.some((atom, index) =>
    atoms
      .slice(index + 1)
      .some((other) => atom.column === other.column && areContradictory(atom, other, typeOf(atom.column))),
  );
}
