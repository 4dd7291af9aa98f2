/**
 * NATS keys sign with Ed25519. Their library does that in JavaScript, which a fresh process runs for tens of milliseconds before it
 * is fast; from here on OpenSSL does it. To be imported by whatever signs.
 */
import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
// It sets its own; ours comes after it.
import 'nkeys.js';
import { getEd25519Helper, setEd25519Helper } from 'nkeys.js/lib/helper.js';

// The DER that stands before a seed (PKCS #8) and a public key (SPKI) of 32 bytes: RFC 8410, section 7 and 4.
const BEFORE_SEED = Buffer.from('302e020100300506032b657004220420', 'hex');
const BEFORE_PUBLIC = Buffer.from('302a300506032b6570032100', 'hex');
const SEED_BYTES = 32;

setEd25519Helper({
  ...getEd25519Helper(),
  fromSeed(seed) {
    const publicKey = createPublicKey(privateKeyOf(seed)).export({ format: 'der', type: 'spki' }).subarray(-32);
    return { publicKey: Uint8Array.from(publicKey), secretKey: Uint8Array.from([...seed, ...publicKey]) };
  },
  sign: (data, secretKey) => Uint8Array.from(sign(null, data, privateKeyOf(secretKey.subarray(0, SEED_BYTES)))),
  verify(data, signature, publicKey) {
    const key = createPublicKey({ key: Buffer.concat([BEFORE_PUBLIC, publicKey]), format: 'der', type: 'spki' });
    return verify(null, data, key, signature);
  },
});

function privateKeyOf(seed: Uint8Array): KeyObject {
  return createPrivateKey({ key: Buffer.concat([BEFORE_SEED, seed]), format: 'der', type: 'pkcs8' });
}
