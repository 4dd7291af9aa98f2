export { copyDatabase } from './copy.ts';
export { isStoreFault } from './faults.ts';
export { type DirectoryLock, lockDirectory } from './lock.ts';
export type { Migration } from './migrations.ts';
export { openDatabase } from './open.ts';
export { joinReplicas, type Replicas } from './replicas.ts';
export { copyServerStore, placeServerStore } from './serverCopy.ts';
export { type DatabaseTarget, databaseTarget, isUrl, type PasswordSource, passwordFile } from './target.ts';
export { whileLeading } from './whileLeading.ts';
