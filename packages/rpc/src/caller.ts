/**
 * Who calls. Owns the facts an implementation sees and the two ports they come from; certificates are read and proven by
 * whoever composes the server (`identify` is `verifyIssued` there), so that this package knows no authority.
 */

/** What a process or person is to the platform. */
export type CallerRole = 'agent' | 'monitor' | 'hub' | 'operator';

export interface Caller {
  readonly role: CallerRole;
  /** Code of the node, or name of the operator. */
  readonly code: string;
  /** For people and the audit; today the code. */
  readonly name: string;
  /** 16 bytes. */
  readonly nodeId: Uint8Array;
  /** SHA-256 of the certificate (DER), lower-case hexadecimal. */
  readonly fingerprint: string;
  /** The fingerprint of the same certificate with its signature written the other way: who refuses one refuses both. */
  readonly twinFingerprint: string;
  /** When the certificate ends: nothing that was opened with it outlives it. Milliseconds since 1970 UTC. */
  readonly notAfterMs: number;
}

/** Added to nice-grpc's CallContext for every service that requires a certificate. */
export interface CallerContext {
  readonly caller: Caller;
}

/** What a proven certificate says; `CertificateFacts` of packages/security fits. */
export type CallerFacts = Omit<Caller, 'name'>;

export interface CallerPorts {
  nowMs(): number;
  /** Proves the certificate (DER) at this moment and reads it. Throws CERTIFICATE_*. */
  identify(certificateDer: Uint8Array): CallerFacts;
  /** Asked at every call, so that a revoked certificate ends with the next call even on an open connection. */
  isRevoked(caller: Caller): boolean | Promise<boolean>;
}

/** Where fixed sentences with fields go; pino's Logger fits. */
export interface RpcLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}
