/** The readers of logs of this agent: one per data source that a bridge is captured from, or whose database still keeps its log for us. */
import { createWakeup, supervise, type Wakeup } from '@qiao/runtime';
import type { DesiredBridge } from '../control/desired.ts';
import { isByLog, isCaptured } from './captured.ts';
import { LogReader } from './logReader.ts';
import type { CapturePorts } from './ports.ts';

export class LogReaders {
  readonly #ports: CapturePorts;
  readonly #onOwed: (bridgeId: string) => void;
  readonly #readers = new Map<string, LogReader>();
  readonly #done: Promise<void>[] = [];
  /** By source that is read: woken when a person asked for a run. */
  readonly #started = new Map<string, Wakeup>();
  #bridges = '';

  /** `onOwed`: a scan of the bridge is due now. */
  constructor(ports: CapturePorts, onOwed: (bridgeId: string) => void) {
    this.#ports = ports;
    this.#onOwed = onOwed;
  }

  of({ definition }: DesiredBridge): LogReader {
    return this.#reader(definition.source.dataSource);
  }

  /** Starts what is needed, and tells the others when the bridges have changed. */
  start(signal: AbortSignal): void {
    const desired = this.#ports.desired.current();
    if (desired === undefined) return;
    const bridges = [...desired.bridges.values()].filter((bridge) => isByLog(bridge) && isCaptured(desired, bridge));
    const kept = this.#ports.database.logs.kept().map(({ source }) => source);
    for (const source of new Set([...kept, ...bridges.map(({ definition }) => definition.source.dataSource)])) {
      if (this.#started.has(source)) continue;
      const asked = createWakeup();
      this.#started.set(source, asked);
      const { clock, log } = this.#ports;
      this.#done.push(supervise(this.#reader(source).parts, { signal, clock, log: log.child({ source }), asked }));
    }
    const now = JSON.stringify(
      bridges.map(({ bridgeId, version, circles }) => [
        bridgeId,
        version,
        circles && [[...circles.pairs], [...circles.rings]],
      ]),
    );
    if (now === this.#bridges) return;
    this.#bridges = now;
    for (const reader of this.#readers.values()) reader.lookAgain();
  }

  /** A person asked for a run: what failed is tried at once. */
  ask({ definition }: DesiredBridge): void {
    this.#started.get(definition.source.dataSource)?.wake();
  }

  wake(): void {
    for (const reader of this.#readers.values()) reader.wake();
  }

  /** Resolves when all have stopped; their signal stops them. */
  async stop(): Promise<void> {
    await Promise.all(this.#done.splice(0));
    this.#started.clear();
  }

  #reader(source: string): LogReader {
    let reader = this.#readers.get(source);
    if (reader === undefined) {
      reader = new LogReader(this.#ports, source, this.#onOwed);
      this.#readers.set(source, reader);
    }
    return reader;
  }
}
