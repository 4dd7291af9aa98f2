import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, CommandOutcome, CommandResult, PreviewContents, RowAccess, RowAction } from '@qiao/contract/node';
import { Signed } from '@qiao/contract/signed';
import { bridgeJson, parseId, QiaoError } from '@qiao/exchange';
import { silentLog, systemClock } from '@qiao/runtime';
import { createMaskHasher, labelledContext, sealing } from '@qiao/security';
import Database from 'better-sqlite3';
import { expect, test } from 'vitest';
import type { Desired } from '../control/desired.ts';
import { createDataSources } from '../data-sources/registry.ts';
import { openExchangeDatabase } from '../exchange-database/index.ts';
import { definition, RECEIVER, ReceiverWorld, SENDER } from '../receive/sender.testing.ts';
import { commandsPart } from './answer.ts';
import { type ExecutePorts, executeCommand } from './execute.ts';

class Databases implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'qiao-commands-'));
  readonly sources = createDataSources(
    ['his', 'target'].map((name) => ({ name, adapter: 'sqlite' as const, file: join(this.path, `${name}.db`) })),
  );
  constructor() {
    const ddl = 'CREATE TABLE person (id INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL) STRICT';
    for (const name of ['his', 'target']) {
      const database = new Database(join(this.path, `${name}.db`));
      database.exec(ddl);
      database.close();
    }
  }
  ports(change: Partial<ExecutePorts> = {}): ExecutePorts {
    return {
      nodeId: RECEIVER,
      permissions: {
        exposes: [{ dataSource: 'his', table: '*' }],
        accepts: [{ dataSource: 'target', table: '*' }],
        defaultSchema: () => undefined,
      },
      hasher: createMaskHasher(new Uint8Array(32)).hash,
      open: (name) => this.sources.open(name),
      desired: () => undefined,
      verify: { start: () => [], job: () => undefined, jobs: () => [], rows: () => [] },
      diagnose: () => ({}),
      quarantine: {
        nodeCode: 'civil',
        rights: { mayRead: [], mayEdit: [] },
        trust: { operatorOf: () => ({ name: 'nobody', fingerprint: '' }) },
        clock: systemClock,
        database: openExchangeDatabase(join(this.path, 'exchange.db')),
        desired: () => undefined,
        onDecided: () => {},
        seal: sealing.seal,
        unseal: async ({ body }) => body,
        sealingKey: new Uint8Array(65),
      },
      sourceRows: this.sourceRows(),
      ...change,
    };
  }
  /** Whose file names `mayRead`, and who asks as operator `asks`. */
  sourceRows(mayRead: string[] = [], asks = 'zhang'): ExecutePorts['sourceRows'] {
    const bridge = { ...definition(), bridgeId: '00'.repeat(16), name: 'people', definition: masked() };
    return {
      nodeCode: 'health',
      rights: { mayRead, mayEdit: [] },
      trust: { operatorOf: () => ({ name: asks, fingerprint: '' }) },
      clock: systemClock,
      permissions: { exposes: [{ dataSource: 'his', table: '*' }], accepts: [], defaultSchema: () => undefined },
      hasher: createMaskHasher(new Uint8Array(32)).hash,
      database: openExchangeDatabase(join(this.path, 'rows.db')),
      desired: () => ({ bridges: new Map([['', bridge]]) }) as unknown as Desired,
      open: (name) => this.sources.open(name),
      seal: sealing.seal,
    };
  }
  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

function masked() {
  const bridge = definition();
  for (const table of bridge.source.tables) {
    table.where = 'id <> 4';
    table.transform = [
      { check: { column: 'name', required: true } },
      { mask: { column: 'name', keepFirst: 1, keepLast: 0, with: '*' } },
    ];
  }
  return bridge;
}

