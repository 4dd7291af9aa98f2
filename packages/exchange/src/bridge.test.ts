import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { BridgeDefinition, Transform } from './bridge.ts';
import { ProblemsError } from './errors.ts';
import { nearestName } from './nearestName.ts';
import { bridgeJson, parseBridge, parseBridgeJson } from './parseBridge.ts';

const golden = (name: string): string => readFileSync(new URL(`../golden/${name}`, import.meta.url), 'utf8');
const YAML = golden('bridge.yaml');
const changed = (from: string | RegExp, to: string): string => {
  const text = YAML.replace(from, to);
  expect(text).not.toBe(YAML);
  return text;
};
const codes = (yaml: string): string[] => parseBridge(yaml).problems.map(({ code, path }) => `${code} ${path}`);

describe('a bridge', () => {
  test('as an operator writes it becomes the golden JSON', () => {
    const { definition, problems } = parseBridge(YAML);
    expect(problems).toEqual([]);
    const json = bridgeJson(definition as BridgeDefinition);
    expect(`${json}\n`).toBe(golden('bridge-json.txt'));
    expect(parseBridgeJson(json)).toEqual(definition);
  });

  test('has the written defaults', () => {
    const { definition } = parseBridge(golden('bridge-least.yaml'));
    expect(definition).toMatchObject({
      schedule: { kind: 'realtime' },
      lateAfterMs: 300_000,
      explainedAlertShare: 1,
      windowBytes: 16 * 1024 * 1024,
      deleteGuard: { rows: 1_000, share: 0.05 },
      stopAfterQuarantined: 1_000,
      destinations: [
        {
          tables: {
            births: { to: 'births', ownership: 'none', landing: 'mirror', onDelete: 'delete', mark: 'target' },
          },
        },
      ],
    });
  });

  test('says every golden problem at once, with path, found, expected and hint', () => {
    const { definition, problems } = parseBridge(golden('bridge-wrong.yaml'));
    expect(definition).toBeUndefined();
    expect(problems).toEqual(JSON.parse(golden('bridge-wrong.json')));
  });

  test('is read back from its JSON the same, and has one JSON', () => {
    fc.assert(
      fc.property(definition, (each) => {
        const json = bridgeJson(each);
        const again = parseBridgeJson(json);
        expect(again).toEqual(each);
        expect(bridgeJson(again)).toBe(json);
        // JSON is YAML too.
        expect(parseBridge(json)).toEqual({ definition: each, problems: [] });
      }),
      { numRuns: 200 },
    );
  });

  test('may be any text: problems come back, nothing is thrown', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        const { definition: parsed, problems } = parseBridge(text);
        expect(parsed === undefined && problems.length > 0).toBe(true);
      }),
    );
  });

  test('with any one line taken out or doubled never crashes the check', () => {
    const lines = YAML.split('\n');
    for (const index of lines.keys()) {
      parseBridge(lines.toSpliced(index, 1).join('\n'));
      parseBridge(lines.toSpliced(index, 0, lines[index] as string).join('\n'));
    }
  });

  test('refuses capture classes that do not run yet', () => {
    for (const capture of ['log', 'trigger', 'cursor']) {
      expect(codes(changed('capture: compare', `capture: ${capture}`))).toEqual([
        'CAPTURE_NOT_AVAILABLE source.capture',
      ]);
    }
  });

  test('takes each schedule and refuses half ones', () => {
    const scheduled = (schedule: string) => parseBridge(changed(/schedule: .*/, `schedule: ${schedule}`));
    expect(scheduled('manual').definition?.schedule).toEqual({ kind: 'manual' });
    expect(scheduled('realtime').definition?.schedule).toEqual({ kind: 'realtime' });
    expect(scheduled('{every: 30s}').definition?.schedule).toEqual({ kind: 'interval', everyMs: 30_000 });
    const wrong = [
      '{every: 30s, cron: "* * * * *"}',
      '{cron: "* * * * *"}',
      '{}',
      '{every: 30s, timeZone: UTC}',
      'hourly',
      '{every: 1ms}',
      '{cron: nonsense, timeZone: UTC}',
      '{cron: "* * * * *", timeZone: Mars/Olympus}',
      '{evry: 30s}',
      '[]',
    ];
    expect(wrong.filter((schedule) => scheduled(schedule).problems.length === 0)).toEqual([]);
    expect(scheduled('{evry: 30s}').problems[0]).toMatchObject({
      code: 'UNKNOWN_KEY',
      path: 'schedule.evry',
      hint: 'Did you mean every?',
    });
    expect(scheduled('realtme').problems[0]?.message).toContain('expected realtime, manual, {every: 30s}');
  });

  test('lands where it makes sense', () => {
    const landed = (target: string): string[] =>
      codes(changed(/birth_certificate: \{ to:[^}]*\}/, `birth_certificate: {${target}}`));
    const at = 'destinations[0].tables.birth_certificate';
    expect(landed('to: x, onDelete: mark, markColumn: gone')).toEqual([]);
    expect(landed('to: x, onDelete: mark')).toEqual([`MARK_COLUMN_MISSING ${at}.markColumn`]);
    expect(landed('to: x, markColumn: gone')).toEqual([`MARK_COLUMN_UNUSED ${at}.markColumn`]);
    expect(landed('to: x, landing: journal, journalColumns: {batchNo: 批次号}')).toEqual([]);
    expect(landed('to: x, landing: journal, onDelete: mark, markColumn: gone')).toEqual([
      `LANDING_CONFLICT ${at}.onDelete`,
    ]);
    expect(landed('to: x, journalColumns: {batchNo: 批次号}')).toEqual([`JOURNAL_COLUMNS_UNUSED ${at}.journalColumns`]);
    expect(landed('to: x, landing: journal, journalColumns: {batchNo: a, appliedAt: a}')).toEqual([
      `COLUMN_TWICE ${at}.journalColumns`,
    ]);
    expect(landed('to: x, ownership: {where: "a == 1"}')).toEqual([`FILTER_INVALID ${at}.ownership.where`]);
  });

  test('never lands on itself, and never owns the same rows twice', () => {
    const least = golden('bridge-least.yaml');
    const self = least
      .replace('node: civil-affairs', 'node: health')
      .replace('dataSource: exchange', 'dataSource: his');
    expect(codes(self)).toEqual(['LANDS_ON_ITS_SOURCE destinations[0].tables.births.to']);
    const shared = (a: string, b: string): string[] =>
      codes(
        least
          .replace('    - name: births', '    - name: births\n    - name: deaths')
          .replace(
            'births: { to: births }',
            `births: {to: events, ownership: ${a}}\n      deaths: {to: events, ownership: ${b}}`,
          ),
      );
    expect(shared('whole', 'whole')).toEqual(['OWNERSHIP_OVERLAPS destinations[0].tables.deaths.ownership']);
    expect(shared('{where: "kind = 1"}', '{where: "kind = 2"}')).toEqual([]);
    expect(shared('{where: "kind = 1"}', '{where: "kind > 0"}')).toEqual([
      'OWNERSHIP_OVERLAPS destinations[0].tables.deaths.ownership',
    ]);
  });

  test('refuses YAML that surprises', () => {
    expect(codes('a: &x 1\nb: *x')).toEqual(['YAML_ALIAS line 1', 'YAML_ALIAS line 2']);
    expect(codes('kind: Bridge\nkind: Bridge')).toEqual(['KEY_TWICE line 2']);
    expect(parseBridge('map: {01: x}').problems[0]).toMatchObject({
      code: 'KEY_NOT_TEXT',
      path: 'line 1',
      hint: 'Write it in quotes: "01".',
    });
    expect(codes('__proto__: {}')).toEqual(['UNKNOWN_KEY line 1']);
    expect(codes('title: !secret x')[0]).toBe('YAML_INVALID line 1');
    expect(codes('a: 1\n---\nb: 2')[0]).toMatch(/^YAML_INVALID/);
    expect(codes('x'.repeat(600_000))).toEqual(['YAML_INVALID ']);
    const before = process.threadCpuUsage();
    expect(codes('['.repeat(100_000)).length).toBeGreaterThan(0);
    expect(codes(Array.from({ length: 30_000 }, (_, index) => `k${index}: 1`).join('\n')).length).toBeLessThan(1000);
    expect(process.threadCpuUsage(before).user).toBeLessThan(10_000_000);
  });

  test('in JSON is refused with every problem when a key is unknown', () => {
    const json = bridgeJson(parseBridge(YAML).definition as BridgeDefinition);
    const { problems } = problemsOf(() =>
      parseBridgeJson(json.replace('"kind":"Bridge",', '"kind":"Bridge","sendTo":"x","nmae":"y",')),
    );
    expect(problems.map(({ code, path }) => `${code} ${path}`)).toEqual(['UNKNOWN_KEY sendTo', 'UNKNOWN_KEY nmae']);
    expect(() => parseBridgeJson('{')).toThrow('no JSON');
  });
});

