/**
 * Row contents at rest: AES-256-GCM under a key of this host that lies beside the database and never in it, a fresh nonce for
 * each record, bound to where the record stands. A database that is taken without the key shows no row; it does not guard against
 * who can read the whole directory.
 */
import { createCipheriv, createDecipheriv, createHash, createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { QiaoError } from '@qiao/exchange';

export interface RowBox {
  /** Says which key it is and nothing of it. */
  readonly keyName: string;
  /** `place` names the record; the same bytes do not open at another place. */
  seal(plain: Uint8Array, place: string): Uint8Array;
  /** Throws ROW_UNREADABLE. */
  open(sealed: Uint8Array, place: string): Uint8Array;
  /** Stands for a text that is looked up and not read: the same for the same text, and only under this key. */
  nameOf(text: string): string;
}

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** `key`: 32 bytes. */
export function createRowBox(key: Uint8Array): RowBox {
  const derived = (label: string) => new Uint8Array(hkdfSync('sha256', key, new Uint8Array(0), label, 32));
  const sealingKey = derived('qiao.rows.seal.v1');
  const namingKey = derived('qiao.rows.name.v1');
  return {
    keyName: createHash('sha256').update(derived('qiao.rows.key.v1')).digest('hex').slice(0, 16),
    seal(plain, place) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv('aes-256-gcm', sealingKey, nonce);
      cipher.setAAD(Buffer.from(place, 'utf8'));
      return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
    },
    open(sealed, place) {
      try {
        const nonce = sealed.subarray(0, NONCE_BYTES);
        const decipher = createDecipheriv('aes-256-gcm', sealingKey, nonce, { authTagLength: TAG_BYTES });
        decipher.setAAD(Buffer.from(place, 'utf8'));
        decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
        return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
      } catch (cause) {
        throw new QiaoError('ROW_UNREADABLE', 'a kept row does not open with the key of this host', {
          hint: 'the exchange database was changed, or is of another host: qiao agent restore FILE',
          cause,
        });
      }
    },
    nameOf: (text) => createHmac('sha256', namingKey).update(text, 'utf8').digest('hex').slice(0, 32),
  };
}
