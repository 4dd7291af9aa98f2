/**
 * The identity directory of a node, a monitor, an operator or the hub: who it is, its keys and the certificates it believes.
 * Owns names, modes and the order of writing; `identity.json` is written last and is what makes a directory an identity.
 */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { idText, parseId, QiaoError } from '@qiao/exchange';
import { crashPoint, fileRefused } from '@qiao/runtime';
import type { Role } from './certificate.ts';
import { fromPem, toPem } from './pem.ts';
import { makePrivateDirectory, requirePrivate, writeFileAtomically } from './privateFiles.ts';

export interface NodeIdentity {
  readonly role: Role;
  readonly platformId: Uint8Array;
  readonly platformCode: string;
  readonly platformTitle: string;
  /** Time zone of the books, IANA name. */
  readonly timeZone: string;
  readonly nodeId: Uint8Array;
  readonly nodeCode: string;
  readonly departmentCode: string;
  readonly departmentTitle: string;
  /** host:port of the hub. */
  readonly hubAddress: string;
  readonly natsUrls: readonly string[];
  /** PKCS#8, PEM. */
  readonly keyPem: string;
  /** DER. */
  readonly certificate: Uint8Array;
  readonly authority: Uint8Array;
  /** The hub's signing certificate (DER); empty at the hub itself. */
  readonly hubCertificate: Uint8Array;
  /** Present where bodies are received. */
  readonly sealingKey?: { readonly publicKey: Uint8Array; readonly privateKey: Uint8Array } | undefined;
  /** Present where the bus is used. */
  readonly nats?: { readonly seed: string; readonly jwt: string } | undefined;
}

const TEXT_FIELDS = [
  'platformCode',
  'platformTitle',
  'timeZone',
  'nodeCode',
  'departmentCode',
  'departmentTitle',
  'hubAddress',
] as const;

/** True when the directory holds a whole identity. Throws what the system says when this user may not look. */
export function hasIdentity(dir: string): boolean {
  // Not existsSync: to a user who may not look, an identity that is there would be one to be made.
  return statSync(join(dir, 'identity.json'), { throwIfNoEntry: false }) !== undefined;
}

/** Writes or replaces an identity: directory 0700, keys 0600, each file whole. */
export function writeIdentity(dir: string, identity: NodeIdentity): void {
  makePrivateDirectory(dir);
  const write = (name: string, content: string, mode: number): void =>
    writeFileAtomically(join(dir, name), content, mode);
  write('key.pem', identity.keyPem, 0o600);
  write('certificate.pem', toPem(identity.certificate, 'CERTIFICATE'), 0o644);
  write('authority.pem', toPem(identity.authority, 'CERTIFICATE'), 0o644);
  if (identity.hubCertificate.length > 0) write('hub.pem', toPem(identity.hubCertificate, 'CERTIFICATE'), 0o644);
  if (identity.sealingKey) {
    const { publicKey, privateKey } = identity.sealingKey;
    write(
      'sealing.key',
      `${JSON.stringify({ publicKey: base64(publicKey), privateKey: base64(privateKey) })}\n`,
      0o600,
    );
  }
  if (identity.nats) {
    write('nats.seed', `${identity.nats.seed}\n`, 0o600);
    write('nats.jwt', `${identity.nats.jwt}\n`, 0o600);
  }
  const facts: Record<string, unknown> = {
    role: identity.role,
    platformId: idText(identity.platformId),
    nodeId: idText(identity.nodeId),
    natsUrls: identity.natsUrls,
  };
  for (const field of TEXT_FIELDS) facts[field] = identity[field];
  crashPoint('identity.written');
  // Last: a crash before leaves files without an identity, and joining again writes them anew.
  write('identity.json', `${JSON.stringify(facts, null, 2)}\n`, 0o644);
}

