// Rows of a node for one session: an access that the operator signs, and the node's own word in the answer, checked against the platform's
// authority. The hub between them relays both and can make neither.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { NodeAnswer } from '@qiao/contract/hub';
import { CommandResult, RowAccess, type RowAction } from '@qiao/contract/node';
import { QiaoError, readMessage } from '@qiao/exchange';
import { systemClock } from '@qiao/runtime';
import { fromPem, Signer, Verifier, verifyIssued } from '@qiao/security';
import type { OperatorContext } from './context.ts';

/** `ref` begins with the node's code. */
export function signAccess(
  { directory }: OperatorContext,
  ref: string,
  action: RowAction,
  what: { sessionKey?: Uint8Array; sealedSha256?: Uint8Array },
) {
  const read = (name: string) => readFileSync(join(directory, name), 'utf8');
  const certificate = fromPem(read('certificate.pem'), 'CERTIFICATE');
  const payload = RowAccess.encode(
    RowAccess.fromPartial({ node: nodeOf(ref), ref, action, atMs: BigInt(systemClock.nowMs()), ...what }),
  ).finish();
  return { access: new Signer(read('key.pem'), certificate).sign('qiao.operator.v1', payload), certificate };
}

/** The node's own word: its certificate is the authority's, it is the node that was asked, and it signed this answer. Throws ANSWER_INVALID. */
export function verifiedResult(
  { result, certificate }: NodeAnswer,
  { directory }: OperatorContext,
  node: string,
): CommandResult {
  const authority = fromPem(readFileSync(join(directory, 'authority.pem'), 'utf8'), 'CERTIFICATE');
  const facts = verifyIssued(certificate, authority, systemClock.nowMs());
  if (result === undefined || facts.role !== 'agent' || facts.code !== node) {
    throw answerInvalid(`an answer of ${facts.role} ${facts.code}`);
  }
  new Verifier().verify('qiao.command.v1', result, certificate);
  return readMessage(CommandResult, result.payload, 'answer');
}

export function nodeOf(ref: string): string {
  return ref.split('/')[0] ?? '';
}

export function answerInvalid(found: string): QiaoError {
  return new QiaoError('ANSWER_INVALID', `found ${found}; expected the word of the node that keeps the row`, {
    hint: 'compare the node’s fingerprint: qiao node show CODE',
  });
}
