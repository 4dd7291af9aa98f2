// Names that would lead out of a directory, at every door where a name that came from elsewhere could become a file's. Each is
// refused by its code, or is text that no path is made of; afterwards nothing lies where nothing should.

import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { agentConfigSchema, confirmPeer } from '@qiao/agent';
import { consumers, inboxPrefix, streams, subjects } from '@qiao/bus';
import { NodeRole } from '@qiao/contract/node';
import { ProblemsError, parseBridge, QiaoError } from '@qiao/exchange';
import { hubConfigSchema } from '@qiao/hub';
import {
  createBackupKey,
  createKeyAndCsr,
  makeToken,
  readBackupKeyFile,
  readBackupRecipient,
  restoreBackup,
  writeBackup,
  writeIdentity,
} from '@qiao/security';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { stringify } from 'yaml';
import type { IdentityPorts } from '../packages/hub/src/identity/identity.ts';
import { invite } from '../packages/hub/src/identity/invite.ts';
import { bytes, TestWorld } from '../packages/hub/src/world.testing.ts';

const TRICKS: readonly [string, string][] = [
  ['a step up', '../evil'],
  ['many steps up', '../'.repeat(40) + 'evil'],
  ['a step up in the middle', 'a/../../evil'],
  ['an absolute path', '/tmp/qiao-evil'],
  ['the directory itself', '.'],
  ['its parent', '..'],
  ['nothing', ''],
  ['NUL', 'evil\0.yaml'],
  ['a line end', 'evil\n'],
  ['very long', 'e'.repeat(5_000)],
  ['a drive', 'C:\\evil'],
  ['steps up of another system', '..\\..\\evil'],
  ['a share', '\\\\host\\evil'],
  ['a stream of another system', 'evil::$DATA'],
  ['a home', '~/evil'],
  ['an option', '-rf'],
  ['escaped steps up', '%2e%2e%2fevil'],
  ['steps up of wide characters', '．．／evil'],
  ['a hidden file', '.evil'],
  ['a name of the language', '__proto__'],
];

let folder: string;
let world: TestWorld;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'qiao-paths-'));
  world = await TestWorld.create();
  mkdirSync(join(folder, 'deep', 'inside'), { recursive: true });
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const inside = (...names: string[]): string => join(folder, 'deep', 'inside', ...names);

async function codeOf(work: () => unknown): Promise<string> {
  try {
    await work();
    return 'nothing thrown';
  } catch (error) {
    if (error instanceof ProblemsError) return error.problems.map(({ code }) => code).join();
    return error instanceof QiaoError ? error.code : String(error);
  }
}

const bridge = (change: object): string =>
  stringify({
    kind: 'Bridge',
    name: 'births',
    title: '出生医学证明',
    source: { node: 'health', dataSource: 'his', capture: 'compare', tables: [{ name: 'person', key: ['id'] }] },
    schedule: 'realtime',
    destinations: [{ node: 'civil', dataSource: 'own', tables: { person: { to: 'ex_person', ownership: 'whole' } } }],
    ...change,
  });
const bridgeCode = (change: object): string => {
  const { definition, problems } = parseBridge(bridge(change));
  return definition === undefined ? problems.map(({ code }) => code).join() : 'taken';
};

/** What each door says to this name. */
async function doors(name: string): Promise<Record<string, string | boolean>> {
  const { platform, clock } = world;
  const ports = {
    store: world.store,
    platform,
    clock,
    random: bytes,
    hubAddress: '127.0.0.1:1',
    busUrls: () => [],
    changed: async () => undefined,
    authority: { fingerprint: world.authority.fingerprint },
  } as unknown as IdentityPorts;
  const invitation = { nodeTitle: '', departmentTitle: '', expiresInS: 600, role: NodeRole.AGENT };
  const { csrDer } = await createKeyAndCsr('health');
  const identityOf = { platformId: platform.id, nodeId: bytes(16), days: 1, nowMs: Date.now() };
  const agent = { node: { code: 'health' }, directory: '/somewhere' };
  const database = { adapter: 'sqlite', file: '/somewhere/his.db' };
  const hub = {
    platform: { id: '0'.repeat(32), code: 'demo', title: '示范平台', timeZone: 'Asia/Shanghai' },
    listen: '127.0.0.1:0',
    bus: { server: 'embedded', listen: '127.0.0.1:0' },
  };
  const token = {
    hubAddress: 'hub.example:7400',
    secret: bytes(32),
    authorityFingerprint: 'ab'.repeat(32),
    platformCode: 'demo',
    nodeCode: 'health',
  };
  const source = { dataSource: 'his', capture: 'compare', tables: [{ name: 'person', key: ['id'] }] };
  const destination = { node: 'civil', dataSource: 'own', tables: { person: { to: 'ex_person', ownership: 'whole' } } };
  const answers = {
    'an invitation of a node': await codeOf(() =>
      invite(ports, { ...invitation, nodeCode: name, departmentCode: 'health' }, 'operator:li'),
    ),
    // Left out, it is the node's own.
    'an invitation of a department': await codeOf(() =>
      invite(ports, { ...invitation, nodeCode: 'health', departmentCode: name || '../evil' }, 'operator:li'),
    ),
    'a certificate': await codeOf(() => world.authority.issue(csrDer, { ...identityOf, role: 'agent', code: name })),
    'a token’s node': await codeOf(() => makeToken({ ...token, nodeCode: name })),
    'a token’s platform': await codeOf(() => makeToken({ ...token, platformCode: name })),
    'a subject': await codeOf(() => subjects.up('demo', name, 'data')),
    'a stream': await codeOf(() => streams.downData(name)),
    'a consumer': await codeOf(() => consumers.node(name)),
    'an inbox': await codeOf(() => inboxPrefix(name)),
    'a bridge’s name': bridgeCode({ name }),
    'a bridge’s source': bridgeCode({ source: { node: name, ...source } }),
    'a bridge’s data source': bridgeCode({ source: { node: 'health', ...source, dataSource: name } }),
    'a bridge’s destination': bridgeCode({ destinations: [{ ...destination, node: name }] }),
    'a confirmed peer': await codeOf(() => confirmPeer(inside(), name, 'ab'.repeat(32), 1)),
    'agent.yaml, the node': agentConfigSchema.safeParse({ ...agent, node: { code: name } }).success,
    'agent.yaml, a data source': agentConfigSchema.safeParse({ ...agent, dataSources: { [name]: database } }).success,
    'hub.yaml, the platform': hubConfigSchema.safeParse({ ...hub, platform: { ...hub.platform, code: name } }).success,
  };
  return answers;
}

