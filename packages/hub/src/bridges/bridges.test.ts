import { type CheckBridge, CommandOutcome, type CommandResult } from '@qiao/contract/node';
import { ProblemsError, QiaoError } from '@qiao/exchange';
import { expect, test } from 'vitest';
import { readAudit } from '../audit/audit.ts';
import { insertNode } from '../registry/nodes.ts';
import { bytes, idText, TestWorld } from '../world.testing.ts';
import {
  type BridgePorts,
  bindDestination,
  checkBridge,
  createBridge,
  deployBridge,
  retireBridge,
  runBridge,
  startBridge,
  stopBridge,
  unbindDestination,
} from './bridges.ts';
import { livingLanes } from './lanes.ts';

interface Plan {
  readonly name?: string;
  readonly title?: string;
  readonly source?: string;
  readonly where?: string;
  readonly columns?: string;
  readonly destinations?: readonly (readonly [node: string, dataSource: string, target: string])[];
}

function yamlOf({
  name = 'births',
  title = '出生',
  source = 'health',
  where,
  columns,
  destinations,
}: Plan = {}): string {
  const targets = destinations ?? [['civil', 'exchange', 'to: ex_birth, ownership: whole']];
  return [
    'kind: Bridge',
    `name: ${name}`,
    `title: ${title}`,
    'source:',
    `  node: ${source}`,
    '  dataSource: his',
    '  capture: compare',
    '  tables:',
    '    - name: birth',
    '      key: [id]',
    ...(where === undefined ? [] : [`      where: "${where}"`]),
    ...(columns === undefined ? [] : [`      columns: [${columns}]`]),
    'schedule: realtime',
    'destinations:',
    ...targets.flatMap(([node, dataSource, target]) => [
      `  - node: ${node}`,
      `    dataSource: ${dataSource}`,
      `    tables: {birth: {${target}}}`,
    ]),
    '',
  ].join('\n');
}

const DEPLOY = { yaml: '', rollbackTo: 0, backfill: false };

async function platform() {
  const world = await TestWorld.create();
  for (const code of ['health', 'civil', 'city']) await world.join(code);
  const asked: string[] = [];
  const silent = new Set<string>();
  const types = ['{"type":"integer","bits":64}'];
  const problems = new Map<string, CommandResult['problems']>();
  let duringCheck: () => Promise<unknown> = async () => undefined;
  const ports: BridgePorts = {
    store: world.store,
    clock: world.clock,
    newId: () => idText(bytes(16)),
    changed: async () => undefined,
    command: async (node, _operator, command) => {
      const check = command.value as CheckBridge;
      asked.push(`${node.code} ${check.source ? 'source' : check.destinations.join()} ${check.sourceTables.length}`);
      await duringCheck();
      if (silent.has(node.code)) throw new QiaoError('NODE_SILENT', 'nobody answers', { fate: 'ambiguous' });
      const columns = [{ name: 'id', typeJson: types[0] ?? '', nullable: false, adapter: '', nativeType: '' }];
      return {
        id: new Uint8Array(16),
        outcome: CommandOutcome.DONE,
        problems: problems.get(node.code) ?? [],
        tables: check.source ? [{ table: 'birth', columns, key: ['id'] }] : [],
        reportJson: '',
        jobs: [],
        openRows: [],
        openRowsTotal: 0n,
      };
    },
  };
  return {
    world,
    ports,
    asked,
    silent,
    types,
    problems,
    meanwhile: (act: () => Promise<unknown>) => {
      duringCheck = async () => {
        duringCheck = async () => undefined;
        await act();
      };
    },
    lanes: async (bridgeId: string) => (await livingLanes(world.store, bridgeId)).map((lane) => lane.id),
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
}

async function problemCodes(promise: Promise<unknown>): Promise<string[]> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof ProblemsError) return error.problems.map(({ code, path }) => `${code} ${path}`);
  return [error instanceof QiaoError ? error.code : String(error)];
}

