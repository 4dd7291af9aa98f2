/**
 * Which keys of other nodes this department has seen, and which of them a person here vouched for. The hub names the keys that
 * are sealed for; what is written down here does not pass through the hub, so that a key of its own making is seen, and where
 * agent.yaml says so, waited with. Two files in the identity directory: the agent writes one, `qiao agent confirm` the other.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { QiaoError } from '@qiao/exchange';
import type { Clock, Log, Part } from '@qiao/runtime';
import { keysFingerprint, readIdentity, requirePrivate, writeFileAtomically } from '@qiao/security';
import { z } from 'zod';
import type { Desired, DesiredPeer, DesiredState } from './desired.ts';

/** Keys of nodes at other ends. none: written down and told. changed: other ones than before wait for a person. all: the first ones, too. */
export type ConfirmDestinations = 'none' | 'changed' | 'all';

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

type Seen = z.infer<typeof seenSchema>;
type Confirmed = z.infer<typeof confirmedSchema>;

const MOST_FORMER = 20;
/** Nodes that something was sealed for, named by the hub one after the other: past this many a first key waits for a person. */
export const RECORDS_MOST = 2_000;
/** Codes of nodes are shorter; a longer one would be a place to fill. */
const CODE_CHARACTERS = 64;
/** How often a person's word is looked for while something waits for it. */
const LOOK_EVERY_MS = 500;

