/** What a server of another house is asked, and what its preflight says; the adapters' own files are proven against real servers. */
import { describe, expect, test } from 'vitest';
import type { Product, Trial } from './product.ts';
import { type DatabaseServer, ServerDataSource, type WritingServer } from './serverDataSource.ts';

interface Connection {
  close(): Promise<void>;
}

const OPEN_GAUSS: Product = { name: 'openGauss', version: '5.0.0', isKin: true, isVerified: false };
const POSTGRES: Product = { name: 'PostgreSQL', version: '15.18', isKin: false, isVerified: true };

function dataSource(product: Product, trials: readonly Trial<Connection>[]) {
  const found = { code: 'TABLE_MISSING', path: 't', message: 'the table is missing', hint: 'make it' };
  const server: Partial<DatabaseServer<Connection>> = {
    adapter: 'postgres',
    product: () => product,
    trials,
    open: async () => ({ close: async () => undefined }),
    checkSource: async () => [found],
    writing: { checkTarget: async () => [found] } as unknown as WritingServer<Connection>,
  };
  return new ServerDataSource('his', server as DatabaseServer<Connection>);
}

const does: Trial<Connection> = { what: 'savepoints', run: async () => true };
const lacks: Trial<Connection> = { what: 'COPY', side: 'TARGET', run: async () => false };

describe('a server of another house', () => {
  test('that lacks what landing needs is refused as a target, by that alone', async () => {
    const problems = await dataSource(OPEN_GAUSS, [does, lacks]).checkTarget([], new Map());
    expect(problems).toEqual([
      {
        code: 'SERVER_LACKS',
        path: '',
        message: 'openGauss 5.0.0 does not do, or not for this account: COPY',
        hint: expect.stringContaining('exchange tables'),
      },
    ]);
  });

  test('that has what reading needs is a source, with a warning that nobody has tried it', async () => {
    const problems = await dataSource(OPEN_GAUSS, [does, lacks]).checkSource([]);
    expect(problems.map(({ code, warning }) => [code, warning ?? false])).toEqual([
      ['SERVER_UNVERIFIED', true],
      ['TABLE_MISSING', false],
    ]);
  });

  test('says so when it is probed; one that is tested says nothing', async () => {
    expect(await dataSource(OPEN_GAUSS, []).probe()).toEqual({
      reachable: true,
      version: 'openGauss 5.0.0',
      remark: expect.stringContaining('not verified here'),
    });
    expect(await dataSource(POSTGRES, []).probe()).toEqual({ reachable: true, version: 'PostgreSQL 15.18' });
  });

  test('is tried; the one that the adapter was written for is not', async () => {
    const problems = await dataSource(POSTGRES, [lacks]).checkTarget([], new Map());
    expect(problems.map(({ code }) => code)).toEqual(['TABLE_MISSING']);
  });
});
