import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type BookedDelivery, type CaptureCount, sumBooks, sumBooksBy, verdictOfCapture } from './books.ts';
import { type KindCount, rowsOf, totalRows } from './counts.ts';
import { KINDS } from './kind.ts';
import { intended, isOpen, OUTCOMES, type OutcomeCell } from './outcome.ts';
import { contractVerdict, type DeliveryFacts, type Verdict, verdictOfDelivery, worst } from './reconcile.ts';

const HASH = new Uint8Array(32).fill(1);
const facts = (parts: Partial<DeliveryFacts> = {}): DeliveryFacts => ({
  counts: [{ table: 'births', inserts: 2, updates: 1, deletes: 0 }],
  contentHash: HASH,
  sealedAtMs: 1_000_000,
  nowMs: 1_010_000,
  lateAfterMs: 300_000,
  ...parts,
});
const cell = (sent: OutcomeCell['sent'], outcome: OutcomeCell['outcome'], rows: number): OutcomeCell => ({
  table: 'births',
  sent,
  outcome,
  rows,
});
const receipt = (...outcomes: OutcomeCell[]) => ({ outcomes, contentHash: HASH });

/** A statement and a matrix that answers for each of its rows. */
const answered = fc
  .array(
    fc.record({
      table: fc.constantFrom('births', 'deaths'),
      sent: fc.constantFrom(...KINDS),
      outcome: fc.constantFrom(...OUTCOMES),
      rows: fc.integer({ min: 1, max: 50 }),
    }),
    { maxLength: 10 },
  )
  .map((outcomes) => {
    const counts = [...new Set(outcomes.map(({ table }) => table))].map((table): KindCount => {
      const rows = (kind: string) =>
        outcomes.filter((each) => each.table === table && each.sent === kind).reduce((sum, each) => sum + each.rows, 0);
      return { table, inserts: rows('insert'), updates: rows('update'), deletes: rows('delete') };
    });
    return { counts, outcomes };
  });

describe('the verdict on a delivery', () => {
  test('is a function of the matrix when its sums hold', () => {
    fc.assert(
      fc.property(answered, ({ counts, outcomes }) => {
        const { verdict } = verdictOfDelivery(facts({ counts, receipt: receipt(...outcomes) }));
        const expected: Verdict = outcomes.some(({ outcome }) => isOpen(outcome))
          ? 'open'
          : outcomes.every(({ sent, outcome }) => outcome === intended(sent))
            ? 'balanced'
            : 'explained';
        expect(verdict).toBe(expected);
      }),
    );
  });

  test('is a deviation whenever one row more or less is answered for', () => {
    fc.assert(
      fc.property(answered, fc.nat(), fc.constantFrom(-1, 1), ({ counts, outcomes }, which, by) => {
        fc.pre(outcomes.length > 0);
        const at = which % outcomes.length;
        const wrong = outcomes.map((each, index) => (index === at ? { ...each, rows: each.rows + by } : each));
        expect(
          verdictOfDelivery(facts({ counts, receipt: receipt(...wrong.filter(({ rows }) => rows > 0)) })).verdict,
        ).toBe('deviation');
      }),
    );
  });

  test('names table and leg of what differs', () => {
    const short = verdictOfDelivery(
      facts({ receipt: receipt(cell('insert', 'inserted', 1), cell('update', 'updated', 1)) }),
    );
    expect(short).toEqual({
      verdict: 'deviation',
      reason: 'births: sent 2 insert rows, the receipt answers for 1.',
      leg: 'apply',
    });
    const other = verdictOfDelivery(facts({ receipt: { outcomes: [], contentHash: new Uint8Array(32) } }));
    expect(other).toMatchObject({ verdict: 'deviation', leg: 'transport' });
    const stranger = receipt(cell('insert', 'inserted', 2), cell('update', 'updated', 1), {
      ...cell('insert', 'inserted', 1),
      table: 'deaths',
    });
    expect(verdictOfDelivery(facts({ receipt: stranger })).reason).toMatch(/deaths: sent 0 insert rows/);
  });

  test('is in flight until it is late, and then a deviation', () => {
    expect(verdictOfDelivery(facts()).verdict).toBe('inFlight');
    expect(verdictOfDelivery(facts({ nowMs: 1_300_000 })).verdict).toBe('inFlight');
    expect(verdictOfDelivery(facts({ nowMs: 1_300_001 }))).toEqual({
      verdict: 'deviation',
      reason: 'No receipt for 3 rows after 300 s; expected within 300 s.',
      leg: 'transport',
    });
  });

  test('is explained when the sender closed it, and what the receiver answered outweighs that', () => {
    expect(verdictOfDelivery(facts({ settlement: { code: 'EPOCH_CLOSED' } }))).toMatchObject({ verdict: 'explained' });
    expect(verdictOfDelivery(facts({ counts: [], settlement: { code: 'EPOCH_CLOSED' } })).verdict).toBe('balanced');
    const done = receipt(cell('insert', 'inserted', 2), cell('update', 'updated', 1));
    expect(verdictOfDelivery(facts({ receipt: done, settlement: { code: 'EPOCH_CLOSED' } })).verdict).toBe('balanced');
  });

  test('is a deviation when a signature fails, whatever else is said', () => {
    const done = receipt(cell('insert', 'inserted', 2), cell('update', 'updated', 1));
    expect(verdictOfDelivery(facts({ receipt: done, signatureFailed: true })).verdict).toBe('deviation');
  });

  test('of several is the worst', () => {
    expect(worst([])).toBe('balanced');
    expect(worst(['explained', 'open', 'inFlight'])).toBe('open');
    expect(worst(['inFlight', 'explained'])).toBe('inFlight');
    expect(worst(['deviation', 'open'])).toBe('deviation');
    expect((['balanced', 'explained', 'inFlight', 'open', 'deviation'] as const).map(contractVerdict)).toEqual([
      'VERDICT_BALANCED',
      'VERDICT_EXPLAINED',
      'VERDICT_IN_FLIGHT',
      'VERDICT_OPEN',
      'VERDICT_DEVIATION',
    ]);
  });
});

