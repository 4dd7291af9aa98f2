/**
 * What a backup holds: a manifest, then files one after the other, then an end that counts them. Owns names and their safety, the
 * order of writing, and that a directory that lives is never overwritten. Which files belong to a hub, a monitor or an agent, those
 * say; how the bytes are protected is `sealedFile.ts`.
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { QiaoError } from '@qiao/exchange';
import { makePrivateDirectory, writeFileAtomically } from '../privateFiles.ts';
import type { BackupOpener, BackupRecipient } from './backupKey.ts';
import { filesIn } from './filesIn.ts';
import { SealedReader, SealedWriter } from './sealedFile.ts';

export type BackupComponent = 'hub' | 'monitor' | 'agent';

/** What a backup says of itself; readable only with its key. */
export interface BackupManifest {
  readonly format: 1;
  readonly component: BackupComponent;
  readonly platform: string;
  /** Code of the node; `hub` for the hub. */
  readonly node: string;
  readonly madeAtMs: number;
  /** What an operator must know, for example what is not in it. */
  readonly notes: readonly string[];
}

export interface BackupFile {
  /** Relative, with `/`. */
  readonly name: string;
  readonly bytes: number;
  /** Permission bits. */
  readonly mode: number;
}

export interface BackupContents {
  readonly manifest: BackupManifest;
  readonly files: readonly BackupFile[];
}

export interface WriteBackupOptions {
  readonly manifest: BackupManifest;
  /** Files as they lie on disk; those that a program changes meanwhile belong into `databases`. */
  readonly files: readonly { readonly name: string; readonly file: string }[];
  /** Databases, which may be in use: `copy` makes a consistent copy at the new path `to`, one file, or a directory of files. */
  readonly databases: readonly { readonly name: string; copy(to: string): void | Promise<void> }[];
  /** Where the copies of databases lie while they are sealed: on the same disk, private, removed at the end. */
  readonly workDirectory: string;
  /** Must not exist. */
  readonly to: string;
  readonly recipient: BackupRecipient;
}

/** The marker that a restore leaves: the program that starts on it knows that it is not what it was. */
export const RESTORED_MARKER = 'restored.json';

const SEGMENT = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$/;
const ENTRIES_MOST = 10_000;
const RECORD_MOST = 64 * 1024;
const COPY_BYTES = 1024 * 1024;
const SMALL_MOST = 1024 * 1024;

/** The bytes that a backup protects, in order. Throws BACKUP_DAMAGED. */
export interface ArchiveBytes {
  read(bytes: number): Buffer;
  requireEnd(): void;
}

/** Where the bytes of an entry go. */
export interface Sink {
  write(bytes: Uint8Array): void;
  end(): void;
}

/** Writes a backup; it appears under its name only when it is whole and on disk. Throws BACKUP_EXISTS, and what reading throws. */
export async function writeBackup(options: WriteBackupOptions): Promise<BackupContents> {
  const to = resolve(options.to);
  if (existsSync(to)) {
    throw new QiaoError('BACKUP_EXISTS', `${to} exists and is not replaced`, { hint: 'name a new file with --to' });
  }
  const temporary = `${to}.${process.pid}.new`;
  rmSync(options.workDirectory, { recursive: true, force: true });
  makePrivateDirectory(options.workDirectory);
  const file = openSync(temporary, 'wx', 0o600);
  try {
    const writer = await SealedWriter.begin(file, options.recipient);
    writeRecord(writer, options.manifest);
    const files: BackupFile[] = [];
    for (const one of options.files) files.push(addFile(writer, one.name, one.file));
    for (const [index, one] of options.databases.entries()) {
      const copy = join(options.workDirectory, String(index), one.name);
      mkdirSync(dirname(copy), { recursive: true, mode: 0o700 });
      await one.copy(copy);
      const parts = statSync(copy).isDirectory() ? filesIn(copy) : [{ name: one.name, file: copy }];
      for (const { name, file } of parts) files.push({ ...addFile(writer, name, file), mode: 0o600 });
      // At once: the disk needs room for one copy at a time.
      rmSync(copy, { recursive: true });
    }
    writeRecord(writer, { end: true, files: files.length });
    writer.end();
    fsyncSync(file);
    linkSync(temporary, to);
    return { manifest: options.manifest, files };
  } finally {
    closeSync(file);
    rmSync(temporary, { force: true });
    rmSync(options.workDirectory, { recursive: true, force: true });
    syncDirectory(dirname(to));
  }
}

/** Reads a whole backup and proves it, without writing anything. Throws as `restoreBackup`. */
export async function listBackup(
  from: string,
  component: BackupComponent,
  opener: BackupOpener,
): Promise<BackupContents> {
  return await readBackup(from, component, opener, () => undefined);
}

