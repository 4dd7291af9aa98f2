// What the identity room needs from outside, as small ports: the authority signs, the bus gives and takes rights. Tests
// hand in fakes; compose.ts hands in the real ones.

import type { Clock, Log } from '@qiao/runtime';
import type { HubDatabase } from '../hubDatabase.ts';

/** The platform as every room names it. */
interface PlatformFacts {
  /** 16 bytes. */
  readonly id: Uint8Array;
  readonly code: string;
  readonly title: string;
  /** IANA zone of the books. */
  readonly timeZone: string;
}

interface CertificateRequest {
  readonly csr: Uint8Array;
  readonly role: 'agent' | 'monitor' | 'operator';
  readonly nodeId: Uint8Array;
  readonly code: string;
  readonly hosts: readonly string[];
  readonly nowMs: number;
}

export interface IdentityPorts {
  readonly store: HubDatabase;
  readonly platform: PlatformFacts;
  readonly clock: Clock;
  readonly log: Log;
  /** Random bytes: 16 for an identity, 32 for a secret. */
  readonly random: (bytes: number) => Uint8Array;
  /** host:port under which nodes reach this hub, and the bus. */
  readonly hubAddress: string;
  readonly busUrls: () => readonly string[];
  readonly authority: {
    readonly certificateDer: Uint8Array;
    readonly fingerprint: string;
    issue(request: CertificateRequest): Promise<Uint8Array>;
  };
  readonly hubCertificate: Uint8Array;
  /** Host names and addresses that a server's certificate (DER) names. */
  readonly hostsOf: (certificate: Uint8Array) => readonly string[];
  readonly busRights: {
    userJwt(natsUser: string, role: 'agent' | 'monitor', code: string): Promise<string>;
    /** Cuts live connections; may fail while the bus is away (the hub repeats it at the next connect). */
    revoke(natsUser: string): Promise<void>;
    /** Streams and consumers of a node; may fail likewise. */
    prepare(code: string, role: 'agent' | 'monitor'): Promise<void>;
    remove(code: string): Promise<void>;
  };
  /** Ends the running calls of everybody under this code. */
  readonly cut: (code: string) => void;
  /** Something about nodes changed: routing and desired state look again. */
  readonly changed: () => Promise<void>;
}
