// Joining a platform: keys made here and never sent, one call to the hub that the token pins, and an identity directory at
// the end. Joining again asks for an empty identity directory: replacing keys by accident would orphan sealed bodies.

import { randomUUID } from 'node:crypto';
import { existsSync, renameSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { createBusUserKey } from '@qiao/bus';
import { JoinRequest, type JoinResponse, JoinServiceDefinition } from '@qiao/contract/hub';
import { NodeRole, NodeSnapshot } from '@qiao/contract/node';
import { Signed } from '@qiao/contract/signed';
import { QiaoError, sameBytes } from '@qiao/exchange';
import { createGrpcClient, fetchAuthority } from '@qiao/rpc';
import {
  createKeyAndCsr,
  fingerprintOf,
  hasIdentity,
  type JoinToken,
  type NodeIdentity,
  readToken,
  sealing,
  toPem,
  verifyIssued,
  writeIdentity,
} from '@qiao/security';
import type { AgentConfig } from '../config.ts';
import { READS_FORMAT } from '../control/hello.ts';
import { openExchangeDatabase } from '../exchange-database/database.ts';

export interface JoinAgentOptions {
  readonly config: AgentConfig;
  /** As the hub's operator handed it over. */
  readonly token: string;
  /** The call to the hub; tests give one of their own. */
  readonly callHub?: (token: JoinToken, request: JoinRequest) => Promise<JoinResponse>;
  readonly nowMs?: () => number;
}

export interface Joined {
  readonly identityDirectory: string;
  readonly identity: NodeIdentity;
  /** SHA-256 of the certificate, for confirming this node's key at the source. */
  readonly fingerprint: string;
}

/** Where an agent keeps its identity. */
export function identityDirectory(config: Pick<AgentConfig, 'directory'>): string {
  return joinPath(config.directory, 'identity');
}

/**
 * Makes the node's keys, shows the token to the hub and writes the identity directory. Throws TOKEN_INVALID,
 * TOKEN_FOR_ANOTHER_NODE, ALREADY_JOINED, AUTHORITY_MISMATCH, SERVER_UNREACHABLE, JOIN_INVALID or what the hub answered.
 */
export async function joinAgent(options: JoinAgentOptions): Promise<Joined> {
  const { config, callHub = callJoinService, nowMs = Date.now } = options;
  const token = readToken(options.token);
  if (token.nodeCode !== config.node.code) {
    throw new QiaoError(
      'TOKEN_FOR_ANOTHER_NODE',
      `the token is for node ${token.nodeCode}, the configuration says ${config.node.code}`,
      { hint: `write node: {code: ${token.nodeCode}}, or ask for a token: qiao node invite ${config.node.code}` },
    );
  }
  const directory = identityDirectory(config);
  if (hasIdentity(directory)) {
    throw new QiaoError('ALREADY_JOINED', `${directory} holds an identity already`, {
      hint: `to join again, move it away first: mv ${directory} ${directory}.old`,
    });
  }
  const [{ keyPem, csrDer }, sealingKey] = await Promise.all([
    createKeyAndCsr(config.node.code),
    sealing.generateKey(),
  ]);
  const busUser = createBusUserKey();
  const response = await callHub(
    token,
    JoinRequest.fromPartial({
      secret: token.secret,
      csr: csrDer,
      natsUser: busUser.natsUser,
      sealingKey: sealingKey.publicKey,
      readsFormat: READS_FORMAT,
    }),
  );
  checkResponse(response, token, nowMs());
  const identity: NodeIdentity = {
    role: 'agent',
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
    sealingKey,
    nats: { seed: busUser.seed, jwt: response.natsJwt },
  };
  moveForeignExchangeDatabase(config.directory, response.nodeId);
  writeIdentity(directory, identity);
  return { identityDirectory: directory, identity, fingerprint: fingerprintOf(response.certificate) };
}

/** The authority is fetched and pinned first; only then is the secret sent, over TLS that believes nothing else. */
async function callJoinService(token: JoinToken, request: JoinRequest): Promise<JoinResponse> {
  const authority = await fetchAuthority(token.hubAddress, token.authorityFingerprint);
  using client = createGrpcClient(JoinServiceDefinition, {
    address: token.hubAddress,
    tls: { ca: toPem(authority, 'CERTIFICATE') },
  });
  return await client.join(request);
}

function checkResponse(response: JoinResponse, token: JoinToken, nowMs: number): void {
  const invalid = (why: string) =>
    new QiaoError('JOIN_INVALID', `the hub's answer cannot be used: ${why}`, {
      hint: `ask for a new token: qiao node invite ${token.nodeCode}`,
    });
  if (fingerprintOf(response.authority) !== token.authorityFingerprint) {
    throw invalid('its authority is not the one that the token pins');
  }
  const own = verifyIssued(response.certificate, response.authority, nowMs);
  if (!sameBytes(own.nodeId, response.nodeId) || own.role !== 'agent' || own.code !== token.nodeCode) {
    throw invalid(`the certificate names ${own.role} ${own.code}, expected agent ${token.nodeCode}`);
  }
  const hub = verifyIssued(response.hubCertificate, response.authority, nowMs);
  if (hub.role !== 'hub' || !sameBytes(hub.platformId, own.platformId)) {
    throw invalid('the hub’s signing certificate is not a hub’s');
  }
  if (response.role !== NodeRole.AGENT)
    throw invalid('the token is not an agent’s: use qiao monitor join or qiao operator join');
  if (response.natsJwt === '' || response.natsUrls.length === 0) throw invalid('it brings no bus credentials');
}

/**
 * An exchange database of another node id must not go on under this one: its lanes and books are that node's. It is moved
 * aside, never deleted. One that was never told who it is, or is this node's own, stays.
 */
function moveForeignExchangeDatabase(directory: string, nodeId: Uint8Array): void {
  const file = joinPath(directory, 'exchange.db');
  if (!existsSync(file)) return;
  const database = openExchangeDatabase(file);
  const cached = database.meta.snapshot();
  database.close();
  if (cached === undefined || sameBytes(NodeSnapshot.decode(Signed.decode(cached).payload).nodeId, nodeId)) return;
  const aside = `${file}.of-another-node-${randomUUID().slice(0, 8)}`;
  for (const suffix of ['', '-wal', '-shm']) {
    if (existsSync(`${file}${suffix}`)) renameSync(`${file}${suffix}`, `${aside}${suffix}`);
  }
}
