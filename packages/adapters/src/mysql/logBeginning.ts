/**
 * Whether a snapshot's place in the binary log can be relied on.
 *
 * A server that goes on in another file says so a moment before the transactions that filled the last one are visible: they are written, the file is
 * changed, and only then they are committed in the engine. A snapshot of that moment has the beginning of the new file as its place, and does not see them. The place
 * moves on with the next commit, which comes behind theirs; where none comes, the moment has passed when it was looked at often enough.
 */
import type { LogPlace } from './logPosition.ts';
import { placeText } from './logPosition.ts';

/** What a file may have in front of its first transaction, but for a GTID of each pair of domain and server. */
const MOST_HEAD_BYTES = 512;
const GTID_BYTES = 16;
/** Between file and engine the server does nothing but wait for a replica, where it does that (semi-synchronous, AFTER_SYNC). */
const SETTLED_MS = 2_000;
const SETTLED_LOOKS = 10;

export class LogBeginning {
  #place = '';
  #sinceMs = 0;
  #looks = 0;

  /** `gtids`: pairs of domain and server in the log. `waitMs`: for how long the server may wait for a replica. */
  isSettled(place: LogPlace, gtids: number, waitMs: number): boolean {
    if (place.offset > MOST_HEAD_BYTES + place.file.length + GTID_BYTES * gtids) return true;
    const text = placeText(place);
    if (this.#place !== text) {
      this.#place = text;
      this.#sinceMs = performance.now();
      this.#looks = 0;
    }
    this.#looks += 1;
    return this.#looks >= SETTLED_LOOKS && performance.now() - this.#sinceMs >= SETTLED_MS + waitMs;
  }
}
