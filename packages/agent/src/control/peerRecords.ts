/**
 * What this department wrote down of other nodes’ keys: which were seen, and which a person here vouched for. Two files in the
 * identity directory: the agent writes one, `qiao agent confirm` the other; neither passes through the hub.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { QiaoError } from '@qiao/exchange';
import { keysFingerprint, readIdentity, requirePrivate, writeFileAtomically } from '@qiao/security';
import { z } from 'zod';

const fingerprint = z.string().regex(/^[0-9a-f]{64}$/);
const seenSchema = z.record(
  z.string(),
  z.strictObject({
    code: z.string(),
    /** What the hub named last. */
    named: fingerprint,
    namedAtMs: z.int(),
    /** What is sealed for; absent before the first was accepted. */
    used: fingerprint.optional(),
    /** The code it had then: under another one it is another node to a person. */
    usedAs: z.string().optional(),
    usedAtMs: z.int().optional(),
    /** What was sealed for before, newest first. */
    former: z.array(z.strictObject({ fingerprint, untilMs: z.int() })),
  }),
);
const confirmedSchema = z.record(
  z.string(),
  z.strictObject({ fingerprint, code: z.string().optional(), atMs: z.int() }),
);

export type Seen = z.infer<typeof seenSchema>;
export type Confirmed = z.infer<typeof confirmedSchema>;

/** Whether a person vouched for these keys as those of the node of this code. */
export function isWordFor(word: Confirmed[string] | undefined, code: string, named: string): boolean {
  return word?.fingerprint === named && (word.code ?? code) === code;
}

/** A node at the other end, for a person. */
export interface KnownPeer {
  readonly node: string;
  readonly nodeId: string;
  readonly named: string;
  readonly used: string | undefined;
  readonly confirmed: string | undefined;
  readonly state: 'confirmed' | 'used' | 'waiting';
}

/** What `qiao agent peers` shows: this node's own fingerprint, to be told to others, and those that it has seen. */
export function readPeers(directory: string): { own: string; peers: KnownPeer[] } {
  const { certificate, sealingKey } = readIdentity(directory);
  const confirmed = readConfirmed(directory);
  const peers = Object.entries(readSeen(directory)).map(([nodeId, { code, named, used, usedAs }]): KnownPeer => {
    const word = confirmed[nodeId];
    const isUsed = used === named && (usedAs ?? code) === code;
    const state = isWordFor(word, code, named) ? 'confirmed' : isUsed ? 'used' : 'waiting';
    return { node: code, nodeId, named, used, confirmed: word?.fingerprint, state };
  });
  return {
    own: keysFingerprint(certificate, sealingKey?.publicKey ?? new Uint8Array(0)),
    peers: peers.sort((a, b) => a.node.localeCompare(b.node)),
  };
}

/**
 * Writes down that a person here compared the fingerprint with the other end by another way than the hub.
 * Throws FINGERPRINT_INVALID, PEER_UNKNOWN, FINGERPRINT_DIFFERS.
 */
export function confirmPeer(directory: string, node: string, typed: string, nowMs: number): void {
  const told = typed
    .toLowerCase()
    .replace(/^sha256:/, '')
    .replace(/[\s:-]/g, '');
  if (!fingerprint.safeParse(told).success) {
    throw new QiaoError('FINGERPRINT_INVALID', 'found no fingerprint, expected 64 hexadecimal digits', {
      hint: 'the other end shows its own: qiao agent peers',
    });
  }
  // The hub may name more than one under a code; the fingerprint says which of them was meant.
  const found = Object.entries(readSeen(directory)).filter(([, { code }]) => code === node);
  if (found.length === 0) {
    throw new QiaoError(
      'PEER_UNKNOWN',
      `no node ${JSON.stringify(node.slice(0, 64))} is at the other end of a lane here`,
      {
        hint: 'qiao agent peers',
      },
    );
  }
  const meant = found.filter(([, { named }]) => named === told);
  if (meant.length === 0) {
    const named = found.slice(0, NAMED_MOST).map(([, one]) => one.named);
    throw new QiaoError(
      'FINGERPRINT_DIFFERS',
      `the hub names ${named.join(', ')} for ${node}, which is not what was typed`,
      {
        hint: `read it again at ${node} itself: qiao agent peers; if it stays so, seal nothing and ask the hub’s operators who joined as ${node}`,
      },
    );
  }
  const words = meant.map(([nodeId]) => [nodeId, { fingerprint: told, code: node, atMs: nowMs }]);
  write(directory, CONFIRMED_FILE, { ...readConfirmed(directory), ...Object.fromEntries(words) });
}

/** In groups of four, as they are read out over a telephone. */
export function spokenFingerprint(text: string): string {
  return text.replace(/(.{4})(?=.)/g, '$1 ');
}

/** Fingerprints shown of nodes under one code. */
const NAMED_MOST = 3;
const SEEN_FILE = 'peers.json';
const CONFIRMED_FILE = 'peers-confirmed.json';

export const readSeen = (directory: string): Seen => read(directory, SEEN_FILE, seenSchema) ?? {};
export const readConfirmed = (directory: string): Confirmed => read(directory, CONFIRMED_FILE, confirmedSchema) ?? {};

function read<T>(directory: string, name: string, schema: z.ZodType<T>): T | undefined {
  const file = join(directory, name);
  if (!existsSync(file)) return undefined;
  requirePrivate(file);
  try {
    return schema.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch (cause) {
    // Taken for empty it would let every key pass for the first.
    throw new QiaoError('PEERS_UNREADABLE', `${file} is damaged`, {
      hint: `restore it from the agent’s backup; or mv ${file} ${file}.old and compare every fingerprint anew`,
      cause,
    });
  }
}

export function writeSeen(directory: string, seen: Seen): void {
  write(directory, SEEN_FILE, seen);
}

function write(directory: string, name: string, content: Seen | Confirmed): void {
  writeFileAtomically(join(directory, name), `${JSON.stringify(content, null, 2)}\n`, 0o600);
}
