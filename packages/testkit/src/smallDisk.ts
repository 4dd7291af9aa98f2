// A disk that a drill can fill: a tmpfs of its own size, and a ballast file that takes what is free. Needs the right to mount; whoever
// has it not is told so, since a drill that quietly does nothing would prove nothing.

import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const BALLAST = '.ballast';

export class SmallDisk implements Disposable {
  readonly directory: string;

  private constructor(directory: string) {
    this.directory = directory;
  }

  /** Mounts `bytes` of memory at `directory`, which is made when missing. Throws when this user may not mount. */
  static mount(directory: string, bytes: number): SmallDisk {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=700`, 'qiao-drill', directory], {
        stdio: 'pipe',
      });
    } catch (error) {
      throw new Error(`a full disk cannot be drilled here: mounting a tmpfs failed (run as root): ${String(error)}`);
    }
    return new SmallDisk(directory);
  }

  /** Takes every free byte: from now on each write that needs room fails with ENOSPC. */
  fill(): void {
    const { bavail, bsize } = statfsSync(this.directory);
    const block = Buffer.alloc(64 * 1024);
    try {
      writeFileSync(join(this.directory, BALLAST), Buffer.alloc(bavail * bsize));
      // Whatever a writer gave back meanwhile.
      for (;;) writeFileSync(join(this.directory, BALLAST), block, { flag: 'a' });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    }
  }

  /** Gives the room back. */
  free(): void {
    rmSync(join(this.directory, BALLAST), { force: true });
  }

  [Symbol.dispose](): void {
    execFileSync('umount', ['-l', this.directory], { stdio: 'pipe' });
  }
}
