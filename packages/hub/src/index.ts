export { type AddReplicaOptions, addReplica } from './addReplica.ts';
export { readAudit } from './audit/audit.ts';
export { AUDIT_GENESIS, auditHash } from './audit/auditHash.ts';
export { type AuditChain, type AuditFinding, verifyAudit } from './audit/verifyAudit.ts';
export { compareWitnesses, type WitnessFinding } from './audit/witnesses.ts';
export { backupHub, restoreHub } from './backup.ts';
export { type HubConfig, hubConfigSchema, readHubConfig, requireReplicable } from './config.ts';
export { type RunningHub, type StartHubOptions, startHub } from './hub.ts';
export { type Founded, type InitOptions, initHub } from './init.ts';
