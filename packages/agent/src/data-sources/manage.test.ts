import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { makeExchangeTables } from './exchangeTables.ts';
import { addDataSource, dataSourceTables, testDataSource } from './manage.ts';
import { dataSourceConfigs, readAgentConfig, settingsProblems } from './settings.ts';

const YAML = `# 前置机 of the health commission
node: {code: health}
directory: data # beside this file
dataSources:
  # the hospital's own database
  his: {adapter: postgres, host: db, database: his, user: qiao, password: "\${ENV:HIS_PASSWORD}"}
exposes:
  - {dataSource: his, table: patient}
`;

class Folder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'qiao-settings-'));
  readonly file = join(this.path, 'agent.yaml');
  constructor(text = YAML) {
    writeFileSync(this.file, text);
  }
  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

test('a data source is added to the file and every comment stays', () => {
  using folder = new Folder();
  addDataSource({ file: folder.file, name: 'lab', settings: { adapter: 'sqlite', file: 'lab.db' } });
  const text = readFileSync(folder.file, 'utf8');
  for (const comment of ['# 前置机 of the health commission', '# beside this file', "# the hospital's own database"]) {
    expect(text).toContain(comment);
  }
  const config = readAgentConfig(folder.file);
  expect(config.dataSources.lab).toEqual({ adapter: 'sqlite', file: join(folder.path, 'lab.db') });
});

test('a password is encrypted before it touches the file, and opens again on this host', () => {
  using folder = new Folder();
  const settings = { adapter: 'postgres', host: 'db', database: 'lab', user: 'qiao', password: 'p@ss' } as const;
  addDataSource({ file: folder.file, name: 'lab', settings });
  expect(readFileSync(folder.file, 'utf8')).not.toContain('p@ss');
  const sources = dataSourceConfigs(readAgentConfig(folder.file), { HIS_PASSWORD: 'x' });
  expect(sources.find(({ name }) => name === 'lab')).toMatchObject({ password: 'p@ss' });
});

test('a name that is taken is not replaced by accident', () => {
  using folder = new Folder();
  const settings = { adapter: 'sqlite', file: 'other.db' } as const;
  expect(() => addDataSource({ file: folder.file, name: 'his', settings })).toThrow('has a data source his already');
  addDataSource({ file: folder.file, name: 'his', settings, replace: true });
  expect(readAgentConfig(folder.file).dataSources.his?.adapter).toBe('sqlite');
});

test('passwords come from the environment, and a missing variable is named without any value', () => {
  using folder = new Folder();
  const config = readAgentConfig(folder.file);
  expect(dataSourceConfigs(config, { HIS_PASSWORD: 'secret' })[0]).toMatchObject({ password: 'secret' });
  expect(() => dataSourceConfigs(config, {})).toThrow('HIS_PASSWORD, which is not set');
});

test('every agent has the data source exchange, and a rule for an unknown one is a problem', () => {
  using folder = new Folder(YAML.replace('dataSource: his, table', 'dataSource: hsi, table'));
  const config = readAgentConfig(folder.file);
  expect(dataSourceConfigs(config, { HIS_PASSWORD: 'x' }).at(-1)).toEqual({
    name: 'exchange',
    adapter: 'sqlite',
    file: join(folder.path, 'data', 'exchange-tables.db'),
  });
  expect(settingsProblems(config).map(({ path }) => path)).toEqual(['exposes[0].dataSource']);
});

test('a source is tested and its tables named without the secrets of the others', async () => {
  using folder = new Folder();
  const config = { ...readAgentConfig(folder.file), directory: folder.path };
  makeExchangeTables(config);
  expect(await testDataSource(config, 'exchange')).toMatchObject({ reachable: true });
  expect(await dataSourceTables(config, 'exchange')).toEqual([]);
  await expect(testDataSource(config, 'nothing')).rejects.toThrow('nothing is not in agent.yaml');
});
