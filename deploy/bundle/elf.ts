// What a Linux binary asks of the machine it runs on: its processor, and the newest C library version it names.

import { readFileSync } from 'node:fs';
import type { Arch } from './node.ts';

/** ELF's numbers of machines (e_machine): x86-64 and AArch64. */
const MACHINES: Readonly<Record<Arch, number>> = { x64: 62, arm64: 183 };

/** Throws unless the file is an ELF binary for this processor. */
export function requireArch(file: string, arch: Arch): void {
  const bytes = readFileSync(file);
  const machine = bytes.readUInt32BE(0) === 0x7f454c46 ? bytes.readUInt16LE(18) : undefined;
  if (machine !== MACHINES[arch]) {
    throw new Error(`${file} is for machine ${machine ?? '(no ELF file)'}; expected ${MACHINES[arch]} (${arch})`);
  }
}

/** The newest glibc that any of the files names, for example "2.34": an older one cannot load them. */
export function glibcNeeded(files: readonly string[]): string {
  const minors = files.flatMap((file) =>
    [...readFileSync(file, 'latin1').matchAll(/GLIBC_2\.(\d{1,3})\0/g)].map(([, minor]) => Number(minor)),
  );
  return `2.${Math.max(0, ...minors)}`;
}
