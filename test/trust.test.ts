// Hostile messages on the road, sent by a node with real credentials: each is refused with a code that the operator sees, and
// the lane goes on. And what hub and bus have on their disks: never a row.

import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { type Bus, BusAccounts, connectBus, inboxPrefix, streams, subjects } from '@qiao/bus';
import { DeliveryHeader, DeliveryMessage, Origin } from '@qiao/contract/delivery';
import { ServiceCondition } from '@qiao/contract/node';
import type { QiaoError } from '@qiao/exchange';
import { silentLog } from '@qiao/runtime';
import { type NodeIdentity, readIdentity, Signer, toPem } from '@qiao/security';
import { type BusinessDatabase, Platform, programFile, sqliteDatabase, until } from '@qiao/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  applyBridges,
  bridgeYaml,
  PERSON_ROWS,
  PERSON_TABLE,
  people,
  TARGET_ROWS,
  TARGET_TABLE,
  untilAtRest,
  untilSame,
} from './world.ts';

const KNOWN = '诸葛明镜台';
let folder: string;
let platform: Platform;
let source: BusinessDatabase;
let target: BusinessDatabase;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'qiao-trust-'));
  source = sqliteDatabase(join(folder, 'source.db'));
  target = sqliteDatabase(join(folder, 'target.db'));
  await source.run(
    PERSON_TABLE,
    `INSERT INTO person VALUES ${people(1, 500, '3702')}, (501, '${KNOWN}', '3702', '${KNOWN}的备注')`,
  );
  await target.run(TARGET_TABLE('ex_person'));
  platform = await Platform.start({
    nodes: [
      {
        code: 'health',
        dataSources: { his: source.config },
        more: {
          confirmDestinations: 'all',
          limits: { compareEveryMs: 200, resendAfterMs: 1_000, compression: 'none', heartbeatMs: 300 },
        },
      },
      { code: 'civil-affairs', dataSources: { own: target.config } },
      { code: 'stranger', dataSources: {} },
    ],
  });
  await applyBridges(
    platform,
    bridgeYaml({
      name: 'births',
      from: 'health',
      source: 'his',
      to: [{ node: 'civil-affairs', dataSource: 'own', table: 'ex_person' }],
    }),
  );
});
afterAll(async () => {
  await platform[Symbol.asyncDispose]();
  await source[Symbol.asyncDispose]();
  await target[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

test('nothing is sealed for a destination until a person at the source has confirmed its keys', async () => {
  const lane = await until(platform, 'the lane says what it waits for', async () => {
    const { nodes } = await platform.books.listNodeStates({});
    const services = nodes.find(({ code }) => code === 'health')?.heartbeat?.services ?? [];
    return services.find(({ code }) => code === 'DESTINATION_UNCONFIRMED');
  });
  expect(lane.condition).toBe(ServiceCondition.STUCK);
  const peers = async (code: string) => {
    const { stdout } = await platform.qiao('agent', 'peers', '--json', '--config', platform.agentConfig(code));
    return JSON.parse(stdout) as {
      own: string;
      peers: { node: string; named: string; used?: string; state: string }[];
    };
  };
  const { own } = await peers('civil-affairs');
  expect(lane.hint).toContain(`qiao agent confirm civil-affairs ${own}`);
  expect((await peers('health')).peers).toMatchObject([{ node: 'civil-affairs', named: own, state: 'waiting' }]);
  expect(await target.rows(TARGET_ROWS('ex_person'))).toEqual([]);
  const confirm = ['agent', 'confirm', '--config', platform.agentConfig('health'), 'civil-affairs'];
  const wrong = await platform.tryQiao(
    ...confirm,
    own.replace(/^./, (digit) => (digit === '0' ? '1' : '0')),
  );
  expect(wrong.stderr).toContain('FINGERPRINT_DIFFERS');
  await platform.qiao(...confirm, ...(own.match(/.{4}/g) ?? []));
  await untilAtRest(platform, 'births', 501);
  expect((await peers('health')).peers).toMatchObject([{ used: own, state: 'confirmed' }]);
});

test('nobody but the two databases ever wrote a row: a known one is searched on every disk, uncompressed, and not found', async () => {
  await untilSame(platform, source, PERSON_ROWS, target, TARGET_ROWS('ex_person'));
  const grep = (directory: string): string => {
    try {
      return execFileSync('grep', ['-rlaF', KNOWN, directory], { encoding: 'utf8' });
    } catch (error) {
      if ((error as { status?: number }).status === 1) return '';
      throw error;
    }
  };
  expect(grep(platform.hubDirectory)).toBe('');
  expect(grep(platform.monitorDirectory)).toBe('');
  // Nor do the agents show it on theirs: parcels lie sealed under a key that is not in the database.
  expect(grep(platform.agentDirectory('health'))).toBe('');
  expect(grep(platform.agentDirectory('civil-affairs'))).toBe('');
  // The search finds what is there.
  expect(grep(folder)).not.toBe('');
});

interface LaneFacts {
  readonly laneId: Buffer;
  readonly bridgeId: Buffer;
  readonly epoch: bigint;
  readonly fencingToken: bigint;
}

async function laneFacts(): Promise<LaneFacts> {
  const bridge = JSON.parse((await platform.qiao('bridge', 'show', 'births', '--json')).stdout) as {
    bridgeId: string;
    lanes: { laneId: string; highestEpoch: number }[];
  };
  const node = JSON.parse((await platform.qiao('node', 'show', 'health', '--json')).stdout) as { fencingToken: number };
  const [lane] = bridge.lanes;
  return {
    laneId: Buffer.from(lane?.laneId ?? '', 'hex'),
    bridgeId: Buffer.from(bridge.bridgeId, 'hex'),
    epoch: BigInt(lane?.highestEpoch ?? 0),
    fencingToken: BigInt(node.fencingToken),
  };
}

function identityOf(code: string): NodeIdentity {
  return readIdentity(join(platform.agentDirectory(code), 'identity'));
}

async function busOf(identity: NodeIdentity): Promise<Bus> {
  if (identity.nats === undefined) throw new Error('no bus credentials');
  return connectBus({
    urls: identity.natsUrls,
    name: 'hostile',
    credentials: identity.nats,
    tls: { authorityPem: toPem(identity.authority, 'CERTIFICATE') },
    inboxPrefix: inboxPrefix(identity.nodeCode),
    log: silentLog(),
  });
}

/** A header that is right in everything, as the sender itself would write it, to be spoiled by a story. */
async function genuineHeader(body: Uint8Array): Promise<DeliveryHeader> {
  const facts = await laneFacts();
  const sender = identityOf('health');
  return DeliveryHeader.fromPartial({
    format: 1,
    platformId: sender.platformId,
    laneId: facts.laneId,
    bridgeId: facts.bridgeId,
    bridgeVersion: 1,
    senderId: sender.nodeId,
    receiverId: identityOf('civil-affairs').nodeId,
    epoch: { ordinal: facts.epoch, nonce: randomBytes(16) },
    sequence: 1_000_000n,
    previousChain: randomBytes(32),
    contentHash: randomBytes(32),
    contentBytes: 100n,
    counts: [{ table: 'person', inserts: 1n, updates: 0n, deletes: 0n }],
    sealedAtMs: BigInt(Date.now()),
    compression: 'none',
    sealing: 'hpke-p256-aes256gcm',
    wrappedKey: randomBytes(100),
    parts: [{ bytes: body.length, sha256: createHash('sha256').update(body).digest() }],
    fencingToken: facts.fencingToken,
    origin: Origin.CHANGE,
    role: { $case: 'rows', value: { part: 1, of: 1, loadBegins: false, loadEnds: false, allowedDeletes: 0n } },
  });
}

const HOSTILE: readonly [
  string,
  RegExp,
  (
    header: DeliveryHeader,
    body: Buffer,
  ) => Promise<{ as?: string; signer?: Signer; body?: Buffer; forge?: boolean } | undefined>,
][] = [
  [
    'a body changed on the way',
    /TAMPERED|PART_HASH/,
    async (_header, body) => ({ body: Buffer.concat([body.subarray(1), Buffer.from([1])]) }),
  ],
  ['a forged signature', /SIGNATURE_INVALID/, async () => ({ forge: true })],
  [
    'a delivery from a node that is not the bridge’s source',
    /NOT_THE_SOURCE/,
    async (header) => {
      const stranger = identityOf('stranger');
      header.senderId = stranger.nodeId;
      const node = JSON.parse((await platform.qiao('node', 'show', 'stranger', '--json')).stdout) as {
        fencingToken: number;
      };
      header.fencingToken = BigInt(node.fencingToken);
      return { as: 'stranger', signer: new Signer(stranger.keyPem, stranger.certificate) };
    },
  ],
  [
    'a destination that is not bound',
    /DESTINATION_NOT_BOUND|LANE_UNKNOWN/,
    async (header) => {
      header.receiverId = identityOf('stranger').nodeId;
      return undefined;
    },
  ],
  [
    'a version that nobody stored',
    /VERSION_UNKNOWN/,
    async (header) => {
      header.bridgeVersion = 99;
      return undefined;
    },
  ],
  [
    'a fencing token of an older start',
    /FENCED/,
    async (header) => {
      header.fencingToken = 0n;
      return undefined;
    },
  ],
];

test.each(HOSTILE)(
  '%s is refused with a code, counted, and seen by the operator',
  async (_what, expectedCode, spoil) => {
    const body = randomBytes(200);
    const header = await genuineHeader(body);
    const sender = identityOf('health');
    const changed = (await spoil(header, body)) ?? {};
    const signer = changed.signer ?? new Signer(sender.keyPem, sender.certificate);
    const identity = identityOf(changed.as ?? 'health');
    const before = await refusals();
    const bus = await busOf(identity);
    try {
      const signed = signer.sign('qiao.delivery.v1', DeliveryHeader.encode(header).finish());
      if (changed.forge === true) signed.signature = randomBytes(signed.signature.length);
      const message = DeliveryMessage.encode({ header: signed, part: 0, body: changed.body ?? body }).finish();
      await bus.publish(subjects.up(identity.platformCode, identity.nodeCode, 'data'), message);
      const found = await until(platform, 'the refusal is seen', async () => {
        const known = new Set(before.map(({ at, code, times }) => `${at} ${code} ${times}`));
        return (await refusals()).find(({ at, code, times }) => !known.has(`${at} ${code} ${times}`));
      });
      expect(found.code).toMatch(expectedCode);
      expect(found.fromNode).toBe(identity.nodeCode);
    } finally {
      await bus.close();
    }
  },
);

test('after all of them the lane goes on and the books balance', async () => {
  await source.run(`INSERT INTO person VALUES ${people(2_000, 50, '3702')}`);
  await untilSame(platform, source, PERSON_ROWS, target, TARGET_ROWS('ex_person'));
  const line = await untilAtRest(platform, 'births', 551);
  expect(line.verdict).toBe('VERDICT_BALANCED');
});

/** How long after the revocation was answered each event came; not above 0 for one that came before the answer. */
async function msAfterRevoking(code: string, ...events: Promise<unknown>[]): Promise<number[]> {
  const moments = events.map(async (event) => {
    await event;
    return performance.now();
  });
  await platform.centre.revokeNode({ code, reason: 'its disk was stolen' });
  const answered = performance.now();
  return (await Promise.all(moments)).map((moment) => moment - answered);
}

test('revoking cuts a live agent off the bus within a second, and nothing that it sends is taken', async () => {
  const stranger = identityOf('stranger');
  const bus = await busOf(stranger);
  const isCut = new Promise<void>((resolve) => {
    bus.onStatus(({ kind }) => kind === 'away' && resolve());
  });
  try {
    const [cutMs] = await msAfterRevoking('stranger', isCut);
    expect(cutMs).toBeLessThan(1_000);
    const late = bus.publish(subjects.up(stranger.platformCode, 'stranger', 'data'), randomBytes(10));
    await expect(late).rejects.toMatchObject({ code: expect.stringMatching(/^BUS_(DENIED|UNREACHABLE)$/) });
    // The agent's own process as well, not this connection alone: it tries again, is not let in, and says so.
    await until(platform, 'the agent says why it is cut off', () =>
      platform.agent('stranger').log.includes('BUS_DENIED'),
    );
  } finally {
    await bus.close();
  }
});

test('revoking an operator ends a running call, the session of the board and the next call within a second', async () => {
  await endsWithinASecond('wang');
});

test('so it does while the stream that tells the monitor is gone', async () => {
  const accounts = await BusAccounts.open(join(platform.hubDirectory, 'bus'));
  const identity = identityOf('health');
  const bus = await connectBus({
    urls: identity.natsUrls,
    tls: { authorityPem: toPem(identity.authority, 'CERTIFICATE') },
    name: 'story',
    credentials: await accounts.createUser({ role: 'hub', platform: identity.platformCode, node: 'hub' }),
    inboxPrefix: inboxPrefix('hub'),
    log: silentLog(),
  });
  await endsWithinASecond('li', async () => {
    const answer = await bus.request(`$JS.API.STREAM.DELETE.${streams.telemetry()}`, new Uint8Array(), 5_000);
    expect(JSON.parse(new TextDecoder().decode(answer))).toMatchObject({ success: true });
  });
  await bus.close();
});

/** Revokes an operator who watches, once `before` has happened. */
async function endsWithinASecond(name: string, before = async () => {}): Promise<void> {
  const context = join(folder, name);
  const token = await platform.invite(name, ['--role', 'operator']);
  await platform.qiao('operator', 'join', '--token', token, '--context', context);
  const { centre, books } = platform.callersOf(context);
  await centre.getPlatform({});
  const opened = await fetch((await books.openBoard({})).url);
  const cookie = opened.headers.getSetCookie()[0]?.split(';')[0] ?? '';
  const board = async () => (await fetch(`http://127.0.0.1:${platform.boardPort}/`, { headers: { cookie } })).status;
  expect(await board()).toBe(200);
  const boards = books.watchBoard({})[Symbol.asyncIterator]();
  await boards.next();
  const isCut = (async () => {
    for (;;) await boards.next();
  })().catch((error: unknown) => error as QiaoError);

  await before();
  const sessionEnded = until(platform, 'the board knows the session no more', async () => (await board()) === 401);
  const [callMs, sessionMs] = await msAfterRevoking(name, isCut, sessionEnded);
  expect({ code: (await isCut).code, callMs, sessionMs }).toEqual({
    code: 'CALLER_REVOKED',
    callMs: expect.toSatisfy((ms: number) => ms < 1_000),
    sessionMs: expect.toSatisfy((ms: number) => ms < 1_000),
  });
  await expect(centre.getPlatform({})).rejects.toMatchObject({ code: 'CALLER_REVOKED' });
  await expect(books.getBoard({})).rejects.toMatchObject({ code: 'CALLER_REVOKED' });
  centre.close();
  books.close();
}

test('a program that aborts leaves no copy of its memory: every unit that is shipped allows none', async () => {
  const deploy = fileURLToPath(new URL('../deploy/systemd', import.meta.url));
  const units = readdirSync(deploy).filter((name) => name.endsWith('.service'));
  const forbids = (name: string) => readFileSync(join(deploy, name), 'utf8').split('\n').includes('LimitCORE=0');
  expect(units.length).toBeGreaterThan(2);
  expect(units.filter((name) => !forbids(name))).toEqual([]);

  await platform.agent('stranger').kill();
  expect(await coresLeft('0')).toEqual([]);
  // Where the kernel writes cores as files, the same death leaves one without the limit.
  const isFile = !/[|/]/.test(readFileSync('/proc/sys/kernel/core_pattern', 'utf8'));
  if (isFile) expect(await coresLeft('unlimited')).toHaveLength(1);
});

/** What an agent that was ended by SIGABRT under this limit leaves where it was started. */
async function coresLeft(limit: string): Promise<string[]> {
  const place = mkdtempSync(join(folder, 'core-'));
  const words = [programFile(), 'agent', 'start', '--config', platform.agentConfig('stranger')];
  const agent = spawn('sh', ['-c', 'ulimit -c "$0" && exec "$@"', limit, process.execPath, ...words], { cwd: place });
  const ended = once(agent, 'exit');
  for await (const line of createInterface(agent.stderr)) if (line.includes('"msg":"agent started"')) break;
  agent.kill('SIGABRT');
  expect(await ended).toEqual([null, 'SIGABRT']);
  return readdirSync(place);
}

async function refusals(): Promise<{ at: number; code: string; times: number; fromNode: string }[]> {
  const { stdout } = await platform.qiao('bridge', 'refusals', '--json');
  return (JSON.parse(stdout) as { atMs: number; code: string; times: number; fromNode: string }[]).map(
    ({ atMs, ...facts }) => ({ at: atMs, ...facts }),
  );
}