test('the nearest name is one that was meant', () => {
  expect(nearestName('scedule', ['schedule', 'source'])).toBe('schedule');
  expect(nearestName('lateafter', ['lateAfter'])).toBe('lateAfter');
  expect(nearestName('teh', ['the', 'other'])).toBe('the');
  expect(nearestName('xyz', ['schedule'])).toBeUndefined();
});

function problemsOf(action: () => unknown): ProblemsError {
  try {
    action();
  } catch (error) {
    if (error instanceof ProblemsError) return error;
    throw error;
  }
  throw new Error('expected problems');
}

const name = fc.string({ unit: fc.constantFrom('a', 'b', '_', '桥', ' ', '"', '1', ':'), minLength: 1, maxLength: 8 });
const code = fc.stringMatching(/^[a-z][a-z0-9-]{0,10}$/);
const share = fc.integer({ min: 0, max: 100 }).map((percent) => percent / 100);
const columns = ['c1', 'c2', 'c3', '4', '列'];

const transform: fc.Arbitrary<Transform> = fc.oneof(
  fc.record({
    dictionary: fc.record({
      column: fc.constantFrom('c2', '列'),
      map: fc.dictionary(
        fc.string({ maxLength: 4 }).filter((text) => text !== '__proto__'),
        fc.string({ maxLength: 4 }),
        { noNullPrototype: true },
      ),
      otherwise: fc.constantFrom('refuse', 'keep', 'null') as fc.Arbitrary<'keep'>,
    }),
  }),
  fc.record({
    mask: fc.record({
      column: fc.constantFrom('c3', '4'),
      keepFirst: fc.nat(9),
      keepLast: fc.nat(9),
      with: fc.constantFrom('*', '＊', '𠮷'),
    }),
  }),
  fc.constant({ rename: { c1: 'k1' } }),
);

