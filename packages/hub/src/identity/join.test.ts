import { JoinRequest } from '@qiao/contract/hub';
import { NodeRole } from '@qiao/contract/node';
import { QiaoError } from '@qiao/exchange';
import { silentLog } from '@qiao/runtime';
import { createKeyAndCsr, readToken, verifyIssued } from '@qiao/security';
import { describe, expect, test } from 'vitest';
import { readAudit } from '../audit/audit.ts';
import { isCertificateGood, revokedBusUsers } from '../registry/certificates.ts';
import { getNode } from '../registry/nodes.ts';
import { bytes, TestWorld } from '../world.testing.ts';
import { Attempts, addressOf } from './attempts.ts';
import type { IdentityPorts } from './identity.ts';
import { invite } from './invite.ts';
import { join } from './join.ts';
import { revoke } from './revoke.ts';

interface BusCalls {
  readonly revoked: string[];
  readonly prepared: string[];
  readonly removed: string[];
  readonly cut: string[];
  isAway: boolean;
}

function identityOf(world: TestWorld): { ports: IdentityPorts; bus: BusCalls } {
  const bus: BusCalls = { revoked: [], prepared: [], removed: [], cut: [], isAway: false };
  const call = async (list: string[], what: string) => {
    if (bus.isAway) throw new QiaoError('BUS_UNREACHABLE', 'away', { fate: 'transient' });
    list.push(what);
  };
  const ports: IdentityPorts = {
    store: world.store,
    platform: world.platform,
    clock: world.clock,
    log: silentLog(),
    random: bytes,
    hubAddress: '10.0.0.1:7400',
    busUrls: () => ['tls://10.0.0.1:4222'],
    authority: {
      certificateDer: world.authority.certificateDer,
      fingerprint: world.authority.fingerprint,
      issue: ({ csr, ...request }) =>
        world.authority.issue(csr, { ...request, platformId: world.platform.id, days: 30 }),
    },
    hubCertificate: world.hub.certificate,
    hostsOf: () => [],
    busRights: {
      userJwt: async (user, role, code) => `jwt of ${role} ${code} for ${user.slice(0, 4)}`,
      revoke: (user) => call(bus.revoked, user),
      prepare: (code) => call(bus.prepared, code),
      remove: (code) => call(bus.removed, code),
    },
    cut: (code) => void bus.cut.push(code),
    changed: async () => undefined,
  };
  return { ports, bus };
}

const INVITATION = {
  nodeCode: 'health',
  nodeTitle: '',
  departmentCode: 'health',
  departmentTitle: '卫生健康委员会',
  role: NodeRole.AGENT,
  expiresInS: 600,
};

function natsUser(letter: string): string {
  return `U${letter.repeat(55)}`;
}

async function requestFor(token: string, user = natsUser('A')): Promise<JoinRequest> {
  const { csrDer } = await createKeyAndCsr('health');
  return { secret: readToken(token).secret, csr: csrDer, natsUser: user, sealingKey: bytes(65), readsFormat: 1 };
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => 'nothing thrown',
    (reason: unknown) => reason,
  );
  return error instanceof QiaoError ? error.code : String(error);
}

test('a token buys a certificate of its node, rights on the bus, and everything a node must know', async () => {
  await using world = await TestWorld.create();
  const { ports, bus } = identityOf(world);
  const { token, openings } = await invite(ports, INVITATION, 'operator:li');
  const joined = await join(ports, new Attempts(world.store), await requestFor(token), '10.0.0.9');
  const facts = verifyIssued(joined.certificate, joined.authority, world.clock.nowMs());
  expect(facts).toMatchObject({ role: 'agent', code: 'health' });
  expect(joined).toMatchObject({
    platformCode: 'demo',
    departmentTitle: '卫生健康委员会',
    hubAddress: '10.0.0.1:7400',
  });
  expect(joined.natsJwt).toContain('agent health');
  expect(bus.prepared).toEqual(['health']);
  expect(openings.map(({ toHost, toPort }) => `${toHost}:${toPort}`)).toEqual(['10.0.0.1:7400', '10.0.0.1:4222']);
  expect((await getNode(world.store, 'health')).status).toBe('joined');
});