/** A preview of table person, asked under this reference and opened with the session's key. */
async function preview(ports: ExecutePorts, ref = 'health/people/person', rows = 10) {
  const session = await sealing.generateKey();
  const payload = RowAccess.encode({
    node: 'health',
    ref,
    action: RowAction.PREVIEW,
    sessionKey: session.publicKey,
    sealedSha256: new Uint8Array(0),
    atMs: BigInt(Date.now()),
  }).finish();
  const access = { payload, suite: 'test', keyId: new Uint8Array(32), signature: new Uint8Array(1) };
  const value = { bridge: 'people', table: 'person', rows, access, certificate: new Uint8Array(0) };
  const result = await executeCommand(Command.fromPartial({ command: { $case: 'previewRows', value } }), ports);
  const { sealed: body, wrappedKey } = result.previewedRows ?? {
    sealed: new Uint8Array(0),
    wrappedKey: new Uint8Array(0),
  };
  const context = labelledContext('qiao.row.preview.v1', [Buffer.from(ref)]);
  const contents = PreviewContents.decode(await sealing.open({ body, wrappedKey }, session.privateKey, context));
  return { ...contents, rows: Buffer.from(contents.rows).toString('utf8') };
}

test('the first rows of a table are shown as they would leave, to whom the node names and in that session alone', async () => {
  using databases = new Databases();
  const database = new Database(join(databases.path, 'his.db'));
  const rows = ["(1, '王小明')", "(2, ' ')", "(3, '李')", "(4, 'SECRET')", "(5, '赵云')"];
  database.exec(`INSERT INTO person VALUES ${rows.join(', ')}`);
  database.close();

  const ports = databases.ports({ sourceRows: databases.sourceRows(['zhang']) });
  const shown = await preview(ports);
  expect(shown).toMatchObject({ columns: ['id', 'name'], keyColumns: 1, rows: '1\t王**\n3\t*\n5\t赵*\n', filtered: 1 });
  expect(shown.refused).toEqual([
    { ref: '', table: 'person', code: 'REQUIRED_MISSING', column: 'name', key: Buffer.from('2\n') },
  ]);
  expect(shown.refusedCounts).toEqual([{ table: 'person', code: 'REQUIRED_MISSING', column: 'name', rows: 1n }]);
  expect((await preview(ports, undefined, 1)).rows).toBe('1\t王**\n');

  // An access to another table, an operator nobody named, a table that the node's file does not let out.
  await expect(preview(ports, 'health/people/card')).rejects.toThrow('an access to another row');
  await expect(preview(databases.ports())).rejects.toThrow('operator zhang is not named in operators.mayRead');
  const closed = { ...databases.sourceRows(['zhang']), permissions: databases.ports().permissions };
  const shut = { ...closed, permissions: { ...closed.permissions, exposes: [] } };
  await expect(preview(databases.ports({ sourceRows: shut }))).rejects.toThrow('not named in this node');
});

test('a preview says which rows cannot be read at the source, and when a row did not fit into the answer', async () => {
  using databases = new Databases();
  const database = new Database(join(databases.path, 'his.db'));
  database.exec("INSERT INTO person VALUES (1, 'a' || char(0)), (2, char(0) || 'b'), (3, ' ')");
  const ports = databases.ports({ sourceRows: databases.sourceRows(['zhang']) });
  const unreadable = await preview(ports);
  expect(unreadable).toMatchObject({ rows: '', sizeLimited: false });
  expect(unreadable.refusedCounts.toSorted((a, b) => a.code.localeCompare(b.code))).toEqual([
    { table: 'person', code: 'REQUIRED_MISSING', column: 'name', rows: 1n },
    { table: 'person', code: 'TEXT_HAS_NUL', column: 'name', rows: 2n },
  ]);

  database.exec(
    `DELETE FROM person; INSERT INTO person VALUES ${[1, 2].map((id) => `(${id}, '${'x'.repeat(500_000)}')`).join()}`,
  );
  database.close();
  const limited = await preview(ports);
  expect([limited.rows.split('\n').length - 1, limited.sizeLimited]).toEqual([1, true]);
  expect((await preview(ports, undefined, 1)).sizeLimited).toBe(false);
});

const check = (command: object) =>
  Command.fromPartial({
    command: { $case: 'checkBridge', value: { definitionJson: bridgeJson(definition()), ...command } },
  });

