// Owns the tables of hub.db: their columns as TypeScript sees them and the steps that make them. Who reads and writes which
// table is said in the rooms: registry (departments, nodes, certificates, tokens), bridges (bridges, versions, lanes),
// desired (hub_state, snapshots), routing (refusals, a lane's epoch and counters), audit.

import type { Migration } from '@qiao/database';
import type { Generated, Kysely, Selectable } from 'kysely';

export type NodeRoleName = 'agent' | 'monitor' | 'operator';
export type NodeStatusName = 'invited' | 'joined' | 'revoked';
export type BridgeStateName = 'created' | 'deployed' | 'running' | 'stopped' | 'retired';

/** Identities are 32 lower-case hexadecimal characters everywhere in this file; times are milliseconds since 1970 UTC. */
export interface HubTables {
  /** One row. `number` is the newest version given to any snapshot or directory inside `generation`. */
  hub_state: {
    id: number;
    platform_id: string;
    hub_node_id: string;
    generation: number;
    number: number;
    /** Since when this hub, restored from a backup, waits for a person; 0 when it does not. */
    held_since_ms: Generated<number>;
    held_reason: Generated<string>;
    /** `number` as it stood in the backup. */
    backup_number: Generated<number>;
    /** The newest snapshot that a node showed while this hub waits. */
    highest_generation: Generated<number>;
    highest_number: Generated<number>;
    /** The authority's certificate (DER) once it was renewed: all replicas show the same. */
    authority: Generated<Uint8Array | null>;
  };
  /** While a restored hub waits: which nodes have told what they know. */
  restore_report: { node_id: string; at_ms: number; joined_after: number };
  /** … out of which snapshot each bridge was last learned. */
  restore_bridge: { bridge_id: string; generation: number; number: number };
  /** … and each lane: what is said of it comes from its two ends, a bridge's own facts from any node of the bridge. */
  restore_lane: { lane_id: string; generation: number; number: number };
  /** … and what was new in it, one sentence each. */
  restore_learned: { sentence: string; at_ms: number };
  departments: { code: string; title: string };
  nodes: {
    id: string;
    code: string;
    title: string;
    department_code: string;
    role: NodeRoleName;
    status: NodeStatusName;
    /** DER; null until it joined. */
    certificate: Uint8Array | null;
    /** SHA-256 of the certificate, hexadecimal. */
    fingerprint: string | null;
    certificate_ends_at_ms: number | null;
    sealing_key: Uint8Array | null;
    reads_format: number;
    nats_user: string | null;
    fencing_token: number;
    /** Added to the next token that is given, then 0: how many may have been given out since a backup. */
    fencing_leap: Generated<number>;
    joined_at_ms: number | null;
    last_seen_at_ms: number;
    version: string;
    exchange_database_id: string | null;
    actual_generation: number;
    actual_number: number;
    /** JSON list of BridgeProblem as the node reported it. */
    problems_json: string;
  };
  /** Every certificate the authority gave to a node, monitor or operator, so that a revoked one stays known for ever. */
  certificates: {
    fingerprint: string;
    /** SHA-256 of the public key (SPKI, DER), hexadecimal; null for those that were given before it was kept. */
    key_sha256: string | null;
    node_id: string;
    nats_user: string | null;
    issued_at_ms: number;
    revoked_at_ms: number | null;
    reason: string | null;
  };
  tokens: {
    secret_sha256: string;
    node_id: string;
    created_at_ms: number;
    created_by: string;
    expires_at_ms: number;
    used_at_ms: number | null;
  };
  /** Wrong tokens that strangers showed of late: see identity/attempts.ts. */
  wrong_tokens: { network: string; at_ms: number };
  bridges: {
    id: string;
    name: string;
    title: string;
    state: BridgeStateName;
    version: number;
    /** 0 before the first deploy. */
    deployed_version: number;
    source_node_id: string;
    run_number: number;
    allowed_deletes: number;
    created_at_ms: number;
    changed_at_ms: number;
  };
  bridge_versions: {
    bridge_id: string;
    version: number;
    yaml: string;
    definition_json: string;
    stored_at_ms: number;
    stored_by: string;
    /** First time it became the nodes' desired state: from then on deliveries may name it. */
    deployed_at_ms: number | null;
  };
  lanes: {
    id: string;
    bridge_id: string;
    sender_id: string;
    receiver_id: string;
    data_source: string;
    /** Index of the destination in the deployed definition; the last one it had when the lane has ended. */
    destination: number;
    bound_at_ms: number;
    ended_at_ms: number | null;
    /** 0 for none. Durable before the opening of that epoch is forwarded. */
    highest_epoch: number;
    highest_nonce: Uint8Array | null;
    /** Counters: written in batches, so a crash may leave them a second behind. */
    routed_sequence: number;
    routed_deliveries: number;
    refused_deliveries: number;
  };
  refusals: {
    id: Generated<number>;
    at_ms: number;
    from_node: string;
    bridge: string;
    lane_id: string;
    epoch: number;
    sequence: number;
    code: string;
    message: string;
    times: number;
  };
  /** The newest signed snapshot of each node; `digest` is over what it says apart from its number and time. */
  snapshots: {
    node_id: string;
    generation: number;
    number: number;
    digest: string;
    signed: Uint8Array;
    /** 0 until the bus has taken it; whoever finds it so brings it out, whichever replica wrote it. */
    brought_out: number;
  };
  /** One row: the newest signed directory for the monitors. */
  directory: { id: number; generation: number; number: number; digest: string; signed: Uint8Array };
  /** One chain per replica of the hub; `number` counts from 1 inside a chain. */
  audit: {
    replica: string;
    number: number;
    at_ms: number;
    actor: string;
    action: string;
    subject: string;
    success: number;
    detail_json: string;
    previous_hash: Uint8Array;
    hash: Uint8Array;
  };
}

