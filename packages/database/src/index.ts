export type { Migration } from './migrations.ts';
export { openDatabase } from './open.ts';
