// Inputs made from inputs: protobuf by its fields (lengths that lie, numbers at their borders, fields twice or out of order,
// groups within groups), text by its words, bytes by their bits. Everything follows from the random numbers handed in.

import type { Decoder } from './decoder.ts';

export type Random = () => number;

const MAX_BYTES = 64 * 1024;

/** One to four changes, now and then with a piece of another input. */
export function mutate(input: Uint8Array, other: Uint8Array, decoder: Decoder, random: Random): Uint8Array {
  let changed: Uint8Array = input;
  for (let left = 1 + below(4, random); left > 0; left -= 1) {
    const structured = below(4, random) > 0;
    if (structured && decoder.kind === 'message') changed = mutateMessage(changed, random, 0);
    else if (structured && decoder.kind === 'text') changed = mutateText(changed, other, decoder.words ?? [], random);
    else changed = mutateBytes(changed, other, random);
  }
  return changed.subarray(0, decoder.maxBytes ?? MAX_BYTES);
}

function below(limit: number, random: Random): number {
  return Math.floor(random() * limit);
}

function oneOf<T>(list: readonly T[], random: Random): T {
  return list[below(list.length, random)] as T;
}

// ------------------------------------------------------------------------------------------------------------ plain bytes

function mutateBytes(input: Uint8Array, other: Uint8Array, random: Random): Uint8Array {
  const bytes = Buffer.from(input);
  const at = below(bytes.length + 1, random);
  const end = Math.min(bytes.length, at + 1 + below(16, random));
  switch (below(9, random)) {
    case 0:
      if (at < bytes.length) bytes[at] = (bytes[at] as number) ^ (1 << below(8, random));
      return bytes;
    case 1:
      if (at < bytes.length) bytes[at] = oneOf([0, 1, 0x7f, 0x80, 0xff, 0x0a, 0x09, 0x5c, 0x4e], random);
      return bytes;
    case 2:
      return bytes.subarray(0, at);
    case 3:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(end)]);
    case 4:
      return Buffer.concat([bytes.subarray(0, end), bytes.subarray(at)]);
    case 5:
      return Buffer.concat([bytes.subarray(0, at), noise(1 + below(12, random), random), bytes.subarray(at)]);
    case 6:
      return Buffer.concat([bytes.subarray(0, at), other.subarray(below(other.length + 1, random))]);
    case 7: {
      const piece = bytes.subarray(at, end);
      const times = piece.length === 0 ? 0 : 1 + below(below(400, random) === 0 ? 2_000 : 20, random);
      return Buffer.concat([bytes.subarray(0, at), ...Array.from({ length: times }, () => piece), bytes.subarray(end)]);
    }
    default:
      for (let index = at; index < end; index += 1) bytes[index] = below(256, random);
      return bytes;
  }
}

function noise(length: number, random: Random): Buffer {
  return Buffer.from(Array.from({ length }, () => below(256, random)));
}

// --------------------------------------------------------------------------------------------------------------- protobuf

export interface Field {
  readonly number: number;
  readonly wire: number;
  /** The value's bytes without tag and length. */
  readonly value: Uint8Array;
}

const BORDERS: readonly bigint[] = [
  0n,
  1n,
  2n,
  127n,
  128n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
];

