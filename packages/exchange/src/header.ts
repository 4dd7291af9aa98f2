/**
 * The limits that the contract states for a delivery's header, checked once where one enters a process. Who signed it
 * and whether the flow is allowed are questions for `security`, the hub and the receiver.
 */
import { DeliveryHeader, DeliveryMessage, Origin } from '@qiao/contract/delivery';
import type { Signed } from '@qiao/contract/signed';
import { CHAIN_BYTES } from './chain.ts';
import { CONTENT_MAX_BYTES, TABLE_NAME_MAX } from './content.ts';
import { QiaoError } from './errors.ts';
import { ID_BYTES } from './ids.ts';
import { readMessage } from './readMessage.ts';

/** The format that this version writes and reads. */
export const DELIVERY_FORMAT = 1;
/** The most bytes of one part of a sealed body. */
export const PART_MAX_BYTES = 4 * 1024 * 1024;
/** The most parts of a sealed body. */
export const MAX_PARTS = 64;
/** The most tables in a statement. */
export const MAX_TABLES = 1_000;
/** The most runs of settled deliveries in a header. */
export const MAX_SETTLED_RUNS = 1_000;

// A sealed body is its content, at worst incompressible, and a little framing.
const BODY_MAX_BYTES = CONTENT_MAX_BYTES + 1024 * 1024;
const HASH_BYTES = 32;
const ORIGINS: ReadonlySet<Origin> = new Set([Origin.CHANGE, Origin.LOAD, Origin.RESYNC, Origin.RESEND]);
// Receivers and hub keep ordinals and counts as exact numbers.
const COUNT_MAX = BigInt(Number.MAX_SAFE_INTEGER);

/** With the header itself, its epoch and receipts, its role and the epoch before in it. */
const MOST_IN_HEADER = MAX_TABLES + MAX_PARTS + MAX_SETTLED_RUNS + 5;

/** A delivery as the bus brings it. Nothing in it is believed yet: neither its signature nor its limits are proven. */
export interface ReadDelivery {
  readonly header: DeliveryHeader;
  readonly signed: Signed;
  readonly part: number;
  readonly body: Uint8Array;
}

/** Throws MESSAGE_UNREADABLE, also for a header of more than a header may hold. */
export function readDelivery(bytes: Uint8Array): ReadDelivery {
  // Itself and what is signed.
  const { header: signed, part, body } = readMessage(DeliveryMessage, bytes, 'delivery', 2);
  if (signed === undefined) throw new QiaoError('MESSAGE_UNREADABLE', 'found a delivery without a header');
  return { header: readMessage(DeliveryHeader, signed.payload, 'header', MOST_IN_HEADER), signed, part, body };
}

/** Proves every limit of a header. Throws HEADER_INVALID with the first that fails. */
export function checkHeader(header: DeliveryHeader): void {
  expect(header.format === DELIVERY_FORMAT, `format ${header.format}`, `${DELIVERY_FORMAT}`);
  length('platform', header.platformId, ID_BYTES);
  length('lane', header.laneId, ID_BYTES);
  length('bridge', header.bridgeId, ID_BYTES);
  length('sender', header.senderId, ID_BYTES);
  length('receiver', header.receiverId, ID_BYTES);
  expect(header.bridgeVersion >= 1, `bridge version ${header.bridgeVersion}`, '1 or more');
  expect(header.epoch !== undefined && header.epoch.ordinal >= 1n, 'no epoch', 'an ordinal of 1 or more');
  atMost('epoch', header.epoch?.ordinal ?? 0n);
  length('epoch nonce', header.epoch?.nonce ?? new Uint8Array(0), ID_BYTES);
  atMost('sequence', header.sequence);
  atMost('settled-through', header.settledThrough);
  atMost('fencing token', header.fencingToken);
  length('previous chain', header.previousChain, CHAIN_BYTES);
  expect(
    header.contentBytes <= BigInt(CONTENT_MAX_BYTES),
    `content of ${header.contentBytes} bytes`,
    `at most ${CONTENT_MAX_BYTES}`,
  );
  expect(
    header.sealedAtMs > 0n && header.sealedAtMs < 1n << 53n,
    `sealed at ${header.sealedAtMs}`,
    'milliseconds since 1970',
  );
  expect(header.sealing.length <= 48, 'a long sealing name', 'at most 48 characters');
  expect(header.wrappedKey.length <= 512, `a wrapped key of ${header.wrappedKey.length} bytes`, 'at most 512');
  expect(header.resourceCode.length <= 64, 'a long resource code', 'at most 64 characters');
  expect(header.purpose.length <= 200, 'a long purpose', 'at most 200 characters');
  if (header.grantId.length > 0) length('grant', header.grantId, ID_BYTES);
  checkReceipts(header);
  checkCounts(header);
  checkParts(header);
  checkRole(header);
}

