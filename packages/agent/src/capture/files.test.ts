import { appendFileSync, copyFileSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openDataSource } from '@qiao/adapters';
import type { BridgeTable } from '@qiao/exchange';
import { describe, expect, test } from 'vitest';
import { agentConfigSchema } from '../config.ts';
import { dataSourceConfigs } from '../data-sources/settings.ts';
import { CaptureWorld, type MemoryDestination } from './captureWorld.testing.ts';

/** A share with one table of files, declared as in agent.yaml, and one destination. */
class FilesWorld extends CaptureWorld {
  readonly folder = join(this.directory, 'share/visit');
  readonly destination: MemoryDestination;

  constructor(nature: 'state' | 'drop') {
    super();
    mkdirSync(this.folder, { recursive: true });
    this.start(nature);
    const table: BridgeTable = { name: 'visit', columns: this.columns(nature), transform: [], checks: [] };
    const cursor = { cursor: { column: 'qiao_file_no', lagSteps: 0 } };
    this.capture = nature === 'state' ? 'compare' : 'cursor';
    this.bridgeTables.push(nature === 'state' ? table : { ...table, ...cursor });
    this.destination = this.addLane();
  }

  /** An agent that starts: it remembers what is on its disk. */
  start(nature: 'state' | 'drop'): void {
    const declared = {
      nature,
      columns: { id: 'integer(64)', name: 'text' },
      ...(nature === 'state' && { key: ['id'] }),
    };
    const config = agentConfigSchema.parse({
      node: { code: 'health' },
      directory: this.directory,
      dataSources: {
        share: {
          adapter: 'files',
          directory: join(this.directory, 'share'),
          settledAfterMs: 0,
          tables: { visit: declared },
        },
      },
    });
    const settings = dataSourceConfigs(config)[0];
    if (settings === undefined) throw new Error('there is no data source');
    this.source = openDataSource(settings);
  }

  path(file: string): string {
    return join(this.folder, file);
  }

  write(file: string, rows: readonly string[]): void {
    writeFileSync(this.path(file), `id,name\n${rows.map((row) => `${row}\n`).join('')}`);
  }

  async outcomes(): Promise<string[]> {
    this.destination.outcomes.length = 0;
    await this.deliver();
    return this.destination.outcomes.toSorted();
  }

  private columns(nature: 'state' | 'drop'): string[] {
    return nature === 'state' ? ['id', 'name'] : ['qiao_file', 'qiao_row', 'id', 'name'];
  }
}

