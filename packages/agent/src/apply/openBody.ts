// From a sealed body to checked sections: decrypt, decompress within the size the header claims, compare the content hash,
// decode. Nothing is believed before the hash holds, and no step reserves more memory than the signed header allows.

import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { zstdDecompress, zstdDecompressSync } from 'node:zlib';
import type { DeliveryHeader } from '@qiao/contract/delivery';
import {
  CONTENT_MAX_BYTES,
  countSections,
  decodeContent,
  type KindCount,
  QiaoError,
  type Section,
} from '@qiao/exchange';
import { isSealedForAnother, KEY_UNKNOWN_WHY } from '../receive/intake.ts';

const decompress = promisify(zstdDecompress);
/** zlib takes no smaller pieces. */
const LEAST_CHUNK_BYTES = 64;
/** As much is decompressed in less time than the way to another thread and back takes. */
const SMALL_BYTES = 32 * 1024;

/** Opens a body sealed for this node; `aad` is what the sender bound into it. */
export interface BodyOpener {
  readonly sealing: string;
  /** Name of the key, as headers say it; undefined without a key. */
  readonly sealedFor: Uint8Array | undefined;
  open(body: Uint8Array, wrappedKey: Uint8Array, header: DeliveryHeader): Promise<Uint8Array>;
}

/**
 * The sections of a delivery. Throws KEY_UNKNOWN (sealed before this node joined again), BODY_UNREADABLE (seal or compression), CONTENT_HASH_MISMATCH, CONTENT_INVALID or
 * COUNTS_MISMATCH, all permanent: sent again with the same header it would be the same body.
 */
export async function openBody(header: DeliveryHeader, body: Uint8Array, opener: BodyOpener): Promise<Section[]> {
  const contentBytes = Number(header.contentBytes);
  if (contentBytes > CONTENT_MAX_BYTES) {
    throw new QiaoError(
      'CONTENT_INVALID',
      `the header claims ${contentBytes} bytes, at most ${CONTENT_MAX_BYTES} are read`,
    );
  }
  if (header.sealing !== opener.sealing) {
    throw new QiaoError(
      'BODY_UNREADABLE',
      `the body is sealed with ${header.sealing}, this agent opens ${opener.sealing}`,
      {
        hint: 'update the agent',
      },
    );
  }
  if (isSealedForAnother(header, opener.sealedFor)) {
    throw new QiaoError('KEY_UNKNOWN', KEY_UNKNOWN_WHY, { hint: 'nothing to do: its sender seals it again' });
  }
  let opened: Uint8Array;
  try {
    opened = await opener.open(body, header.wrappedKey, header);
  } catch (error) {
    throw new QiaoError('BODY_UNREADABLE', 'the body does not open with this node’s sealing key', {
      hint: 'was the node joined again? compare its key: qiao node show NODE',
      cause: error,
    });
  }
  const content = await unpack(header.compression, opened, contentBytes);
  const hash = createHash('sha256').update(content).digest();
  if (!hash.equals(header.contentHash)) {
    throw new QiaoError('CONTENT_HASH_MISMATCH', 'the content inside the body is not the one the header signs');
  }
  const sections = decodeContent(content);
  const difference = countDifference(header, countSections(sections));
  if (difference !== undefined) throw new QiaoError('COUNTS_MISMATCH', difference);
  return sections;
}

async function unpack(compression: string, opened: Uint8Array, contentBytes: number): Promise<Uint8Array> {
  let content: Uint8Array;
  switch (compression) {
    case 'none':
      content = opened;
      break;
    case 'zstd':
      try {
        // maxOutputLength refuses 0 and stops a bomb at the size that the sender signed. In one piece: by default each 16 KiB would go
        // through the thread pool alone, and all of them be copied together at the end.
        const chunkSize = Math.max(contentBytes + 1, LEAST_CHUNK_BYTES);
        const options = { maxOutputLength: Math.max(contentBytes, 1), chunkSize };
        content = contentBytes <= SMALL_BYTES ? zstdDecompressSync(opened, options) : await decompress(opened, options);
      } catch (error) {
        throw new QiaoError(
          'BODY_UNREADABLE',
          `the body does not decompress to the ${contentBytes} bytes its header claims`,
          {
            cause: error,
          },
        );
      }
      break;
    default:
      throw new QiaoError(
        'BODY_UNREADABLE',
        `the body is compressed with ${compression}, this agent reads zstd and none`,
        {
          hint: 'update the agent',
        },
      );
  }
  if (content.length !== contentBytes) {
    throw new QiaoError(
      'BODY_UNREADABLE',
      `the content has ${content.length} bytes, its header claims ${contentBytes}`,
    );
  }
  return content;
}

/** The header's statement must be the truth about the content, or `sent = Σ outcomes` could never hold. */
function countDifference(header: DeliveryHeader, found: readonly KindCount[]): string | undefined {
  const claimed = new Map(header.counts.map((count) => [count.table, count]));
  if (claimed.size !== found.length)
    return `the header counts ${claimed.size} table(s), the content has ${found.length}`;
  for (const { table, inserts, updates, deletes } of found) {
    const claim = claimed.get(table);
    if (
      claim === undefined ||
      Number(claim.inserts) !== inserts ||
      Number(claim.updates) !== updates ||
      Number(claim.deletes) !== deletes
    ) {
      return `the header's counts for a table differ from the ${inserts} inserts, ${updates} updates, ${deletes} deletes it carries`;
    }
  }
  return undefined;
}
