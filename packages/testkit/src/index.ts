export { type BoardState, type BooksLine, readBoard, readBooks, type SideCounts, until } from './books.ts';
export { type CrashDrill, type CrashDrillOptions, dieAtEach } from './crashDrill.ts';
export {
  type BusinessDatabase,
  type PostgresConfig,
  type PostgresSession,
  postgresDatabase,
  postgresSession,
  sqliteDatabase,
} from './ends.ts';
export { type NodePlan, Platform, type PlatformPlan } from './platform.ts';
export { freePorts } from './ports.ts';
export { Program, type ProgramOptions, programFile } from './program.ts';
export { type Answer, runQiao } from './qiao.ts';
export { seededRandom, storySeed } from './seed.ts';
export { SmallDisk } from './smallDisk.ts';
export { TcpProxy } from './tcpProxy.ts';
