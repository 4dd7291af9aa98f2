/** Changes of a log as they are decoded, cut into pieces for whoever takes them; the same for every log (G3, G7 of port/log.ts). */
import type { LogChange, LogPiece, LogTransaction } from '../adapter.ts';

/** Changes of one piece, in bytes of lines: what is handed over at once. */
const PIECE_BYTES = 512 * 1024;
/** Cost of a change beside its line, for the bound on memory. */
const CHANGE_BYTES = 200;

export class LogPieces {
  #pieces: LogPiece[] = [];
  #changes: LogChange[] = [];
  #pieceBytes = 0;
  #bytes = 0;

  /** Of the pieces that wait to be taken; the one that is being made cannot be, so that nobody may wait for it. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The whole pieces since the last call. */
  take(): LogPiece[] {
    const pieces = this.#pieces;
    this.#pieces = [];
    this.#bytes = 0;
    return pieces;
  }

  add(transaction: LogTransaction, change: LogChange): void {
    // Never between the readings of one change: whoever follows one of them goes on behind its number.
    if (this.#pieceBytes >= PIECE_BYTES && this.#changes.at(-1)?.number !== change.number) {
      this.#cut(transaction, undefined);
    }
    this.#changes.push(change);
    this.#pieceBytes += CHANGE_BYTES + change.line.length;
  }

  /** The transaction ended there. */
  end(transaction: LogTransaction | undefined, position: string): void {
    this.#cut(transaction, position);
  }

  /** Everything before this place was given, and nothing of it was ours. */
  idle(position: string): void {
    this.#pieces.push({ transaction: undefined, changes: [], position });
  }

  #cut(transaction: LogTransaction | undefined, position: string | undefined): void {
    this.#pieces.push({ transaction, changes: this.#changes, position });
    this.#changes = [];
    this.#bytes += this.#pieceBytes;
    this.#pieceBytes = 0;
  }
}
