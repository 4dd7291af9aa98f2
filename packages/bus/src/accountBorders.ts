/**
 * What passes between the account of the nodes and the account of the streams. Everything that is not written here stays on its side;
 * which node may use which of these subjects is decided by its own permissions (`permissions.ts`).
 */
import type { Account, Export, Import } from 'nats-jwt';
import { NODE_API } from './names.ts';

interface Border {
  readonly name: string;
  readonly subject: string;
  readonly answers: 'Singleton' | 'Stream';
  /** Its name on the nodes' side, when that differs; $1 and $2 are the wildcards. */
  readonly localSubject?: string;
}

/** Asked by nodes, answered in the account of the streams. */
const UPWARD: readonly Border[] = [
  { name: 'up', subject: 'qiao.up.>', answers: 'Singleton' },
  { name: 'telemetry', subject: 'qiao.telemetry.>', answers: 'Singleton' },
  // Every account has a `$JS.API` of its own (the nodes' answers "not enabled"), so the border gives these two another name.
  {
    name: 'consumer',
    subject: '$JS.API.CONSUMER.INFO.*.*',
    answers: 'Singleton',
    localSubject: `${NODE_API}CONSUMER.INFO.$1.$2`,
  },
  // One pull is answered by many messages and heartbeats.
  {
    name: 'pull',
    subject: '$JS.API.CONSUMER.MSG.NEXT.*.*',
    answers: 'Stream',
    localSubject: `${NODE_API}CONSUMER.MSG.NEXT.$1.$2`,
  },
  { name: 'acknowledge', subject: '$JS.ACK.>', answers: 'Singleton' },
];

/** Asked by the hub, answered by a node. */
const DOWNWARD: readonly Border[] = [{ name: 'command', subject: 'qiao.command.>', answers: 'Singleton' }];

/**
 * A subject on which nobody speaks. That the system account imports it makes a server read the account of the streams, and the nodes'
 * with it, at its start, before it lets anybody in. Otherwise the first callers have them read, several at once when a bus without a
 * store comes back to a platform that waits for it; nats-server 2.9 may then bind one side of the border to a copy of the
 * other that it throws away, and until its next start no command reaches any node.
 */
const READ_AT_START = { name: 'read at start', subject: 'qiao.read-at-start', type: 'stream' } as const;

/** The exports and imports of the accounts, given the public keys of the two that have a border. */
export function accountBorders(
  qiao: string,
  nodes: string,
): { readonly qiao: Partial<Account>; readonly nodes: Partial<Account>; readonly system: Partial<Account> } {
  return {
    qiao: {
      exports: [...UPWARD.map(exported), READ_AT_START],
      imports: DOWNWARD.map((border) => imported(border, nodes)),
    },
    nodes: { exports: DOWNWARD.map(exported), imports: UPWARD.map((border) => imported(border, qiao)) },
    system: { imports: [{ ...READ_AT_START, account: qiao }] },
  };
}

function exported({ name, subject, answers }: Border): Export {
  return { name, subject, type: 'service', response_type: answers };
}

function imported({ name, subject, localSubject }: Border, account: string): Import {
  return {
    name,
    subject,
    account,
    type: 'service',
    ...(localSubject === undefined ? {} : { local_subject: localSubject }),
  };
}