function mutateMessage(input: Uint8Array, random: Random, depth: number): Uint8Array {
  const fields = fieldsOf(input);
  if (fields === undefined || fields.length === 0) return mutateBytes(input, input, random);
  const at = below(fields.length, random);
  const field = fields[at] as Field;
  const written = fields.map(writeField);
  const replace = (...pieces: Uint8Array[]) =>
    Buffer.concat([...written.slice(0, at), ...pieces, ...written.slice(at + 1)]);
  switch (below(14, random)) {
    case 0:
      return replace();
    case 1:
      return replace(writeField(field), writeField(field));
    case 2:
      return Buffer.concat([...written.slice(at), ...written.slice(0, at)]);
    case 3:
      return replace(writeField({ ...field, wire: below(8, random) }));
    case 4:
      return replace(writeField({ ...field, number: oneOf([0, field.number + 1, 19_000, 2 ** 29 - 1], random) }));
    case 5:
      return replace(lyingField(field, random));
    case 6:
      return replace(overlong(field));
    case 7:
      return replace(groups(field.number, 1 + below(below(400, random) === 0 ? 20_000 : 20, random)));
    case 8:
      if (field.wire === 0) return replace(writeField({ ...field, value: varint(oneOf(BORDERS, random)) }));
      return replace(writeField({ ...field, value: new Uint8Array() }));
    case 9: {
      const times = 1 + below(below(400, random) === 0 ? 2_000 : 10, random);
      return replace(...Array.from({ length: times }, () => writeField(field)));
    }
    case 10: {
      // The least that a message inside can be: two bytes for whatever a decoder makes of it.
      const times = 1 + below(below(400, random) === 0 ? 20_000 : 10, random);
      const empty = writeField({ ...field, wire: 2, value: new Uint8Array() });
      return replace(...Array.from({ length: times }, () => empty));
    }
    default:
      break;
  }
  if (field.wire !== 2) return replace(writeField({ ...field, value: varint(oneOf(BORDERS, random)) }));
  // What looks like a message inside is changed as one, so that lengths around it stay true.
  const isNested = depth < 6 && fieldsOf(field.value) !== undefined && below(3, random) > 0;
  const value = isNested
    ? mutateMessage(field.value, random, depth + 1)
    : mutateBytes(field.value, field.value, random);
  return replace(writeField({ ...field, value }));
}

/** Undefined when the bytes are no run of fields. */
export function fieldsOf(input: Uint8Array): Field[] | undefined {
  const fields: Field[] = [];
  let at = 0;
  while (at < input.length) {
    const tag = readVarint(input, at);
    if (tag === undefined) return undefined;
    const number = Number(tag.value >> 3n);
    const wire = Number(tag.value & 7n);
    at = tag.end;
    if (number === 0) return undefined;
    if (wire === 0) {
      const value = readVarint(input, at);
      if (value === undefined) return undefined;
      fields.push({ number, wire, value: input.subarray(at, value.end) });
      at = value.end;
    } else if (wire === 1 || wire === 5) {
      const length = wire === 1 ? 8 : 4;
      if (at + length > input.length) return undefined;
      fields.push({ number, wire, value: input.subarray(at, at + length) });
      at += length;
    } else if (wire === 2) {
      const length = readVarint(input, at);
      if (length === undefined || length.value > BigInt(input.length - length.end)) return undefined;
      const end = length.end + Number(length.value);
      fields.push({ number, wire, value: input.subarray(length.end, end) });
      at = end;
    } else return undefined;
    if (fields.length > 4_000) return undefined;
  }
  return fields;
}

function readVarint(input: Uint8Array, from: number): { value: bigint; end: number } | undefined {
  let value = 0;
  for (let at = from; at < input.length && at < from + 7; at += 1) {
    const byte = input[at] as number;
    value += (byte & 0x7f) * 2 ** (7 * (at - from));
    if (byte < 0x80) return { value: BigInt(value), end: at + 1 };
  }
  // Longer ones are rare: only numbers that were put at a border.
  let large = 0n;
  for (let at = from; at < input.length && at < from + 10; at += 1) {
    const byte = input[at] as number;
    large |= BigInt(byte & 0x7f) << BigInt(7 * (at - from));
    if (byte < 0x80) return { value: large, end: at + 1 };
  }
  return undefined;
}

function varint(value: bigint): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 0x7fn) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}

function tagOf(number: number, wire: number): Uint8Array {
  return varint((BigInt(number) << 3n) | BigInt(wire));
}

function writeField({ number, wire, value }: Field): Uint8Array {
  const tag = tagOf(number, wire);
  return wire === 2 ? Buffer.concat([tag, varint(BigInt(value.length)), value]) : Buffer.concat([tag, value]);
}

