/**
 * What happened to a row at its source, and how that travels in the contract.
 */
import { ChangeKind } from '@qiao/contract/counts';
import { QiaoError } from './errors.ts';

/** The kind of a change. */
export type Kind = 'insert' | 'update' | 'delete';

/** Every kind, in the order of the books. */
export const KINDS: readonly Kind[] = ['insert', 'update', 'delete'];

/** Reads a kind from the contract. Throws KIND_UNKNOWN for a value that a newer peer may have written. */
export function kindOf(kind: ChangeKind): Kind {
  switch (kind) {
    case ChangeKind.INSERT:
      return 'insert';
    case ChangeKind.UPDATE:
      return 'update';
    case ChangeKind.DELETE:
      return 'delete';
    case ChangeKind.UNSPECIFIED:
    case ChangeKind.UNRECOGNIZED:
      throw new QiaoError('KIND_UNKNOWN', `Found change kind ${kind}; expected insert, update or delete.`, {
        hint: 'Upgrade this node: the other end may write a newer format.',
      });
    default:
      return kind satisfies never;
  }
}

/** Writes a kind for the contract. */
export function contractKind(kind: Kind): ChangeKind {
  switch (kind) {
    case 'insert':
      return ChangeKind.INSERT;
    case 'update':
      return ChangeKind.UPDATE;
    case 'delete':
      return ChangeKind.DELETE;
    default:
      return kind satisfies never;
  }
}