/** Reads an identity. Throws IDENTITY_MISSING, IDENTITY_INVALID (which file and why), FILE_EXPOSED, PEM_INVALID. */
export function readIdentity(dir: string): NodeIdentity {
  if (!hasIdentity(dir)) {
    throw new QiaoError('IDENTITY_MISSING', `${dir} holds no identity`, {
      hint: 'join first: qiao agent join --config FILE --token TOKEN',
    });
  }
  const facts = readJson(dir, 'identity.json');
  const text = (name: string): string => {
    const value = facts[name];
    if (typeof value !== 'string') throw invalid(dir, 'identity.json', `${name} is missing`);
    return value;
  };
  const certificateOf = (name: string): Uint8Array => fromPem(readText(dir, name), 'CERTIFICATE');
  const role = text('role');
  if (!isRole(role)) throw invalid(dir, 'identity.json', 'role is none of agent, monitor, hub, operator');
  const natsUrls = facts['natsUrls'];
  if (!Array.isArray(natsUrls) || !natsUrls.every((url): url is string => typeof url === 'string'))
    throw invalid(dir, 'identity.json', 'natsUrls is no list of texts');
  requirePrivate(join(dir, 'key.pem'));
  return {
    role,
    platformId: parseId(text('platformId')),
    platformCode: text('platformCode'),
    platformTitle: text('platformTitle'),
    timeZone: text('timeZone'),
    nodeId: parseId(text('nodeId')),
    nodeCode: text('nodeCode'),
    departmentCode: text('departmentCode'),
    departmentTitle: text('departmentTitle'),
    hubAddress: text('hubAddress'),
    natsUrls,
    keyPem: readText(dir, 'key.pem'),
    certificate: certificateOf('certificate.pem'),
    authority: certificateOf('authority.pem'),
    hubCertificate: existsSync(join(dir, 'hub.pem')) ? certificateOf('hub.pem') : new Uint8Array(0),
    ...readSealingKey(dir),
    ...readNats(dir),
  };
}

function readSealingKey(dir: string): Pick<NodeIdentity, 'sealingKey'> {
  if (!existsSync(join(dir, 'sealing.key'))) return {};
  requirePrivate(join(dir, 'sealing.key'));
  const { publicKey, privateKey } = readJson(dir, 'sealing.key');
  if (typeof publicKey !== 'string' || typeof privateKey !== 'string')
    throw invalid(dir, 'sealing.key', 'a key is missing');
  return { sealingKey: { publicKey: bytes(publicKey), privateKey: bytes(privateKey) } };
}

function readNats(dir: string): Pick<NodeIdentity, 'nats'> {
  if (!existsSync(join(dir, 'nats.seed'))) return {};
  requirePrivate(join(dir, 'nats.seed'));
  return { nats: { seed: readText(dir, 'nats.seed').trim(), jwt: readText(dir, 'nats.jwt').trim() } };
}

function readText(dir: string, name: string): string {
  try {
    return readFileSync(join(dir, name), 'utf8');
  } catch (cause) {
    throw fileRefused(cause) ?? invalid(dir, name, 'it cannot be read', cause);
  }
}

function readJson(dir: string, name: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(readText(dir, name));
  } catch (cause) {
    // The parser's own message quotes the text, which may be a key.
    throw invalid(dir, name, 'it is not JSON', cause instanceof QiaoError ? cause : undefined);
  }
  if (typeof value !== 'object' || value === null) throw invalid(dir, name, 'it is not a JSON object');
  return value as Record<string, unknown>;
}

function invalid(dir: string, name: string, why: string, cause?: unknown): QiaoError {
  return new QiaoError('IDENTITY_INVALID', `${join(dir, name)}: ${why}`, {
    hint: 'restore the identity directory from its backup, or join again',
    cause,
  });
}

function isRole(text: string): text is Role {
  return text === 'agent' || text === 'monitor' || text === 'hub' || text === 'operator';
}

function base64(value: Uint8Array): string {
  return Buffer.from(value).toString('base64');
}

function bytes(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'base64'));
}
