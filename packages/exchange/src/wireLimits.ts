/** What the messages that are decoded may hold, by the numbers of their fields: see `isWithin`. */
import { MAX_PARTS, MAX_SETTLED_RUNS, MAX_TABLES } from './header.ts';
import type { FieldLimits } from './repeatedFields.ts';

/** Receipts that one message may ask for. */
export const MAX_RECEIPTS_WANTED = 500;
/** Entries of the books in one message. */
const MAX_BOOK_ENTRIES = 1_000;
/** Bridges that a node may refuse at once. */
const MAX_REFUSED = 10_000;

/** DeliveryHeader: counts, parts, tables of a load that are incomplete, runs of settled deliveries. */
export const HEADER_LIMITS: FieldLimits = {
  13: { most: MAX_TABLES },
  18: { most: MAX_PARTS },
  22: { inside: { 6: { most: MAX_TABLES } } },
  31: { inside: { 2: { most: MAX_SETTLED_RUNS } } },
};

/** What capture counted: three kinds for each table. */
const MAX_CAPTURE_COUNTS = 3 * MAX_TABLES;

/** What became of rows: for each table, each of three kinds, and each of at most sixteen outcomes. */
const MAX_OUTCOMES = 3 * 16 * MAX_TABLES;

/** Receipt: outcomes and extra rows. */
export const RECEIPT_LIMITS: FieldLimits = { 12: { most: MAX_OUTCOMES }, 13: { most: MAX_TABLES } };
/** Statement: counts, and what capture counted. */
export const STATEMENT_LIMITS: FieldLimits = { 10: { most: MAX_TABLES }, 13: { most: MAX_CAPTURE_COUNTS } };

/** ControlMessage: a receipt, bridges that a node refused, receipts wanted. */
export const CONTROL_LIMITS: FieldLimits = {
  2: { inside: { 1: { inside: RECEIPT_LIMITS } } },
  7: { inside: { 4: { most: MAX_REFUSED } } },
  10: { inside: { 3: { most: MAX_RECEIPTS_WANTED } } },
};

/** BookEntries: entries; counts that led to no parcel. What is signed in an entry is looked at with it: a broken one stops no other. */
export const BOOK_ENTRIES_LIMITS: FieldLimits = {
  1: { most: MAX_BOOK_ENTRIES, inside: { 7: { inside: { 2: { most: MAX_CAPTURE_COUNTS } } } } },
};
