// `npm run bundle`: the agent for a front-end machine without internet, compiler or Node. One archive that holds the Node binary,
// the whole CLI as one file, the SQLite addon, a launcher, systemd units, sample configurations, checksums and licences.
// What each part is made of lies in node.ts, program.ts, notices.ts and archive.ts; this file says what goes where.

import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { packArchive, writeChecksums } from './archive.ts';
import { glibcNeeded, requireArch } from './elf.ts';
import { type Arch, bringNode } from './node.ts';
import { noticesText } from './notices.ts';
import { bundleProgram } from './program.ts';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const { version: VERSION } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };

export interface BundleOptions {
  /** Processor of the front-end machine. */
  readonly arch: Arch;
  /** Where the archive goes; made when missing. */
  readonly out: string;
  /** Takes the place of the prebuilt SQLite addon: one compiled on an older system serves machines with an older glibc. */
  readonly sqliteAddon?: string | undefined;
  readonly say?: (text: string) => void;
}

export interface Bundle {
  /** `qiao-agent-<version>-linux-<arch>.tar.gz`; its checksum lies beside it as `….sha256`. */
  readonly archive: string;
  readonly sha256: string;
  readonly nodeVersion: string;
  /** The oldest C library that it runs with, for example "2.34". */
  readonly glibc: string;
}

/** Builds the bundle. Throws an Error that says what is missing and how to bring it. */
export async function makeBundle({ arch, out, sqliteAddon, say = () => undefined }: BundleOptions): Promise<Bundle> {
  const name = `qiao-agent-${VERSION}-linux-${arch}`;
  const directory = join(out, name);
  rmSync(directory, { recursive: true, force: true });
  for (const folder of ['lib', 'runtime', 'systemd', 'config']) mkdirSync(join(directory, folder), { recursive: true });

  const node = bringNode(ROOT, arch, say);
  say(`Node ${node.version} for linux-${arch}`);
  copyFileSync(node.binary, join(directory, 'runtime/node'));
  chmodSync(join(directory, 'runtime/node'), 0o755);

  const program = await bundleProgram({ root: ROOT, arch, directory: join(directory, 'lib') });
  say(`the CLI in one file, ${Math.round(program.bytes / 1024).toLocaleString('en-US')} KiB`);
  const addon = join(directory, 'lib/better-sqlite3.node');
  if (sqliteAddon !== undefined) copyFileSync(sqliteAddon, addon);
  requireArch(addon, arch);
  const glibc = glibcNeeded([addon, node.binary]);
  say(`it needs glibc ${glibc} or later`);

  copyFileSync(join(ROOT, 'deploy/bundle/qiao.sh'), join(directory, 'qiao'));
  chmodSync(join(directory, 'qiao'), 0o755);
  for (const file of readdirSync(join(ROOT, 'deploy/systemd'))) {
    copyFileSync(join(ROOT, 'deploy/systemd', file), join(directory, 'systemd', file));
  }
  for (const file of ['agent.yaml', 'bridge.yaml']) {
    copyFileSync(join(ROOT, 'deploy/config', file), join(directory, 'config', file));
  }
  copyFileSync(join(ROOT, 'deploy/bundle/INSTALL.md'), join(directory, 'INSTALL.md'));
  copyFileSync(join(ROOT, 'LICENSE'), join(directory, 'LICENSE'));
  writeFileSync(join(directory, 'NOTICES.txt'), noticesText(node, program.packages));
  writeFileSync(
    join(directory, 'VERSION'),
    `qiao ${VERSION}\nnode ${node.version}\nplatform linux-${arch}\nglibc ${glibc} or later\n`,
  );
  writeChecksums(directory);

  const archive = join(out, `${name}.tar.gz`);
  const sha256 = await packArchive({ root: ROOT, directory, archive });
  rmSync(directory, { recursive: true, force: true });
  return { archive, sha256, nodeVersion: node.version, glibc };
}

function readArch(text: string): Arch {
  if (text === 'x64' || text === 'arm64') return text;
  throw new Error(`--arch is ${text}; expected x64 or arm64`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    const { values } = parseArgs({
      options: {
        arch: { type: 'string', default: 'x64' },
        out: { type: 'string', default: join(ROOT, 'dist') },
        'sqlite-addon': { type: 'string' },
      },
    });
    const made = await makeBundle({
      arch: readArch(values.arch),
      out: resolve(values.out),
      sqliteAddon: values['sqlite-addon'],
      say: console.log,
    });
    console.log(`\n${made.archive}\nsha256 ${made.sha256}`);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