test('a bridge that fits both ends is checked without a problem, and its tables come as they will be carried', async () => {
  using databases = new Databases();
  const result = await executeCommand(check({ source: true, destinations: [0] }), databases.ports());
  expect(result.problems.filter(({ warning }) => !warning)).toEqual([]);
  expect(result.tables[0]?.key).toEqual(['id']);
  expect(result.tables[0]?.columns.map(({ name }) => name)).toEqual(['id', 'name']);
});

test('every problem of both ends is reported at once', async () => {
  using databases = new Databases();
  const bridge = definition({ to: 'missing' });
  const [table] = bridge.source.tables;
  if (table !== undefined) table.columns = ['id', 'nickname'];
  const result = await executeCommand(
    check({ definitionJson: bridgeJson(bridge), source: true, destinations: [0] }),
    databases.ports(),
  );
  const codes = result.problems.map(({ code, path }) => `${code} ${path}`);
  expect(codes).toContain('COLUMN_MISSING source.tables[0].nickname');
  expect(codes.some((code) => code.startsWith('TABLE_MISSING destinations[0]'))).toBe(true);
  expect(result.outcome).toBe(CommandOutcome.PARTLY_DONE);
});

test('a misspelled column is one problem that names the column that was meant', async () => {
  using databases = new Databases();
  const bridge = definition();
  const [table] = bridge.source.tables;
  if (table !== undefined) {
    table.columns = ['id', 'nmae'];
  }
  const command = check({ definitionJson: bridgeJson(bridge), source: true, destinations: [0] });
  expect((await executeCommand(command, databases.ports())).problems).toMatchObject([
    { code: 'COLUMN_MISSING', path: 'source.tables[0].nmae', hint: 'Did you mean name?' },
  ]);
});

test('a column that a destination lacks by a letter is named as it was meant, and the others that there are', async () => {
  using databases = new Databases();
  const bridge = definition();
  const [table] = bridge.source.tables;
  if (table !== undefined) table.transform = [{ rename: { name: 'nmae' } }];
  const command = check({ definitionJson: bridgeJson(bridge), source: true, destinations: [0] });
  expect((await executeCommand(command, databases.ports())).problems).toContainEqual(
    expect.objectContaining({
      code: 'COLUMN_MISSING',
      path: 'destinations[0].person.nmae',
      hint: expect.stringMatching(/^did you mean name\? the table has: id, name/),
    }),
  );
});

test('by trigger, what the check of tables has found is not found again, and nobody is sent to the check from the check', async () => {
  using databases = new Databases();
  const bridge = definition();
  const [table] = bridge.source.tables;
  if (table === undefined) throw new Error('a bridge of one table');
  const problemsOf = async (change: Partial<typeof table>) => {
    bridge.source = { ...bridge.source, capture: 'trigger', tables: [{ ...table, ...change }] };
    const command = check({ definitionJson: bridgeJson(bridge), source: true, destinations: [] });
    const { problems } = await executeCommand(command, databases.ports());
    for (const { hint } of problems) expect(hint).not.toContain('qiao bridge check');
    return problems.map(({ code, path }) => `${code} ${path}`);
  };
  expect(await problemsOf({ key: ['idd'], columns: ['idd', 'name'] })).toEqual(['COLUMN_MISSING source.tables[0].idd']);
});

test('by cursor, deletes that are not brought and hours that are read again are said, and a table that will be made', async () => {
  using databases = new Databases();
  const database = new Database(join(databases.path, 'his.db'));
  database.exec('CREATE TABLE visit (id INTEGER PRIMARY KEY NOT NULL, changed TIMESTAMP NOT NULL)');
  database.close();
  const bridge = definition({ to: 'visit' });
  const [destination] = bridge.destinations;
  if (destination === undefined) throw new Error('a bridge of one destination');
  destination.dataSource = 'exchange';
  destination.tables = { visit: destination.tables.person as never };
  const tables = [{ name: 'visit', cursor: { column: 'changed' }, transform: [], checks: [] }];
  bridge.source = { ...bridge.source, capture: 'cursor', tables };
  const command = check({ definitionJson: bridgeJson(bridge), source: true, destinations: [0] });
  const accepts = [{ dataSource: 'exchange', table: '*' }];
  const ports = databases.ports();
  const { problems } = await executeCommand(command, {
    ...ports,
    permissions: { ...ports.permissions, accepts },
    open: (name) => ports.open(name === 'exchange' ? 'target' : name),
  });
  expect(problems.map(({ code, path, warning }) => `${warning ? 'warning' : 'problem'} ${code} ${path}`)).toEqual([
    'warning CURSOR_ZONE source.tables[0].cursor.timeZone',
    'warning CURSOR_NOT_INDEXED source.tables[0].changed',
    'warning READS_STOP_WRITERS source.dataSource',
    'warning CURSOR_NO_DELETES source.capture',
    'warning TABLE_WILL_BE_MADE destinations[0].visit',
  ]);
});

