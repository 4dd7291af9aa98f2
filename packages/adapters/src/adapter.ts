/**
 * What every adapter promises. The files of `port/` own the words and contracts of a data source, of its snapshot and its log (source side)
 * and of its target (apply side); `contractSuite.ts` tests each numbered promise against a real database, and each adapter's `TYPES.md` says
 * how its types travel. Buses, lanes' protocol and files of the agent are none of its business.
 *
 * An adapter's folder has the same files in each: `dataSource.ts` (exports `openPostgres`, `openMysql`, `openSqlite` or `openFiles`), `session.ts`, `describe.ts`,
 * `types.ts`, `check.ts`, `createTable.ts`, `source.ts`, `keys.ts`, `cursor.ts` and `horizon.ts` (where tables are read by a cursor), `log.ts` (where there is one),
 * `target.ts`, `TYPES.md`. What is only read (`mssql/`, `oracle/`, `dameng/`) has the few of them that `source-only/` asks for.
 */
export * from './port/dataSource.ts';
export * from './port/log.ts';
export * from './port/snapshot.ts';
export * from './port/target.ts';
