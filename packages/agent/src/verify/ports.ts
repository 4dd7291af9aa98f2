/** What comparing both ends needs from the rest of the agent, as small ports, and what it offers in return. */
import type { DataSource } from '@qiao/adapters';
import type { VerifyAnswer, VerifyRequest } from '@qiao/contract/verify';
import type { Hasher } from '@qiao/exchange';
import type { Clock, Log, Part } from '@qiao/runtime';
import type { CaptureLimits } from '../capture/index.ts';
import type { BookSigner } from '../capture/ports.ts';
import type { DesiredState } from '../control/desired.ts';
import type { Fence } from '../control/fence.ts';
import type { Permissions } from '../control/permissions.ts';
import type { ExchangeDatabase, Job, JobKind, JobOptions, JobRow } from '../exchange-database/index.ts';
import type { BodySealing, SendLimits } from '../send/index.ts';

/** Opens what a lane's sender sealed for this node. */
export interface KeyOpener {
  readonly sealing: string;
  open(body: Uint8Array, wrappedKey: Uint8Array, context: Uint8Array): Promise<Uint8Array>;
}

export interface VerifyPorts {
  readonly database: ExchangeDatabase;
  readonly desired: Pick<DesiredState, 'current' | 'onChange'>;
  readonly dataSources: { open(name: string): Promise<DataSource> };
  readonly permissions: Permissions;
  /** Hashes under this node's key. */
  readonly hasher: Hasher;
  readonly fence: Fence;
  readonly signer: BookSigner;
  readonly sealing: BodySealing;
  readonly keys: KeyOpener;
  readonly clock: Clock;
  readonly log: Log;
  /** 16 random bytes. */
  newId(): Uint8Array;
  /** 32 random bytes. */
  newSecret(): Uint8Array;
  readonly limits: CaptureLimits & Pick<SendLimits, 'retentionMs'>;
  /** A control message waits for the bus. */
  onQueued(): void;
  /** A parcel is on disk. */
  onPacked(): void;
  /** "CODE: message" of what keeps the bridge's capture from bringing rows; empty when nothing does. */
  captureTrouble(bridgeId: string): string;
}

export interface WantedJob {
  readonly kind: JobKind;
  /** 16 bytes each. */
  readonly bridge: Uint8Array;
  readonly lane: Uint8Array;
  readonly options: Partial<JobOptions>;
  /** Who asked: an operator's name, or the part of this agent that did. */
  readonly operator: string;
}

export interface VerifyService {
  readonly parts: readonly Part[];
  /**
   * Stores jobs, each of one lane that begins here, all or none; they run by themselves and survive this process. The same job
   * already under way is given back. Throws LANE_UNKNOWN, JOB_UNDER_WAY (another job of the lane), JOB_OPTIONS_INVALID, RETENTION_PASSED.
   */
  start(wanted: readonly WantedJob[]): Job[];
  /** One job by its id, or the newest jobs of a bridge. */
  job(id: Uint8Array): Job | undefined;
  jobs(bridge: Uint8Array): Job[];
  /** Some of the rows that a job found at a table, at most `limit`. */
  rows(job: Uint8Array, table: string, limit: number): JobRow[];
  /** A verified question of a lane's sender. */
  takeRequest(request: VerifyRequest): void;
  /** A verified answer of a lane's receiver. */
  takeAnswer(answer: VerifyAnswer): void;
}