test('a destination whose source could not be asked is not blamed for columns that nobody knows', async () => {
  using databases = new Databases();
  const bridge = definition();
  for (const table of bridge.source.tables) {
    delete table.columns;
    delete table.key;
  }
  const command = check({ definitionJson: bridgeJson(bridge), destinations: [0] });
  expect((await executeCommand(command, databases.ports())).problems).toEqual([]);
  const [destination] = bridge.destinations;
  for (const table of Object.values(destination?.tables ?? {})) table.to = 'missing';
  const missing = check({ definitionJson: bridgeJson(bridge), destinations: [0] });
  expect((await executeCommand(missing, databases.ports())).problems.map(({ code }) => code)).toEqual([
    'TABLE_MISSING',
  ]);
});

test.each(['secretvalue', 'null', '{"type":"secretvalue"}'])(
  'a type of the source that is none is a problem, not quoted: %s',
  async (typeJson) => {
    using databases = new Databases();
    const columns = ['id', 'name'].map((name) => ({ name, typeJson, nullable: false }));
    const sourceTables = [{ table: 'person', columns, key: ['id'] }];
    const command = check({ definitionJson: bridgeJson(definition()), destinations: [0], sourceTables });
    const { problems } = await executeCommand(command, databases.ports());
    expect(problems).toMatchObject([{ code: 'COLUMN_TYPE_UNREADABLE', path: 'destinations[0]' }]);
    expect(JSON.stringify(problems)).not.toContain('secret');
  },
);

test('a column is not called too narrow for what a column of the same type holds, unless a transform makes other values', async () => {
  using databases = new Databases();
  for (const name of ['his', 'target']) {
    const database = new Database(join(databases.path, `${name}.db`));
    const fee = name === 'his' ? 'fee' : 'amount';
    database.exec(`CREATE TABLE bill (id INTEGER PRIMARY KEY NOT NULL, ${fee} DECIMAL(20, 4), note DECIMAL(20, 4))`);
    database.close();
  }
  const bridge = definition({ to: 'bill' });
  const [table] = bridge.source.tables;
  const [destination] = bridge.destinations;
  if (table === undefined || destination === undefined) throw new Error('a bridge of one table');
  destination.tables = { bill: destination.tables.person as never };
  const narrow = async (transform: typeof table.transform) => {
    bridge.source.tables = [{ ...table, name: 'bill', columns: ['id', 'fee', 'note'], transform }];
    const command = check({ definitionJson: bridgeJson(bridge), source: true, destinations: [0] });
    const { problems } = await executeCommand(command, databases.ports());
    return problems.flatMap(({ code, path }) =>
      code.startsWith('TYPE_') ? [`${code} ${path.split('.').at(-1)}`] : [],
    );
  };
  const rename = { rename: { fee: 'amount' } };
  expect(await narrow([rename])).toEqual([]);
  const cast = { cast: { column: 'note', to: { type: 'decimal', precision: 20, scale: 4 } } } as const;
  expect(await narrow([rename, cast])).toEqual(['TYPE_NARROW note']);
});

