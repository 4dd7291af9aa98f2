import { DirectoryReply, DirectoryRequest } from '@qiao/contract/control';
import { Directory } from '@qiao/contract/node';
import { silentLog } from '@qiao/runtime';
import { expect, test } from 'vitest';
import { TestWorld } from '../world.testing.ts';
import { answerDirectory } from './directory.ts';
import { createDesiredState } from './snapshots.ts';

test('a monitor is told the newest directory and not the one that it holds; nobody else is told anything', async () => {
  await using world = await TestWorld.create();
  await world.join('monitor', 'monitor');
  await world.join('health');
  let isHeld = false;
  const ports = { store: world.store, isHeld: () => isHeld };
  const ask = async (code: string, held: Partial<DirectoryRequest> = {}) => {
    const request = DirectoryRequest.encode(DirectoryRequest.fromPartial(held)).finish();
    const { directory } = DirectoryReply.decode(await answerDirectory(ports, code, request));
    return directory && Directory.decode(directory.payload);
  };
  expect(await ask('monitor')).toBeUndefined();

  const desired = createDesiredState({
    ...{ store: world.store, platform: world.platform, clock: world.clock, log: silentLog() },
    sign: (context, payload) => world.hub.signer.sign(context, payload),
    isLeader: () => true,
    toNode: async () => undefined,
    toMonitor: async () => undefined,
  });
  await desired.refresh();
  const first = await ask('monitor');
  expect(first?.nodes.map(({ code, revoked }) => ({ code, revoked }))).toEqual([
    { code: 'health', revoked: false },
    { code: 'monitor', revoked: false },
  ]);
  expect(await ask('monitor', first)).toBeUndefined();
  await world.store.updateTable('nodes').set({ status: 'revoked' }).where('code', '=', 'health').execute();
  await desired.refresh();
  expect((await ask('monitor', first))?.nodes.find(({ code }) => code === 'health')?.revoked).toBe(true);
  expect(await ask('monitor', { generation: 2n ** 64n - 1n, number: 0n })).toBeUndefined();
  isHeld = true;
  expect(await ask('monitor', first)).toBeUndefined();

  await world.store.updateTable('nodes').set({ status: 'joined' }).where('code', '=', 'health').execute();
  for (const code of ['health', 'nobody']) await expect(ask(code)).rejects.toMatchObject({ code: 'NODE_REVOKED' });
  const noise = answerDirectory(ports, 'monitor', Uint8Array.of(0xff, 0xff, 0xff));
  await expect(noise).rejects.toMatchObject({ code: 'DIRECTORY_REQUEST_INVALID' });
});
