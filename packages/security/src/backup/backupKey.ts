/**
 * Who may open a backup: whoever knows a passphrase, or holds the private key of a recipient. Owns the texts of both keys and
 * the wrapping of a backup's file key under them; the bytes that the file key protects are `sealedFile.ts`.
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes, scryptSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { QiaoError } from '@qiao/exchange';
import { requirePrivate, writeNewFile } from '../privateFiles.ts';
import { sealing } from '../sealing.ts';

/** What a backup is sealed for. */
export type BackupRecipient =
  | { readonly kind: 'passphrase'; readonly passphrase: string }
  | { readonly kind: 'recipient'; readonly publicKey: Uint8Array };

/** What opens a backup. */
export type BackupOpener =
  | { readonly kind: 'passphrase'; readonly passphrase: string }
  | { readonly kind: 'privateKey'; readonly privateKey: Uint8Array; readonly publicKey: Uint8Array };

/** How the file key stands in the header of a backup: nothing in it is secret without the passphrase or the private key. */
export type WrappedFileKey =
  | {
      readonly kind: 'passphrase';
      readonly n: number;
      readonly r: number;
      readonly p: number;
      readonly salt: string;
      readonly key: string;
    }
  | { readonly kind: 'recipient'; readonly recipient: string; readonly key: string; readonly wrap: string };

const PUBLIC = 'qiaobackup1:';
const PRIVATE = 'qiaobackupkey1:';
/** RFC 7914 with 128 MiB of memory: about half a second here, for each guess of a thief too. */
const SCRYPT = { n: 131_072, r: 8, p: 1 } as const;
/** What a header may ask of us at the most: a forged one must not take the machine's memory. */
const SCRYPT_MOST = { n: 1_048_576, r: 8, p: 4 } as const;
const PASSPHRASE_LEAST = 12;
const AAD = Buffer.from('qiao.backup.key.v1', 'latin1');

/** Writes a new private key (0600) and returns the public one as text. Throws FILE_EXISTS. */
export async function createBackupKey(file: string): Promise<string> {
  const { publicKey, privateKey } = await sealing.generateKey();
  const text = backupRecipientText(publicKey);
  const secret = Buffer.concat([privateKey, publicKey]).toString('base64url');
  writeNewFile(
    file,
    `# Opens every backup made for ${text}\n# Keep it away from the machines that are backed up.\n${PRIVATE}${secret}\n`,
    0o600,
  );
  return text;
}

function backupRecipientText(publicKey: Uint8Array): string {
  return PUBLIC + Buffer.from(publicKey).toString('base64url');
}

/** Reads a public key as `createBackupKey` printed it. Throws BACKUP_KEY_INVALID. */
export function readBackupRecipient(text: string): BackupRecipient {
  const bytes = Buffer.from(text.trim().slice(PUBLIC.length), 'base64url');
  if (!text.trim().startsWith(PUBLIC) || bytes.length !== 65) {
    throw new QiaoError('BACKUP_KEY_INVALID', `found no public backup key, expected ${PUBLIC}…`, {
      hint: 'qiao hub backup-key --to FILE',
    });
  }
  return { kind: 'recipient', publicKey: new Uint8Array(bytes) };
}

/** Reads a private key file. Throws BACKUP_KEY_INVALID, FILE_EXPOSED. */
export function readBackupKeyFile(file: string): BackupOpener {
  const invalid = (cause?: unknown) =>
    new QiaoError('BACKUP_KEY_INVALID', `${file} holds no private backup key`, {
      hint: 'name the file that `qiao hub backup-key --to FILE` wrote',
      cause,
    });
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw invalid(cause);
  }
  requirePrivate(file);
  const line = text.split('\n').find((one) => one.startsWith(PRIVATE)) ?? '';
  const bytes = Buffer.from(line.slice(PRIVATE.length), 'base64url');
  if (bytes.length !== 32 + 65) throw invalid();
  return {
    kind: 'privateKey',
    privateKey: new Uint8Array(bytes.subarray(0, 32)),
    publicKey: new Uint8Array(bytes.subarray(32)),
  };
}

