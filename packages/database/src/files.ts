// What an agent takes from here: locks and copies of SQLite files, without the drivers of stores on a server.

export { copyDatabase } from './copy.ts';
export { type DirectoryLock, lockDirectory } from './lock.ts';
