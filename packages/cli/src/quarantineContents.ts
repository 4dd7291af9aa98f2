// Contents of one row in quarantine, between this session and the node that keeps it: a key made here and now, an answer that only this
// session opens.

import { createHash } from 'node:crypto';
import type { NodeAnswer } from '@qiao/contract/hub';
import { RowAction, RowContents, type ShownRow } from '@qiao/contract/node';
import { readMessage, splitRow } from '@qiao/exchange';
import { rowContext, sealing } from '@qiao/security';
import type { HubClient, OperatorContext } from './context.ts';
import { answerInvalid, nodeOf, signAccess, verifiedResult } from './rowAccess.ts';

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
  const shown = shownRow(answer, context, ref);
  const sealed = { body: shown.sealed, wrappedKey: shown.wrappedKey };
  const opened = await sealing.open(sealed, session.privateKey, rowContext('show', ref));
  const contents = readMessage(RowContents, opened, 'row');
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

function shownRow(answer: NodeAnswer, context: OperatorContext, ref: string): ShownRow {
  const { shownRow: shown } = verifiedResult(answer, context, nodeOf(ref));
  if (shown?.row?.ref !== ref) throw answerInvalid('an answer about another row');
  return shown;
}

function fieldsOf(line: Uint8Array): (string | null)[] {
  return splitRow(Buffer.from(line).toString('utf8').replace(/\n$/, ''));
}