test('a token works once: the second who shows it is refused, even with other keys', async () => {
  await using world = await TestWorld.create();
  const { ports } = identityOf(world);
  const { token } = await invite(ports, INVITATION, 'operator:li');
  await join(ports, new Attempts(world.store), await requestFor(token), '10.0.0.9');
  const first = await getNode(world.store, 'health');
  expect(await codeOf(join(ports, new Attempts(world.store), await requestFor(token), '10.0.0.9'))).toBe(
    'TOKEN_REFUSED',
  );
  expect((await getNode(world.store, 'health')).fingerprint).toBe(first.fingerprint);
});

test('of two who show a token at the same moment one alone joins', async () => {
  await using world = await TestWorld.create();
  const { ports } = identityOf(world);
  const { token } = await invite(ports, INVITATION, 'operator:li');
  const both = await Promise.all(
    ['B', 'C'].map(async (letter) =>
      codeOf(join(ports, new Attempts(world.store), await requestFor(token, natsUser(letter)), '10.0.0.9')),
    ),
  );
  expect(both.sort()).toEqual(['TOKEN_REFUSED', 'nothing thrown']);
});

test('a token past its end is refused, and so is one that a newer invitation replaced', async () => {
  await using world = await TestWorld.create();
  const { ports } = identityOf(world);
  const replaced = await invite(ports, INVITATION, 'operator:li');
  const { token } = await invite(ports, INVITATION, 'operator:li');
  expect(await codeOf(join(ports, new Attempts(world.store), await requestFor(replaced.token), '10.0.0.9'))).toBe(
    'TOKEN_REFUSED',
  );
  world.clock.ms += 600_000;
  expect(await codeOf(join(ports, new Attempts(world.store), await requestFor(token), '10.0.0.9'))).toBe(
    'TOKEN_REFUSED',
  );
});

test('guessing ends after ten wrong tokens a minute from one address, and others are not kept out', async () => {
  await using world = await TestWorld.create();
  const { ports } = identityOf(world);
  const { token } = await invite(ports, INVITATION, 'operator:li');
  const attempts = new Attempts(world.store);
  const genuine = await requestFor(token);
  const codes: string[] = [];
  for (let guess = 0; guess < 12; guess += 1) {
    codes.push(await codeOf(join(ports, attempts, { ...genuine, secret: bytes(32) }, '10.6.6.6')));
  }
  expect(codes).toEqual([...Array(10).fill('TOKEN_REFUSED'), 'TOO_MANY_ATTEMPTS', 'TOO_MANY_ATTEMPTS']);
  expect(await codeOf(join(ports, attempts, genuine, '10.6.6.6'))).toBe('TOO_MANY_ATTEMPTS');
  expect(await codeOf(join(ports, attempts, genuine, '10.0.0.9'))).toBe('nothing thrown');
  const failures = (await Array.fromAsync(readAudit(world.store))).filter(({ success }) => !success);
  expect(failures).toHaveLength(10);
  expect(failures[0]?.detailJson).toBe('{"address":"10.6.6.6","token":"unknown"}');
});

test('wrong tokens shown all at once are braked like those shown one after the other', async () => {
  await using world = await TestWorld.create();
  const { ports } = identityOf(world);
  const { token } = await invite(ports, INVITATION, 'operator:li');
  const attempts = new Attempts(world.store);
  const genuine = await requestFor(token);
  const guess = (address: string) => codeOf(join(ports, attempts, { ...genuine, secret: bytes(32) }, address));
  const codes = await Promise.all(Array.from({ length: 60 }, () => guess('10.6.6.6')));
  expect(codes.filter((code) => code === 'TOKEN_REFUSED')).toHaveLength(10);
  expect(codes.filter((code) => code === 'TOO_MANY_ATTEMPTS')).toHaveLength(50);
  const everywhere = await Promise.all(Array.from({ length: 300 }, (_none, at) => guess(`10.7.${at}.1`)));
  expect(everywhere.filter((code) => code === 'TOKEN_REFUSED')).toHaveLength(190);
  const failures = (await Array.fromAsync(readAudit(world.store))).filter(({ success }) => !success);
  expect(failures).toHaveLength(200);
});

