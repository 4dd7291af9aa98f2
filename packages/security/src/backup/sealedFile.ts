/**
 * The encrypted file of a backup: a header that names how its key is wrapped, then AES-256-GCM chunks of 64 KiB whose nonces
 * count and whose last one says that it is the last. A chunk changed, moved, repeated or cut off is found before a byte of it is
 * handed out. Memory is one chunk, whatever the size. What the bytes mean is `archive.ts`.
 */
import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto';
import { readSync, writeSync } from 'node:fs';
import { QiaoError } from '@qiao/exchange';
import {
  type BackupOpener,
  type BackupRecipient,
  unwrapFileKey,
  type WrappedFileKey,
  wrapFileKey,
} from './backupKey.ts';

const MAGIC = Buffer.from('qiao-backup-1\n', 'latin1');
const HEADER_MOST = 16 * 1024;
const CHUNK = 64 * 1024;
const TAG = 16;

export class SealedWriter {
  readonly #file: number;
  readonly #key: Uint8Array;
  readonly #chunk = Buffer.allocUnsafe(CHUNK);
  #filled = 0;
  #counter = 0n;

  private constructor(file: number, key: Uint8Array) {
    this.#file = file;
    this.#key = key;
  }

  /** Writes the header into an open, empty file. */
  static async begin(file: number, recipient: BackupRecipient): Promise<SealedWriter> {
    const fileKey = randomBytes(32);
    const header = Buffer.from(JSON.stringify(await wrapFileKey(fileKey, recipient)), 'utf8');
    const length = Buffer.alloc(4);
    length.writeUInt32BE(header.length);
    const head = Buffer.concat([MAGIC, length, header]);
    writeAll(file, head);
    return new SealedWriter(file, chunkKey(fileKey, head));
  }

  write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      if (this.#filled === CHUNK) this.#flush(false);
      const taken = Math.min(CHUNK - this.#filled, bytes.length - at);
      this.#chunk.set(bytes.subarray(at, at + taken), this.#filled);
      this.#filled += taken;
      at += taken;
    }
  }

  /** The last chunk; nothing may be written after it. */
  end(): void {
    this.#flush(true);
  }

  #flush(isLast: boolean): void {
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce(this.#counter, isLast));
    const sealed = cipher.update(this.#chunk.subarray(0, this.#filled));
    cipher.final();
    writeAll(this.#file, Buffer.concat([sealed, cipher.getAuthTag()]));
    this.#counter += 1n;
    this.#filled = 0;
  }
}

export class SealedReader {
  readonly #file: number;
  readonly #key: Uint8Array;
  #ahead: Buffer;
  #plain: Buffer = Buffer.alloc(0);
  #counter = 0n;
  #isLast = false;

  private constructor(file: number, key: Uint8Array) {
    this.#file = file;
    this.#key = key;
    this.#ahead = readUpTo(file, CHUNK + TAG);
  }

  /** Reads the header of an open file. Throws BACKUP_FOREIGN, BACKUP_DAMAGED, BACKUP_KEY_WRONG. */
  static async begin(file: number, opener: BackupOpener): Promise<SealedReader> {
    const start = readUpTo(file, MAGIC.length + 4);
    if (start.length < MAGIC.length + 4 || !start.subarray(0, MAGIC.length).equals(MAGIC)) {
      throw new QiaoError('BACKUP_FOREIGN', 'the file is no backup of Qiao', {
        hint: 'name a file that `qiao hub backup`, `qiao monitor backup` or `qiao agent backup` wrote',
      });
    }
    const length = start.readUInt32BE(MAGIC.length);
    const header = length > HEADER_MOST ? Buffer.alloc(0) : readUpTo(file, length);
    if (header.length === 0 || header.length !== length) throw damaged('its header is cut off');
    const fileKey = await unwrapFileKey(readHeader(header), opener);
    return new SealedReader(file, chunkKey(fileKey, Buffer.concat([start, header])));
  }

  /** Exactly so many bytes. Throws BACKUP_DAMAGED when the file was changed or ends before. */
  read(bytes: number): Buffer {
    const parts: Buffer[] = [];
    for (let missing = bytes; missing > 0; ) {
      if (this.#plain.length === 0) this.#open();
      const taken = this.#plain.subarray(0, missing);
      this.#plain = this.#plain.subarray(taken.length);
      parts.push(taken);
      missing -= taken.length;
    }
    return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
  }

  /** Nothing is left. Throws BACKUP_DAMAGED otherwise. */
  requireEnd(): void {
    if (!this.#isLast || this.#plain.length > 0) throw damaged('bytes follow its end');
  }

  #open(): void {
    if (this.#isLast) throw damaged('it ends too early');
    const sealed = this.#ahead;
    if (sealed.length < TAG) throw damaged('it is cut off');
    this.#ahead = readUpTo(this.#file, CHUNK + TAG);
    this.#isLast = this.#ahead.length === 0;
    try {
      const decipher = createDecipheriv('aes-256-gcm', this.#key, nonce(this.#counter, this.#isLast));
      decipher.setAuthTag(sealed.subarray(-TAG));
      this.#plain = Buffer.concat([decipher.update(sealed.subarray(0, -TAG)), decipher.final()]);
    } catch (cause) {
      throw damaged(`its part ${this.#counter + 1n} was changed, or what follows is missing`, cause);
    }
    if (this.#plain.length === 0) throw damaged('it holds an empty part');
    this.#counter += 1n;
  }
}

function readHeader(bytes: Buffer): WrappedFileKey {
  try {
    const header = JSON.parse(bytes.toString('utf8')) as WrappedFileKey;
    const isText = (value: unknown) => typeof value === 'string';
    if (header.kind === 'recipient' && isText(header.recipient) && isText(header.key) && isText(header.wrap)) {
      return header;
    }
    const isNumber = (value: unknown) => Number.isSafeInteger(value);
    if (
      header.kind === 'passphrase' &&
      isText(header.salt) &&
      isText(header.key) &&
      isNumber(header.n) &&
      isNumber(header.r) &&
      isNumber(header.p)
    ) {
      return header;
    }
  } catch {
    // Told below like a header of another shape.
  }
  throw damaged('its header cannot be read');
}

/** Bound to the header, so that a header from elsewhere opens nothing. */
function chunkKey(fileKey: Uint8Array, head: Uint8Array): Uint8Array {
  const salt = createHash('sha256').update(head).digest();
  return new Uint8Array(hkdfSync('sha256', fileKey, salt, 'qiao.backup.v1', 32));
}

function nonce(counter: bigint, isLast: boolean): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeBigUInt64BE(counter, 3);
  bytes[11] = isLast ? 1 : 0;
  return bytes;
}

function writeAll(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
}

function readUpTo(file: number, bytes: number): Buffer {
  const buffer = Buffer.allocUnsafe(bytes);
  let filled = 0;
  while (filled < bytes) {
    const taken = readSync(file, buffer, filled, bytes - filled, null);
    if (taken === 0) break;
    filled += taken;
  }
  return buffer.subarray(0, filled);
}

function damaged(why: string, cause?: unknown): QiaoError {
  return new QiaoError('BACKUP_DAMAGED', `the backup is not whole: ${why}`, {
    hint: 'take another copy of it, or an older backup',
    cause,
  });
}
