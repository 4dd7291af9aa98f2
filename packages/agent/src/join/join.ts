// Joining as a node: the common way of packages/security, and no exchange database of another node left in the way.

import { randomUUID } from 'node:crypto';
import { existsSync, renameSync } from 'node:fs';
import { join as joinPath } from 'node:path';
import { busUserKeyOf, createBusUserKey } from '@qiao/bus';
import type { JoinRequest, JoinResponse } from '@qiao/contract/hub';
import { NodeSnapshot } from '@qiao/contract/node';
import { Signed } from '@qiao/contract/signed';
import { lockDirectory } from '@qiao/database/files';
import { sameBytes } from '@qiao/exchange';
import { callJoin } from '@qiao/rpc';
import { systemClock } from '@qiao/runtime';
import { fingerprintOf, type JoinToken, joinPlatform, type NodeIdentity } from '@qiao/security';
import type { AgentConfig } from '../config.ts';
import { READS_FORMAT } from '../control/hello.ts';
import { openExchangeDatabase } from '../exchange-database/index.ts';

export interface JoinAgentOptions {
  readonly config: AgentConfig;
  /** As the hub's operator handed it over. */
  readonly token: string;
  /** The call to the hub; tests give one of their own. */
  readonly callHub?: (token: JoinToken, request: JoinRequest) => Promise<JoinResponse>;
  readonly nowMs?: () => number;
  /** Over the identity that is there; see `joinPlatform`. The agent must be stopped. */
  readonly again?: { readonly newKeys: boolean };
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
 * Joins as the configured node. Throws TOKEN_INVALID, TOKEN_FOR_ANOTHER_NODE, ALREADY_JOINED, AUTHORITY_MISMATCH,
 * SERVER_UNREACHABLE, JOIN_INVALID or what the hub answered.
 */
export async function joinAgent(options: JoinAgentOptions): Promise<Joined> {
  const { config, token, callHub = callJoin, nowMs = () => systemClock.nowMs() } = options;
  const directory = identityDirectory(config);
  const lock = options.again === undefined ? undefined : lockDirectory(config.directory, 'agent');
  const identity = await joinPlatform({
    token,
    role: 'agent',
    nodeCode: config.node.code,
    directory,
    readsFormat: READS_FORMAT,
    callHub,
    createBusUser: (seed) => (seed === undefined ? createBusUserKey() : busUserKeyOf(seed)),
    ...(options.again === undefined ? {} : { again: options.again }),
    nowMs,
    beforeWrite: ({ nodeId }) => moveForeignExchangeDatabase(config.directory, nodeId),
  }).finally(() => lock?.release());
  makeExchangeDatabase(config.directory);
  return { identityDirectory: directory, identity, fingerprint: fingerprintOf(identity.certificate) };
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

function makeExchangeDatabase(directory: string): void {
  const file = joinPath(directory, 'exchange.db');
  if (existsSync(file)) return;
  const database = openExchangeDatabase(file);
  database.meta.setMadeByJoining();
  database.close();
}
