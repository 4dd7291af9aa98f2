// A line between two programs that a drill can spoil: it forwards TCP as it comes and, when told, delays, stalls, cuts, closes one
// direction, turns callers away, or makes every call twice. What travels (TLS, NATS) is not its business.

import { connect, createServer, type Server, type Socket } from 'node:net';

/** Bytes that wait in one direction before its reader is paused: a stalled line must not fill this process. */
const HELD_BYTES = 4 * 1024 * 1024;

interface Call {
  readonly caller: Socket;
  readonly callee: Socket;
  readonly directions: readonly Direction[];
}

export class TcpProxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #target: { readonly host: string; readonly port: number };
  readonly #calls = new Set<Call>();
  #delayMs = 0;
  #isStalled = false;
  #isRefusing = false;
  #isDoubling = false;

  private constructor(target: { host: string; port: number }) {
    this.#target = target;
    this.#server = createServer({ allowHalfOpen: true }, (caller) => this.#take(caller));
  }

  /** Listens on a free port of 127.0.0.1 and forwards to `target`, which need not be there yet. */
  static async open(target: { host: string; port: number }): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    await new Promise<void>((resolve, reject) => {
      proxy.#server.once('error', reject);
      proxy.#server.listen(0, '127.0.0.1', resolve);
    });
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  /** Connections that stand now. */
  get connections(): number {
    return this.#calls.size;
  }

  /** Ends every connection at once, as a rebooting router does: each end sees a reset. */
  cut(): void {
    for (const { caller, callee } of [...this.#calls]) {
      caller.resetAndDestroy();
      callee.resetAndDestroy();
    }
  }

  /** Whether new callers are turned away. */
  refuse(isRefusing: boolean): void {
    this.#isRefusing = isRefusing;
  }

  /** From now on each byte arrives this much later, in order. */
  delay(ms: number): void {
    this.#delayMs = ms;
    this.#eachDirection((direction) => direction.setDelay(ms));
  }

  /** Nothing passes and nobody is told; what came meanwhile passes when it ends. */
  stall(isStalled: boolean): void {
    this.#isStalled = isStalled;
    this.#eachDirection((direction) => direction.setStalled(isStalled));
  }

  /** Closes one direction of every connection, so that one side has said goodbye and the other goes on talking. */
  halfClose(side: 'caller' | 'callee'): void {
    for (const call of this.#calls) call[side].end();
  }

  /** From now on each call is made twice: a second connection says the same bytes, and its answers are thrown away. */
  double(isDoubling: boolean): void {
    this.#isDoubling = isDoubling;
  }

  /** A good line again, also for the connections that stand. */
  heal(): void {
    this.delay(0);
    this.stall(false);
    this.refuse(false);
    this.double(false);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #take(caller: Socket): void {
    caller.on('error', () => caller.destroy());
    if (this.#isRefusing) {
      caller.resetAndDestroy();
      return;
    }
    const callee = this.#dial();
    const directions = [new Direction(caller, callee), new Direction(callee, caller)];
    if (this.#isDoubling) this.#echo(caller);
    for (const direction of directions) {
      direction.setDelay(this.#delayMs);
      direction.setStalled(this.#isStalled);
    }
    const call = { caller, callee, directions };
    this.#calls.add(call);
    const end = () => {
      this.#calls.delete(call);
      for (const direction of directions) direction.stop();
      caller.destroy();
      callee.destroy();
    };
    caller.once('close', end);
    callee.once('close', end);
  }

  #dial(): Socket {
    const socket = connect({ ...this.#target, allowHalfOpen: true });
    socket.on('error', () => socket.destroy());
    return socket;
  }

  #echo(caller: Socket): void {
    const ghost = this.#dial();
    ghost.resume();
    const repeat = (chunk: Buffer) => void ghost.write(chunk);
    caller.on('data', repeat);
    ghost.once('close', () => caller.off('data', repeat));
    caller.once('close', () => ghost.destroy());
  }

  #eachDirection(act: (direction: Direction) => void): void {
    for (const call of this.#calls) call.directions.forEach(act);
  }
}

/** One direction of a connection: chunks in order, each after the delay, none while stalled. */
class Direction {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #held: { chunk: Buffer | undefined; dueAtMs: number }[] = [];
  #heldBytes = 0;
  #delayMs = 0;
  #isStalled = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(from: Socket, to: Socket) {
    this.#from = from;
    this.#to = to;
    from.on('data', (chunk: Buffer) => this.#hold(chunk));
    from.once('end', () => this.#hold(undefined));
    to.on('drain', () => this.#pass());
  }

  setDelay(ms: number): void {
    this.#delayMs = ms;
  }

  setStalled(isStalled: boolean): void {
    this.#isStalled = isStalled;
    this.#pass();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#held.length = 0;
  }

  /** A chunk, or undefined for the end of this direction. */
  #hold(chunk: Buffer | undefined): void {
    const lastMs = this.#held.at(-1)?.dueAtMs ?? 0;
    this.#held.push({ chunk, dueAtMs: Math.max(performance.now() + this.#delayMs, lastMs) });
    this.#heldBytes += chunk?.length ?? 0;
    if (this.#heldBytes > HELD_BYTES) this.#from.pause();
    this.#pass();
  }

  #pass(): void {
    clearTimeout(this.#timer);
    while (!this.#isStalled && !this.#to.writableNeedDrain) {
      const first = this.#held[0];
      if (first === undefined) break;
      const waitMs = first.dueAtMs - performance.now();
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.#pass(), waitMs);
        return;
      }
      this.#held.shift();
      this.#heldBytes -= first.chunk?.length ?? 0;
      if (this.#to.destroyed || !this.#to.writable) continue;
      if (first.chunk === undefined) this.#to.end();
      else this.#to.write(first.chunk);
    }
    if (this.#heldBytes <= HELD_BYTES && this.#from.isPaused()) this.#from.resume();
  }
}
