// Owns the directory of a further replica of the hub: the same identity and the same bus keys, because agents believe one hub,
// and a configuration that differs in its name and addresses. The directory holds the keys of the platform: whoever carries it
// to the other machine carries all of them.

import { cpSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { CODE, QiaoError } from '@qiao/exchange';
import { makePrivateDirectory, writeNewFile } from '@qiao/security';
import { parseDocument } from 'yaml';
import { readHubConfig, requireReplicable } from './config.ts';

export interface AddReplicaOptions {
  /** Of a hub that is founded; it may run. */
  readonly directory: string;
  /** Must not exist or be empty. */
  readonly to: string;
  /** A code; no other replica bears it. */
  readonly replica: string;
  /** host:port there; as here when left out. */
  readonly listen?: string;
}

/** Keys that a replica needs; what a server of the bus writes beside them is its own. */
const BUS_FILES = /\.(seed|json)$/;

/** Writes the directory. Throws BAD_CODE, REPLICA_ALONE, HUB_EXISTS, and what reading the configuration throws. */
export function addReplica({ directory, to, replica, listen }: AddReplicaOptions): void {
  const from = resolve(directory);
  const target = resolve(to);
  if (!CODE.test(replica)) {
    throw new QiaoError('BAD_CODE', `found ${JSON.stringify(replica.slice(0, 64))}, expected a code`, {
      hint: 'a code is a lower-case letter, then up to 31 of a-z 0-9 -',
    });
  }
  const config = readHubConfig(from);
  requireReplicable({ ...config, replica });
  if (config.replica === replica) {
    throw new QiaoError('REPLICA_NAME_TAKEN', `the hub in ${from} is called "${replica}" itself`, {
      hint: 'choose another name',
    });
  }
  if (existsSync(target) && readdirSync(target).length > 0) {
    throw new QiaoError('HUB_EXISTS', `${target} is not empty`, { hint: 'choose a new directory with --to' });
  }
  makePrivateDirectory(target);
  cpSync(join(from, 'identity'), join(target, 'identity'), { recursive: true, preserveTimestamps: true });
  makePrivateDirectory(join(target, 'bus'));
  for (const name of readdirSync(join(from, 'bus')).filter((one) => BUS_FILES.test(one))) {
    cpSync(join(from, 'bus', name), join(target, 'bus', name));
  }
  const document = parseDocument(readFileSync(join(from, 'hub.yaml'), 'utf8'));
  document.set('replica', replica);
  if (listen !== undefined) document.set('listen', listen);
  // Last: it is what makes the directory a hub.
  writeNewFile(join(target, 'hub.yaml'), document.toString(), 0o600);
}
