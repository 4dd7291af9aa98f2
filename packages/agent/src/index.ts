export { type StartAgentOptions, startAgent } from './agent.ts';
export { backupAgent, restoreAgent } from './backup.ts';
export { type AgentStatus, readAgentStatus } from './commands/status.ts';
export { type AgentConfig, type AgentDataSource, agentConfigSchema } from './config.ts';
export { confirmPeer, type KnownPeer, readPeers, spokenFingerprint } from './control/peerRecords.ts';
export {
  type AddDataSourceOptions,
  addDataSource,
  dataSourceTables,
  type NewDataSource,
  testDataSource,
} from './data-sources/manage.ts';
export { readAgentConfig } from './data-sources/settings.ts';
export {
  type Account,
  bridgeTriggers,
  deployedBridge,
  runTriggerStatements,
  type TableTriggers,
} from './data-sources/triggers.ts';
export type { ExchangeDatabaseStatus, LaneStatus } from './exchange-database/readStatus.ts';
export { identityDirectory, type JoinAgentOptions, type Joined, joinAgent } from './join/join.ts';
export { type Finding, preflight } from './join/preflight.ts';
