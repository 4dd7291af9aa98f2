/** What capture needs from the rest of the agent, as small ports, and what it offers in return. */
import type { DataSource } from '@qiao/adapters';
import type { ServiceState } from '@qiao/contract/node';
import type { Signed } from '@qiao/contract/signed';
import type { Hasher } from '@qiao/exchange';
import type { Clock, Log, Part } from '@qiao/runtime';
import type { Landings } from '../apply/landings.ts';
import type { DesiredState } from '../control/desired.ts';
import type { Fence } from '../control/fence.ts';
import type { Permissions } from '../control/permissions.ts';
import type { Compression, ExchangeDatabase } from '../exchange-database/index.ts';

export interface BookSigner {
  sign(context: 'qiao.statement.v1' | 'qiao.settlement.v1', payload: Uint8Array): Signed;
}

export interface CaptureLimits {
  /** Pause between two scans of a `realtime` bridge. */
  readonly compareEveryMs: number;
  /** Where a parcel is cut, bytes of content. */
  readonly parcelBytes: number;
  /** A scan pauses while every lane of its bridge holds more unreceipted bytes than this. */
  readonly outboxBudgetBytes: number;
  /** A scan that reads longer than this gives up and starts again. */
  readonly snapshotMaxMs: number;
  /** What a database may keep of its log for this node, bytes on its disk; past it the log is given up. */
  readonly logBudgetBytes: number;
  /** How often it is asked. */
  readonly logWatchMs: number;
  /** How bodies are compressed before they are sealed. */
  readonly compression: Compression;
}

export const DEFAULT_CAPTURE_LIMITS: CaptureLimits = {
  compareEveryMs: 5_000,
  parcelBytes: 4 * 1024 * 1024,
  outboxBudgetBytes: 256 * 1024 * 1024,
  snapshotMaxMs: 6 * 60 * 60 * 1000,
  logBudgetBytes: 16 * 1024 * 1024 * 1024,
  logWatchMs: 10_000,
  compression: 'zstd',
};

export interface CapturePorts {
  readonly database: ExchangeDatabase;
  readonly desired: Pick<DesiredState, 'current' | 'onChange'>;
  readonly dataSources: { open(name: string): Promise<DataSource> };
  readonly permissions: Permissions;
  /** Hashes under this node's key. */
  readonly hasher: Hasher;
  readonly signer: BookSigner;
  /** A process that lost its fence opens no epoch. */
  readonly fence: Fence;
  readonly clock: Clock;
  readonly log: Log;
  /** 16 random bytes. */
  newId(): Uint8Array;
  readonly limits: CaptureLimits;
  /** What other nodes sent into the tables that are captured. */
  readonly landings: Landings;
  /** Called after a parcel is on disk: sending, books and telemetry may look. */
  onPacked(): void;
}

export interface CaptureService {
  /** One part; it runs one scanner per bridge that is captured here. */
  readonly parts: readonly Part[];
  /** One entry per bridge captured here, for the heartbeat. */
  states(): ServiceState[];
  /** "CODE: message" of what keeps the bridge's rows from leaving; empty when nothing does. */
  standing(bridgeId: string): string;
  /** Room may have come free in the outbox: a waiting scan looks again. */
  wake(): void;
}
