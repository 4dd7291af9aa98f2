import { describe, expect, test } from 'vitest';
import { serverAt } from './address.testing.ts';

describe('the server of a contract run', () => {
  test('a URL names a PostgreSQL database, where the run makes its schema', () => {
    expect(serverAt('postgres://qiao:a%40b@db.example.gov:6543/his', 'qiao_contract')).toEqual({
      name: 'contract',
      adapter: 'postgres',
      host: 'db.example.gov',
      port: 6543,
      user: 'qiao',
      password: 'a@b',
      database: 'his',
      schema: 'qiao_contract',
      tls: undefined,
    });
  });

  test('a URL names a MySQL server, where the run makes its database, and an account of a tenant', () => {
    expect(serverAt('mariadb://root%40sys%23obcluster@[::1]?tls=require', 'mine', 'secret')).toEqual({
      name: 'contract',
      adapter: 'mysql',
      host: '::1',
      port: 3306,
      user: 'root@sys#obcluster',
      password: 'secret',
      database: 'mine',
      tls: 'require',
    });
  });

  test('a URL names a source-only server: SQL Server’s run makes its schema, Oracle’s and 达梦’s is the account’s own', () => {
    const shared = { name: 'contract', host: 'db', user: 'qiao', password: 'secret', tls: undefined };
    expect(serverAt('mssql://qiao@db/his', 'mine', 'secret')).toEqual({
      ...shared,
      adapter: 'mssql',
      port: 1433,
      database: 'his',
      schema: 'mine',
    });
    expect(serverAt('oracle://qiao@db:2484/his.example', 'mine', 'secret')).toEqual({
      ...shared,
      adapter: 'oracle',
      port: 2484,
      database: 'his.example',
    });
    expect(serverAt('dm://qiao@db?tls=disable&driver=/srv/drivers', 'mine', 'secret')).toEqual({
      ...shared,
      adapter: 'dameng',
      port: 5236,
      tls: 'disable',
      driver: '/srv/drivers',
    });
  });

  test.each([
    'hunter2',
    'oracle://qiao:hunter2@db',
    'mssql://qiao:hunter2@db/his?driver=/x',
    'dm://qiao:hunter2@db?tls=require',
    'postgres://qiao:hunter2@db',
    'postgres://:hunter2@db/his',
    'mysql://qiao:hunter2@db/?sslmode=require',
    'mysql://qiao:hunter2@db/?tls=perhaps',
  ])('what is no such URL is refused without repeating it', (url) => {
    expect(() => serverAt(url, 'qiao_contract')).toThrow(expect.objectContaining({ code: 'CONTRACT_URL' }));
    expect(() => serverAt(url, 'qiao_contract')).not.toThrow(/hunter2/);
  });

  test('a name that would have to be quoted is refused', () => {
    expect(() => serverAt('mysql://qiao@db', 'DROP')).toThrow(/expected a letter/);
  });
});