const capture = (parts: Partial<CaptureCount> = {}): CaptureCount => ({
  table: 'births',
  kind: 'insert',
  captured: 5,
  packed: 3,
  folded: 1,
  filtered: 1,
  refused: 0,
  ...parts,
});

const delivery = (parts: Partial<BookedDelivery> = {}): BookedDelivery => ({
  parcelId: 'p1',
  counts: [{ table: 'births', inserts: 2, updates: 1, deletes: 0 }],
  capture: [capture()],
  outcomes: [
    cell('insert', 'inserted', 1),
    cell('insert', 'unchanged', 1),
    cell('update', 'insertedInsteadOfUpdate', 1),
  ],
  verdict: { verdict: 'explained', reason: 'births: …', leg: 'apply' },
  ...parts,
});

describe('the books', () => {
  test('add up deliveries and count a parcel that serves two lanes as captured once', () => {
    const sum = sumBooks([
      delivery(),
      delivery({ outcomes: undefined, verdict: { verdict: 'inFlight', reason: 'No receipt yet.', leg: 'transport' } }),
    ]);
    expect(sum).toMatchObject({
      captured: [capture()],
      sent: { total: 6, inserts: 4, updates: 2, deletes: 0 },
      received: { total: 3, inserts: 2, updates: 1, deletes: 0 },
      deliveries: 2,
      receipted: 1,
      inFlightDeliveries: 1,
      inFlightRows: 3,
      openRows: 0,
      verdict: 'inFlight',
      legs: { capture: 'balanced', transport: 'inFlight', apply: 'explained' },
      remarks: [],
    });
  });

  test('name the leg of a difference and say a repeated one once', () => {
    const late = delivery({
      outcomes: undefined,
      verdict: { verdict: 'deviation', reason: 'No receipt.', leg: 'transport' },
    });
    const lost = delivery({ capture: [capture({ captured: 6 })] });
    const sum = sumBooks([late, late, lost]);
    expect(sum.verdict).toBe('deviation');
    expect(sum.remarks).toEqual([
      '传输: No receipt. (2 deliveries)',
      '抽取: births: captured 6 insert changes, accounted for 5.',
    ]);
  });

  test('judge capture by its own sums and by what was sent', () => {
    const counts: KindCount[] = [{ table: 'births', inserts: 2, updates: 1, deletes: 0 }];
    expect(verdictOfCapture([capture()], counts).verdict).toBe('balanced');
    expect(verdictOfCapture([], counts).verdict).toBe('balanced');
    expect(verdictOfCapture([capture({ captured: 7, refused: 2 })], counts).verdict).toBe('explained');
    expect(verdictOfCapture([capture({ packed: 2, folded: 2 })], counts)).toMatchObject({
      verdict: 'deviation',
      leg: 'capture',
    });
  });

  test('of groups add up to the books of everything', () => {
    const booked = fc.record({
      day: fc.constantFrom('2024-01-30', '2024-01-31'),
      parcelId: fc.uuid(),
      facts: answered,
    });
    fc.assert(
      fc.property(fc.array(booked, { maxLength: 12 }), (list) => {
        const deliveries = list.map(({ day, parcelId, facts: { counts, outcomes } }) => ({
          day,
          ...delivery({
            parcelId,
            counts,
            outcomes,
            capture: [],
            verdict: verdictOfDelivery(facts({ counts, receipt: receipt(...outcomes) })),
          }),
        }));
        const all = sumBooks(deliveries);
        const byDay = [...sumBooksBy(deliveries, ({ day }) => day).values()];
        const total = (of: (sum: typeof all) => number) => byDay.reduce((sum, each) => sum + of(each), 0);
        expect(total((each) => each.sent.total)).toBe(all.sent.total);
        expect(total((each) => each.received.total)).toBe(all.received.total);
        expect(total((each) => each.openRows)).toBe(all.openRows);
        expect(worst(byDay.map(({ verdict }) => verdict))).toBe(all.verdict);
        expect(all.sent.total).toBe(list.reduce((sum, each) => sum + totalRows(each.facts.counts), 0));
        expect(all.sent.inserts).toBe(
          list.reduce(
            (sum, each) => sum + each.facts.counts.reduce((rows, count) => rows + rowsOf(count, 'insert'), 0),
            0,
          ),
        );
      }),
    );
  });
});