test('a bridge lives from created over deployed, running and stopped to retired, and only that way', async () => {
  await using it = await platform();
  const created = await createBridge(it.ports, yamlOf(), 'li');
  expect(created).toMatchObject({ state: 'created', version: 1, deployed_version: 0 });
  expect(await it.lanes(created.id)).toEqual([]);
  for (const verb of [startBridge, stopBridge])
    expect(await problemCodes(verb(it.ports, 'births', 'li'))).toEqual(['BRIDGE_STATE']);
  expect(await problemCodes(runBridge(it.ports, 'births', 0, 'li'))).toEqual(['BRIDGE_STATE']);

  expect((await deployBridge(it.ports, 'births', DEPLOY, 'li')).bridge).toMatchObject({
    state: 'deployed',
    deployed_version: 1,
  });
  expect(await it.lanes(created.id)).toHaveLength(1);
  expect((await startBridge(it.ports, 'births', 'li')).state).toBe('running');
  expect((await stopBridge(it.ports, 'births', 'li')).state).toBe('stopped');
  expect(await runBridge(it.ports, 'births', 500, 'li')).toMatchObject({
    run_number: 1,
    allowed_deletes: 500,
    state: 'stopped',
  });
  expect((await startBridge(it.ports, 'births', 'li')).state).toBe('running');
  expect((await retireBridge(it.ports, 'births', 'li')).state).toBe('retired');
  expect(await it.lanes(created.id)).toEqual([]);
  expect(await problemCodes(startBridge(it.ports, 'births', 'li'))).toEqual(['BRIDGE_UNKNOWN']);
  expect((await createBridge(it.ports, yamlOf(), 'li')).id).not.toBe(created.id);
});

test('a check asks the source first, hands its columns to every destination node once, and stores nothing', async () => {
  await using it = await platform();
  const destinations = [
    ['civil', 'exchange', 'to: a, ownership: whole'],
    ['civil', 'archive', 'to: a, ownership: whole'],
    ['city', 'exchange', 'to: a, ownership: whole'],
  ] as const;
  const checked = await checkBridge(it.ports, yamlOf({ destinations }), 'li');
  expect(checked).toMatchObject({ name: 'births', problems: [] });
  expect(it.asked).toEqual(['health source 0', 'civil 0,1 1', 'city 2 1']);
  expect(await it.world.store.selectFrom('bridges').selectAll().execute()).toEqual([]);
});

test('every problem of every end comes back at once', async () => {
  await using it = await platform();
  it.silent.add('civil');
  it.problems.set('health', [
    { code: 'TABLE_UNKNOWN', path: 'source.tables[0]', message: 'm', hint: 'h', warning: false },
  ]);
  const destinations = [
    ['civil', 'exchange', 'to: a, ownership: whole'],
    ['nowhere', 'exchange', 'to: a, ownership: whole'],
  ] as const;
  const { problems } = await checkBridge(it.ports, yamlOf({ destinations }), 'li');
  expect(problems.map(({ code, path }) => `${code} ${path}`).sort()).toEqual([
    'NODE_UNKNOWN destinations[1].node',
    'NODE_UNREACHABLE destinations[0]',
    'TABLE_UNKNOWN source.tables[0]',
  ]);
  await it.world.join('books', 'monitor');
  const strangers = yamlOf({ source: 'books', destinations: [['late', 'exchange', 'to: a, ownership: whole']] });
  const late = { code: 'late', title: 'late', departmentCode: 'late', departmentTitle: 'late', role: 'agent' } as const;
  await insertNode(it.world.store, { id: idText(bytes(16)), ...late });
  const asked = await checkBridge(it.ports, strangers, 'li');
  expect(asked.problems.map(({ code, path }) => `${code} ${path}`).sort()).toEqual([
    'NODE_NOT_AN_AGENT source.node',
    'NODE_NOT_JOINED destinations[0]',
  ]);
  const broken = await checkBridge(it.ports, 'kind: Bridge\nnmae: x\n', 'li');
  expect(broken.problems.length).toBeGreaterThan(1);
});

test.each(['{"type":', '"text"', 'null', '{}'])(
  'a column type that nobody can read (%s) is a problem',
  async (type) => {
    await using it = await platform();
    it.types[0] = type;
    const { problems } = await checkBridge(it.ports, yamlOf(), 'li');
    expect(problems).toMatchObject([{ code: 'COLUMN_TYPE_UNREADABLE', path: 'source' }]);
  },
);