test('a request with a good token and bad keys is no guess', async () => {
  await using world = await TestWorld.create();
  const { ports } = identityOf(world);
  const { token } = await invite(ports, INVITATION, 'operator:li');
  const attempts = new Attempts(world.store);
  const good = await requestFor(token);
  for (let at = 0; at < 12; at += 1) {
    expect(await codeOf(join(ports, attempts, { ...good, csr: bytes(40) }, '10.0.0.9'))).toBe('CSR_INVALID');
  }
  expect(await codeOf(join(ports, attempts, good, '10.0.0.9'))).toBe('nothing thrown');
});

test('a request that could never work does not cost the invitation', async () => {
  await using world = await TestWorld.create();
  const { ports } = identityOf(world);
  const { token } = await invite(ports, INVITATION, 'operator:li');
  const good = await requestFor(token);
  expect(await codeOf(join(ports, new Attempts(world.store), { ...good, natsUser: 'SUsecret' }, '10.0.0.9'))).toBe(
    'JOIN_INVALID',
  );
  expect(await codeOf(join(ports, new Attempts(world.store), { ...good, csr: bytes(40) }, '10.0.0.9'))).toBe(
    'CSR_INVALID',
  );
  expect(await codeOf(join(ports, new Attempts(world.store), good, '10.0.0.9'))).toBe('nothing thrown');
});

test('a revoked node loses its certificate and its bus user at once, and joins again under its old identity', async () => {
  await using world = await TestWorld.create();
  const { ports, bus } = identityOf(world);
  const first = await invite(ports, INVITATION, 'operator:li');
  await join(ports, new Attempts(world.store), await requestFor(first.token), '10.0.0.9');
  const before = await getNode(world.store, 'health');
  await revoke(ports, 'health', 'laptop stolen', 'operator:li');
  expect(bus.revoked).toEqual([natsUser('A')]);
  expect(bus.removed).toEqual(['health']);
  expect(await isCertificateGood(world.store, before.fingerprint ?? '')).toBe(false);
  expect(await codeOf(revoke(ports, 'health', 'again', 'operator:li'))).toBe('NODE_REVOKED');

  const again = await invite(ports, INVITATION, 'operator:li');
  await join(ports, new Attempts(world.store), await requestFor(again.token, natsUser('B')), '10.0.0.9');
  const after = await getNode(world.store, 'health');
  expect([after.id, after.status]).toEqual([before.id, 'joined']);
  expect(await isCertificateGood(world.store, after.fingerprint ?? '')).toBe(true);
  expect(await isCertificateGood(world.store, before.fingerprint ?? '')).toBe(false);
});

describe('keys whose rights a person ended', () => {
  /** A node that joined, was revoked, and has a new invitation in hand. */
  async function revoked(world: TestWorld) {
    const { ports, bus } = identityOf(world);
    const attempts = new Attempts(world.store);
    const invitation = async () => (await invite(ports, INVITATION, 'operator:li')).token;
    const stolen = await requestFor(await invitation());
    await join(ports, attempts, stolen, '10.0.0.9');
    await revoke(ports, 'health', 'laptop stolen', 'operator:li');
    return { ports, bus, attempts, invitation, stolen };
  }

  test('do not come back, also after the node has joined with others', async () => {
    await using world = await TestWorld.create();
    const { ports, attempts, invitation, stolen } = await revoked(world);
    await join(ports, attempts, await requestFor(await invitation(), natsUser('B')), '10.0.0.9');
    const third = await requestFor(await invitation(), natsUser('C'));
    expect(await codeOf(join(ports, attempts, { ...third, csr: stolen.csr }, '10.0.0.9'))).toBe('JOIN_INVALID');
  });

  test('do not come back on the bus beside a new certificate', async () => {
    await using world = await TestWorld.create();
    const { ports, attempts, invitation } = await revoked(world);
    const again = await requestFor(await invitation(), natsUser('A'));
    expect(await codeOf(join(ports, attempts, again, '10.0.0.9'))).toBe('JOIN_INVALID');
    expect(await revokedBusUsers(world.store)).toEqual([natsUser('A')]);
  });
});

