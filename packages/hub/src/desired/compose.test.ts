import { expect, test } from 'vitest';
import { revokeCertificates } from '../registry/certificates.ts';
import { idText, TestWorld } from '../world.testing.ts';
import { composeDirectory, readWorld } from './compose.ts';

test('the directory names operators with their certificate, and says whose rights were ended', async () => {
  await using world = await TestWorld.create();
  const li = await world.join('li', 'operator');
  await world.join('health');
  const read = async () =>
    composeDirectory(await readWorld(world.store, world.clock.nowMs(), new Map()), world.platform).nodes;
  expect(await read()).toMatchObject([
    { code: 'health', revoked: false },
    { code: 'li', revoked: false, certificate: Buffer.from(li.certificate) },
  ]);
  await revokeCertificates(world.store, idText(li.id), 'left', 1);
  for (const status of ['revoked', 'invited'] as const) {
    await world.store.updateTable('nodes').set({ status }).where('code', '=', 'li').execute();
    expect((await read()).find(({ code }) => code === 'li')).toMatchObject({ revoked: true });
  }
});