test('two bridges may not own the same rows of one table; rows that are provably apart, or owned by nobody, are fine', async () => {
  await using it = await platform();
  const into = (target: string) => [['city', 'exchange', target]] as const;
  await createBridge(
    it.ports,
    yamlOf({ name: 'one', destinations: into(`to: t, ownership: {where: "area = 'a'"}`) }),
    'li',
  );
  const overlap = (name: string, target: string) =>
    problemCodes(createBridge(it.ports, yamlOf({ name, destinations: into(target) }), 'li'));
  const found = ['OWNERSHIP_OVERLAP destinations[0].tables.birth.ownership'];
  expect(await overlap('two', 'to: t, ownership: whole')).toEqual(found);
  expect(await overlap('two', `to: t, ownership: {where: "area = 'a'"}`)).toEqual(found);
  expect(await overlap('two', `to: t, schema: s, ownership: {where: "other = 'b'"}`)).toEqual(found);
  expect(await overlap('two', `to: t, ownership: {where: "area = 'b'"}`)).toEqual(['undefined']);
  expect(await overlap('three', 'to: t, ownership: none')).toEqual(['undefined']);
  expect(await overlap('four', 'to: other, ownership: whole')).toEqual(['undefined']);
});

test('two bridges deployed at once into one table do not both get it', async () => {
  await using it = await platform();
  const into = (to: string) => [['city', 'exchange', `to: ${to}, ownership: whole`]] as const;
  for (const name of ['one', 'two']) {
    await createBridge(it.ports, yamlOf({ name, destinations: into(name) }), 'li');
    await deployBridge(it.ports, name, DEPLOY, 'li');
  }
  const next = (name: string) =>
    deployBridge(
      it.ports,
      name,
      { ...DEPLOY, backfill: true, yaml: yamlOf({ name, destinations: into('shared') }) },
      'li',
    );
  const answers = await Promise.allSettled([next('one'), next('two')]);
  const deployed = answers.filter(
    (answer) => answer.status === 'fulfilled' && answer.value.bridge.deployed_version === 2,
  );
  expect(deployed).toHaveLength(1);
});

test('a new version says what it changes, and changes rows only when that is agreed to', async () => {
  await using it = await platform();
  await createBridge(it.ports, yamlOf(), 'li');
  const first = await deployBridge(it.ports, 'births', DEPLOY, 'li');
  expect(first.effects).toEqual(['civil/exchange is bound: it gets a load of every row, then the changes.']);

  const yaml = yamlOf({ where: "year >= '2020'" });
  const refused = await deployBridge(it.ports, 'births', { ...DEPLOY, yaml }, 'li');
  expect(refused.problems.map(({ code }) => code)).toEqual(['BACKFILL_NEEDED']);
  expect(refused.effects[0]).toContain('rows that leave it as deletes');
  expect(refused.bridge).toMatchObject({ version: 1, deployed_version: 1 });
  const agreed = await deployBridge(it.ports, 'births', { ...DEPLOY, yaml, backfill: true }, 'li');
  expect(agreed.bridge).toMatchObject({ version: 2, deployed_version: 2 });

  const title = await deployBridge(
    it.ports,
    'births',
    { ...DEPLOY, yaml: yamlOf({ where: "year >= '2020'", title: '新' }) },
    'li',
  );
  expect([title.bridge.title, title.effects, title.problems]).toEqual(['新', [], []]);
});

test('going back deploys the stored version, with its lanes; the same file twice makes no history', async () => {
  await using it = await platform();
  const { id } = await createBridge(it.ports, yamlOf(), 'li');
  await deployBridge(it.ports, 'births', DEPLOY, 'li');
  const [first] = await it.lanes(id);
  const two = yamlOf({
    destinations: [
      ['city', 'exchange', 'to: c, ownership: whole'],
      ['civil', 'exchange', 'to: ex_birth, ownership: whole'],
    ],
  });
  await deployBridge(it.ports, 'births', { ...DEPLOY, yaml: two }, 'li');
  await deployBridge(it.ports, 'births', { ...DEPLOY, yaml: two }, 'li');
  const [city, kept] = await it.lanes(id);
  expect(kept).toBe(first);
  const back = await deployBridge(it.ports, 'births', { ...DEPLOY, rollbackTo: 1 }, 'li');
  expect(back.bridge).toMatchObject({ version: 2, deployed_version: 1 });
  expect(await it.lanes(id)).toEqual([first]);
  const forth = await deployBridge(it.ports, 'births', { ...DEPLOY, rollbackTo: 2 }, 'li');
  expect(forth.bridge.deployed_version).toBe(2);
  expect((await it.lanes(id))[0]).not.toBe(city);
  expect(await problemCodes(deployBridge(it.ports, 'births', { ...DEPLOY, rollbackTo: 9 }, 'li'))).toEqual([
    'BRIDGE_VERSION_UNKNOWN',
  ]);
});

