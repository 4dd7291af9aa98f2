/** A platform's certificates and a server on a free port. For the tests of this package only. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Authority, createKeyAndCsr, type Role, toPem, verifyIssued } from '@qiao/security';
import type { Caller, CallerPorts, RpcLog } from './caller.ts';

export interface Member {
  readonly cert: string;
  readonly key: string;
}

export interface TestPlatform extends Disposable {
  readonly authority: Authority;
  readonly ca: string;
  readonly hub: Member;
  readonly operator: Member;
  readonly agent: Member;
  readonly revoked: Set<string>;
  /** What the server takes for now: when the platform was made, until a test moves it. */
  readonly clock: { nowMs: number };
  readonly lines: { level: string; fields: object; message: string }[];
  readonly log: RpcLog;
  readonly ports: CallerPorts;
  issue(role: Role, code: string, options?: { days?: number; nowMs?: number }): Promise<Member>;
}

export async function testPlatform(): Promise<TestPlatform> {
  const dir = mkdtempSync(join(tmpdir(), 'qiao-rpc-'));
  const platformId = new Uint8Array(16).fill(1);
  // Made two years ago, so that a certificate may have ended since.
  const authority = await Authority.create(dir, {
    platformId,
    platformCode: 'demo',
    nowMs: Date.now() - 700 * 86_400_000,
  });
  const issue: TestPlatform['issue'] = async (role, code, options = {}) => {
    const { keyPem, csrDer } = await createKeyAndCsr(code);
    const nodeId = new Uint8Array(16).fill(code.length);
    const certificate = await authority.issue(csrDer, { role, platformId, nodeId, code, days: 1, ...options });
    return { cert: toPem(certificate, 'CERTIFICATE'), key: keyPem };
  };
  const revoked = new Set<string>();
  const clock = { nowMs: Date.now() };
  const lines: TestPlatform['lines'] = [];
  const write = (level: string) => (fields: object, message: string) => void lines.push({ level, fields, message });
  return {
    authority,
    ca: authority.certificatePem,
    hub: await issue('hub', 'hub'),
    operator: await issue('operator', 'zhang'),
    agent: await issue('agent', 'health'),
    revoked,
    clock,
    lines,
    log: { info: write('info'), warn: write('warn'), error: write('error') },
    ports: {
      nowMs: () => clock.nowMs,
      identify: (der) => verifyIssued(der, authority.certificateDer, clock.nowMs),
      isRevoked: (caller: Caller) => revoked.has(caller.code),
    },
    issue,
    [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }),
  };
}

/** The error a promise rejects with. */
export async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    (value) => {
      throw new Error(
        `expected a failure, got ${JSON.stringify(value, (_, field) => (typeof field === 'bigint' ? String(field) : field))}`,
      );
    },
    (error: unknown) => error,
  );
}
