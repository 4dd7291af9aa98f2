// Backups: the file as it lies on a disk, and behind its seal the entries that would become files.

import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { QiaoError } from '@qiao/exchange';
import { sealing } from '@qiao/security';
import { readArchive, writeBackup } from '../../../packages/security/src/backup/archive.ts';
import { SealedReader } from '../../../packages/security/src/backup/sealedFile.ts';
import { type Decoder, holds } from '../decoder.ts';

const MANIFEST = { format: 1, component: 'hub', platform: 'demo', node: 'hub', madeAtMs: 5, notes: [] } as const;
const NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]*(\/[A-Za-z0-9_-][A-Za-z0-9._-]*){0,3}$/;

export async function backupDecoders(): Promise<Decoder[]> {
  const folder = mkdtempSync(join(tmpdir(), 'qiao-fuzz-'));
  const keys = await sealing.generateKey();
  const small = join(folder, 'small');
  writeFileSync(small, 'synthetic');
  await writeBackup({
    manifest: MANIFEST,
    files: [{ name: 'keys/authority.pem', file: small }],
    databases: [],
    workDirectory: join(folder, 'work'),
    to: join(folder, 'backup'),
    recipient: { kind: 'recipient', publicKey: keys.publicKey },
  });
  const file = openSync(join(folder, 'input'), 'w+');
  const opener = { kind: 'privateKey', ...keys } as const;
  return [
    {
      name: 'backup-file',
      kind: 'bytes',
      seeds: [readFileSync(join(folder, 'backup'))],
      maxBytes: 4_096,
      async take(input) {
        ftruncateSync(file);
        writeSync(file, input, 0, input.length, 0);
        // Read from its beginning, as a file that was opened for it.
        const fresh = openSync(join(folder, 'input'), 'r');
        try {
          return `files ${readArchive(await SealedReader.begin(fresh, opener), 'hub', () => undefined).files.length}`;
        } finally {
          closeSync(fresh);
        }
      },
      close() {
        closeSync(file);
        rmSync(folder, { recursive: true, force: true });
      },
    },
    {
      name: 'backup-archive',
      kind: 'bytes',
      seeds: [archive('keys/authority.pem', 'hub.db'), archive('a'), archive('../a'), archive('a', 'a')],
      take(input) {
        let written = 0;
        const sink = { write: (bytes: Uint8Array) => void (written += bytes.length), end: () => undefined };
        const { files } = readArchive(plain(input), 'hub', (entry) => {
          holds(NAME.test(entry.name) && !entry.name.includes('..'), 'a name that could leave the directory');
          return sink;
        });
        holds(written <= input.length, 'more bytes than came');
        return `files ${Math.min(files.length, 3)}`;
      },
    },
  ];
}

/** Bytes that nothing protects, handed out as a sealed file hands out its own. */
function plain(input: Uint8Array) {
  let at = 0;
  const damaged = () => new QiaoError('BACKUP_DAMAGED', 'it ends too early');
  return {
    read(bytes: number): Buffer {
      if (bytes > input.length - at) throw damaged();
      at += bytes;
      return Buffer.from(input.subarray(at - bytes, at));
    },
    requireEnd() {
      if (at < input.length) throw damaged();
    },
  };
}

function archive(...names: readonly string[]): Buffer {
  const record = (value: object) => {
    const bytes = Buffer.from(JSON.stringify(value));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    return Buffer.concat([length, bytes]);
  };
  const entries = names.map((name) => Buffer.concat([record({ name, bytes: 3, mode: 0o600 }), Buffer.from('abc')]));
  return Buffer.concat([record(MANIFEST), ...entries, record({ end: true, files: names.length })]);
}
