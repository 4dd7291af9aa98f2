export * from './adapter.ts';
export { decide as decideMark, MARK_TABLE, OWN_PREFIX } from './mark.ts';
export { openDataSource } from './open.ts';
export { createFile as createSqliteFile } from './sqlite/session.ts';