test('tables that the node’s file does not name are refused and not looked at', async () => {
  using databases = new Databases();
  const bridge = definition({ to: 'missing' });
  const [table] = bridge.source.tables;
  if (table !== undefined) table.columns = ['id', 'nickname'];
  const result = await executeCommand(
    check({ definitionJson: bridgeJson(bridge), source: true, destinations: [0] }),
    databases.ports({ permissions: { exposes: [], accepts: [], defaultSchema: () => undefined } }),
  );
  expect(result.problems.map(({ code, path }) => `${code} ${path}`)).toEqual([
    'EXPOSE_DENIED source.tables[0]',
    'ACCEPT_DENIED destinations[0].tables.person',
  ]);
  expect(result.tables).toEqual([]);
});

test('two bridges into one table must own rows that are provably apart', async () => {
  using databases = new Databases();
  using world = new ReceiverWorld();
  const named = { ...definition(), name: 'other' };
  const result = await executeCommand(
    check({ definitionJson: bridgeJson(named), destinations: [0] }),
    databases.ports({ desired: () => world.desired.current() }),
  );
  expect(result.problems.map(({ code }) => code)).toContain('OWNERSHIP_OVERLAP');
});

test('only tables that the node’s file names are listed; the others are counted', async () => {
  using databases = new Databases();
  const command = Command.fromPartial({ command: { $case: 'listTables', value: { dataSource: 'his' } } });
  const open = await executeCommand(command, databases.ports());
  expect(JSON.parse(open.reportJson)).toMatchObject({ tables: [{ table: 'person', exposed: true }], hidden: 0 });
  const closed = await executeCommand(
    command,
    databases.ports({ permissions: { exposes: [], accepts: [], defaultSchema: () => undefined } }),
  );
  expect(JSON.parse(closed.reportJson)).toEqual({ dataSource: 'his', tables: [], hidden: 1 });
});

/** Asks a command service once per request. */
async function ask(requests: readonly Uint8Array[]) {
  let executed = 0;
  const answers: (CommandResult | string)[] = [];
  await commandsPart({
    nodeId: RECEIVER,
    hubCertificate: new Uint8Array(0),
    trust: {
      checkPeer: () => {},
      checkMonitor: () => {},
      checkSigned: (_context, signed) => {
        if (signed.suite === 'forged') throw new QiaoError('SIGNATURE_INVALID', 'forged');
      },
    },
    respond: async (handler) => {
      for (const request of requests) {
        try {
          answers.push(CommandResult.decode(Signed.decode(await handler(request)).payload));
        } catch (error) {
          answers.push(error instanceof QiaoError ? error.code : String(error));
        }
      }
    },
    execute: async () => {
      executed += 1;
      return CommandResult.fromPartial({ outcome: CommandOutcome.DONE, reportJson: String(executed) });
    },
    sign: (payload) => ({ payload, suite: 'test', keyId: new Uint8Array(32), signature: new Uint8Array(1) }),
    seen: { take: () => true },
    clock: { nowMs: () => 1_000, elapsedMs: () => 1_000, sleep: async () => {} },
    log: silentLog(),
  }).run(new AbortController().signal);
  return { answers, executed };
}

function command(change: { expiresAtMs?: bigint; nodeId?: string; suite?: string } = {}): Uint8Array {
  const payload = Command.encode(
    Command.fromPartial({
      id: parseId('1'.repeat(32)),
      nodeId: parseId(change.nodeId ?? RECEIVER),
      expiresAtMs: change.expiresAtMs ?? 2_000n,
      command: { $case: 'diagnose', value: {} },
    }),
  ).finish();
  return Signed.encode({
    payload,
    suite: change.suite ?? 'test',
    keyId: new Uint8Array(32),
    signature: new Uint8Array(1),
  }).finish();
}

test('a command is executed once, and asking again gets the same answer', async () => {
  const { answers, executed } = await ask([command(), command()]);
  expect(executed).toBe(1);
  expect(answers[0]).toEqual(answers[1]);
});

test('a forged, foreign, expired or unreadable command is not executed', async () => {
  const { answers, executed } = await ask([
    command({ suite: 'forged' }),
    command({ nodeId: SENDER }),
    command({ expiresAtMs: 999n }),
    new Uint8Array([255]),
  ]);
  expect(answers).toEqual(['SIGNATURE_INVALID', 'COMMAND_FOREIGN', 'COMMAND_EXPIRED', 'COMMAND_INVALID']);
  expect(executed).toBe(0);
});
