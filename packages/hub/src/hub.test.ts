// The hub whole: founded in a temporary directory, with its real nats-server, spoken to over real sockets.

import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Bus, connectBus, consumers, createBusUserKey, inboxPrefix, streams, subjects } from '@qiao/bus';
import { ControlMessage, HelloReply, HelloRequest } from '@qiao/contract/control';
import { HubServiceDefinition, JoinServiceDefinition } from '@qiao/contract/hub';
import {
  BridgeState,
  Command,
  CommandOutcome,
  CommandResult,
  Directory,
  NodeRole,
  NodeSnapshot,
} from '@qiao/contract/node';
import { Signed } from '@qiao/contract/signed';
import { idText, QiaoError } from '@qiao/exchange';
import { callJoin, createGrpcClient, fetchAuthority } from '@qiao/rpc';
import { type Clock, silentLog, systemClock } from '@qiao/runtime';
import { createKeyAndCsr, joinPlatform, readToken, Signer, toPem, Verifier } from '@qiao/security';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { initHub, type RunningHub, readHubConfig, startHub, verifyAudit } from './index.ts';
import { bytes, delivery, type TestNode, type TestWorld } from './world.testing.ts';

const YAML = `
kind: Bridge
name: births
title: 出生医学证明
source:
  node: health
  dataSource: his
  capture: compare
  tables:
    - name: birth_certificate
      key: [certificate_no]
schedule: realtime
destinations:
  # the first destination
  - node: civil
    dataSource: exchange
    tables:
      birth_certificate: {to: ex_birth_certificate, ownership: whole}
`;

const CITY = `
node: city
dataSource: exchange
tables:
  birth_certificate: {to: ex_birth_certificate, ownership: none}
`;

const directory = mkdtempSync(join(tmpdir(), 'qiao-hub-'));
const hubDirectory = join(directory, 'hub');
const context = join(directory, 'operator');
const stop = new AbortController();
let hub: RunningHub;

interface Agent extends TestNode {
  readonly bus: Bus;
  readonly platformId: Uint8Array;
  readonly hubCertificate: Uint8Array;
}

const agents: Agent[] = [];

beforeAll(async () => {
  await initHub({
    directory: hubDirectory,
    platformCode: 'demo',
    platformTitle: '演示平台',
    listen: '127.0.0.1:0',
    natsListen: '127.0.0.1:0',
    timeZone: 'Asia/Shanghai',
    operatorName: 'li',
    operatorDirectory: context,
    monitorAddress: '127.0.0.1:7401',
  });
  hub = await startHub({ config: withoutFixedPorts(), signal: stop.signal, log: silentLog() });
});

afterAll(async () => {
  for (const { bus } of agents) await bus.close();
  stop.abort();
  await hub?.closed;
  rmSync(directory, { recursive: true, force: true });
});

/** Port 0 was asked for, so what was written as public is not where it listens. */
function withoutFixedPorts() {
  const { publicAddress: _, ...config } = readHubConfig(hubDirectory);
  return { ...config, bus: { ...config.bus, publicUrls: [] } };
}

function operator(from = context) {
  const read = (name: string) => readFileSync(join(from, name), 'utf8');
  return createGrpcClient(HubServiceDefinition, {
    address: hub.address,
    tls: { ca: read('authority.pem'), cert: read('certificate.pem'), key: read('key.pem') },
  });
}

async function joinAgent(code: string, role: NodeRole = NodeRole.AGENT): Promise<Agent> {
  using client = operator();
  const { token } = await client.invite({
    nodeCode: code,
    nodeTitle: '',
    departmentCode: code,
    departmentTitle: `${code} 局`,
    role,
    expiresInS: 0,
  });
  const read = readToken(token);
  const authority = toPem(await fetchAuthority(read.hubAddress, read.authorityFingerprint), 'CERTIFICATE');
  const { keyPem, csrDer } = await createKeyAndCsr(code);
  const user = createBusUserKey();
  using stranger = createGrpcClient(JoinServiceDefinition, { address: read.hubAddress, tls: { ca: authority } });
  const joined = await stranger.join({
    secret: read.secret,
    csr: csrDer,
    natsUser: user.natsUser,
    sealingKey: role === NodeRole.AGENT ? bytes(65) : new Uint8Array(),
    readsFormat: 1,
  });
  const bus = await connectBus({
    urls: joined.natsUrls,
    name: code,
    credentials: { jwt: joined.natsJwt, seed: user.seed },
    tls: { authorityPem: authority },
    inboxPrefix: inboxPrefix(code),
    log: silentLog(),
  });
  const agent = {
    id: joined.nodeId,
    code,
    certificate: joined.certificate,
    signer: new Signer(keyPem, joined.certificate),
    bus,
    platformId: joined.platformId,
    hubCertificate: joined.hubCertificate,
  };
  agents.push(agent);
  return agent;
}

