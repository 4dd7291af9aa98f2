/** SQL Server under the contract suite: its words. */
import type { SourceWorld } from '../source-only/contract.testing.ts';
import { identifier, mssqlDatabase } from './dataSource.ts';
import type { MssqlConfig, Session } from './session.ts';

export function mssqlWorld(config: MssqlConfig): SourceWorld<Session> {
  const { schema = 'dbo' } = config;
  return {
    database: mssqlDatabase(config),
    makeSchema: (name) => ({ make: `CREATE SCHEMA ${identifier(name)}`, remove: `DROP SCHEMA ${identifier(name)}` }),
    dialect: {
      bytesType: 'VARBINARY(MAX)',
      keyBytesType: 'VARBINARY(100)',
      bytes: (hex) => `CONVERT(VARBINARY(MAX), '${hex}', 2)`,
      textType: 'NVARCHAR(MAX)',
      keyTextType: 'NVARCHAR(100) COLLATE LATIN1_GENERAL_100_BIN2',
      timestampType: 'DATETIME2(6)',
      uuidType: 'UNIQUEIDENTIFIER',
      nowSeconds: "SELECT DATEDIFF_BIG(SECOND, '1970-01-01', SYSUTCDATETIME())",
      unsupportedType: 'HIERARCHYID',
    },
    words: {
      types: {
        bigint: 'BIGINT',
        int: 'INT',
        text: 'NVARCHAR(MAX)',
        boolean: 'BIT',
        date: 'DATE',
        decimal: 'DECIMAL',
        numeric: 'NUMERIC',
        varchar: 'NVARCHAR',
        char: 'NCHAR',
        'double precision': 'FLOAT(53)',
      },
      quote: identifier,
      // Otherwise a table is of the account's default schema.
      table: (name) => `${identifier(schema)}.${identifier(name)}`,
      text: (literal) => `N${literal}`,
      exponent: (number) => number,
      truth: { TRUE: '1', FALSE: '0' },
      rowsAtOnce: 500,
    },
  };
}
