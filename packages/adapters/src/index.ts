export * from './adapter.ts';
export { amendedAnswer, decide as decideMark, firstAnswer, MARK_TABLE, notOpen, OWN_PREFIX } from './mark.ts';
export { openDataSource } from './open.ts';
export { RefusedCounts } from './refusedCounts.ts';
export { schemaOf } from './source-only/schemaOf.ts';
export { createFile as createSqliteFile } from './sqlite/session.ts';
export type { TriggerPlan, TriggerState, Triggers } from './triggers.ts';
