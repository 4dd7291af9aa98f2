/**
 * Whether the keys that the hub names for other nodes may be sealed for. What is written down of them (peerRecords.ts) does not pass
 * through the hub, so that a key of its own making is seen, and where agent.yaml says so, waited with.
 */
import type { Clock, Log, Part } from '@qiao/runtime';
import { keysFingerprint } from '@qiao/security';
import type { Desired, DesiredPeer, DesiredState } from './desired.ts';
import { isWordFor, readConfirmed, readSeen, writeSeen } from './peerRecords.ts';

/** Keys of nodes at other ends. none: written down and told. changed: other ones than before wait for a person. all: the first ones, too. */
export type ConfirmDestinations = 'none' | 'changed' | 'all';

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
      if (JSON.stringify(seen) !== written) writeSeen(directory, seen);
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

/** What a lane's operator is told while nothing can be sealed for the destination. */
export function revokedCause({
  code,
  sealingKey,
}: Pick<DesiredPeer, 'code' | 'sealingKey'>): { code: string; message: string; hint: string } | undefined {
  if (sealingKey.length > 0) return undefined;
  return {
    code: 'DESTINATION_REVOKED',
    message: `the rights of ${code} were ended: nothing is sealed for its old key`,
    hint: `qiao node invite ${code}, or qiao bridge unbind NAME ${code}`,
  };
}
