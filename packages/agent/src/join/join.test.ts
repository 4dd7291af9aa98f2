import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type JoinRequest, JoinResponse } from '@qiao/contract/hub';
import { NodeRole } from '@qiao/contract/node';
import { lockDirectory } from '@qiao/database/files';
import { fileRefused, silentLog } from '@qiao/runtime';
import { Authority, createKeyAndCsr, makeToken, newSecret, readIdentity } from '@qiao/security';
import { expect, test } from 'vitest';
import { startAgent } from '../agent.ts';
import { readAgentStatus } from '../commands/status.ts';
import { agentConfigSchema } from '../config.ts';
import { openExchangeDatabase } from '../exchange-database/index.ts';
import { joinAgent } from './join.ts';
import { preflight } from './preflight.ts';

const platformId = new Uint8Array(16).fill(1);
const nodeId = new Uint8Array(16).fill(2);

class Hub implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'qiao-join-'));
  readonly config = agentConfigSchema.parse({ node: { code: 'health' }, directory: join(this.folder, 'agent') });
  readonly authority: Authority;
  readonly hubCertificate: Uint8Array;
  asked: JoinRequest | undefined;

  private constructor(authority: Authority, hubCertificate: Uint8Array) {
    this.authority = authority;
    this.hubCertificate = hubCertificate;
  }

  static async create(): Promise<Hub> {
    const folder = mkdtempSync(join(tmpdir(), 'qiao-authority-'));
    const authority = await Authority.create(join(folder, 'identity'), { platformId, platformCode: 'demo' });
    const { csrDer } = await createKeyAndCsr('hub');
    const hub = { role: 'hub', platformId, nodeId: new Uint8Array(16).fill(9), code: 'hub', days: 10 } as const;
    const certificate = await authority.issue(csrDer, hub);
    rmSync(folder, { recursive: true });
    return new Hub(authority, certificate);
  }

  token(nodeCode = 'health', fingerprint = this.authority.fingerprint): string {
    return makeToken({
      hubAddress: '127.0.0.1:1',
      secret: newSecret(),
      authorityFingerprint: fingerprint,
      platformCode: 'demo',
      nodeCode,
    });
  }

  answer(code = 'health') {
    return async (_token: unknown, request: JoinRequest): Promise<JoinResponse> => {
      this.asked = request;
      const identity = { role: 'agent', platformId, nodeId, code, days: 10 } as const;
      return JoinResponse.fromPartial({
        platformId,
        platformCode: 'demo',
        platformTitle: '示范平台',
        timeZone: 'Asia/Shanghai',
        nodeId,
        nodeCode: code,
        role: NodeRole.AGENT,
        departmentCode: 'health',
        departmentTitle: '卫健委',
        certificate: await this.authority.issue(request.csr, identity),
        authority: this.authority.certificateDer,
        hubCertificate: this.hubCertificate,
        natsJwt: 'jwt',
        natsUrls: ['tls://127.0.0.1:1'],
        hubAddress: '127.0.0.1:1',
      });
    };
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

test('joining makes keys here, sends only their public halves and writes an identity that only its owner reads', async () => {
  using hub = await Hub.create();
  const joined = await joinAgent({ config: hub.config, token: hub.token(), callHub: hub.answer() });
  const identity = readIdentity(joined.identityDirectory);
  expect(identity.nodeCode).toBe('health');
  expect(hub.asked?.natsUser).toMatch(/^U/);
  expect(Buffer.from(hub.asked?.sealingKey ?? [])).toEqual(Buffer.from(identity.sealingKey?.publicKey ?? []));
  expect(Buffer.from(JSON.stringify(hub.asked)).includes(identity.nats?.seed ?? 'none')).toBe(false);
  expect(statSync(joined.identityDirectory).mode & 0o777).toBe(0o700);
  await expect(joinAgent({ config: hub.config, token: hub.token(), callHub: hub.answer() })).rejects.toMatchObject({
    code: 'ALREADY_JOINED',
  });
});

test('a token for another node, another authority or a certificate for another code leaves no identity behind', async () => {
  using hub = await Hub.create();
  const join = (token: string, code?: string) => joinAgent({ config: hub.config, token, callHub: hub.answer(code) });
  await expect(join(hub.token('civil'))).rejects.toMatchObject({ code: 'TOKEN_FOR_ANOTHER_NODE' });
  expect(hub.asked).toBeUndefined();
  await expect(join(hub.token('health', 'f'.repeat(64)))).rejects.toMatchObject({ code: 'JOIN_INVALID' });
  await expect(join(hub.token(), 'civil')).rejects.toMatchObject({ code: 'JOIN_INVALID' });
  expect(readAgentStatus(hub.config).identity).toBeUndefined();
});

test('status is read from the files, before and after the first start', async () => {
  using hub = await Hub.create();
  expect(readAgentStatus(hub.config)).toMatchObject({ node: 'health' });
  const { identity } = await joinAgent({ config: hub.config, token: hub.token(), callHub: hub.answer() });
  const database = openExchangeDatabase(join(hub.config.directory, 'exchange.db'));
  const running = readAgentStatus(hub.config);
  expect(running.identity?.platform).toBe(identity.platformCode);
  expect(running.exchangeDatabase).toMatchObject({ lanes: [], books: { last: 0 }, quarantinedRows: 0 });
  database.close();
  expect(readAgentStatus(hub.config).exchangeDatabase?.databaseId).toBe(running.exchangeDatabase?.databaseId);
});

test('a second start in the same directory is refused, and status can still be read', async () => {
  using hub = await Hub.create();
  await joinAgent({ config: hub.config, token: hub.token(), callHub: hub.answer() });
  const lock = lockDirectory(hub.config.directory, 'agent');
  await expect(startAgent({ config: hub.config, signal: AbortSignal.abort(), log: silentLog() })).rejects.toMatchObject(
    { code: 'ALREADY_RUNNING' },
  );
  expect(readAgentStatus(hub.config)).toMatchObject({ node: 'health' });
  lock.release();
});

test('a directory that cannot be written is told of before the token is used up', async () => {
  using hub = await Hub.create();
  writeFileSync(hub.config.directory, 'a file in the way');
  const joining = joinAgent({ config: hub.config, token: hub.token(), callHub: hub.answer() });
  expect(fileRefused(await joining.catch((error: unknown) => error))).toMatchObject({
    code: 'FILE_REFUSED',
    message: expect.stringContaining(hub.config.directory),
  });
  expect(hub.asked).toBeUndefined();
});

test('preflight reports every finding at once, each with what to do', async () => {
  using hub = await Hub.create();
  const before = await preflight(hub.config);
  expect(before.find(({ code }) => code === 'NOT_JOINED')?.hint).toContain('qiao agent join');
  await joinAgent({ config: hub.config, token: hub.token(), callHub: hub.answer() });
  const findings = await preflight(hub.config);
  const problems = findings.filter(({ level }) => level === 'problem').map(({ code }) => code);
  expect(problems.filter((code) => code === 'PORT').length).toBe(2);
  expect(findings.find(({ code }) => code === 'IDENTITY_RIGHTS')?.level).toBe('good');
  const rowsKey = join(hub.config.directory, 'rows.key');
  writeFileSync(rowsKey, 'of another file', { mode: 0o600 });
  expect((await preflight(hub.config)).find(({ subject }) => subject === rowsKey)).toMatchObject({
    level: 'problem',
    code: 'HOST_KEY_INVALID',
    hint: expect.stringContaining('backup'),
  });
  expect(findings.find(({ subject }) => subject === 'data source exchange')).toMatchObject({
    level: 'good',
    message: 'made at the first start',
  });
  expect(findings.find(({ code }) => code === 'PERMISSIONS_EMPTY')?.level).toBe('warning');
  expect(findings.filter(({ level, hint }) => level !== 'good' && hint === '')).toEqual([]);
});

test('preflight names what of the way to the directory is missing, and the command that makes it', async () => {
  using hub = await Hub.create();
  const blocked = join(hub.folder, 'no-directory');
  writeFileSync(blocked, '');
  const directoryOf = async (directory: string) =>
    (await preflight({ ...hub.config, directory })).find(({ code }) => code === 'DIRECTORY');
  const deep = join(blocked, 'var', 'agent');
  expect(await directoryOf(deep)).toMatchObject({
    level: 'problem',
    message: `${join(blocked, 'var')} does not exist, and ${blocked} cannot be written by this user`,
    hint: expect.stringContaining(`mkdir -p ${deep}`),
  });
  expect(await directoryOf(join(hub.folder, 'a', 'b', 'agent'))).toMatchObject({
    level: 'good',
    message: 'can be made',
  });
});
