import { checkRows, joinRow, MAX_ROW_BYTES } from '@qiao/exchange';
import * as fc from 'fast-check';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openPostgres } from './dataSource.ts';
import { type PostgresServer, startPostgres } from './server.testing.ts';
import { RowCutter, toRowText } from './source.ts';

describe('cutting', () => {
  test('however a stream is cut, the same rows come out', () => {
    const rows = fc.array(fc.array(fc.string({ unit: 'grapheme' }), { minLength: 2, maxLength: 2 }), {
      maxLength: 200,
    });
    fc.assert(
      fc.property(rows, fc.array(fc.integer({ min: 1, max: 50_000 }), { minLength: 1 }), (lines, cuts) => {
        const text = Buffer.from(
          lines.map((line) => `${joinRow(line.map((each) => each.replaceAll('\0', '')))}\n`).join(''),
        );
        const stream = Buffer.concat(Array.from({ length: 20 }, () => text));
        const cutter = new RowCutter(['a', 'b'], true);
        const out: Buffer[] = [];
        for (let from = 0, index = 0; from < stream.length; index++) {
          const size = cuts[index % cuts.length] ?? 1;
          const chunk = cutter.push(stream.subarray(from, from + size));
          if (chunk !== undefined) out.push(chunk.rows);
          from += size;
        }
        const rest = cutter.finish();
        if (rest !== undefined) out.push(rest.rows);
        for (const chunk of out) checkRows(chunk, 2);
        expect(Buffer.concat(out).equals(stream)).toBe(true);
      }),
      { numRuns: 50 },
    );
  });

  test('a row over the limit stays behind and is counted, its neighbours come', () => {
    const cutter = new RowCutter(['a'], true);
    const chunks = [cutter.push(Buffer.from('first\n'))];
    for (let sent = 0; sent <= MAX_ROW_BYTES; sent += 1024 * 1024)
      chunks.push(cutter.push(Buffer.alloc(1024 * 1024, 0x78)));
    chunks.push(cutter.push(Buffer.from('xx\nlast\n')), cutter.finish());
    const rows = Buffer.concat(chunks.flatMap((chunk) => chunk?.rows ?? [])).toString();
    expect(rows).toBe('first\nlast\n');
    expect(chunks.flatMap((chunk) => chunk?.refused ?? [])).toEqual([{ code: 'ROW_TOO_LARGE', column: '', count: 1 }]);
  });

  test('only the three escapes of COPY that row text does not have are rewritten', () => {
    const copy = Buffer.from('a\\bb\\\\b\\\\\\f\t\\N\\v\\t\n');
    expect(toRowText(copy).toString()).toBe('a\bb\\\\b\\\\\f\t\\N\v\\t\n');
    const plain = Buffer.from('C:\\\\temp\t\\n\n');
    expect(toRowText(plain)).toBe(plain);
  });
});

