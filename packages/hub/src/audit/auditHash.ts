// Owns the one formula of the audit chain, over the entry as the contract shows it, so that the hub, the CLI and an auditor's
// own tool compute the same from what they can see.

import { createHash } from 'node:crypto';
import type { AuditEntry } from '@qiao/contract/hub';

/** Previous hash of entry 1. */
export const AUDIT_GENESIS: Uint8Array = new Uint8Array(32);

/** The chain of a hub that is alone: its formula names no replica, as it did before there were several. */
const FIRST_CHAIN = 'hub';

/**
 * SHA-256 over the previous hash (32 bytes) and the UTF-8 text of the JSON array
 * `[number, atMs, actor, action, subject, success, detailJson]`, numbers in decimal, no white space; for a replica that is not
 * called `hub` its name comes last.
 */
export function auditHash(entry: Omit<AuditEntry, 'hash'>): Uint8Array {
  const { number, atMs, actor, action, subject, success, detailJson, replica } = entry;
  const fields = [Number(number), Number(atMs), actor, action, subject, success, detailJson];
  const named = replica === FIRST_CHAIN ? fields : [...fields, replica];
  return createHash('sha256').update(entry.previousHash).update(JSON.stringify(named)).digest();
}