export interface PeerKeysPorts {
  readonly directory: string;
  readonly confirm: ConfirmDestinations;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * A desired state in which a peer whose keys wait for a person has no sealing key, so that nothing is sealed for it, and says
 * which fingerprint waits. The part looks for the person's word.
 */
export function withPeerKeys(inner: DesiredState, ports: PeerKeysPorts): { desired: DesiredState; part: Part } {
  let whole: Desired | undefined;
  const judge = createJudge(ports);
  const replace = (now: Desired): void => {
    whole = now;
    const peers = judge.judge([...now.peers.values()]);
    inner.replace({ ...now, peers: new Map(peers.map((peer) => [peer.nodeId, peer])) });
  };
  return {
    desired: { current: () => inner.current(), onChange: (listener) => inner.onChange(listener), replace },
    part: {
      name: 'peer-keys',
      async run(signal) {
        while (!signal.aborted) {
          await ports.clock.sleep(LOOK_EVERY_MS, signal);
          if (whole !== undefined && judge.hasNews()) replace(whole);
        }
      },
    },
  };
}

function createJudge({ directory, confirm, clock, log }: PeerKeysPorts) {
  const seen = readSeen(directory);
  let confirmed = readConfirmed(directory);
  const waiting = new Map<string, { code: string; named: string }>();

  // Whatever it is to this node now: keys named while no lane ends there must not be known ones when a lane does.
  function judgeOne(peer: DesiredPeer): DesiredPeer {
    // Rights that were ended have no key to be judged, and nothing is sealed for one that is named all the same.
    if (peer.revoked) return { ...peer, sealingKey: NO_KEY };
    const before = seen[peer.nodeId];
    if (peer.sealingKey.length === 0) {
      // A certificate alone has no fingerprint that a person could compare, and must not pass unseen.
      const unconfirmed = { fingerprint: undefined, isChange: before?.used !== undefined };
      return confirm === 'none' ? peer : { ...peer, unconfirmed };
    }
    const code = peer.code.slice(0, CODE_CHARACTERS);
    const named = keysFingerprint(peer.certificate, peer.sealingKey);
    const nowMs = clock.nowMs();
    const record = {
      ...before,
      code,
      named,
      namedAtMs: before?.named === named ? before.namedAtMs : nowMs,
      former: before?.former ?? [],
    };
    const isKnown = before?.used === named && (before.usedAs ?? before.code) === code;
    const isConfirmed = isWordFor(confirmed[peer.nodeId], code, named);
    const isChange = before?.used !== undefined || isTaken(code, peer.nodeId);
    const isAllowed =
      isConfirmed || confirm === 'none' || (confirm === 'changed' && (isKnown || (!isChange && hasRoom())));
    if (isAllowed && !isKnown) {
      if (before?.used !== undefined) {
        record.former = [{ fingerprint: before.used, untilMs: nowMs }, ...record.former].slice(0, MOST_FORMER);
        log.warn(
          { node: code, former: before.used, fingerprint: named, confirmed: isConfirmed },
          'a node at the other end has new keys, or a new code',
        );
      } else log.info({ node: code, fingerprint: named, confirmed: isConfirmed }, 'keys of a node seen first');
      Object.assign(record, { used: named, usedAs: code, usedAtMs: nowMs });
    } else if (before?.used !== undefined) record.usedAs = before.usedAs ?? before.code;
    seen[peer.nodeId] = record;
    if (isAllowed) return peer;
    if (before?.named !== named) {
      log.warn({ node: code, fingerprint: named }, 'nothing is sealed for this node until a person confirms its keys');
    }
    waiting.set(peer.nodeId, { code, named });
    return { ...peer, sealingKey: NO_KEY, unconfirmed: { fingerprint: named, isChange } };
  }

  /** Whether another node was seen under this code: the same code under a new id is new keys for it. */
  function isTaken(code: string, nodeId: string): boolean {
    return Object.entries(seen).some(([id, one]) => id !== nodeId && (one.code === code || one.usedAs === code));
  }

  function hasRoom(): boolean {
    return Object.values(seen).filter(({ used }) => used !== undefined).length < RECORDS_MOST;
  }

  /**
   * What the hub names no more and nothing was sealed for. What was sealed for stays, or keys that were left out once would be
   * first ones again; only where no key waits anyway the oldest of those go, too.
   */
  function forget(present: ReadonlySet<string>): void {
    const gone = Object.entries(seen).filter(([nodeId]) => !present.has(nodeId) && confirmed[nodeId] === undefined);
    for (const [nodeId, { used }] of gone) if (used === undefined) delete seen[nodeId];
    const excess = Object.keys(seen).length - RECORDS_MOST;
    if (confirm !== 'none' || excess <= 0) return;
    const oldest = gone.filter(([, { used }]) => used !== undefined);
    oldest.sort(([, a], [, b]) => (a.usedAtMs ?? 0) - (b.usedAtMs ?? 0));
    for (const [nodeId] of oldest.slice(0, excess)) delete seen[nodeId];
  }

  return {
    judge(peers: readonly DesiredPeer[]): DesiredPeer[] {
      const written = JSON.stringify(seen);
      confirmed = readConfirmed(directory);
      waiting.clear();
      const judged = peers.map(judgeOne);
      forget(new Set(peers.map(({ nodeId }) => nodeId)));
      // Before anything is sealed for keys that are new: what was used is known after a crash as well.
      if (JSON.stringify(seen) !== written) write(directory, SEEN_FILE, seen);
      return judged;
    },
    /** Whether a person vouched for something that waits. */
    hasNews(): boolean {
      if (waiting.size === 0) return false;
      const now = readConfirmed(directory);
      return [...waiting].some(([nodeId, { code, named }]) => isWordFor(now[nodeId], code, named));
    },
  };
}

const NO_KEY = new Uint8Array(0);

/** Whether a person vouched for these keys as those of the node of this code. */
function isWordFor(word: Confirmed[string] | undefined, code: string, named: string): boolean {
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

const readSeen = (directory: string): Seen => read(directory, SEEN_FILE, seenSchema) ?? {};
const readConfirmed = (directory: string): Confirmed => read(directory, CONFIRMED_FILE, confirmedSchema) ?? {};

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

function write(directory: string, name: string, content: Seen | Confirmed): void {
  writeFileAtomically(join(directory, name), `${JSON.stringify(content, null, 2)}\n`, 0o600);
}

/** What a lane's operator is told while keys wait for a person. */
export function unconfirmedCause({
  code,
  unconfirmed,
}: DesiredPeer): { code: string; message: string; hint: string } | undefined {
  if (unconfirmed === undefined) return undefined;
  const { fingerprint: named, isChange } = unconfirmed;
  if (named === undefined) {
    return {
      code: 'DESTINATION_UNCONFIRMED',
      message: `the hub names a certificate of ${code} without a sealing key, which nobody can confirm`,
      hint: `qiao agent peers at ${code}; ask the hub’s operators who joined as ${code}`,
    };
  }
  return {
    code: 'DESTINATION_UNCONFIRMED',
    message: `${isChange ? `${code} has new keys` : `the keys of ${code} are new here`}, and nobody has confirmed them: ${named}`,
    hint: `compare with \`qiao agent peers\` at ${code}, then on this machine: qiao agent confirm ${code} ${named}`,
  };
}