test('a bridge keeps its name and its source', async () => {
  await using it = await platform();
  await createBridge(it.ports, yamlOf(), 'li');
  await deployBridge(it.ports, 'births', DEPLOY, 'li');
  const yaml = yamlOf({ name: 'deaths', source: 'city' });
  const { problems } = await deployBridge(it.ports, 'births', { ...DEPLOY, yaml, backfill: true }, 'li');
  expect(problems.map(({ code }) => code)).toEqual(expect.arrayContaining(['NAME_CHANGED', 'SOURCE_CHANGED']));
});

test('a version with problems at an end is neither stored nor deployed', async () => {
  await using it = await platform();
  await createBridge(it.ports, yamlOf(), 'li');
  it.silent.add('civil');
  const { bridge, problems } = await deployBridge(it.ports, 'births', DEPLOY, 'li');
  expect([bridge.state, problems.map(({ code }) => code)]).toEqual(['created', ['NODE_UNREACHABLE']]);
  it.silent.clear();
  it.problems.set('civil', [{ code: 'SLOW', path: 'destinations[0]', message: 'm', hint: 'h', warning: true }]);
  expect((await deployBridge(it.ports, 'births', DEPLOY, 'li')).bridge.state).toBe('deployed');
});

test('of two operators who change a bridge at once the second is told', async () => {
  await using it = await platform();
  await createBridge(it.ports, yamlOf(), 'li');
  await deployBridge(it.ports, 'births', DEPLOY, 'li');
  it.meanwhile(() => startBridge(it.ports, 'births', 'wang'));
  const deploying = deployBridge(it.ports, 'births', { ...DEPLOY, yaml: yamlOf({ title: 'x' }) }, 'li');
  expect(await problemCodes(deploying)).toEqual(['BRIDGE_CHANGED']);
});

test('a destination is bound while another is silent, and unbound while it is gone', async () => {
  await using it = await platform();
  const { id } = await createBridge(it.ports, yamlOf(), 'li');
  await deployBridge(it.ports, 'births', DEPLOY, 'li');
  const before = await it.lanes(id);
  it.silent.add('civil');
  const entry = '- {node: city, dataSource: exchange, tables: {birth: {to: c, ownership: whole}}}';
  await bindDestination(it.ports, 'births', entry, 'li');
  expect((await it.lanes(id)).length).toBe(2);
  await it.world.store.updateTable('nodes').set({ status: 'revoked' }).where('code', '=', 'civil').execute();
  await unbindDestination(it.ports, 'births', 'civil', 'li');
  expect(await it.lanes(id)).not.toContain(before[0]);
  expect(await problemCodes(unbindDestination(it.ports, 'births', 'health', 'li'))).toEqual(['DESTINATION_UNKNOWN']);
  expect(await problemCodes(bindDestination(it.ports, 'births', '[1, 2]', 'li'))).toEqual(['DESTINATION_INVALID']);
  const actions = (await Array.fromAsync(readAudit(it.world.store))).map(({ action }) => action);
  expect(actions).toEqual(['bridge.create', 'bridge.deploy', 'bridge.bind', 'bridge.unbind']);
});

test('a node that holds every destination of a bridge is not unbound, and is not called its only destination', async () => {
  await using it = await platform();
  const two = [
    ['civil', 'exchange', 'to: a, ownership: whole'],
    ['civil', 'archive', 'to: b, ownership: whole'],
  ] as const;
  await createBridge(it.ports, yamlOf({ destinations: two }), 'li');
  await deployBridge(it.ports, 'births', DEPLOY, 'li');
  await expect(unbindDestination(it.ports, 'births', 'civil', 'li')).rejects.toMatchObject({
    code: 'LAST_DESTINATION',
    message: expect.stringContaining('all 2 destinations of "births" are at "civil"'),
    hint: expect.stringContaining('qiao bridge deploy births'),
  });
});

test('binding before the first deploy only edits the file', async () => {
  await using it = await platform();
  const { id } = await createBridge(it.ports, yamlOf(), 'li');
  const entry = '{node: city, dataSource: exchange, tables: {birth: {to: c, ownership: whole}}}';
  expect(await bindDestination(it.ports, 'births', entry, 'li')).toMatchObject({ state: 'created', version: 2 });
  expect(await it.lanes(id)).toEqual([]);
  await deployBridge(it.ports, 'births', DEPLOY, 'li');
  expect(await it.lanes(id)).toHaveLength(2);
});