/** One small file of a backup; the whole backup is proven on the way. Throws as `restoreBackup`, BACKUP_INCOMPLETE without the file. */
export async function readFromBackup(
  from: string,
  component: BackupComponent,
  opener: BackupOpener,
  name: string,
): Promise<Buffer> {
  const parts: Buffer[] = [];
  const keep: Sink = { write: (bytes) => void parts.push(Buffer.from(bytes)), end: () => undefined };
  await readBackup(from, component, opener, (file) =>
    file.name === name && file.bytes <= SMALL_MOST ? keep : undefined,
  );
  if (parts.length > 0) return Buffer.concat(parts);
  throw new QiaoError('BACKUP_INCOMPLETE', `the backup holds no ${name}`, { hint: 'take another backup' });
}

export interface RestoreBackupOptions {
  readonly from: string;
  readonly component: BackupComponent;
  readonly opener: BackupOpener;
  /** Where everything goes: missing or empty, or holding nothing but `mayHold`. */
  readonly directory: string;
  readonly mayHold?: readonly string[];
  /** The entry whose presence makes the directory alive: it comes last. */
  readonly last: string;
  /** Called with everything proven, in `work`, and nothing named: what does not lie in files goes where it belongs, and out of `work`. */
  readonly place?: (work: string) => Promise<void>;
  /** Names that lie elsewhere, with the path that they get; a path of undefined leaves the entry out. */
  readonly elsewhere?: Readonly<Record<string, string | undefined>>;
  readonly nowMs: number;
}

/**
 * Restores into a directory that does not live. Everything is proven before anything gets its name. Throws BACKUP_FOREIGN,
 * BACKUP_DAMAGED, BACKUP_KEY_WRONG, BACKUP_OF_ANOTHER_KIND, BACKUP_NAME_REFUSED, DIRECTORY_NOT_EMPTY.
 */
