/**
 * The steps of `transform:` made ready over a table's columns: what each does to a row, and the type, the name and the nulls it
 * leaves. Names and keys were looked at before (columns.ts); here the types are.
 */
import type { BridgeTable } from '../bridge.ts';
import { compileRule } from '../checks/check.ts';
import { type ColumnType, typeText } from '../columnType.ts';
import type { Problem } from '../errors.ts';
import { longestText } from '../fit.ts';
import { changedColumn, charactersOf, compileChange, textOf } from './change.ts';
import { stepName } from './columns.ts';
import type { TypedColumn } from './compile.ts';
import { concatenated, splitParts } from './compose.ts';
import type { Hasher, Transform } from './transform.ts';

type Row = (string | null)[];

/** Changes a row in place; a code refuses it. */
export interface Step {
  /** The column that a refusal names. */
  position: number;
  /** The first position that it writes. */
  writes: number;
  change(row: Row): string | undefined;
}

/** A column on its way. */
export interface Slot {
  /** Undefined once it was dropped. */
  name: string | undefined;
  /** How refusals name it: as it leaves, or as it was when it was dropped. */
  reported: string;
  type: ColumnType;
  nullable: boolean;
}

export interface CompiledSteps {
  steps: Step[];
  slots: Slot[];
  problems: Problem[];
}

/** `columns` key first. Names must have been traced. */
export function compileSteps(
  table: BridgeTable,
  columns: readonly TypedColumn[],
  keyColumns: number,
  hasher: Hasher | undefined,
): CompiledSteps {
  const slots: Slot[] = columns.map(({ name, type, nullable = true }) => ({ name, reported: name, type, nullable }));
  const steps: Step[] = [];
  const problems: Problem[] = [];
  for (const [index, transform] of table.transform.entries()) {
    const compiled = compileStep(transform, slots, hasher);
    if (compiled === undefined) continue;
    const path = `${table.name}.transform[${index}].${compiled.at}`;
    if ('expected' in compiled) {
      const message = `Found ${compiled.found}; expected ${compiled.expected}.`;
      problems.push({ code: 'TRANSFORM_MISFIT', path, message, hint: compiled.hint ?? '' });
    } else if (compiled.mixesKeys === true && compiled.step.writes < keyColumns) {
      const message = `Found a ${stepName(transform)} on key column ${slots[compiled.step.writes]?.name}: two rows could become one.`;
      problems.push({ code: 'KEY_CHANGED', path, message, hint: 'Leave the key as it is.' });
    } else steps.push(compiled.step);
  }
  return { steps, slots, problems };
}

type CompiledStep =
  | { at: string; step: Step; mixesKeys?: boolean }
  | { at: string; found: string; expected: string; hint?: string };

/** Undefined for a step that only moves names. Brings the slots forward. */
function compileStep(transform: Transform, slots: Slot[], hasher: Hasher | undefined): CompiledStep | undefined {
  const what = stepName(transform);
  if ('rename' in transform) {
    const { rename } = transform;
    for (const slot of slots) {
      if (slot.name === undefined || !Object.hasOwn(rename, slot.name)) continue;
      slot.name = rename[slot.name] as string;
      slot.reported = slot.name;
    }
    return undefined;
  }
  if ('drop' in transform) {
    for (const column of transform.drop) (slots[placeOf(column, slots)] as Slot).name = undefined;
    return undefined;
  }
  if ('constant' in transform) {
    const { column, value, type = { type: 'text', maxLength: Math.max(charactersOf(value), 1) } } = transform.constant;
    const writes = make(slots, column, type, false);
    return { at: what, step: { position: writes, writes, change: (row) => void (row[writes] = value) } };
  }
  if ('concatenate' in transform) {
    const { columns, into, separator } = transform.concatenate;
    const places = columns.map((column) => placeOf(column, slots));
    const longest = places.reduce((sum, place) => sum + longestText((slots[place] as Slot).type), 0);
    const type = textOf(longest + charactersOf(separator) * (columns.length - 1));
    const writes = make(
      slots,
      into,
      type,
      places.every((place) => slots[place]?.nullable),
    );
    const change = (row: Row) =>
      void (row[writes] = concatenated(
        places.map((place) => row[place] as string | null),
        transform.concatenate,
      ));
    return { at: what, step: { position: writes, writes, change } };
  }
  if ('split' in transform) {
    const { split } = transform;
    const position = placeOf(split.column, slots);
    const { type, nullable } = slots[position] as Slot;
    const writes = slots.length;
    for (const column of split.into) make(slots, column, textOf(longestText(type)), nullable);
    const change = (row: Row): string | undefined => {
      const parts = splitParts(row[position] as string | null, split);
      if (parts === undefined) return 'SPLIT_MISMATCH';
      row.push(...parts);
      return undefined;
    };
    return { at: `${what}.column`, step: { position, writes, change } };
  }
  if ('check' in transform) {
    const { check } = transform;
    const position = placeOf(check.column, slots);
    const slot = slots[position] as Slot;
    const rule = compileRule(check, slot.type);
    const at = `${what}.column`;
    if (typeof rule === 'string') return { at, found: `column ${check.column}`, expected: rule };
    if ('required' in check) slot.nullable = false;
    // Writes nothing: keys of refused rows are known all the same.
    return { at, step: { position, writes: slots.length, change: (row) => rule(row[position] as string | null) } };
  }
  const column = changedColumn(transform);
  const position = placeOf(column, slots);
  const slot = slots[position] as Slot;
  const compiled = compileChange(transform, slot, hasher);
  const at = `${what}.column`;
  if ('expected' in compiled) return { at, found: `column ${column} of type ${typeText(slot.type)}`, ...compiled };
  const { type, nullable = slot.nullable, mixesKeys = false, code, change } = compiled;
  slot.type = type;
  slot.nullable = nullable;
  const changeRow = (row: Row): string | undefined => {
    const changed = change(row[position] as string | null);
    if (changed === undefined) return code;
    row[position] = changed;
    return undefined;
  };
  return { at, mixesKeys, step: { position, writes: position, change: changeRow } };
}

function make(slots: Slot[], name: string, type: ColumnType, nullable: boolean): number {
  return slots.push({ name, reported: name, type, nullable }) - 1;
}

function placeOf(column: string, slots: readonly Slot[]): number {
  return slots.findIndex(({ name }) => name === column);
}