async function hello(agent: Agent, isStart: boolean): Promise<HelloReply> {
  const request = HelloRequest.encode(
    HelloRequest.fromPartial({
      nodeId: agent.id,
      exchangeDatabaseId: bytes(16),
      readsFormat: 1,
      version: '0.1.0',
      isStart,
      clockMs: BigInt(Date.now()),
    }),
  ).finish();
  return HelloReply.decode(await agent.bus.request(subjects.hello('demo', agent.code), request, 5_000));
}

function snapshotOf(agent: Agent, signed: Signed | undefined): NodeSnapshot {
  new Verifier().verify('qiao.snapshot.v1', signed, agent.hubCertificate);
  return NodeSnapshot.decode(signed?.payload ?? new Uint8Array());
}

/** Answers checks as an agent whose ends are fine. */
function answerChecks(agent: Agent, signal: AbortSignal): void {
  void agent.bus.respond(
    subjects.command('demo', agent.code),
    async (request) => {
      const signed = Signed.decode(request);
      new Verifier().verify('qiao.command.v1', signed, agent.hubCertificate);
      const { id } = Command.decode(signed.payload);
      const tables = [
        {
          table: 'birth_certificate',
          columns: [
            { name: 'certificate_no', typeJson: '{"type":"text"}', nullable: false, adapter: '', nativeType: '' },
          ],
          key: ['certificate_no'],
        },
      ];
      const result = CommandResult.encode({
        id,
        outcome: CommandOutcome.DONE,
        problems: [],
        tables,
        reportJson: '',
        jobs: [],
        openRows: [],
        openRowsTotal: 0n,
      }).finish();
      return Signed.encode(agent.signer.sign('qiao.command.v1', result)).finish();
    },
    { signal },
  );
}

/** Control messages of an agent's own down stream, acknowledged, until `wanted` says that one is it. */
async function nextControl<T>(agent: Agent, wanted: (body: ControlMessage['body']) => T | undefined): Promise<T> {
  const enough = new AbortController();
  const messages = agent.bus.consume(streams.downControl(agent.code), consumers.node(agent.code), {
    signal: enough.signal,
  });
  for await (const message of messages) {
    message.ack();
    const signed = Signed.decode(message.data);
    new Verifier().verify('qiao.control.v1', signed, agent.hubCertificate);
    const found = wanted(ControlMessage.decode(signed.payload).body);
    if (found === undefined) continue;
    enough.abort();
    return found;
  }
  throw new Error('the control stream ended');
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => 'nothing thrown',
    (reason: unknown) => reason,
  );
  return error instanceof QiaoError ? error.code : String(error);
}

test('founding leaves a directory that only its owner reads, and never replaces one', async () => {
  expect((statSync(hubDirectory).mode & 0o777).toString(8)).toBe('700');
  for (const name of ['hub.yaml', 'identity/authority.key', 'identity/key.pem']) {
    expect((statSync(join(hubDirectory, name)).mode & 0o077).toString(8)).toBe('0');
  }
  const again = initHub({
    directory: hubDirectory,
    platformCode: 'demo',
    platformTitle: 'x',
    listen: '127.0.0.1:0',
    natsListen: '127.0.0.1:0',
    timeZone: 'UTC',
    operatorName: 'li',
    operatorDirectory: join(directory, 'other'),
  });
  expect(await codeOf(again)).toBe('HUB_EXISTS');
});

test('an operator reads the platform, a stranger nothing, and a further operator joins with a token', async () => {
  using client = operator();
  expect(await client.getPlatform({})).toMatchObject({ code: 'demo', busConnected: true, generation: 1n });
  const ca = readFileSync(join(context, 'authority.pem'), 'utf8');
  using stranger = createGrpcClient(HubServiceDefinition, { address: hub.address, tls: { ca } });
  expect(await codeOf(stranger.getPlatform({}))).toBe('CERTIFICATE_REQUIRED');

  const invitation = { nodeTitle: '', departmentCode: '', departmentTitle: '', expiresInS: 0 };
  const { token } = await client.invite({ ...invitation, nodeCode: 'wang', role: NodeRole.OPERATOR });
  const second = join(directory, 'wang');
  const joined = await joinPlatform({
    token,
    role: 'operator',
    directory: second,
    readsFormat: 0,
    callHub: callJoin,
    nowMs: Date.now,
  });
  expect([joined.platformCode, joined.nodeCode]).toEqual(['demo', 'wang']);
  using wang = operator(second);
  expect((await wang.listNodes({})).nodes.map(({ code }) => code)).toEqual(['li', 'wang']);
  await client.revokeNode({ code: 'wang', reason: 'left' });
  expect(await codeOf(wang.getPlatform({}))).toBe('CALLER_REVOKED');
});

