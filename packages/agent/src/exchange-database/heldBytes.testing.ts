// For tests: bytes of buffers that somebody holds, and none that are merely not collected yet.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

export function heldBytes(): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  // Buffers are freed beside the program; the second time waits for what the first began.
  collect();
  collect();
  return process.memoryUsage().arrayBuffers;
}
