// Certificates, signing requests, PEM and signatures as strangers may bring them, and the bodies that are sealed for a node.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Signed } from '@qiao/contract/signed';
import {
  Authority,
  createKeyAndCsr,
  fromPem,
  readCertificate,
  Signer,
  sealing,
  sealingContext,
  toPem,
  Verifier,
  verifyIssued,
} from '@qiao/security';
import { type Decoder, holds } from '../decoder.ts';

const NOW_MS = Date.UTC(2026, 0, 15);

export async function certificateDecoders(): Promise<Decoder[]> {
  const directory = mkdtempSync(join(tmpdir(), 'qiao-fuzz-'));
  const platformId = new Uint8Array(16).fill(1);
  const authority = await Authority.create(directory, { platformId, platformCode: 'demo', nowMs: NOW_MS });
  const { keyPem, csrDer } = await createKeyAndCsr('health');
  const options = { role: 'agent', platformId, nodeId: platformId, code: 'health', days: 30, nowMs: NOW_MS } as const;
  const certificate = await authority.issue(csrDer, options);
  const signer = new Signer(keyPem, certificate);
  const verifier = new Verifier();
  const receiver = await sealing.generateKey();
  const context = sealingContext({
    laneId: platformId,
    epoch: { ordinal: 1n, nonce: platformId },
    sequence: 1n,
    contentHash: new Uint8Array(32),
  });
  const sealed = await sealing.seal(Buffer.from('rows'), receiver.publicKey, context);
  return [
    {
      name: 'certificate',
      kind: 'bytes',
      seeds: [certificate, authority.certificateDer],
      take(input) {
        const facts = readCertificate(input);
        verifyIssued(input, authority.certificateDer, NOW_MS);
        holds(facts.code === 'health' && Buffer.from(certificate).equals(input), 'another certificate than was issued');
        return 'certificate';
      },
    },
    {
      name: 'signing-request',
      kind: 'bytes',
      seeds: [csrDer],
      async take(input) {
        // Names in the request say nothing: the authority writes its own. Only a key that signed for itself may be certified.
        const issued = await authority.issue(input, options);
        holds(readCertificate(issued).code === 'health', 'a name out of the request');
        return 'issued';
      },
    },
    {
      name: 'pem',
      kind: 'bytes',
      seeds: [Buffer.from(authority.certificatePem), Buffer.from(keyPem)],
      take(input) {
        const der = fromPem(Buffer.from(input).toString('utf8'), 'CERTIFICATE');
        holds(Buffer.from(fromPem(toPem(der, 'CERTIFICATE'), 'CERTIFICATE')).equals(der), 'PEM that is read otherwise');
        return 'pem';
      },
    },
    {
      name: 'signed',
      kind: 'message',
      seeds: [Signed.encode(signer.sign('qiao.control.v1', Buffer.from('word'))).finish()],
      take(input) {
        let signed: Signed;
        try {
          signed = Signed.decode(input);
        } catch {
          return 'unreadable';
        }
        verifier.verify('qiao.control.v1', signed, certificate);
        holds(Buffer.from(signed.payload).toString() === 'word', 'another word than was signed');
        return 'signed';
      },
    },
    {
      name: 'seal',
      kind: 'bytes',
      seeds: [Buffer.concat([sealed.wrappedKey, sealed.body])],
      async take(input) {
        const cut = sealed.wrappedKey.length;
        const opened = await sealing.open(
          { wrappedKey: input.subarray(0, cut), body: input.subarray(cut) },
          receiver.privateKey,
          context,
        );
        holds(Buffer.from(opened).toString() === 'rows', 'other rows than were sealed');
        return 'opened';
      },
      close: () => rmSync(directory, { recursive: true, force: true }),
    },
  ];
}