/** Runs ascend, above `settledThrough`, and none touches the next: each fact is said in one way only. */
function checkReceipts({ receipts, settledThrough }: DeliveryHeader): void {
  const settled = receipts?.settled ?? [];
  expect(settled.length <= MAX_SETTLED_RUNS, `${settled.length} settled runs`, `at most ${MAX_SETTLED_RUNS}`);
  let after = settledThrough;
  for (const { first, last } of settled) {
    expect(first > after && first <= last, `a settled run from ${first} to ${last}`, `one that begins above ${after}`);
    atMost('settled sequence', last);
    after = last + 1n;
  }
}

function checkCounts({ counts }: DeliveryHeader): void {
  expect(counts.length <= MAX_TABLES, `${counts.length} tables`, `at most ${MAX_TABLES}`);
  for (const { table, inserts, updates, deletes } of counts) {
    atMost('count of inserts', inserts);
    atMost('count of updates', updates);
    atMost('count of deletes', deletes);
    const characters = table.length <= TABLE_NAME_MAX ? table.length : Array.from(table).length;
    expect(
      characters >= 1 && characters <= TABLE_NAME_MAX,
      `a table name of ${characters} characters`,
      `1 to ${TABLE_NAME_MAX}`,
    );
  }
  expect(
    new Set(counts.map(({ table }) => table)).size === counts.length,
    'a table counted twice',
    'one entry per table',
  );
}

function checkParts({ parts }: DeliveryHeader): void {
  expect(parts.length <= MAX_PARTS, `${parts.length} parts`, `at most ${MAX_PARTS}`);
  let bytes = 0;
  for (const part of parts) {
    expect(part.bytes >= 1 && part.bytes <= PART_MAX_BYTES, `a part of ${part.bytes} bytes`, `1 to ${PART_MAX_BYTES}`);
    length('part hash', part.sha256, HASH_BYTES);
    bytes += part.bytes;
  }
  expect(bytes <= BODY_MAX_BYTES, `a body of ${bytes} bytes`, `at most ${BODY_MAX_BYTES}`);
}

function checkRole(header: DeliveryHeader): void {
  const { role, sequence, parts, origin } = header;
  switch (role?.$case) {
    case 'rows': {
      expect(sequence >= 1n, 'rows with sequence 0', '1 or more');
      length('content hash', header.contentHash, HASH_BYTES);
      expect(parts.length >= 1, 'rows without a body', '1 part or more');
      expect(header.compression === 'zstd' || header.compression === 'none', 'an unknown compression', 'zstd or none');
      expect(ORIGINS.has(origin), `origin ${origin}`, 'change, load, resync or resend');
      const { part, of, allowedDeletes, incompleteTables } = role.value;
      expect(incompleteTables.length <= MAX_TABLES, `${incompleteTables.length} tables`, `at most ${MAX_TABLES}`);
      expect(part >= 1 && part <= of, `part ${part} of ${of}`, 'part from 1 to `of`');
      atMost('count of allowed deletes', allowedDeletes);
      return;
    }
    case 'opening':
      expect(sequence === 0n, `an opening with sequence ${sequence}`, '0');
      expect(header.contentHash.length === 0, 'an opening with a content hash', 'none');
      expect(header.counts.length === 0 && header.contentBytes === 0n, 'an opening with rows', 'none');
      expect(parts.length === 0, 'an opening with a body', 'no parts');
      expect(
        header.previousChain.every((byte) => byte === 0),
        'an opening with a chain before it',
        '32 zero bytes',
      );
      atMost('last sequence before', role.value.previousLastSequence);
      if (role.value.previous !== undefined) {
        atMost('epoch before', role.value.previous.ordinal);
        length('nonce of the epoch before', role.value.previous.nonce, ID_BYTES);
      }
      return;
    case 'void':
      expect(sequence >= 1n, 'a void with sequence 0', '1 or more');
      length('content hash', header.contentHash, HASH_BYTES);
      expect(parts.length === 0, 'a void with a body', 'no parts');
      expect(
        role.value.code.length >= 1 && role.value.code.length <= 64,
        'a void without a fitting code',
        '1 to 64 characters',
      );
      expect(role.value.reason.length <= 1_000, 'a void with a long reason', 'at most 1,000 characters');
      return;
    case undefined:
      throw invalid('a header without a role', 'rows, an opening or a void');
    default:
      role satisfies never;
  }
}

function length(what: string, bytes: Uint8Array, expected: number): void {
  expect(bytes.length === expected, `a ${what} of ${bytes.length} bytes`, `${expected}`);
}

function atMost(what: string, value: bigint): void {
  expect(value <= COUNT_MAX, `a ${what} of ${value}`, `at most ${COUNT_MAX}`);
}

function expect(holds: boolean, found: string, expected: string): void {
  if (!holds) throw invalid(found, expected);
}

function invalid(found: string, expected: string): QiaoError {
  return new QiaoError('HEADER_INVALID', `Found ${found}; expected ${expected}.`, {
    hint: 'The sender wrote a header that this version does not accept: compare versions with `qiao node list`.',
  });
}