test('nobody joins with the bus key of another, whose rights would end with its own', async () => {
  await using world = await TestWorld.create();
  const { ports } = identityOf(world);
  const attempts = new Attempts(world.store);
  await join(ports, attempts, await requestFor((await invite(ports, INVITATION, 'operator:li')).token), '10.0.0.9');
  const other = await invite(ports, { ...INVITATION, nodeCode: 'hostile', departmentCode: 'hostile' }, 'operator:li');
  const request = await requestFor(other.token, natsUser('A'));
  expect(await codeOf(join(ports, attempts, request, '10.0.0.10'))).toBe('JOIN_INVALID');
});

test('an invitation that says no titles leaves those that are known', async () => {
  await using world = await TestWorld.create();
  const { ports } = identityOf(world);
  await invite(ports, { ...INVITATION, nodeTitle: '卫健前置机' }, 'operator:li');
  await invite(ports, { ...INVITATION, nodeTitle: '', departmentTitle: '' }, 'operator:li');
  // What the command line sends for titles that were left out.
  await invite(ports, { ...INVITATION, nodeTitle: 'health', departmentTitle: 'health' }, 'operator:li');
  const { title, department_title } = await getNode(world.store, 'health');
  expect([title, department_title]).toEqual(['卫健前置机', '卫生健康委员会']);
});

test('revoking holds although the bus is away, and a joined node without streams is no failure', async () => {
  await using world = await TestWorld.create();
  const { ports, bus } = identityOf(world);
  bus.isAway = true;
  const { token } = await invite(ports, INVITATION, 'operator:li');
  await join(ports, new Attempts(world.store), await requestFor(token), '10.0.0.9');
  expect((await revoke(ports, 'health', 'moved', 'operator:li')).status).toBe('revoked');
});

test('a node in use is not invited over, nor under another role, nor is the last operator revoked', async () => {
  await using world = await TestWorld.create();
  const { ports } = identityOf(world);
  await world.join('li', 'operator');
  await world.join('health');
  await world.store.updateTable('nodes').set({ last_seen_at_ms: 1 }).where('code', '=', 'health').execute();
  expect(await codeOf(invite(ports, INVITATION, 'operator:li'))).toBe('NODE_EXISTS');
  expect(await codeOf(invite(ports, { ...INVITATION, role: NodeRole.MONITOR }, 'operator:li'))).toBe('ROLE_CHANGED');
  expect(await codeOf(revoke(ports, 'li', 'left', 'operator:li'))).toBe('LAST_OPERATOR');
});

test('an invitation names every problem at once', async () => {
  await using world = await TestWorld.create();
  const { ports } = identityOf(world);
  const wrong = {
    ...INVITATION,
    nodeCode: 'Health!',
    departmentCode: '',
    role: NodeRole.UNSPECIFIED,
    expiresInS: 999_999,
  };
  const error = await invite(ports, wrong, 'operator:li').catch((reason: unknown) => reason);
  expect(error).toMatchObject({
    code: 'INVITATION_INVALID',
    problems: [{ path: 'nodeCode' }, { code: 'ROLE_UNKNOWN' }, { code: 'EXPIRY_TOO_LONG' }],
  });
  expect(await codeOf(invite(ports, { ...INVITATION, nodeCode: 'hub' }, 'operator:li'))).toBe('INVITATION_INVALID');
});

test('an address is one whatever port the connection has', () => {
  expect(['ipv4:10.0.0.1:5000', 'ipv4:10.0.0.1:5001', 'ipv6:%5B::1%5D:80', '10.0.0.1:9'].map(addressOf)).toEqual([
    '10.0.0.1',
    '10.0.0.1',
    '::1',
    '10.0.0.1',
  ]);
  // The interface of a link-local address follows a bare per cent sign.
  expect(['ipv6:%5Bfe80::1%25eth0%5D:80', 'fe80::1%eth0:80', '[fe80::1%eth0]:81'].map(addressOf)).toEqual([
    'fe80::1%eth0',
    'fe80::1%eth0',
    'fe80::1%eth0',
  ]);
});

