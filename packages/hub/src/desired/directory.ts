// Owns the hub's answer to a monitor that asks whether there is a newer directory. The stream of telemetry brings it, too, but behind the
// books of all nodes, and not while it has no leader.

import { DirectoryReply, DirectoryRequest } from '@qiao/contract/control';
import { Signed } from '@qiao/contract/signed';
import { QiaoError, readMessage } from '@qiao/exchange';
import type { HubDatabase } from '../hubDatabase.ts';
import { findNode } from '../registry/nodes.ts';

export interface DirectoryPorts {
  readonly store: HubDatabase;
  /** A restored hub that waits for a person hands nothing out. */
  readonly isHeld: () => boolean;
}

/** Answers the bytes of a DirectoryRequest that came on the subject of node `code`. Throws NODE_REVOKED unless that is a joined monitor. */
export async function answerDirectory(
  { store, isHeld }: DirectoryPorts,
  code: string,
  bytes: Uint8Array,
): Promise<Uint8Array> {
  const node = await findNode(store, code);
  if (node?.status !== 'joined' || node.role !== 'monitor') {
    throw new QiaoError('NODE_REVOKED', `"${code}" is not a joined monitor`, { hint: `qiao node show ${code}` });
  }
  const held = decode(bytes);
  const newest = await store.selectFrom('directory').select(['generation', 'number']).executeTakeFirst();
  if (isHeld() || newest === undefined || !isNewer(newest, held))
    return DirectoryReply.encode({ directory: undefined }).finish();
  const { signed } = await store.selectFrom('directory').select('signed').executeTakeFirstOrThrow();
  return DirectoryReply.encode({ directory: Signed.decode(signed) }).finish();
}

function isNewer(newest: { generation: number; number: number }, held: DirectoryRequest): boolean {
  const generation = BigInt(newest.generation);
  return generation > held.generation || (generation === held.generation && BigInt(newest.number) > held.number);
}

function decode(bytes: Uint8Array): DirectoryRequest {
  try {
    return readMessage(DirectoryRequest, bytes, 'question');
  } catch (cause) {
    const hint = 'compare the versions of hub and monitor';
    throw new QiaoError('DIRECTORY_REQUEST_INVALID', `found ${bytes.length} bytes that are no question`, {
      hint,
      cause,
    });
  }
}
