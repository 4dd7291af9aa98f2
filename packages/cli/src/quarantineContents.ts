// Contents of one row in quarantine, between this session and the node that keeps it: a key made here and now, an access that the operator
// signs, an answer that only this session opens and whose signature is checked against the platform's authority.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { NodeAnswer } from '@qiao/contract/hub';
import { CommandResult, RowAccess, RowAction, RowContents, type ShownRow } from '@qiao/contract/node';
import { QiaoError, splitRow } from '@qiao/exchange';
import { systemClock } from '@qiao/runtime';
import { fromPem, labelledContext, Signer, sealing, Verifier, verifyIssued } from '@qiao/security';
import type { HubClient, OperatorContext } from './context.ts';

/** A row as its node keeps it, opened. */
export interface OpenedRow {
  readonly shown: ShownRow;
  readonly columns: readonly string[];
  /** Values as received; null for NULL. */
  readonly received: readonly (string | null)[];
  /** Values of the newest edit; undefined when it was never edited. */
  readonly edited: readonly (string | null)[] | undefined;
  readonly beforeSha256: Uint8Array;
}

/** Asks for a row and opens the answer. Throws ROW_ACCESS_DENIED, ROW_UNKNOWN, ANSWER_INVALID. */
export async function openRow(hub: HubClient, context: OperatorContext, ref: string): Promise<OpenedRow> {
  const session = await sealing.generateKey();
  const { access, certificate } = signAccess(context, ref, RowAction.SHOW, { sessionKey: session.publicKey });
  const answer = await hub.showOpenRow({ show: { ref, access, certificate } });
  const shown = verified(answer, context, ref);
  const sealed = { body: shown.sealed, wrappedKey: shown.wrappedKey };
  const contents = RowContents.decode(await sealing.open(sealed, session.privateKey, rowContext('show', ref)));
  return {
    shown,
    columns: contents.columns,
    received: fieldsOf(contents.received),
    edited: contents.edited.length === 0 ? undefined : fieldsOf(contents.edited),
    beforeSha256: contents.beforeSha256,
  };
}

/** Seals new row text for the row's node and signs for it. */
export async function sealEdit(context: OperatorContext, ref: string, row: OpenedRow, line: Uint8Array) {
  const contents = RowContents.encode({
    columns: [...row.columns],
    received: new Uint8Array(0),
    edited: line,
    beforeSha256: row.beforeSha256,
  }).finish();
  const sealed = await sealing.seal(contents, row.shown.sealingKey, rowContext('edit', ref));
  const sealedSha256 = createHash('sha256').update(sealed.body).digest();
  return {
    sealed: sealed.body,
    wrappedKey: sealed.wrappedKey,
    ...signAccess(context, ref, RowAction.EDIT, { sealedSha256 }),
  };
}

function signAccess(
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

/** The node's own word: its certificate is the authority's, it is the node of the reference, and it signed this answer. */
function verified({ result, certificate }: NodeAnswer, { directory }: OperatorContext, ref: string): ShownRow {
  const authority = fromPem(readFileSync(join(directory, 'authority.pem'), 'utf8'), 'CERTIFICATE');
  const facts = verifyIssued(certificate, authority, systemClock.nowMs());
  if (result === undefined || facts.role !== 'agent' || facts.code !== nodeOf(ref)) {
    throw invalid(`an answer of ${facts.role} ${facts.code}`);
  }
  new Verifier().verify('qiao.command.v1', result, certificate);
  const shown = CommandResult.decode(result.payload).shownRow;
  if (shown?.row?.ref !== ref) throw invalid('an answer about another row');
  return shown;
}

function nodeOf(ref: string): string {
  return ref.split('/')[0] ?? '';
}

/** As the agent binds it (agent/src/commands/quarantine.ts). */
function rowContext(purpose: 'show' | 'edit', ref: string): Uint8Array {
  return labelledContext(`qiao.row.${purpose}.v1`, [Buffer.from(ref)]);
}

function fieldsOf(line: Uint8Array): (string | null)[] {
  return splitRow(Buffer.from(line).toString('utf8').replace(/\n$/, ''));
}

function invalid(found: string): QiaoError {
  return new QiaoError('ANSWER_INVALID', `found ${found}; expected the word of the node that keeps the row`, {
    hint: 'compare the node’s fingerprint: qiao node show CODE',
  });
}