describe('sources', () => {
  let server: PostgresServer;
  beforeAll(async () => {
    server = await startPostgres();
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
  });

  test('text of every type is the same whatever the database and the role have set', async () => {
    const config = await server.database();
    const admin = new Client({ ...config });
    await admin.connect();
    await admin.query(`
      CREATE TYPE mood AS ENUM ('好', '坏');
      CREATE DOMAIN code AS varchar(4);
      CREATE TABLE t (id int PRIMARY KEY, f float8, at timestamptz, i interval, y bytea, m mood, c code, a int[], r int4range, money money);
      INSERT INTO t VALUES (1, 0.1::float8 + 0.2, '2024-01-31 08:00:00.5+08', '1 day 2 hours', '\\xdeadbeef', '好', 'ab', '{1,NULL}', '[1,5)', 3);
    `);
    const read = async () => {
      const source = openPostgres(config);
      const described = await source.describe({ name: 't' });
      const columns = (described?.columns ?? []).flatMap(({ name, type }) =>
        'unsupported' in type ? [] : [{ name, type }],
      );
      await using snapshot = await source.snapshot({ signal: new AbortController().signal, maxMs: 60_000 });
      let text = '';
      for await (const chunk of snapshot.rows({ ref: { name: 't' }, columns, keyColumns: 1 }))
        text += chunk.rows.toString();
      return { text, types: described?.columns.map(({ type }) => type) };
    };
    const before = await read();
    expect(before.text).toBe(
      '1\t0.30000000000000004\t2024-01-31 00:00:00.5+00\tP1DT2H\t\\\\xdeadbeef\t好\tab\t{1,NULL}\t[1,5)\n',
    );
    expect(before.types?.slice(3)).toEqual([
      { type: 'native', system: 'postgres', name: 'interval' },
      { type: 'bytes' },
      { type: 'native', system: 'postgres', name: "enum('好','坏')" },
      { type: 'text', maxLength: 4 },
      { type: 'native', system: 'postgres', name: 'integer[]' },
      { type: 'native', system: 'postgres', name: 'int4range' },
      { unsupported: 'money' },
    ]);
    await admin.query(`
      ALTER DATABASE ${config.database} SET DateStyle = 'German'; ALTER DATABASE ${config.database} SET TimeZone = 'Asia/Shanghai';
      ALTER DATABASE ${config.database} SET IntervalStyle = 'postgres_verbose'; ALTER DATABASE ${config.database} SET extra_float_digits = 0;
      ALTER DATABASE ${config.database} SET bytea_output = 'escape'; ALTER DATABASE ${config.database} SET standard_conforming_strings = off;
      ALTER DATABASE ${config.database} SET search_path = nowhere;`);
    expect((await read()).text).toBe(before.text);
    await admin.end();
  });

  test('a database without an encoding leaves broken text behind and says so', async () => {
    const config = await server.database({ encoding: 'SQL_ASCII' });
    const admin = new Client({ ...config });
    await admin.connect();
    await admin.query(
      "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, '好'), (2, E'\\xff'), (3, 'c')",
    );
    await admin.end();
    const source = openPostgres(config);
    expect(await source.checkSource([{ table: 't', ref: { name: 't' } }])).toMatchObject([
      { code: 'ENCODING_UNKNOWN', warning: true },
    ]);
    await using snapshot = await source.snapshot({ signal: new AbortController().signal, maxMs: 60_000 });
    const columns = [
      { name: 'id', type: { type: 'integer', bits: 32 } },
      { name: 'v', type: { type: 'text' } },
    ] as const;
    const chunks = [];
    for await (const chunk of snapshot.rows({ ref: { name: 't' }, columns, keyColumns: 1 })) chunks.push(chunk);
    expect(chunks).toEqual([
      { rows: Buffer.from('1\t好\n3\tc\n'), refused: [{ code: 'TEXT_NOT_UTF8', column: 'v', count: 1 }] },
    ]);
  });

  test('row security that would hide rows is refused by the check, and by the scan', async () => {
    const config = await server.database();
    const admin = new Client({ ...config });
    await admin.connect();
    await admin.query(`
      CREATE ROLE limited LOGIN; CREATE TABLE t (id int PRIMARY KEY, secret text); INSERT INTO t VALUES (1, 'a');
      ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY none ON t USING (false); GRANT SELECT (id) ON t TO limited;`);
    await admin.end();
    const source = openPostgres({ ...config, user: 'limited' });
    const problems = await source.checkSource([{ table: 't', ref: { name: 't' } }]);
    expect(problems.map(({ code, path }) => `${code} ${path}`)).toEqual(['RIGHTS_MISSING t.secret', 'ROW_SECURITY t']);
    await using snapshot = await source.snapshot({ signal: new AbortController().signal, maxMs: 60_000 });
    const rows = snapshot.rows({
      ref: { name: 't' },
      columns: [{ name: 'id', type: { type: 'integer', bits: 32 } }],
      keyColumns: 1,
    });
    await expect(Array.fromAsync(rows)).rejects.toMatchObject({ code: 'SOURCE_RIGHTS' });
  });

  test('a reader who stops in the middle and a server that goes away leave an error, not a hang', async () => {
    const config = await server.database();
    const admin = new Client({ ...config });
    await admin.connect();
    await admin.query(
      "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, repeat('x', 500) FROM generate_series(1, 20000) i",
    );
    await admin.end();
    const source = openPostgres(config);
    const table = { ref: { name: 't' }, columns: [{ name: 'v', type: { type: 'text' } }] as const, keyColumns: 1 };
    {
      await using snapshot = await source.snapshot({ signal: new AbortController().signal, maxMs: 60_000 });
      for await (const chunk of snapshot.rows(table)) {
        expect(chunk.rows.length).toBeGreaterThan(0);
        break;
      }
    }
    await using snapshot = await source.snapshot({ signal: new AbortController().signal, maxMs: 60_000 });
    const reading = snapshot.rows(table)[Symbol.asyncIterator]();
    await reading.next();
    await server.restart();
    await expect(
      (async () => {
        while (!(await reading.next()).done);
      })(),
    ).rejects.toMatchObject({ code: 'SOURCE_UNAVAILABLE', fate: 'transient' });
  });

  test('a database that was dropped may be on its way back', async () => {
    const config = { ...(await server.database()), database: 'dropped' };
    const opening = openPostgres(config).describe({ name: 't' });
    await expect(opening).rejects.toMatchObject({
      code: 'SOURCE_UNAVAILABLE',
      fate: 'transient',
      hint: expect.stringContaining('no database of that name'),
    });
  });

  test('a database that is away is told by probe without its password', async () => {
    const config = { ...(await server.database()), port: 1, password: 'open sesame' };
    const answer = await openPostgres(config).probe();
    expect(answer).toMatchObject({ reachable: false, code: 'SOURCE_UNAVAILABLE' });
    expect(JSON.stringify(answer)).not.toContain('sesame');
  });
});