test('a bridge is checked, created, deployed and started; its deliveries travel, and forged ones do not', async () => {
  const checks = new AbortController();
  const [health, civil, city] = [await joinAgent('health'), await joinAgent('civil'), await joinAgent('city')];
  for (const agent of agents) answerChecks(agent, checks.signal);
  const started = await hello(health, true);
  expect(started).toMatchObject({ fencingToken: 1n, problem: undefined });
  expect((await hello(health, true)).fencingToken).toBe(2n);
  expect((await hello(health, false)).fencingToken).toBe(2n);
  await hello(civil, true);

  using client = operator();
  const checked = await client.checkBridge({ yaml: YAML });
  expect([checked.problems, checked.tables.length]).toEqual([[], 1]);
  await client.createBridge({ yaml: YAML });
  expect(await codeOf(client.createBridge({ yaml: YAML }))).toBe('BRIDGE_EXISTS');
  expect(await codeOf(client.startBridge({ name: 'births' }))).toBe('BRIDGE_STATE');
  const deployed = await client.deployBridge({ name: 'births', yaml: '', rollbackTo: 0, backfill: false });
  expect(deployed.problems).toEqual([]);
  expect(deployed.bridge).toMatchObject({ state: BridgeState.DEPLOYED, deployedVersion: 1 });
  await client.startBridge({ name: 'births' });

  // The change reaches both ends by themselves, and is what a hello answers too.
  const pushed = await nextControl(health, (body) => {
    const snapshot = body?.$case === 'snapshot' ? snapshotOf(health, body.value) : undefined;
    return snapshot?.bridges[0]?.state === BridgeState.RUNNING ? snapshot : undefined;
  });
  const asked = snapshotOf(civil, (await hello(civil, false)).snapshot);
  expect(pushed.peers.map(({ code }) => code)).toEqual(['civil']);
  expect(asked.bridges[0]).toMatchObject({ name: 'births', version: 1, lanes: [{ destination: 0, ended: false }] });

  const lane = asked.bridges[0]?.lanes[0];
  const plan = {
    world: { platform: { id: health.platformId } } as TestWorld,
    from: health,
    to: civil,
    bridgeId: asked.bridges[0]?.bridgeId ?? bytes(16),
    laneId: lane?.laneId ?? bytes(16),
  };
  const now = { sealedAtMs: BigInt(Date.now()), fencingToken: 2n };
  const good = delivery({ ...plan, sequence: 0n, change: now });
  await health.bus.publish(subjects.up('demo', 'health', 'data'), good);
  const enough = new AbortController();
  for await (const message of civil.bus.consume(streams.downData('civil'), 'civil', { signal: enough.signal })) {
    message.ack();
    expect(Buffer.compare(message.data, good)).toBe(0);
    enough.abort();
  }
  const unbound = delivery({ ...plan, to: city, change: now });
  await health.bus.publish(subjects.up('demo', 'health', 'data'), unbound);
  const refusal = await nextControl(health, (body) => (body?.$case === 'refusal' ? body.value : undefined));
  expect(refusal).toMatchObject({ code: 'DESTINATION_NOT_BOUND', sequence: 1n });
  expect((await client.listRefusals({ limit: 0 })).refusals[0]).toMatchObject({ fromNode: 'health', bridge: 'births' });

  // A second destination joins and leaves; the first keeps its lane and the operator's comment stays.
  const bound = await client.bindDestination({ name: 'births', destinationYaml: CITY });
  expect(bound).toMatchObject({ state: BridgeState.RUNNING, version: 2, deployedVersion: 2 });
  expect(bound.lanes.map((one) => [one.destinationNode, one.ended])).toEqual([
    ['civil', false],
    ['city', false],
  ]);
  expect(idText(bound.lanes[0]?.laneId ?? bytes(16))).toBe(idText(plan.laneId));
  expect(bound.yaml).toContain('# the first destination');
  const unboundAgain = await client.unbindDestination({ name: 'births', nodeCode: 'city' });
  expect(unboundAgain.lanes.map((one) => one.ended)).toEqual([false, true]);
  expect(await codeOf(client.unbindDestination({ name: 'births', nodeCode: 'civil' }))).toBe('LAST_DESTINATION');
  checks.abort();
});

