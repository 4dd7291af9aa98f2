// The Node binary of the bundle. The npm package `node` carries the one for this machine; for another processor the same
// version is fetched once into .qiao/cache, which may also be filled by hand where no registry is reachable.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { requireArch } from './elf.ts';

export type Arch = 'x64' | 'arm64';

export interface NodeRuntime {
  readonly version: string;
  readonly binary: string;
  /** Text of Node's own licence and of what it contains. */
  readonly licence: string;
}

/** The official Linux binary of the version in the lockfile. Throws with what to do when it cannot be had. */
export function bringNode(root: string, arch: Arch, say: (text: string) => void): NodeRuntime {
  const installed = realpathSync(join(root, 'node_modules/node'));
  const { version } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as { version: string };
  const isOwn = process.platform === 'linux' && process.arch === arch;
  // A package manager that installs from its cache brings the binary alone; the licence is then fetched with the whole package.
  const beside = join(installed, 'node_modules', `node-linux-${arch}`);
  const directory =
    isOwn && existsSync(join(beside, 'LICENSE')) ? beside : fetchNode(join(root, '.qiao/cache'), arch, version, say);
  const binary = isOwn ? join(installed, 'bin/node') : join(directory, 'bin/node');
  if (!existsSync(binary)) throw new Error(`there is no Node binary at ${binary}; run \`npm run setup\` first`);
  requireArch(binary, arch);
  return { version, binary, licence: readFileSync(join(directory, 'LICENSE'), 'utf8') };
}

function fetchNode(cache: string, arch: Arch, version: string, say: (text: string) => void): string {
  const name = `node-linux-${arch}-${version}`;
  const unpacked = join(cache, name);
  if (existsSync(join(unpacked, 'bin/node'))) return unpacked;
  const archive = join(cache, `${name}.tgz`);
  mkdirSync(unpacked, { recursive: true });
  if (!existsSync(archive)) {
    say(`fetching node-linux-${arch}@${version} from the registry ...`);
    try {
      // npm compares the archive with the digest that the registry states.
      execFileSync('npm', ['pack', '--silent', '--pack-destination', cache, `node-linux-${arch}@${version}`], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
    } catch (cause) {
      throw new Error(
        [
          `cannot fetch node-linux-${arch}@${version}: no npm registry is reachable from here.`,
          `On a machine that has one:  npm pack node-linux-${arch}@${version}`,
          `Then put ${name}.tgz into ${cache} and run the command again.`,
        ].join('\n'),
        { cause },
      );
    }
  }
  execFileSync('tar', ['-xzf', archive, '-C', unpacked, '--strip-components=1', 'package/bin/node', 'package/LICENSE']);
  return unpacked;
}
