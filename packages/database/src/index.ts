export { type DirectoryLock, lockDirectory } from './lock.ts';
export type { Migration } from './migrations.ts';
export { openDatabase } from './open.ts';