export async function restoreBackup(options: RestoreBackupOptions): Promise<BackupContents> {
  const directory = resolve(options.directory);
  requireEmpty(directory, options.mayHold ?? []);
  makePrivateDirectory(directory);
  const work = join(directory, '.restoring');
  mkdirSync(work, { mode: 0o700 });
  try {
    const contents = await readBackup(options.from, options.component, options.opener, (file) => {
      const path = join(work, ...file.name.split('/'));
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      return fileSink(path, file.mode);
    });
    await options.place?.(work);
    for (const [name, path] of Object.entries(options.elsewhere ?? {})) {
      const extracted = join(work, name);
      if (!existsSync(extracted)) continue;
      if (path !== undefined) copyElsewhere(extracted, path);
      rmSync(extracted);
    }
    const marker = { madeAtMs: contents.manifest.madeAtMs, restoredAtMs: options.nowMs };
    writeFileAtomically(join(work, RESTORED_MARKER), `${JSON.stringify(marker)}\n`, 0o600);
    // What makes the directory alive comes last: until then a start finds nothing to start.
    const names = readdirSync(work).sort((a, b) => Number(a === options.last) - Number(b === options.last));
    for (const name of names) renameSync(join(work, name), join(directory, name));
    syncDirectory(directory);
    return contents;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function requireEmpty(directory: string, mayHold: readonly string[]): void {
  const found = existsSync(directory) ? readdirSync(directory).filter((name) => !mayHold.includes(name)) : [];
  if (found.length === 0) return;
  throw new QiaoError(
    'DIRECTORY_NOT_EMPTY',
    `${directory} holds ${found.slice(0, 3).join(', ')}${found.length > 3 ? ' …' : ''}; a restore never overwrites`,
    { hint: `name a new directory, or move the old one away: mv ${directory} ${directory}.old` },
  );
}

async function readBackup(
  from: string,
  component: BackupComponent,
  opener: BackupOpener,
  sinkOf: (file: BackupFile) => Sink | undefined,
): Promise<BackupContents> {
  const file = openBackup(from);
  try {
    return readArchive(await SealedReader.begin(file, opener), component, sinkOf);
  } finally {
    closeSync(file);
  }
}

/** What was sealed, entry by entry. Throws as `restoreBackup`. */
export function readArchive(
  reader: ArchiveBytes,
  component: BackupComponent,
  sinkOf: (file: BackupFile) => Sink | undefined,
): BackupContents {
  const manifest = readManifest(reader, component);
  const files: BackupFile[] = [];
  for (;;) {
    const record = readRecord(reader);
    if (record['end'] === true) {
      if (record['files'] !== files.length) throw damaged('it counts other files than it holds');
      break;
    }
    const entry = requireSafe(record, files);
    files.push(entry);
    takeFile(reader, entry, sinkOf(entry));
  }
  reader.requireEnd();
  return { manifest, files };
}

function openBackup(from: string): number {
  try {
    const file = openSync(from, 'r');
    if (fstatSync(file).isFile()) return file;
    closeSync(file);
  } catch (cause) {
    throw new QiaoError('BACKUP_UNREADABLE', `cannot read ${from}`, { hint: 'name the file of a backup', cause });
  }
  throw new QiaoError('BACKUP_UNREADABLE', `${from} is no file`, { hint: 'name the file of a backup' });
}

function readManifest(reader: ArchiveBytes, component: BackupComponent): BackupManifest {
  const manifest = readRecord(reader) as unknown as BackupManifest;
  if (manifest.format !== 1) {
    throw new QiaoError('BACKUP_NEWER', `the backup has format ${String(manifest.format)}, this program reads 1`, {
      hint: 'restore with the version of qiao that made it, or a later one',
    });
  }
  if (manifest.component !== component) {
    throw new QiaoError(
      'BACKUP_OF_ANOTHER_KIND',
      `this is a backup of the ${manifest.component}, not of the ${component}`,
      {
        hint: `qiao ${manifest.component} restore FILE`,
      },
    );
  }
  return manifest;
}

/** A name that could leave the directory, or a file twice, is refused before a byte of it is written. */
function requireSafe(record: Readonly<Record<string, unknown>>, known: readonly BackupFile[]): BackupFile {
  const { name, bytes, mode } = record;
  const isNamed =
    typeof name === 'string' && name.split('/').length <= 4 && name.split('/').every((part) => SEGMENT.test(part));
  if (!isNamed || known.some((one) => one.name === name) || name === RESTORED_MARKER || known.length >= ENTRIES_MOST) {
    throw new QiaoError(
      'BACKUP_NAME_REFUSED',
      `the backup holds an entry named ${JSON.stringify(String(name).slice(0, 100))}`,
      {
        hint: 'it was not made by qiao: take another copy',
      },
    );
  }
  if (!Number.isSafeInteger(bytes) || (bytes as number) < 0) throw damaged(`${name} has no size`);
  return { name, bytes: bytes as number, mode: mode === 0o644 ? 0o644 : 0o600 };
}

function addFile(writer: SealedWriter, name: string, path: string): BackupFile {
  const file = openSync(path, 'r');
  try {
    const { size, mode } = fstatSync(file);
    const entry = { name, bytes: size, mode: (mode & 0o777) === 0o644 ? 0o644 : 0o600 };
    writeRecord(writer, entry);
    const buffer = Buffer.allocUnsafe(Math.min(COPY_BYTES, Math.max(1, size)));
    for (let left = size; left > 0; ) {
      const taken = readSync(file, buffer, 0, Math.min(buffer.length, left), null);
      if (taken === 0) throw new QiaoError('FILE_CHANGED', `${path} shrank while it was read`, { fate: 'transient' });
      writer.write(buffer.subarray(0, taken));
      left -= taken;
    }
    return entry;
  } finally {
    closeSync(file);
  }
}

function takeFile(reader: ArchiveBytes, { bytes }: BackupFile, sink: Sink | undefined): void {
  try {
    for (let left = bytes; left > 0; ) {
      const part = reader.read(Math.min(COPY_BYTES, left));
      sink?.write(part);
      left -= part.length;
    }
  } finally {
    sink?.end();
  }
}

function fileSink(path: string, mode: number): Sink {
  const file = openSync(path, 'wx', mode);
  return {
    write(bytes) {
      for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
    },
    end() {
      fsyncSync(file);
      closeSync(file);
    },
  };
}

function copyElsewhere(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true, mode: 0o700 });
  const source = openSync(from, 'r');
  try {
    const bytes = Buffer.allocUnsafe(statSync(from).size);
    readSync(source, bytes, 0, bytes.length, 0);
    writeFileAtomically(to, bytes, 0o600);
  } finally {
    closeSync(source);
  }
}

function writeRecord(writer: SealedWriter, record: object): void {
  const bytes = Buffer.from(JSON.stringify(record), 'utf8');
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  writer.write(length);
  writer.write(bytes);
}

function readRecord(reader: ArchiveBytes): Record<string, unknown> {
  const length = reader.read(4).readUInt32BE(0);
  if (length === 0 || length > RECORD_MOST) throw damaged(`a record of ${length} bytes`);
  try {
    const record: unknown = JSON.parse(reader.read(length).toString('utf8'));
    if (typeof record === 'object' && record !== null) return record as Record<string, unknown>;
  } catch (error) {
    if (error instanceof QiaoError) throw error;
  }
  throw damaged('a record that cannot be read');
}

function damaged(why: string): QiaoError {
  return new QiaoError('BACKUP_DAMAGED', `the backup is not whole: ${why}`, {
    hint: 'take another copy of it, or an older backup',
  });
}

function syncDirectory(directory: string): void {
  const file = openSync(directory, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