const definition: fc.Arbitrary<BridgeDefinition> = fc
  .record({
    tables: fc.uniqueArray(name, { minLength: 1, maxLength: 3 }),
    nodes: fc.uniqueArray(code, { minLength: 1, maxLength: 2 }),
  })
  .chain(({ tables, nodes }) =>
    fc.record(
      {
        kind: fc.constant('Bridge' as const),
        name: code,
        title: name,
        source: fc.record({
          node: code.map((text) => `s${text}`),
          dataSource: code,
          capture: fc.constant('compare' as const),
          tables: fc.tuple(
            ...tables.map((table) =>
              fc.record(
                {
                  name: fc.constant(table),
                  schema: name,
                  key: fc.constant(['c1']),
                  columns: fc.constant(columns),
                  where: fc.constantFrom("a = 'x'", '"b c" IS NULL'),
                  transform: fc
                    .array(transform, { maxLength: 2 })
                    .filter((list) => list.filter((each) => 'rename' in each).length < 2),
                  checks: fc.array(
                    fc.record({ column: fc.constantFrom('c2', 'c3'), required: fc.constant(true as const) }),
                    { maxLength: 2 },
                  ),
                },
                { requiredKeys: ['name', 'transform', 'checks'] },
              ),
            ),
          ),
        }),
        schedule: fc.oneof(
          fc.constant({ kind: 'realtime' as const }),
          fc.constant({ kind: 'manual' as const }),
          fc.record({ kind: fc.constant('interval' as const), everyMs: fc.integer({ min: 1_000, max: 1e9 }) }),
          fc.constant({ kind: 'cron' as const, cron: '*/5 * * * *', timeZone: 'Asia/Shanghai' }),
        ),
        destinations: fc.tuple(
          ...nodes.map((node) =>
            fc.record({
              node: fc.constant(node),
              dataSource: code,
              tables: fc
                .tuple(
                  ...tables.map((_, index) =>
                    fc.record(
                      {
                        to: fc.constant(`t${index}`),
                        schema: name,
                        ownership: fc.constantFrom('whole' as const, 'none' as const, { where: "city = '3702'" }),
                        landing: fc.constant('mirror' as const),
                        onDelete: fc.constant('delete' as const),
                        mark: fc.constant('target' as const),
                      },
                      { requiredKeys: ['to', 'ownership', 'landing', 'onDelete', 'mark'] },
                    ),
                  ),
                )
                .map((targets) => Object.fromEntries(tables.map((table, index) => [table, targets[index]]))),
            }),
          ),
        ),
        lateAfterMs: fc.integer({ min: 1_000, max: 1e9 }),
        limits: fc.constant({ rowsPerSecond: 5_000, window: '20:00-06:00', timeZone: 'Asia/Shanghai' }),
        explainedAlertShare: share,
        windowBytes: fc.integer({ min: 65_536, max: 1024 ** 3 }),
        deleteGuard: fc.record({ rows: fc.nat(), share }),
        stopAfterQuarantined: fc.integer({ min: 1, max: 10_000 }),
        resource: name,
        purpose: name,
      },
      {
        requiredKeys: [
          'kind',
          'name',
          'title',
          'source',
          'schedule',
          'destinations',
          'lateAfterMs',
          'explainedAlertShare',
          'windowBytes',
          'deleteGuard',
          'stopAfterQuarantined',
        ],
      },
    ),
  ) as unknown as fc.Arbitrary<BridgeDefinition>;

test('a table or column may be called like something every object has, and is there only where it was written', () => {
  const json = (tables: string) =>
    `{"kind":"Bridge","name":"b","title":"t","source":{"node":"a","dataSource":"d","capture":"compare","tables":[{"name":"constructor","key":["id"],"columns":["id","toString"],"transform":[{"rename":{"toString":"valueOf"}}]}]},"schedule":"manual","destinations":[{"node":"c","dataSource":"e","tables":${tables}}]}`;
  const definition = parseBridgeJson(json('{"constructor":{"to":"y"}}'));
  expect(definition.destinations[0]?.tables['toString']).toBeUndefined();
  expect(definition.destinations[0]?.tables['constructor']?.to).toBe('y');
  expect(parseBridgeJson(bridgeJson(definition))).toEqual(definition);
  const prototype = (): unknown => parseBridgeJson(json('{"__proto__":{"to":"x"},"constructor":{"to":"y"}}'));
  expect(prototype).toThrow('__proto__');
});