test('a good name is taken at every door', async () => {
  const { 'a confirmed peer': peer, ...answers } = await doors('city');
  // Of a good name alone it is asked whether the snapshot ever named it.
  expect(peer).toBe('PEER_UNKNOWN');
  const open = new Set<string | boolean>(['nothing thrown', 'taken', true]);
  expect(Object.entries(answers).filter(([, answer]) => !open.has(answer))).toEqual([]);
});

test.each(TRICKS)('%s', async (_what, trick) => {
  const { 'agent.yaml, a data source': dataSource, ...answers } = await doors(trick);
  // It is no key of a mapping that was read: nothing of that name comes to be.
  if (trick !== '__proto__') expect(dataSource).toBe(false);
  const refusals = /^(PEER_UNKNOWN|[A-Z_,]*(INVALID|MISSING|CODE|WRONG_VALUE)[A-Z_,]*)$/;
  expect(Object.entries(answers).filter(([, answer]) => answer !== false && !refusals.test(String(answer)))).toEqual(
    [],
  );
  expect(readdirSync(inside())).toEqual([]);
});

test('a backup’s entries have names that stay inside, or nothing of it is written', async () => {
  const keyFile = join(folder, 'backup.key');
  const recipient = readBackupRecipient(await createBackupKey(keyFile));
  const content = join(folder, 'content');
  writeFileSync(content, 'x');
  for (const [index, [what, trick]] of TRICKS.entries()) {
    for (const name of [trick, `identity/${trick}`]) {
      const to = join(folder, `${index}-${name.length}.qiaobackup`);
      rmSync(to, { force: true });
      const directory = inside('restored');
      const code = await codeOf(async () => {
        await writeBackup({
          manifest: { format: 1, component: 'agent', platform: 'demo', node: 'health', madeAtMs: 1, notes: [] },
          files: [{ name, file: content }],
          databases: [],
          workDirectory: join(folder, 'work'),
          to,
          recipient,
        });
        const opener = readBackupKeyFile(keyFile);
        await restoreBackup({ from: to, component: 'agent', directory, opener, last: 'identity', nowMs: 1 });
      });
      // A name that leads nowhere else may be any file's.
      const isHarmless = trick === '__proto__' || trick === '-rf';
      expect([what, name, code]).toEqual([what, name, isHarmless ? 'nothing thrown' : 'BACKUP_NAME_REFUSED']);
      rmSync(directory, { recursive: true, force: true });
      expect(readdirSync(inside())).toEqual([]);
    }
  }
});

test('an identity has the files it always has, whatever a hub calls itself and its nodes', () => {
  const directory = inside('identity');
  for (const [, trick] of TRICKS) {
    writeIdentity(directory, {
      role: 'operator',
      platformId: bytes(16),
      platformCode: trick,
      platformTitle: trick,
      timeZone: trick,
      nodeId: bytes(16),
      nodeCode: trick,
      departmentCode: trick,
      departmentTitle: trick,
      hubAddress: trick,
      natsUrls: [trick],
      keyPem: trick,
      certificate: bytes(10),
      authority: bytes(10),
      hubCertificate: bytes(10),
    });
  }
  expect(readdirSync(inside())).toEqual(['identity']);
  expect(readdirSync(directory).sort()).toEqual([
    'authority.pem',
    'certificate.pem',
    'hub.pem',
    'identity.json',
    'key.pem',
  ]);
  rmSync(directory, { recursive: true });
});