test('guessing from everywhere at once ends, too, and a guest with a whole IPv6 network is one', async () => {
  await using world = await TestWorld.create();
  const attempts = new Attempts(world.store);
  const shown = (address: string, nowMs: number, isWrong = false) =>
    codeOf(attempts.inTurn(address, nowMs, async () => ({ isWrong })));
  const isBraked = async (address: string, nowMs: number) => (await shown(address, nowMs)) === 'TOO_MANY_ATTEMPTS';
  for (let guess = 0; guess < 10; guess += 1) await shown(`2001:db8::${guess}`, 1_000, true);
  expect([await isBraked('2001:db8::ffff', 1_000), await isBraked('2001:db8:0:1::1', 1_000)]).toEqual([true, false]);
  for (let guess = 0; guess < 190; guess += 1) await shown(`10.${guess}.0.1`, 2_000, true);
  expect([await isBraked('192.0.2.1', 2_000), await isBraked('192.0.2.1', 62_001)]).toEqual([true, false]);
});

test('what is counted does not grow past the brake', async () => {
  await using world = await TestWorld.create();
  const attempts = new Attempts(world.store);
  const guess = (at: number, nowMs: number) =>
    codeOf(attempts.inTurn(`10.0.${at}.1`, nowMs, async () => ({ isWrong: true })));
  for (let minute = 0; minute < 6; minute += 1) {
    for (let at = 0; at < 210; at += 1) await guess(at, minute * 61_000);
  }
  // A clock that was set back leaves nothing behind either.
  await guess(0, -600_000);
  const { rows } = await world.store
    .selectFrom('wrong_tokens')
    .select((row) => row.fn.countAll().as('rows'))
    .executeTakeFirstOrThrow();
  expect(Number(rows)).toBe(1);
});

test('two replicas of the hub count together', async () => {
  await using world = await TestWorld.create();
  const here = new Attempts(world.store);
  const there = new Attempts(await world.storeOf('hub-2'));
  const { ports } = identityOf(world);
  const { token } = await invite(ports, INVITATION, 'operator:li');
  const genuine = await requestFor(token);
  const guess = (attempts: Attempts, address: string) =>
    codeOf(join(ports, attempts, { ...genuine, secret: bytes(32) }, address));
  for (let at = 0; at < 5; at += 1) {
    expect([await guess(here, '10.6.6.6'), await guess(there, '10.6.6.6')]).toEqual(['TOKEN_REFUSED', 'TOKEN_REFUSED']);
  }
  for (const attempts of [here, there]) {
    expect(await codeOf(join(ports, attempts, genuine, '10.6.6.6'))).toBe('TOO_MANY_ATTEMPTS');
  }
  const codes: string[] = [];
  for (let at = 0; at < 200; at += 1) codes.push(await guess(at % 2 === 0 ? here : there, `10.7.${at}.1`));
  expect(codes.filter((code) => code === 'TOKEN_REFUSED')).toHaveLength(190);
});

test('a restart of the hub does not begin the counting anew', async () => {
  await using world = await TestWorld.create();
  const { ports } = identityOf(world);
  const { token } = await invite(ports, INVITATION, 'operator:li');
  const genuine = await requestFor(token);
  const attempts = new Attempts(world.store);
  for (let guess = 0; guess < 10; guess += 1) {
    await codeOf(join(ports, attempts, { ...genuine, secret: bytes(32) }, '10.6.6.6'));
  }
  const afterRestart = new Attempts(world.store);
  expect(await codeOf(join(ports, afterRestart, genuine, '10.6.6.6'))).toBe('TOO_MANY_ATTEMPTS');
  world.clock.ms += 61_000;
  expect(await codeOf(join(ports, afterRestart, genuine, '10.6.6.6'))).toBe('nothing thrown');
});
