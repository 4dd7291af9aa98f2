import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const LAUNCHER = fileURLToPath(new URL('../qiao.js', import.meta.url));
const AS_NODE_20 = `data:text/javascript,Object.defineProperty(process,'versions',{value:{...process.versions,node:'20.19.0'}})`;

function launch(...words: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, words, { encoding: 'utf8' });
  return { status, stdout, stderr };
}

test('an old Node is told in one sentence what was found, what is needed, and the next command', () => {
  expect(launch('--import', AS_NODE_20, LAUNCHER, 'bridge', 'list')).toEqual({
    status: 1,
    stdout: '',
    stderr:
      'error NODE_TOO_OLD: this is Node 20.19.0; Qiao needs Node 24.7 or later, which a clone brings itself\n' +
      '→ in the clone: npm run --silent qiao -- …\n',
  });
});

test('a clone that was never set up says so, whatever Node it is called with', () => {
  const folder = mkdtempSync(join(tmpdir(), 'qiao-launcher-'));
  const bare = join(folder, 'qiao.js');
  copyFileSync(LAUNCHER, bare);
  writeFileSync(join(folder, 'package.json'), '{"type": "module"}');
  const next = '→ in the clone: npm run setup, then: npm run --silent qiao -- …\n';
  expect(launch(bare, '--version').stderr).toMatch(/^error NOT_SET_UP: /);
  expect(launch(bare, '--version').stderr).toContain(next);
  expect(launch('--import', AS_NODE_20, bare).stderr).toMatch(/^error NODE_TOO_OLD: /);
  expect(launch('--import', AS_NODE_20, bare).stderr).toContain(next);
  rmSync(folder, { recursive: true });
});

test('on its own Node it is qiao', () => {
  expect(launch(LAUNCHER, '--version')).toMatchObject({
    status: 0,
    stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
  });
});
