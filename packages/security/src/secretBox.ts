/**
 * Secrets at rest in a configuration file: `qiaosec1:` and base64url of AES-256-GCM under this host's key file. It guards a
 * configuration that is copied, mailed or backed up without its key; it does not guard against root on the same machine.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { QiaoError } from '@qiao/exchange';
import { makePrivateDirectory, requirePrivate, writeNewFile } from './privateFiles.ts';

/** A host key: 32 bytes. Never printed. */
export type HostKey = Uint8Array & { readonly __hostKey?: never };

const PREFIX = 'qiaosec1:';
const AAD = Buffer.from('qiao.secret.v1', 'latin1');
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Reads the host key file; with `create` makes it (0600) when missing. Throws HOST_KEY_MISSING, HOST_KEY_INVALID, FILE_EXPOSED. */
export function openHostKey(file: string, options: { create?: boolean } = {}): HostKey {
  if (!existsSync(file)) {
    if (!options.create) {
      throw new QiaoError(
        'HOST_KEY_MISSING',
        `${file} does not exist, so the encrypted secrets of this configuration cannot be read`,
        {
          hint: 'restore the key file from its backup, or write the secrets again with: qiao agent datasource add NAME',
        },
      );
    }
    makePrivateDirectory(dirname(file));
    writeNewFile(file, `${randomBytes(32).toString('base64')}\n`, 0o600);
  }
  requirePrivate(file);
  const key = Buffer.from(readFileSync(file, 'utf8').trim(), 'base64');
  if (key.length !== 32)
    throw new QiaoError('HOST_KEY_INVALID', `${file} does not hold a key of 32 bytes in base64`, {
      hint: 'put it back from this node’s backup: what was sealed with it opens with no other',
    });
  return new Uint8Array(key);
}

/** True for text made by `encryptSecret`. */
export function isEncryptedSecret(text: string): boolean {
  return text.startsWith(PREFIX);
}

/** The secret as it may stand in a configuration file. */
export function encryptSecret(secret: string, key: HostKey): string {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(AAD);
  const body = Buffer.concat([cipher.update(secret, 'utf8'), cipher.final()]);
  return PREFIX + Buffer.concat([nonce, body, cipher.getAuthTag()]).toString('base64url');
}

/** Throws SECRET_UNREADABLE; never repeats the text. */
export function decryptSecret(text: string, key: HostKey): string {
  const bytes = isEncryptedSecret(text) ? Buffer.from(text.slice(PREFIX.length), 'base64url') : Buffer.alloc(0);
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
    decipher.setAAD(AAD);
    decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
    return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]).toString('utf8');
  } catch (cause) {
    throw new QiaoError('SECRET_UNREADABLE', 'an encrypted secret does not open with the key file of this host', {
      hint: 'it was encrypted on another host, or changed: write it again with qiao agent datasource add NAME',
      cause,
    });
  }
}