/** A length that claims more or less than there is. */
function lyingField({ number, value }: Field, random: Random): Uint8Array {
  const length = oneOf([BigInt(value.length) + 1n, BigInt(Math.max(0, value.length - 1)), ...BORDERS], random);
  return Buffer.concat([tagOf(number, 2), varint(length), value]);
}

/** The same number in more bytes than it needs. */
function overlong({ number, wire, value }: Field): Uint8Array {
  const tag = Buffer.from(tagOf(number, wire));
  tag[tag.length - 1] = (tag[tag.length - 1] as number) | 0x80;
  const lead = Buffer.concat([tag, Buffer.from([0x80, 0x80, 0x00])]);
  return wire === 2 ? Buffer.concat([lead, varint(BigInt(value.length)), value]) : Buffer.concat([lead, value]);
}

function groups(number: number, depth: number): Uint8Array {
  const start = Array.from({ length: depth }, () => tagOf(number, 3));
  return Buffer.concat([...start, ...Array.from({ length: depth }, () => tagOf(number, 4))]);
}

// ------------------------------------------------------------------------------------------------------------------- text

const WORDS: readonly string[] = [
  ...['__proto__', 'constructor', 'toString', 'null', 'true', '~', '1e999', '-0', '9007199254740993', '0x1f', '.inf'],
  ...['../', '../../etc/passwd', '\\..\\', '/dev/zero', 'file:///', '%2e%2e%2f', '\u0000', '\u2028', '\ud83d', '﻿'],
  ...['{', '}', '[', ']', '(', ')', '"', "'", '`', ',', ':', ': ', '- ', '#', '|', '>', '&a', '*a', '<<: ', '!!js '],
  ...['\n', '\r\n', '\t', ' ', '  ', '\\', '\\N', '\\x', "''", '桥', '🀄', 'ＡＮＤ', 'ß', 'İ', '؀'],
];

const PIECES = /[\p{L}\p{N}_]+|\s+|[^\p{L}\p{N}_\s]/gu;

function mutateText(input: Uint8Array, other: Uint8Array, words: readonly string[], random: Random): Uint8Array {
  const pieces = textOf(input).match(PIECES) ?? [];
  const at = below(pieces.length + 1, random);
  const count = 1 + below(4, random);
  const word = () => oneOf(below(2, random) === 0 && words.length > 0 ? words : WORDS, random);
  const changed = [...pieces];
  switch (below(8, random)) {
    case 0:
      changed.splice(at, count);
      break;
    case 1:
      changed.splice(at, 0, word());
      break;
    case 2:
      changed.splice(at, 1, word());
      break;
    case 3:
      changed.splice(at, 0, ...pieces.slice(at, at + count));
      break;
    case 4: {
      const theirs = textOf(other).match(PIECES) ?? [];
      const from = below(theirs.length + 1, random);
      changed.splice(at, count, ...theirs.slice(from, from + 1 + below(30, random)));
      break;
    }
    case 5: {
      const piece = changed[at] ?? word();
      const times = below(300, random) === 0 ? 2_000 : 10;
      changed.splice(at, 1, piece.repeat(Math.min(1 + below(times, random), Math.floor(20_000 / piece.length) + 1)));
      break;
    }
    case 6: {
      // Nesting: the same opening again and again, closed or not.
      const [open, close] = oneOf(
        [
          ['[', ']'],
          ['{a: ', '}'],
          ['(', ')'],
          ['{"a":', '}'],
          ['NOT (', ')'],
          ['- ', ''],
        ] as const,
        random,
      );
      const depth = 1 + below(below(200, random) === 0 ? 5_000 : 60, random);
      changed.splice(at, 0, open.repeat(depth), below(2, random) === 0 ? close.repeat(depth) : '');
      break;
    }
    default: {
      const swap = below(pieces.length + 1, random);
      [changed[at], changed[swap]] = [changed[swap] ?? word(), changed[at] ?? word()];
    }
  }
  return Buffer.from(changed.join(''));
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}
