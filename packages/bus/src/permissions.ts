/**
 * What each role may say and hear on the bus: the whole list, and nothing by default. A change here is a change of trust and belongs
 * into docs/security.md as well.
 */
import { type BusLine, consumers, inboxPrefix, NODE_API, streams, subjects } from './names.ts';

export type BusRole = 'agent' | 'monitor' | 'hub';

export interface BusPermissions {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
  /** May answer the requests that it receives, once each. */
  readonly mayAnswer: boolean;
}

/** Permissions of one node of a platform. Throws QiaoError BAD_CODE for codes that could widen a subject. */
export function permissionsOf(role: BusRole, platform: string, node: string): BusPermissions {
  const ownInbox = `${inboxPrefix(node)}.>`;
  // Built through `subjects`, which checks the codes: a wildcard in a code would open a neighbour's subjects.
  const up = `${subjects.hello(platform, node).replace(/hello$/, '')}>`;
  switch (role) {
    case 'agent':
      return {
        publish: [
          up,
          `${subjects.telemetry(platform, node, 'books').replace(/books$/, '')}>`,
          ...reading(streams.downData(node), consumers.node(node)),
          ...reading(streams.downControl(node), consumers.node(node)),
        ],
        subscribe: [ownInbox, subjects.command(platform, node)],
        mayAnswer: true,
      };
    case 'monitor':
      return {
        publish: [
          up,
          ...reading(streams.telemetry(), consumers.monitor),
          ...reading(streams.downControl(node), consumers.node(node)),
        ],
        subscribe: [ownInbox],
        mayAnswer: false,
      };
    case 'hub':
      // The hub owns every stream and consumer, and routes every subject of the account.
      return { publish: ['qiao.>', '$JS.API.>', '$JS.ACK.>'], subscribe: [ownInbox, 'qiao.>'], mayAnswer: true };
    default:
      return role satisfies never;
  }
}

/** Lines on which a node of this role has a down stream. */
export function downLines(role: 'agent' | 'monitor'): readonly BusLine[] {
  return role === 'agent' ? ['data', 'control'] : ['control'];
}

/** Asking about one consumer, pulling from it and acknowledging its messages. */
function reading(stream: string, consumer: string): string[] {
  return [
    `${NODE_API}CONSUMER.INFO.${stream}.${consumer}`,
    `${NODE_API}CONSUMER.MSG.NEXT.${stream}.${consumer}`,
    `$JS.ACK.${stream}.${consumer}.>`,
  ];
}
