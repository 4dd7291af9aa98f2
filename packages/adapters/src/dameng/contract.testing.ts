/** 达梦 under the contract suite: its words. */
import type { SourceWorld } from '../source-only/contract.testing.ts';
import { identifier } from '../source-only/dictionary.ts';
import { longText } from '../source-only/words.testing.ts';
import { damengDatabase } from './dataSource.ts';
import type { DamengConfig, Session } from './session.ts';

export function damengWorld(config: DamengConfig): SourceWorld<Session> {
  return {
    database: damengDatabase(config),
    dialect: {
      bytesType: 'BLOB',
      keyBytesType: 'VARBINARY(100)',
      bytes: (hex) => `HEXTORAW('${hex}')`,
      textType: 'CLOB',
      keyTextType: 'VARCHAR(400)',
      timestampType: 'TIMESTAMP(6)',
      uuidType: 'CHAR(36)',
      nowSeconds: "SELECT BIGDATEDIFF(SECOND, '1970-01-01 00:00:00', SYS_EXTRACT_UTC(SYSTIMESTAMP)) FROM DUAL",
      unsupportedType: 'INTERVAL DAY TO SECOND',
      losesReplacement: true,
    },
    words: {
      types: {
        bigint: 'BIGINT',
        int: 'INT',
        text: 'CLOB',
        boolean: 'BIT',
        date: 'DATE',
        decimal: 'DECIMAL',
        numeric: 'NUMERIC',
        varchar: 'VARCHAR',
        char: 'CHAR',
        'double precision': 'DOUBLE',
      },
      quote: identifier,
      text: (literal) => longText(literal, (piece) => `TO_CLOB(${piece})`),
      exponent: (number) => number,
      truth: { TRUE: '1', FALSE: '0' },
      rowsAtOnce: 1,
    },
  };
}
