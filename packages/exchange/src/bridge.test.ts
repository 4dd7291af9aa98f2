import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { BridgeCursor, BridgeDefinition } from './bridge.ts';
import { missingFiles, withFiles } from './bridgeFiles.ts';
import type { Check } from './checks/check.ts';
import { ProblemsError } from './errors.ts';
import { nearestName } from './nearestName.ts';
import { bridgeJson, parseBridge, parseBridgeJson } from './parseBridge.ts';
import type { Transform } from './transform/transform.ts';

const golden = (name: string): string => readFileSync(new URL(`../golden/${name}`, import.meta.url), 'utf8');
const YAML = golden('bridge.yaml');
const changed = (from: string | RegExp, to: string): string => {
  const text = YAML.replace(from, to);
  expect(text).not.toBe(YAML);
  return text;
};
const codes = (yaml: string): string[] => parseBridge(yaml).problems.map(({ code, path }) => `${code} ${path}`);

describe('files of a bridge', () => {
  const STEPS = golden('bridge-steps.yaml');
  const files = {
    'nations.csv': 'from,to\n汉族,01\n',
    'nation-codes.csv': 'value\n01\n',
    'divisions.csv': 'code\n370202\n',
  };
  const [without = ''] = STEPS.split('files:\n');

  test('are read into the steps and checks that name them, and travel no further', () => {
    const { definition, problems } = parseBridge(STEPS);
    expect(problems).toEqual([]);
    const [table] = (definition as BridgeDefinition).source.tables;
    expect(table?.transform).toContainEqual({
      dictionary: { column: 'nation', map: { 汉族: '01', 维吾尔族: '05' }, otherwise: 'refuse' },
    });
    expect(table?.transform).toContainEqual({ hash: { column: 'id_no', scope: 'resident-permits', digits: 64 } });
    expect(table?.checks).toContainEqual({ column: 'nation', dictionary: ['01', '05'] });
    expect(table?.checks).toContainEqual({ column: 'area', divisionCode: { divisions: ['370000', '370202'] } });
    const json = bridgeJson(definition as BridgeDefinition);
    expect(json).not.toContain('.csv');
    expect(parseBridgeJson(json)).toEqual(definition);
  });

  test('are written behind the YAML by whoever hands it over; what is written there already is not asked for', () => {
    expect(missingFiles(without).toSorted()).toEqual(Object.keys(files).toSorted());
    expect(missingFiles(STEPS)).toEqual([]);
    const whole = withFiles(without, files);
    expect(whole.startsWith(without)).toBe(true);
    expect(parseBridge(whole).problems).toEqual([]);
    expect(withFiles(without, {})).toBe(without);
    expect(missingFiles('{')).toEqual([]);
  });

  test('that are missing or cannot be read are problems, each once', () => {
    expect(codes(without)).toEqual([
      'FILE_INVALID files["nations.csv"]',
      'FILE_INVALID files["nation-codes.csv"]',
      'FILE_INVALID files["divisions.csv"]',
    ]);
    const nations = (text: string) => {
      const { problems } = parseBridge(withFiles(without, { ...files, 'nations.csv': text }));
      return problems.map(({ message }) => message);
    };
    expect(nations('\ufefffrom,to\r\n"a,b",1\r\n\r\n"c""d",2')).toEqual([]);
    expect(nations('汉族,01\n')).toEqual(['Found no heading from,to in its first line.']);
    expect(nations('from,to\na,1\nb\n')).toEqual(['Found 1 fields in line 3; expected 2.']);
    expect(nations('from,to\na,1\na,2\n')).toEqual(['Found value a a second time in line 3.']);
    expect(nations('from,to\na"b,2\n')).toEqual(['Found 0 fields in line 2; expected 2.']);
    const away = without.replace('nations.csv', '../../etc/passwd');
    expect(codes(withFiles(away, files))).toContain('WRONG_VALUE source.tables[0].transform[12].dictionary.file');
  });

  test('that would make the bridge too large written out are refused before it is kept', () => {
    const long = Array.from({ length: 9_000 }, (_, index) => `${index}${'x'.repeat(24)},${index}\n`).join('');
    const twice = without.replace('{ column: sex, map: { 男: "1", 女: "2" }', '{ column: sex, file: nations.csv');
    const found = parseBridge(withFiles(twice, { ...files, 'nations.csv': `from,to\n${long}` }));
    expect(found.problems.map(({ code }) => code)).toEqual(['BRIDGE_TOO_LARGE']);
  });
});

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

  test('travels with its conflict policies, and says nothing of the default, which older nodes would not know', () => {
    const travelled = (conflict: string) => {
      const yaml = golden('bridge-least.yaml').replace(
        'births: { to: births }',
        `births: {to: births, conflict: ${conflict}}`,
      );
      const json = bridgeJson(parseBridge(yaml).definition as BridgeDefinition);
      return [parseBridgeJson(json).destinations[0]?.tables.births?.conflict, json.includes('conflict')];
    };
    expect(travelled('sourceWins')).toEqual([undefined, false]);
    expect(travelled('targetWins')).toEqual(['targetWins', true]);
    expect(travelled('{newestWins: seen_at}')).toEqual([{ newestWins: 'seen_at' }, true]);
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

  test('triggers leave what they miss to a whole scan, once a day unless the bridge says how often', () => {
    const sourceOf = (text: string) => parseBridge(text).definition?.source;
    const least = golden('bridge-least.yaml').replace('capture: compare', 'capture: trigger');
    expect(sourceOf(least)).toMatchObject({ capture: 'trigger', wholeScanEveryMs: 24 * 60 * 60_000 });
    const hourly = least.replace('capture: trigger', 'capture: trigger\n  wholeScanEvery: 1h');
    expect(sourceOf(hourly)?.wholeScanEveryMs).toBe(60 * 60_000);
    expect(codes(hourly.replace('trigger', 'compare'))).toEqual(['WHOLE_SCAN_UNUSED source.wholeScanEvery']);
  });

  test('reads by a cursor when every table names its column, and only then', () => {
    const least = golden('bridge-least.yaml');
    const written = (cursor: string, capture = 'cursor') =>
      least
        .replace('capture: compare', `capture: ${capture}`)
        .replace('    - name: births', `    - name: births\n      cursor: ${cursor}`);
    const cursorOf = (text: string) => parseBridge(text).definition?.source.tables[0]?.cursor;
    expect(cursorOf(written('{column: updated_at}'))).toEqual({ column: 'updated_at' });
    expect(cursorOf(written('{column: updated_at, lag: 90s, timeZone: Asia/Shanghai}'))).toEqual({
      column: 'updated_at',
      lagMs: 90_000,
      timeZone: 'Asia/Shanghai',
    });
    expect(cursorOf(written('{column: no, lag: 100}'))).toEqual({ column: 'no', lagSteps: 100 });
    const at = 'source.tables[0].cursor';
    expect(codes(least.replace('capture: compare', 'capture: cursor'))).toEqual([`CURSOR_MISSING ${at}`]);
    expect(codes(written('{column: no}', 'compare'))).toEqual([`CURSOR_UNUSED ${at}`]);
    expect(codes(written('{colum: no}'))).toEqual([`UNKNOWN_KEY ${at}.colum`, `KEY_MISSING ${at}.column`]);
    for (const lag of ['-1', '1.5', '0s', 'soon', '400d', 'null']) {
      expect(codes(written(`{column: no, lag: ${lag}}`)).map((each) => each.split(' ')[1])).toEqual([`${at}.lag`]);
    }
    expect(codes(written('{column: no, timeZone: Mars/Olympus}')).map((each) => each.split(' ')[1])).toEqual([
      `${at}.timeZone`,
    ]);
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
    expect(landed('to: x, conflict: targetWins')).toEqual([]);
    expect(landed('to: x, conflict: {newestWins: birth_date}')).toEqual([]);
    expect(landed('to: x, conflict: {newestWins: birth_dat}')).toEqual([
      `CONFLICT_COLUMN_MISSING ${at}.conflict.newestWins`,
    ]);
    expect(landed('to: x, conflict: targetWins, landing: journal')).toEqual([`CONFLICT_UNUSED ${at}.conflict`]);
    expect(landed('to: x, conflict: targetWins, ownership: whole')).toEqual([`CONFLICT_OWNERSHIP ${at}.conflict`]);
    expect(landed('to: x, ownership: {where: "a == 1"}')).toEqual([`FILTER_INVALID ${at}.ownership.where`]);
  });

  test('carries each table under one name, to every destination, to each place once', () => {
    const least = golden('bridge-least.yaml');
    expect(codes(least.replace('    - name: births', '    - name: births\n    - name: births'))).toContain(
      'TABLE_TWICE source.tables[1].name',
    );
    expect(codes(least.replace('    - name: births', '    - name: births\n    - name: deaths'))).toEqual([
      'TABLE_NOT_LANDED destinations[0].tables',
    ]);
    const destination = least.slice(least.indexOf('  - node: civil-affairs'));
    expect(codes(`${least}${destination.replace('to: births', 'to: others')}`)).toEqual([
      'DESTINATION_TWICE destinations[1]',
    ]);
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

  test.each([
    ['a tab', 'source:\n\tnode: a\n\tdataSource: b\n', 'line 2', 'a tab'],
    ['a line too far right', 'source:\n  node: a\n   dataSource: b\n  capture: c\n', 'line 2', 'too far to the right'],
    ['a line too far left', 'a:\n    b: 1\n  c: 2\n    d: 3\n', 'line 3', 'another column'],
    ['a full-width colon', 'kind: Bridge\nname：births\ntitle: x\n', 'line 2', 'half-width colon'],
    ['two documents', 'a: 1\n---\nb: 2\n', 'line 2', 'a file of its own'],
  ])('broken by %s is told in one problem, with its line and the way out', (_, yaml, path, words) => {
    const { problems } = parseBridge(yaml);
    expect(problems).toMatchObject([{ code: 'YAML_INVALID', path }]);
    expect(`${problems[0]?.message} ${problems[0]?.hint}`).toContain(words);
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
  fc.constantFrom<Transform>(
    { constant: { column: 'made', value: 'x' } },
    { constant: { column: 'typed', value: '7', type: { type: 'integer', bits: 64 } } },
    { concatenate: { columns: ['c2', '列'], into: 'joined', separator: '' } },
    { split: { column: 'c3', by: { separator: '·' }, into: ['a', 'b'] } },
    { split: { column: 'c3', by: { at: [6, 14] }, into: ['e', 'f', 'g'] } },
    { cast: { column: 'c2', to: { type: 'decimal', precision: 10, scale: 2 } } },
    { dateFormat: { column: '4', to: 'yyyyMMdd' } },
    { dateFormat: { column: '4', from: 'yyyy年M月d日', to: 'timestamp' } },
    { hash: { column: '列', scope: 'population', digits: 32 } },
    { generalise: { column: 'c2', to: 'district' } },
    { normalise: { column: 'c2', to: ['idNumber', 'trimmed'] } },
    { default: { column: 'c3', value: '' } },
    { check: { column: 'c3', idNumber: { divisions: ['370202'] } } },
  ),
);

const check: fc.Arbitrary<Check> = fc.oneof(
  fc.record({ column: fc.constantFrom('c2', 'c3'), required: fc.constant(true as const) }),
  fc.constantFrom<Check>(
    { column: 'c2', pattern: '\\d+' },
    { column: 'c2', range: { least: '1' } },
    { column: 'c2', range: { least: '1', most: '2.50' } },
    { column: '列', dictionary: ['', 'a', '男'] },
    { column: 'c3', idNumber: true },
    { column: 'c3', idNumber: { divisions: ['370202'] } },
    { column: 'c3', creditCode: true },
    { column: 'c3', divisionCode: { divisions: ['370202', '370203'] } },
  ),
);

const cursor: fc.Arbitrary<BridgeCursor> = fc.oneof(
  fc.record({ column: name, lagSteps: fc.nat() }, { requiredKeys: ['column'] }),
  fc.record(
    { column: name, lagMs: fc.integer({ min: 1_000, max: 1e9 }), timeZone: fc.constant('Asia/Shanghai') },
    { requiredKeys: ['column'] },
  ),
);

const definition: fc.Arbitrary<BridgeDefinition> = fc
  .record({
    tables: fc.uniqueArray(name, { minLength: 1, maxLength: 3 }),
    nodes: fc.uniqueArray(code, { minLength: 1, maxLength: 2 }),
    capture: fc.constantFrom('compare' as const, 'cursor' as const, 'trigger' as const),
  })
  .chain(({ tables, nodes, capture }) =>
    fc.record(
      {
        kind: fc.constant('Bridge' as const),
        name: code,
        title: name,
        source: fc.record({
          node: code.map((text) => `s${text}`),
          dataSource: code,
          capture: fc.constant(capture),
          ...(capture === 'trigger' ? { wholeScanEveryMs: fc.integer({ min: 60_000, max: 1e9 }) } : {}),
          tables: fc.tuple(
            ...tables.map((table) =>
              fc.record(
                {
                  name: fc.constant(table),
                  ...(capture === 'cursor' ? { cursor } : {}),
                  schema: name,
                  key: fc.constant(['c1']),
                  columns: fc.constant(columns),
                  where: fc.constantFrom("a = 'x'", '"b c" IS NULL'),
                  transform: fc
                    .array(transform, { maxLength: 2 })
                    // A name is given once.
                    .filter(
                      ([one, other]) => other === undefined || Object.keys(one ?? {})[0] !== Object.keys(other)[0],
                    ),
                  checks: fc.array(check, { maxLength: 2 }),
                },
                { requiredKeys: ['name', 'transform', 'checks', ...(capture === 'cursor' ? ['cursor' as const] : [])] },
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
