// The CLI as a few files without a node_modules: every package of the house and every dependency in them, the SQLite addon beside.

import { cpSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { build, type Plugin } from 'esbuild';
import type { Arch } from './node.ts';

export interface BundledProgram {
  readonly bytes: number;
  /** Directories of the packages whose code is in the bundle, the house's own left out. */
  readonly packages: readonly string[];
}

// Dependencies in CommonJS expect these three; an ES module has none of them.
const BANNER = [
  "import { createRequire as qiaoCreateRequire } from 'node:module';",
  "import { dirname as qiaoDirname } from 'node:path';",
  "import { fileURLToPath as qiaoFileURLToPath } from 'node:url';",
  'const require = qiaoCreateRequire(import.meta.url);',
  'const __filename = qiaoFileURLToPath(import.meta.url);',
  'const __dirname = qiaoDirname(__filename);',
].join('\n');

/** Writes `qiao.mjs` with the `program-….mjs` that it loads, `better-sqlite3.node` and `board/` into `directory`. */
export async function bundleProgram(options: {
  readonly root: string;
  readonly arch: Arch;
  readonly directory: string;
}): Promise<BundledProgram> {
  const { root, arch, directory } = options;
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: { qiao: 'packages/cli/src/main.ts' },
    outdir: directory,
    outExtension: { '.js': '.mjs' },
    // The entry is a file of its own: it turns the compile cache on before the program, whose parsing is a third of each start, is read.
    splitting: true,
    chunkNames: 'program-[hash]',
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    banner: { js: BANNER },
    // A fault on a machine that nobody may enter is read from its stack: names stay.
    keepNames: true,
    loader: { '.node': 'copy' },
    assetNames: 'better-sqlite3',
    plugins: [sqliteFor(arch), withoutAzure],
    // pg asks for it inside a try; the house does not use it.
    external: ['pg-native'],
    metafile: true,
    logLevel: 'warning',
    legalComments: 'none',
  });
  // The monitor reads its board's files beside the program.
  cpSync(join(root, 'packages/monitor/src/board'), join(directory, 'board'), { recursive: true });
  const packages = new Set(
    Object.keys(metafile.inputs)
      .map((input) => packageOf(join(root, input)))
      .filter((found) => found !== undefined),
  );
  const bytes = Object.keys(metafile.outputs)
    .filter((output) => output.endsWith('.mjs'))
    .reduce((sum, output) => sum + statSync(join(root, output)).size, 0);
  return { bytes, packages: [...packages].sort() };
}

/** better-sqlite3 has an entry per platform that names its prebuilt addon, where the general one looks at the running machine. */
function sqliteFor(arch: Arch): Plugin {
  return {
    name: 'sqlite-for-arch',
    setup({ onResolve, resolve }) {
      onResolve({ filter: /^better-sqlite3$/ }, ({ importer, kind, resolveDir }) =>
        resolve(`better-sqlite3/linux-${arch}`, { importer, kind, resolveDir }),
      );
    },
  };
}

/**
 * tedious asks for Azure's libraries when it is loaded, for logins and keys that lie in Azure; a data source has a user and a password. They
 * are larger than the rest of the program, and some name no licence.
 */
const withoutAzure: Plugin = {
  name: 'without-azure',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^@azure\// }, ({ path }) => ({ path, namespace: 'without-azure' }));
    onLoad({ filter: /.*/, namespace: 'without-azure' }, () => ({ contents: 'module.exports = {};', loader: 'js' }));
  },
};

/** The directory of the dependency that a file belongs to; undefined for the house's own files. */
function packageOf(file: string): string | undefined {
  if (!file.split(sep).includes('node_modules')) return undefined;
  for (let at = dirname(file); relative(at, '/') !== ''; at = dirname(at)) {
    try {
      // Folders of a package may hold a package.json of their own, without a version, to say which module system they use.
      const facts = JSON.parse(readFileSync(join(at, 'package.json'), 'utf8')) as { name?: string; version?: string };
      if (facts.name !== undefined && facts.version !== undefined) return at;
    } catch {
      // Not here: the folder above.
    }
  }
  throw new Error(`${file} belongs to no package`);
}
