import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, CommandOutcome, CommandResult } from '@qiao/contract/node';
import { Signed } from '@qiao/contract/signed';
import { bridgeJson, parseId, QiaoError } from '@qiao/exchange';
import { silentLog, systemClock } from '@qiao/runtime';
import { sealing } from '@qiao/security';
import Database from 'better-sqlite3';
import { expect, test } from 'vitest';
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
      ...change,
    };
  }
  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

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
    clock: { nowMs: () => 1_000, sleep: async () => {} },
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