describe('a directory of files', () => {
  test('a state travels as its differences, and a share without a file empties nothing', async () => {
    using world = new FilesWorld('state');
    world.write('20240101.csv', ['1,a', '2,b', '3,c']);
    await world.scan();
    expect(await world.outcomes()).toEqual(Array(3).fill('insert-missing'));
    world.write('20240102.csv', ['3,c', '2,changed', '4,d']);
    await world.scan();
    expect(await world.outcomes()).toEqual(['delete', 'insert-missing', 'update']);
    expect(world.destination.rows('visit')).toEqual(['2\tchanged', '3\tc', '4\td']);
    rmSync(world.path('20240101.csv'));
    rmSync(world.path('20240102.csv'));
    await expect(world.scan()).rejects.toMatchObject({ code: 'FILE_MISSING' });
    expect(await world.outcomes()).toEqual([]);
  });

  test('a row that cannot be carried is counted, and lets nothing be called deleted', async () => {
    using world = new FilesWorld('state');
    world.write('a.csv', ['1,a', '2,b']);
    await world.scan();
    await world.outcomes();
    world.write('b.csv', ['1,a', 'two,b']);
    await world.scan();
    expect(await world.outcomes()).toEqual([]);
    expect(world.destination.rows('visit')).toEqual(['1\ta', '2\tb']);
  });

  test('a drop counts each row once: files twice, renamed, gone, behind a restart', async () => {
    using world = new FilesWorld('drop');
    world.write('a.csv', ['1,a', '2,b']);
    await world.scan();
    expect(await world.outcomes()).toEqual(Array(2).fill('insert-missing'));
    copyFileSync(world.path('a.csv'), world.path('b.csv'));
    world.write('c.csv', ['1,a']);
    await world.scan();
    expect(await world.outcomes()).toEqual(['insert-missing']);
    renameSync(world.path('c.csv'), world.path('d.csv'));
    rmSync(world.path('a.csv'));
    rmSync(world.path('b.csv'));
    world.start('drop');
    for (let scan = 0; scan < 3; scan++) expect((await world.scan()).rows).toBeLessThanOrEqual(1);
    copyFileSync(world.path('d.csv'), world.path('e.csv'));
    await world.scan();
    expect(await world.outcomes()).toEqual([]);
    const rows = world.destination.rows('visit').map((row) => row.split('\t').slice(1).join());
    expect(rows.toSorted()).toEqual(['1,1,a', '1,1,a', '2,2,b']);
  });

  test('a content that was met is read, though the agent died before its rows were captured', async () => {
    using world = new FilesWorld('drop');
    world.write('a.csv', ['1,a']);
    await world.scan();
    world.write('b.csv', ['2,b']);
    await using snapshot = await (await world.source)?.snapshot({
      signal: new AbortController().signal,
      maxMs: 60_000,
    });
    const cursor = { ref: { name: 'visit' }, column: 'qiao_file_no', type: { type: 'integer', bits: 64 } } as const;
    expect(await snapshot?.cursor?.highest(cursor, undefined)).toBe('3');
    world.start('drop');
    await world.scan();
    await world.scan();
    expect(await world.outcomes()).toEqual(Array(2).fill('insert-missing'));
  });

  test('a content that came back is read, though the position had passed it: what was never read travels, the rest does not', async () => {
    using world = new FilesWorld('drop');
    world.write('a.csv', ['1,a']);
    await world.scan();
    await world.outcomes();
    // Met, never captured, and away for as many scans as a position needs.
    world.write('b.csv', ['2,b']);
    await using snapshot = await (await world.source)?.snapshot({
      signal: new AbortController().signal,
      maxMs: 60_000,
    });
    const cursor = { ref: { name: 'visit' }, column: 'qiao_file_no', type: { type: 'integer', bits: 64 } } as const;
    await snapshot?.cursor?.highest(cursor, undefined);
    rmSync(world.path('a.csv'));
    rmSync(world.path('b.csv'));
    for (let scan = 0; scan < 3; scan++) expect((await world.scan()).rows).toBe(0);
    world.write('a.csv', ['1,a']);
    world.write('b.csv', ['2,b']);
    expect((await world.scan()).rows).toBe(2);
    expect(await world.outcomes()).toEqual(['insert-missing']);
  });

  test('another ledger lets everything be read again, and nothing travels twice', async () => {
    using world = new FilesWorld('drop');
    world.write('b.csv', ['1,a']);
    await world.scan();
    world.write('a.csv', ['2,b']);
    await world.scan();
    await world.outcomes();
    rmSync(join(world.directory, 'files'), { recursive: true });
    world.start('drop');
    expect((await world.scan()).rows).toBe(2);
    expect(await world.outcomes()).toEqual([]);
  });

  test('a file that grew after it was read fails the scan, and the others travel', async () => {
    using world = new FilesWorld('drop');
    world.write('a.csv', ['1,a']);
    await world.scan();
    await world.outcomes();
    appendFileSync(world.path('a.csv'), '2,b\n');
    world.write('b.csv', ['3,c']);
    await expect(world.scan()).rejects.toMatchObject({ code: 'FILE_CHANGED', fate: 'transient' });
    rmSync(world.path('a.csv'));
    await world.scan();
    expect(await world.outcomes()).toEqual(['insert-missing']);
  });
});
