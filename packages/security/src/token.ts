/**
 * The one-time token that lets a node, the monitor or an operator join: where the hub is, which authority to believe, and a
 * secret. Owns the text form; who made a secret and whether it was used is the hub's registry.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { CODE, QiaoError } from '@qiao/exchange';

export interface JoinToken {
  /** host:port of the hub; of its replicas, separated by commas. */
  readonly hubAddress: string;
  /** 32 random bytes. */
  readonly secret: Uint8Array;
  /** SHA-256 of the authority's certificate (DER), 64 lower-case hexadecimal digits. */
  readonly authorityFingerprint: string;
  readonly platformCode: string;
  readonly nodeCode: string;
}

const PREFIX = 'qiao1.';
const CHECK_BYTES = 4;
const MAX_CHARACTERS = 2048;

/** 32 random bytes for a token. */
export function newSecret(): Uint8Array {
  return randomBytes(32);
}

/** What the hub stores instead of the secret: SHA-256, hexadecimal. 256 random bits need no slow hash. */
export function secretHash(secret: Uint8Array): string {
  return createHash('sha256').update('qiao.join.v1\0').update(secret).digest('hex');
}

/** The token as text: `qiao1.` and base64url, with four check bytes against a lost or mistyped character. */
export function makeToken(token: JoinToken): string {
  const json = Buffer.from(
    JSON.stringify({
      h: token.hubAddress,
      s: Buffer.from(token.secret).toString('base64url'),
      f: Buffer.from(token.authorityFingerprint, 'hex').toString('base64url'),
      p: token.platformCode,
      n: token.nodeCode,
    }),
  );
  const text = PREFIX + Buffer.concat([json, checkOf(json)]).toString('base64url');
  readToken(text); // a token that nobody could read back is not handed out
  return text;
}

/** Reads a token; surrounding white space is taken off. Throws TOKEN_INVALID; never repeats any part of the token. */
export function readToken(text: string): JoinToken {
  const trimmed = text.trim();
  if (!trimmed.startsWith(PREFIX)) throw invalid(`it does not begin with ${PREFIX}`);
  if (trimmed.length > MAX_CHARACTERS || !/^[A-Za-z0-9_-]+$/.test(trimmed.slice(PREFIX.length)))
    throw invalid('it holds characters that no token has, or too many');
  const bytes = Buffer.from(trimmed.slice(PREFIX.length), 'base64url');
  const json = bytes.subarray(0, -CHECK_BYTES);
  if (bytes.length <= CHECK_BYTES || !timingSafeEqual(bytes.subarray(-CHECK_BYTES), checkOf(json)))
    throw invalid('its check bytes do not fit: a character is missing or wrong');
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(json.toString('utf8')) as Record<string, unknown>;
  } catch {
    throw invalid('its content cannot be read');
  }
  if (typeof fields !== 'object' || fields === null) throw invalid('its content cannot be read');
  const field = (name: string): string => {
    const value = fields[name];
    if (typeof value !== 'string') throw invalid(`its field ${name} is missing`);
    return value;
  };
  const secret = Buffer.from(field('s'), 'base64url');
  const fingerprint = Buffer.from(field('f'), 'base64url');
  const hubAddress = field('h');
  if (secret.length !== 32 || fingerprint.length !== 32) throw invalid('its secret or fingerprint is not 32 bytes');
  if (!hubAddress.split(',').every((one) => /^[^\s/:,]+:\d{1,5}$|^\[[0-9a-fA-F:.]+\]:\d{1,5}$/.test(one)))
    throw invalid('its hub address is not host:port');
  if (!CODE.test(field('p')) || !CODE.test(field('n'))) throw invalid('its platform or node is not a code');
  return {
    hubAddress,
    secret: new Uint8Array(secret),
    authorityFingerprint: fingerprint.toString('hex'),
    platformCode: field('p'),
    nodeCode: field('n'),
  };
}

function checkOf(json: Uint8Array): Buffer {
  return createHash('sha256').update('qiao.token.v1\0').update(json).digest().subarray(0, CHECK_BYTES);
}

function invalid(why: string): QiaoError {
  return new QiaoError('TOKEN_INVALID', `this is not a token: ${why}`, {
    hint: 'copy the whole token again, or ask for a new one: qiao node invite CODE',
  });
}
