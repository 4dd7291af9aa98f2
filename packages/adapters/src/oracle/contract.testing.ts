/** Oracle under the contract suite: its words. */
import type { SourceWorld } from '../source-only/contract.testing.ts';
import { identifier } from '../source-only/dictionary.ts';
import { longText } from '../source-only/words.testing.ts';
import { oracleDatabase } from './dataSource.ts';
import type { OracleConfig, Session } from './session.ts';

export function oracleWorld(config: OracleConfig): SourceWorld<Session> {
  return {
    database: oracleDatabase(config),
    dialect: {
      bytesType: 'BLOB',
      keyBytesType: 'RAW(100)',
      bytes: (hex) => (hex === '' ? 'EMPTY_BLOB()' : `HEXTORAW('${hex}')`),
      textType: 'CLOB',
      keyTextType: 'VARCHAR2(100 CHAR)',
      timestampType: 'TIMESTAMP(6)',
      uuidType: 'CHAR(36)',
      nowSeconds: "SELECT FLOOR((CAST(SYS_EXTRACT_UTC(SYSTIMESTAMP) AS DATE) - DATE '1970-01-01') * 86400) FROM DUAL",
      unsupportedType: 'INTERVAL DAY TO SECOND',
      bigint: { type: 'decimal', precision: 19, scale: 0 },
      date: { type: 'timestamp', digits: 0 },
      emptyIsNull: true,
      losesReplacement: true,
      truthTexts: ['1', '0'],
    },
    words: {
      types: {
        bigint: 'NUMBER(19)',
        int: 'NUMBER(10)',
        text: 'CLOB',
        boolean: 'NUMBER(1)',
        date: 'DATE',
        decimal: 'NUMBER',
        numeric: 'NUMBER',
        varchar: 'VARCHAR2',
        char: 'CHAR',
        'double precision': 'BINARY_DOUBLE',
      },
      quote: identifier,
      text: (literal) => longText(literal, (piece) => `TO_CLOB(${piece})`),
      exponent: (number) => `${number}D`,
      truth: { TRUE: '1', FALSE: '0' },
      rowsAtOnce: 1,
    },
  };
}
