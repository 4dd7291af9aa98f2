// Owns the operator's context as files (context.json, key, certificate, authority) and how a further operator gets one: a key
// made on that machine, a token, and a hub that is believed only when its authority has the token's fingerprint.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { JoinServiceDefinition } from '@qiao/contract/hub';
import { NodeRole } from '@qiao/contract/node';
import { QiaoError } from '@qiao/exchange';
import { createGrpcClient, fetchAuthority } from '@qiao/rpc';
import {
  createKeyAndCsr,
  makePrivateDirectory,
  readToken,
  toPem,
  verifyIssued,
  writeFileAtomically,
} from '@qiao/security';

export interface ContextFiles {
  /** Code of the platform. */
  readonly platform: string;
  readonly operator: string;
  readonly hubAddress: string;
  readonly monitorAddress?: string;
  readonly keyPem: string;
  /** DER. */
  readonly certificate: Uint8Array;
  readonly authority: Uint8Array;
}

/** Writes the context; context.json comes last and is what makes the directory one. */
export function writeContext(directory: string, files: ContextFiles): void {
  const { keyPem, certificate, authority, ...facts } = files;
  makePrivateDirectory(directory);
  writeFileAtomically(join(directory, 'key.pem'), keyPem, 0o600);
  writeFileAtomically(join(directory, 'certificate.pem'), toPem(certificate, 'CERTIFICATE'), 0o644);
  writeFileAtomically(join(directory, 'authority.pem'), toPem(authority, 'CERTIFICATE'), 0o644);
  writeFileAtomically(join(directory, 'context.json'), `${JSON.stringify(facts, null, 2)}\n`, 0o600);
}

export interface JoinOperatorOptions {
  readonly directory: string;
  readonly token: string;
  readonly monitorAddress?: string;
}

/**
 * Joins as an operator and writes the context. Throws TOKEN_INVALID, AUTHORITY_MISMATCH, CONTEXT_EXISTS, ROLE_MISMATCH, and
 * what the hub refuses.
 */
export async function joinOperator(options: JoinOperatorOptions): Promise<{ platformCode: string; nodeCode: string }> {
  const token = readToken(options.token);
  if (existsSync(join(options.directory, 'context.json'))) {
    throw new QiaoError('CONTEXT_EXISTS', `${options.directory} holds an operator's context already`, {
      hint: 'choose another directory with --context',
    });
  }
  const authority = await fetchAuthority(token.hubAddress, token.authorityFingerprint);
  const { keyPem, csrDer } = await createKeyAndCsr(token.nodeCode);
  using hub = createGrpcClient(JoinServiceDefinition, {
    address: token.hubAddress,
    tls: { ca: toPem(authority, 'CERTIFICATE') },
  });
  const joined = await hub.join({
    secret: token.secret,
    csr: csrDer,
    natsUser: '',
    sealingKey: new Uint8Array(),
    readsFormat: 0,
  });
  if (joined.role !== NodeRole.OPERATOR) {
    throw new QiaoError('ROLE_MISMATCH', 'this token is not for an operator, and is used up now', {
      hint: 'qiao node invite NAME --role operator',
    });
  }
  verifyIssued(joined.certificate, authority, Date.now());
  writeContext(options.directory, {
    platform: joined.platformCode,
    operator: joined.nodeCode,
    hubAddress: token.hubAddress,
    ...(options.monitorAddress === undefined ? {} : { monitorAddress: options.monitorAddress }),
    keyPem,
    certificate: joined.certificate,
    authority,
  });
  return { platformCode: joined.platformCode, nodeCode: joined.nodeCode };
}
