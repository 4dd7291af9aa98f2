/**
 * Joining a platform, the same for agents, the monitor and operators: keys made here and never sent, one call to the hub that
 * the token pins, the answer checked against the pinned authority, an identity directory at the end. How the call travels and
 * how a bus key is made are handed in.
 */
import { JoinRequest, type JoinResponse } from '@qiao/contract/hub';
import { NodeRole } from '@qiao/contract/node';
import { QiaoError, sameBytes } from '@qiao/exchange';
import { crashPoint } from '@qiao/runtime';
import { fingerprintOf, verifyIssued } from './certificate.ts';
import { hasIdentity, type NodeIdentity, readIdentity, writeIdentity } from './identityFiles.ts';
import { requireWritable } from './privateFiles.ts';
import { createCsr, createKeyAndCsr } from './request.ts';
import { sealing } from './sealing.ts';
import { type JoinToken, readToken } from './token.ts';

export interface JoiningOptions {
  /** As the hub's operator handed it over. */
  readonly token: string;
  readonly role: 'agent' | 'monitor' | 'operator';
  /** The code this place was configured for; a token for another is refused. Not given: whatever the token says. */
  readonly nodeCode?: string;
  /** Where the identity goes: empty or missing. */
  readonly directory: string;
  /** Highest delivery format that it reads; 0 where none is read. */
  readonly readsFormat: number;
  readonly callHub: (token: JoinToken, request: JoinRequest) => Promise<JoinResponse>;
  /** Makes the key for the bus, or tells the one of this seed; not given where the bus is not used. */
  readonly createBusUser?: (seed?: string) => { readonly natsUser: string; readonly seed: string };
  readonly nowMs: () => number;
  /**
   * Joins again over the identity that lies there, for one whose certificate ended: the same node, and, unless `newKeys`, the same keys,
   * so that what was sealed for it or signed by it stays good.
   */
  readonly again?: { readonly newKeys: boolean };
  /** Called once the hub's answer is believed, before the identity is written: what must not meet a new identity goes first. */
  readonly beforeWrite?: (identity: NodeIdentity) => void;
}

const ROLE = { agent: NodeRole.AGENT, monitor: NodeRole.MONITOR, operator: NodeRole.OPERATOR } as const;

/**
 * Makes the keys, shows the token to the hub and writes the identity. Throws TOKEN_INVALID, TOKEN_FOR_ANOTHER_NODE,
 * ALREADY_JOINED, JOIN_INVALID (the hub's answer cannot be believed), or what `callHub` throws.
 */
export async function joinPlatform(options: JoiningOptions): Promise<NodeIdentity> {
  const { role, directory } = options;
  const token = readToken(options.token);
  if (options.nodeCode !== undefined && token.nodeCode !== options.nodeCode) {
    throw new QiaoError(
      'TOKEN_FOR_ANOTHER_NODE',
      `the token is for ${token.nodeCode}, the configuration says ${options.nodeCode}`,
      { hint: `configure the code ${token.nodeCode}, or ask for a token: qiao node invite ${options.nodeCode}` },
    );
  }
  const former = options.again === undefined ? undefined : readIdentity(directory);
  if (former === undefined && hasIdentity(directory)) {
    throw new QiaoError('ALREADY_JOINED', `${directory} holds an identity already`, {
      hint: `${role === 'agent' ? 'the same node again: qiao agent join --config FILE --again --token TOKEN; ' : ''}another one: mv ${directory} ${directory}.old`,
    });
  }
  requireWritable(directory); // before the token is used up
  const kept = former !== undefined && options.again?.newKeys === false ? former : undefined;
  const { keyPem, csrDer } =
    kept === undefined
      ? await createKeyAndCsr(token.nodeCode)
      : { keyPem: kept.keyPem, csrDer: await createCsr(token.nodeCode, kept.keyPem) };
  const sealingKey = role === 'agent' ? (kept?.sealingKey ?? (await sealing.generateKey())) : undefined;
  const busUser = options.createBusUser?.(kept?.nats?.seed);
  const request = JoinRequest.fromPartial({
    secret: token.secret,
    csr: csrDer,
    natsUser: busUser?.natsUser ?? '',
    sealingKey: sealingKey?.publicKey ?? new Uint8Array(),
    readsFormat: options.readsFormat,
  });
  const response = await options.callHub(token, request);
  checkResponse(response, token, options);
  if (former !== undefined) requireSameNode(former, response);
  crashPoint('join.answered');
  const identity: NodeIdentity = {
    role,
    platformId: response.platformId,
    platformCode: response.platformCode,
    platformTitle: response.platformTitle,
    timeZone: response.timeZone,
    nodeId: response.nodeId,
    nodeCode: response.nodeCode,
    departmentCode: response.departmentCode,
    departmentTitle: response.departmentTitle,
    hubAddress: response.hubAddress === '' ? token.hubAddress : response.hubAddress,
    natsUrls: response.natsUrls,
    keyPem,
    certificate: response.certificate,
    authority: response.authority,
    hubCertificate: response.hubCertificate,
    ...(sealingKey === undefined ? {} : { sealingKey }),
    ...(busUser === undefined ? {} : { nats: { seed: busUser.seed, jwt: response.natsJwt } }),
  };
  options.beforeWrite?.(identity);
  writeIdentity(directory, identity);
  return identity;
}

/** Joining again is for the node that was: an identity of another one is never replaced by this. */
function requireSameNode(former: NodeIdentity, response: JoinResponse): void {
  if (sameBytes(former.nodeId, response.nodeId) && sameBytes(former.platformId, response.platformId)) return;
  throw new QiaoError(
    'IDENTITY_FOREIGN',
    `the token is for another node than the identity of ${former.nodeCode} here`,
    {
      hint: `ask for a token of this node: qiao node invite ${former.nodeCode}`,
    },
  );
}

function checkResponse(response: JoinResponse, token: JoinToken, { role, createBusUser, nowMs }: JoiningOptions): void {
  const invalid = (why: string) =>
    new QiaoError('JOIN_INVALID', `the hub's answer cannot be used: ${why}`, {
      hint: `ask for a new token: qiao node invite ${token.nodeCode}`,
    });
  if (response.role !== ROLE[role])
    throw invalid(`the token was made for another role: use qiao ${wordOf(response.role)} join`);
  if (fingerprintOf(response.authority) !== token.authorityFingerprint) {
    throw invalid('its authority is not the one that the token pins');
  }
  const own = verifyIssued(response.certificate, response.authority, nowMs());
  if (!sameBytes(own.nodeId, response.nodeId) || own.role !== role || own.code !== token.nodeCode) {
    throw invalid(`the certificate names ${own.role} ${own.code}, expected ${role} ${token.nodeCode}`);
  }
  // They become names on the bus and in files: what the token did not say is not taken from an answer.
  if (response.nodeCode !== token.nodeCode || response.platformCode !== token.platformCode) {
    throw invalid('it speaks of another node or platform than the token');
  }
  const hub = verifyIssued(response.hubCertificate, response.authority, nowMs());
  if (hub.role !== 'hub' || !sameBytes(hub.platformId, own.platformId)) {
    throw invalid('the hub’s signing certificate is not a hub’s of this platform');
  }
  if (createBusUser !== undefined && (response.natsJwt === '' || response.natsUrls.length === 0)) {
    throw invalid('it brings no credentials for the bus');
  }
}

function wordOf(role: NodeRole): string {
  return role.replace('NODE_ROLE_', '').toLowerCase();
}