test('the monitor hears the directory, signed by the hub', async () => {
  const monitor = await joinAgent('monitor', NodeRole.MONITOR);
  const enough = new AbortController();
  for await (const message of monitor.bus.consume(streams.telemetry(), consumers.monitor, { signal: enough.signal })) {
    message.ack();
    if (!message.subject.endsWith('.hub.directory')) continue;
    const signed = Signed.decode(message.data);
    new Verifier().verify('qiao.directory.v1', signed, monitor.hubCertificate);
    const directoryNow = Directory.decode(signed.payload);
    if (!directoryNow.nodes.some(({ code }) => code === 'monitor')) continue;
    expect(directoryNow.bridges.map(({ name, state }) => [name, state])).toEqual([['births', BridgeState.RUNNING]]);
    enough.abort();
  }
});

test('a command that was lost with the line of its node is asked again at the hello', async () => {
  const north = await joinAgent('north');
  const city = agents.find(({ code }) => code === 'city') as Agent;
  const stop = new AbortController();
  const heard = Promise.withResolvers<void>();
  const line = new AbortController();
  const neverAnswered = async () => {
    heard.resolve();
    return new Promise<never>(() => {});
  };
  void north.bus.respond(subjects.command('demo', 'north'), neverAnswered, { signal: line.signal });
  using client = operator();
  const yaml = YAML.replace('births', 'lost')
    .replace('node: health', 'node: north')
    .replace('node: civil', 'node: city');
  const checked = client.checkBridge({ yaml });
  await heard.promise;
  line.abort();
  for (const agent of [north, city]) answerChecks(agent, stop.signal);
  await hello(north, true);
  expect((await checked).problems).toEqual([]);
  stop.abort();
});

test('a revoked node is cut off the bus and refused a hello', async () => {
  const city = agents.find(({ code }) => code === 'city') as Agent;
  const away = new Promise<void>((resolve) => {
    city.bus.onStatus((status) => status.kind === 'away' && resolve());
  });
  using client = operator();
  await client.revokeNode({ code: 'city', reason: 'moved' });
  await away;
  expect(await codeOf(hello(city, false))).toMatch(/BUS_UNREACHABLE|BUS_DENIED|REQUEST_TIMED_OUT/);
});

test('a second hub on the same directory is refused and the first works on', async () => {
  const second = startHub({ config: withoutFixedPorts(), signal: new AbortController().signal, log: silentLog() });
  expect(await codeOf(second)).toBe('ALREADY_RUNNING');
  using client = operator();
  expect((await client.getBridge({ name: 'births' })).name).toBe('births');
});

test('the audit tells all of it and its chain holds', async () => {
  using client = operator();
  const entries = await Array.fromAsync(client.listAudit({ from: 0n, limit: 0n }));
  expect(await verifyAudit(() => client.listAudit({ from: 0n, limit: 0n, replica: '' }))).toMatchObject({
    kind: 'intact',
  });
  const actions = new Set(entries.map(({ action, success }) => `${action} ${success}`));
  expect([...actions]).toEqual(
    expect.arrayContaining([
      'platform.found true',
      'node.invite true',
      'node.join true',
      'node.start true',
      'node.revoke true',
      'bridge.create true',
      'bridge.create false',
      'bridge.deploy true',
      'bridge.start false',
      'bridge.bind true',
      'bridge.unbind true',
      'delivery.refuse true'.replace('true', 'false'),
    ]),
  );
});

test('a hub that starts again is the same hub: its lanes, numbers and revocations are where they were', async () => {
  using before = operator();
  const { lanes } = await before.getBridge({ name: 'births' });
  stop.abort();
  await hub.closed;
  await failHalfWay();
  const again = new AbortController();
  const restarted = await startHub({ config: withoutFixedPorts(), signal: again.signal, log: silentLog() });
  hub = { ...restarted, closed: restarted.closed };
  try {
    using client = operator();
    expect((await client.getBridge({ name: 'births' })).lanes).toEqual(lanes);
    expect(lanes[0]).toMatchObject({ highestEpoch: 1n });
  } finally {
    again.abort();
    await restarted.closed;
  }
});

/** A start whose port is taken leaves no timer behind that keeps the process alive. */
async function failHalfWay(): Promise<void> {
  const blocker = createServer().listen(0, '127.0.0.1');
  await once(blocker, 'listening');
  const { port } = blocker.address() as AddressInfo;
  let sleeping = 0;
  const clock: Clock = {
    nowMs: () => systemClock.nowMs(),
    elapsedMs: () => systemClock.elapsedMs(),
    async sleep(ms, signal) {
      sleeping += 1;
      await systemClock.sleep(ms, signal);
      sleeping -= 1;
    },
  };
  const config = { ...withoutFixedPorts(), listen: `127.0.0.1:${port}` };
  try {
    const failed = startHub({ config, signal: new AbortController().signal, log: silentLog(), clock });
    expect(await codeOf(failed)).toBe('LISTEN_FAILED');
    await expect.poll(() => sleeping).toBe(0);
  } finally {
    blocker.close();
  }
}