/** A passphrase, once it is long enough to be worth the name. Throws BACKUP_PASSPHRASE_SHORT. */
export function requirePassphrase(passphrase: string): { readonly kind: 'passphrase'; readonly passphrase: string } {
  if (passphrase.length >= PASSPHRASE_LEAST) return { kind: 'passphrase', passphrase };
  throw new QiaoError(
    'BACKUP_PASSPHRASE_SHORT',
    `the passphrase has ${passphrase.length} characters, expected at least ${PASSPHRASE_LEAST}`,
    { hint: 'choose several words, or a key pair: qiao hub backup-key --to FILE' },
  );
}

/** Wraps a file key of 32 bytes. */
export async function wrapFileKey(fileKey: Uint8Array, recipient: BackupRecipient): Promise<WrappedFileKey> {
  if (recipient.kind === 'recipient') {
    const { body, wrappedKey } = await sealing.seal(fileKey, recipient.publicKey, AAD);
    return {
      kind: 'recipient',
      recipient: nameOf(recipient.publicKey),
      key: base64(body),
      wrap: base64(wrappedKey),
    };
  }
  const salt = randomBytes(16);
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', stretched(recipient.passphrase, salt, SCRYPT), nonce);
  cipher.setAAD(AAD);
  const key = Buffer.concat([nonce, cipher.update(fileKey), cipher.final(), cipher.getAuthTag()]);
  return { kind: 'passphrase', ...SCRYPT, salt: base64(salt), key: base64(key) };
}

/** The file key. Throws BACKUP_KEY_WRONG when this passphrase or key is not the one, BACKUP_DAMAGED for a header without sense. */
export async function unwrapFileKey(wrapped: WrappedFileKey, opener: BackupOpener): Promise<Uint8Array> {
  if (wrapped.kind === 'recipient') {
    if (opener.kind !== 'privateKey') {
      throw wrong('the backup was made for a key pair', 'name its private key: --key FILE');
    }
    if (nameOf(opener.publicKey) !== wrapped.recipient) {
      throw wrong(
        `the backup was made for the key ${wrapped.recipient}, this is ${nameOf(opener.publicKey)}`,
        'name the private key that belongs to it: --key FILE',
      );
    }
    try {
      const sealed = { body: Buffer.from(wrapped.key, 'base64'), wrappedKey: Buffer.from(wrapped.wrap, 'base64') };
      return await sealing.open(sealed, opener.privateKey, AAD);
    } catch (cause) {
      throw wrong('the backup does not open with this private key', 'is the file whole?', cause);
    }
  }
  if (opener.kind !== 'passphrase') throw wrong('the backup was made with a passphrase', 'set QIAO_BACKUP_PASSPHRASE');
  const { n, r, p } = wrapped;
  if (n > SCRYPT_MOST.n || r > SCRYPT_MOST.r || p > SCRYPT_MOST.p || n < 2 || r < 1 || p < 1) {
    throw new QiaoError('BACKUP_DAMAGED', `the backup asks for scrypt with N=${n}, r=${r}, p=${p}`, {
      hint: 'take another copy of this backup',
    });
  }
  const bytes = Buffer.from(wrapped.key, 'base64');
  try {
    const key = stretched(opener.passphrase, Buffer.from(wrapped.salt, 'base64'), wrapped);
    const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, 12), { authTagLength: 16 });
    decipher.setAAD(AAD);
    decipher.setAuthTag(bytes.subarray(-16));
    return Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()]);
  } catch (cause) {
    throw wrong('the backup does not open with this passphrase', 'set QIAO_BACKUP_PASSPHRASE to the right one', cause);
  }
}

function stretched(passphrase: string, salt: Uint8Array, { n, r, p }: { n: number; r: number; p: number }): Buffer {
  // Normalised, so that the same words typed on another machine give the same bytes.
  return scryptSync(passphrase.normalize('NFC'), salt, 32, { N: n, r, p, maxmem: 256 * n * r });
}

function nameOf(publicKey: Uint8Array): string {
  return createHash('sha256').update(publicKey).digest('hex').slice(0, 16);
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}

function wrong(message: string, hint: string, cause?: unknown): QiaoError {
  return new QiaoError('BACKUP_KEY_WRONG', message, { hint, cause });
}