export type HubDatabase = Kysely<HubTables>;
export type NodeRow = Selectable<HubTables['nodes']>;
export type BridgeRow = Selectable<HubTables['bridges']>;
export type BridgeVersionRow = Selectable<HubTables['bridge_versions']>;
export type LaneRow = Selectable<HubTables['lanes']>;
export type AuditRow = Selectable<HubTables['audit']>;

export const HUB_MIGRATIONS: readonly Migration[] = [
  {
    id: '0001-hub',
    breaking: true,
    sql: `
CREATE TABLE hub_state (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  platform_id TEXT NOT NULL,
  hub_node_id TEXT NOT NULL,
  generation INTEGER NOT NULL,
  number INTEGER NOT NULL
) STRICT;
CREATE TABLE departments (code TEXT PRIMARY KEY, title TEXT NOT NULL) STRICT;
CREATE TABLE nodes (
  id TEXT PRIMARY KEY,
  code TEXT NOT NULL UNIQUE,
  title TEXT NOT NULL,
  department_code TEXT NOT NULL REFERENCES departments (code),
  role TEXT NOT NULL CHECK (role IN ('agent', 'monitor', 'operator')),
  status TEXT NOT NULL CHECK (status IN ('invited', 'joined', 'revoked')),
  certificate BLOB,
  fingerprint TEXT,
  certificate_ends_at_ms INTEGER,
  sealing_key BLOB,
  reads_format INTEGER NOT NULL DEFAULT 1,
  nats_user TEXT,
  fencing_token INTEGER NOT NULL DEFAULT 0,
  joined_at_ms INTEGER,
  last_seen_at_ms INTEGER NOT NULL DEFAULT 0,
  version TEXT NOT NULL DEFAULT '',
  exchange_database_id TEXT,
  actual_generation INTEGER NOT NULL DEFAULT 0,
  actual_number INTEGER NOT NULL DEFAULT 0,
  problems_json TEXT NOT NULL DEFAULT '[]'
) STRICT;
CREATE TABLE certificates (
  fingerprint TEXT PRIMARY KEY,
  node_id TEXT NOT NULL REFERENCES nodes (id),
  nats_user TEXT,
  issued_at_ms INTEGER NOT NULL,
  revoked_at_ms INTEGER,
  reason TEXT
) STRICT;
CREATE INDEX certificates_of_node ON certificates (node_id);
CREATE TABLE tokens (
  secret_sha256 TEXT PRIMARY KEY,
  node_id TEXT NOT NULL REFERENCES nodes (id),
  created_at_ms INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  expires_at_ms INTEGER NOT NULL,
  used_at_ms INTEGER
) STRICT;
CREATE INDEX tokens_of_node ON tokens (node_id);
CREATE TABLE bridges (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  title TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('created', 'deployed', 'running', 'stopped', 'retired')),
  version INTEGER NOT NULL,
  deployed_version INTEGER NOT NULL DEFAULT 0,
  source_node_id TEXT NOT NULL REFERENCES nodes (id),
  run_number INTEGER NOT NULL DEFAULT 0,
  allowed_deletes INTEGER NOT NULL DEFAULT 0,
  created_at_ms INTEGER NOT NULL,
  changed_at_ms INTEGER NOT NULL
) STRICT;
-- A retired bridge gives its name free.
CREATE UNIQUE INDEX bridges_by_name ON bridges (name) WHERE state <> 'retired';
CREATE TABLE bridge_versions (
  bridge_id TEXT NOT NULL REFERENCES bridges (id),
  version INTEGER NOT NULL,
  yaml TEXT NOT NULL,
  definition_json TEXT NOT NULL,
  stored_at_ms INTEGER NOT NULL,
  stored_by TEXT NOT NULL,
  deployed_at_ms INTEGER,
  PRIMARY KEY (bridge_id, version)
) STRICT;
CREATE TABLE lanes (
  id TEXT PRIMARY KEY,
  bridge_id TEXT NOT NULL REFERENCES bridges (id),
  sender_id TEXT NOT NULL REFERENCES nodes (id),
  receiver_id TEXT NOT NULL REFERENCES nodes (id),
  data_source TEXT NOT NULL,
  destination INTEGER NOT NULL,
  bound_at_ms INTEGER NOT NULL,
  ended_at_ms INTEGER,
  highest_epoch INTEGER NOT NULL DEFAULT 0,
  highest_nonce BLOB,
  routed_sequence INTEGER NOT NULL DEFAULT 0,
  routed_deliveries INTEGER NOT NULL DEFAULT 0,
  refused_deliveries INTEGER NOT NULL DEFAULT 0
) STRICT;
-- At most one living lane per destination of a bridge.
CREATE UNIQUE INDEX lanes_living ON lanes (bridge_id, receiver_id, data_source) WHERE ended_at_ms IS NULL;
CREATE TABLE refusals (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms INTEGER NOT NULL,
  from_node TEXT NOT NULL,
  bridge TEXT NOT NULL,
  lane_id TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  code TEXT NOT NULL,
  message TEXT NOT NULL,
  times INTEGER NOT NULL
) STRICT;
CREATE TABLE snapshots (
  node_id TEXT PRIMARY KEY,
  generation INTEGER NOT NULL,
  number INTEGER NOT NULL,
  digest TEXT NOT NULL,
  signed BLOB NOT NULL
) STRICT;
CREATE TABLE audit (
  number INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  subject TEXT NOT NULL,
  success INTEGER NOT NULL,
  detail_json TEXT NOT NULL,
  previous_hash BLOB NOT NULL,
  hash BLOB NOT NULL
) STRICT;
-- The chain proves an edit; these stop the careless one.
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit rows are never changed'); END;
CREATE TRIGGER audit_is_never_deleted BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit rows are never deleted'); END;
`,
  },
  {
    id: '0002-replicas',
    breaking: true,
    sql: `
ALTER TABLE snapshots ADD COLUMN brought_out INTEGER NOT NULL DEFAULT 1;
CREATE TABLE directory (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  generation INTEGER NOT NULL,
  number INTEGER NOT NULL,
  digest TEXT NOT NULL,
  signed BLOB NOT NULL
) STRICT;
-- What was written so far is the chain of the replica that is called hub when nobody names it.
ALTER TABLE audit RENAME TO audit_of_one;
CREATE TABLE audit (
  replica TEXT NOT NULL,
  number INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  subject TEXT NOT NULL,
  success INTEGER NOT NULL,
  detail_json TEXT NOT NULL,
  previous_hash BLOB NOT NULL,
  hash BLOB NOT NULL,
  PRIMARY KEY (replica, number)
) STRICT;
INSERT INTO audit SELECT 'hub', number, at_ms, actor, action, subject, success, detail_json, previous_hash, hash
  FROM audit_of_one ORDER BY number;
DROP TABLE audit_of_one;
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit rows are never changed'); END;
CREATE TRIGGER audit_is_never_deleted BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit rows are never deleted'); END;
CREATE INDEX audit_seals ON audit (replica, subject, number) WHERE action = 'audit.seal';
`,
  },
  {
    id: '0003-restore',
    // An older program would route before a person has confirmed.
    breaking: true,
    sql: `
ALTER TABLE hub_state ADD COLUMN held_since_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hub_state ADD COLUMN held_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE hub_state ADD COLUMN backup_number INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hub_state ADD COLUMN highest_generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE hub_state ADD COLUMN highest_number INTEGER NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN fencing_leap INTEGER NOT NULL DEFAULT 0;
CREATE TABLE restore_report (node_id TEXT PRIMARY KEY, at_ms INTEGER NOT NULL, joined_after INTEGER NOT NULL) STRICT;
CREATE TABLE restore_bridge (bridge_id TEXT PRIMARY KEY, generation INTEGER NOT NULL, number INTEGER NOT NULL) STRICT;
CREATE TABLE restore_learned (sentence TEXT PRIMARY KEY, at_ms INTEGER NOT NULL) STRICT;
`,
  },
  {
    id: '0004-wrong-tokens',
    sql: `
CREATE TABLE wrong_tokens (network TEXT NOT NULL, at_ms INTEGER NOT NULL) STRICT;
`,
  },
  { id: '0005-authority', sql: 'ALTER TABLE hub_state ADD COLUMN authority BLOB;\n' },
  {
    id: '0006-restored-lanes',
    sql: `
CREATE TABLE restore_lane (lane_id TEXT PRIMARY KEY, generation INTEGER NOT NULL, number INTEGER NOT NULL) STRICT;
`,
  },
  {
    id: '0007-keys',
    sql: `
ALTER TABLE certificates ADD COLUMN key_sha256 TEXT;
CREATE INDEX certificates_by_key ON certificates (key_sha256);
CREATE INDEX certificates_by_user ON certificates (nats_user);
`,
  },
];
