// Who may read the contents of rows, or change those in quarantine: the department's own file names operators, and the operator signs each
// access with their own key, so that a hub that relays it can neither make one nor turn it to another row, session or edit.

import { createHash } from 'node:crypto';
import { RowAccess, RowAction } from '@qiao/contract/node';
import type { Signed } from '@qiao/contract/signed';
import { QiaoError, readMessage, sameBytes } from '@qiao/exchange';
import type { Clock } from '@qiao/runtime';
import type { OperatorTrust } from '../control/trust.ts';

/** As agent.yaml says it: names, or fingerprints as sha256:HEX. */
export interface RowRights {
  readonly mayRead: readonly string[];
  readonly mayEdit: readonly string[];
}

export interface RowAccessPorts {
  readonly nodeCode: string;
  readonly rights: RowRights;
  readonly trust: OperatorTrust;
  readonly clock: Clock;
}

export interface AccessAsked {
  readonly access: Signed | undefined;
  readonly certificate: Uint8Array;
  readonly ref: string;
  readonly action: typeof RowAction.SHOW | typeof RowAction.EDIT | typeof RowAction.PREVIEW;
  /** EDIT: the sealed row that the operator signed for. */
  readonly sealed?: Uint8Array;
}

const CLOCKS_DIFFER_MS = 5 * 60_000;

/** The operator's name and session key. Throws ROW_ACCESS_DENIED, ROW_ACCESS_INVALID or what the certificate's check throws. */
export function checkAccess(
  asked: AccessAsked,
  { nodeCode, rights, trust, clock }: RowAccessPorts,
): { name: string; sessionKey: Uint8Array } {
  if (asked.access === undefined) throw invalid('no signed access');
  const operator = trust.operatorOf(asked.access, asked.certificate);
  const access = decoded(asked.access);
  if (access.node !== nodeCode || access.ref !== asked.ref || access.action !== asked.action) {
    throw invalid('an access to another row');
  }
  const agoMs = clock.nowMs() - Number(access.atMs);
  if (Math.abs(agoMs) > CLOCKS_DIFFER_MS) {
    throw invalid(`an access signed ${Math.round(agoMs / 60_000)} minutes ago`);
  }
  if (
    asked.sealed !== undefined &&
    !sameBytes(access.sealedSha256, createHash('sha256').update(asked.sealed).digest())
  ) {
    throw invalid('another edit than was signed');
  }
  const right = asked.action === RowAction.EDIT ? 'mayEdit' : 'mayRead';
  const named = rights[right];
  if (!named.includes(operator.name) && !named.includes(`sha256:${operator.fingerprint.toLowerCase()}`)) {
    throw new QiaoError(
      'ROW_ACCESS_DENIED',
      `operator ${operator.name} is not named in operators.${right} of node ${nodeCode}`,
      { hint: `the department adds it to agent.yaml: operators: {${right}: [${operator.name}]}` },
    );
  }
  return { name: operator.name, sessionKey: access.sessionKey };
}

function decoded(signed: Signed): RowAccess {
  try {
    return readMessage(RowAccess, signed.payload, 'access');
  } catch {
    throw invalid('an access that cannot be read');
  }
}

function invalid(found: string): QiaoError {
  return new QiaoError('ROW_ACCESS_INVALID', `found ${found}; expected one that the operator signed now for this row`, {
    hint: 'compare the clocks of this machine and the node, then run the command again',
  });
}
