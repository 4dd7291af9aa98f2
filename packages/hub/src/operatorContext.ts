// Owns how the first operator's context looks on disk: context.json, key, certificate and authority. Further operators join with
// a token (`qiao operator join`), and their key is made on their own machine.

import { join } from 'node:path';
import { makePrivateDirectory, toPem, writeFileAtomically } from '@qiao/security';

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
