// How this agent is, for a person: from inside the running process (diagnose), or from its files beside it (`qiao agent
// status`). Codes, counts and times only; never rows, keys or connection strings.

import { existsSync } from 'node:fs';
import type { DataSourceState, HostState, ServiceState } from '@qiao/contract/node';
import { NodeSnapshot } from '@qiao/contract/node';
import { Signed } from '@qiao/contract/signed';
import { idText } from '@qiao/exchange';
import { VERSION } from '@qiao/runtime';
import { hasIdentity, readCertificate, readIdentity } from '@qiao/security';
import type { AgentConfig } from '../config.ts';
import type { Desired } from '../control/desired.ts';
import { exchangeDatabaseFile } from '../data-sources/settings.ts';
import type { ExchangeDatabase } from '../exchange-database/index.ts';
import {
  type ExchangeDatabaseStatus,
  readCachedSnapshot,
  readExchangeDatabaseStatus,
} from '../exchange-database/readStatus.ts';
import { identityDirectory } from '../join/join.ts';

export interface AgentStatus {
  readonly version: string;
  readonly node: string;
  readonly directory: string;
  /** Absent before joining. */
  readonly identity?: {
    readonly platform: string;
    readonly nodeId: string;
    readonly department: string;
    readonly hubAddress: string;
    readonly fingerprint: string;
    readonly certificateEndsAtMs: number;
  };
  /** The snapshot that the agent runs on while the hub is away. */
  readonly snapshot?: {
    readonly generation: string;
    readonly number: string;
    readonly bridges: readonly { readonly bridgeId: string; readonly name: string }[];
  };
  /** Absent when no agent ever ran here. */
  readonly exchangeDatabase?: ExchangeDatabaseStatus;
}

/** Reads identity and exchange database without disturbing a running agent. Throws IDENTITY_INVALID for a broken identity. */
export function readAgentStatus(config: AgentConfig): AgentStatus {
  const directory = identityDirectory(config);
  const file = exchangeDatabaseFile(config);
  return {
    version: VERSION,
    node: config.node.code,
    directory: config.directory,
    ...(hasIdentity(directory) ? { identity: identityStatus(directory) } : {}),
    ...(existsSync(file) ? { ...snapshotStatus(file), exchangeDatabase: readExchangeDatabaseStatus(file) } : {}),
  };
}

function identityStatus(directory: string): NonNullable<AgentStatus['identity']> {
  const identity = readIdentity(directory);
  const facts = readCertificate(identity.certificate);
  return {
    platform: identity.platformCode,
    nodeId: idText(identity.nodeId),
    department: identity.departmentTitle,
    hubAddress: identity.hubAddress,
    fingerprint: facts.fingerprint,
    certificateEndsAtMs: facts.notAfterMs,
  };
}

function snapshotStatus(file: string): Pick<AgentStatus, 'snapshot'> {
  const bytes = readCachedSnapshot(file);
  if (bytes === undefined) return {};
  const snapshot = NodeSnapshot.decode(Signed.decode(bytes).payload);
  return {
    snapshot: {
      generation: String(snapshot.generation),
      number: String(snapshot.number),
      bridges: snapshot.bridges.map(({ bridgeId, name }) => ({ bridgeId: idText(bridgeId), name })),
    },
  };
}

export interface DiagnosePorts {
  readonly database: Pick<ExchangeDatabase, 'file'>;
  desired(): Desired | undefined;
  dataSources(): DataSourceState[];
  services(): ServiceState[];
  host(): HostState;
  busConnected(): boolean;
  hasToken(): boolean;
  readonly startedAtMs: number;
}

/** The report of the `diagnose` command, as a JSON value (64-bit numbers as text). */
export function diagnose(ports: DiagnosePorts): unknown {
  const desired = ports.desired();
  return plain({
    version: VERSION,
    startedAtMs: ports.startedAtMs,
    busConnected: ports.busConnected(),
    hasFencingToken: ports.hasToken(),
    snapshot:
      desired === undefined
        ? null
        : {
            generation: desired.generation,
            number: desired.number,
            bridges: [...desired.bridges.values()].map(({ name, version, state }) => ({ name, version, state })),
          },
    dataSources: ports.dataSources(),
    services: ports.services(),
    host: ports.host(),
    exchangeDatabase: readExchangeDatabaseStatus(ports.database.file),
  });
}

/** Bigints as decimal text and bytes as hexadecimal: JSON has neither. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return String(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
}
