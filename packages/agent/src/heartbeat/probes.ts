// How the data sources are, asked beside the heartbeat so that a database that hangs never delays it: each source is probed
// on its own, with a time limit, and the last answer stands until the next.

import type { DataSource } from '@qiao/adapters';
import { DataSourceState } from '@qiao/contract/node';
import { QiaoError } from '@qiao/exchange';
import type { Clock, Part } from '@qiao/runtime';

export interface ProbePorts {
  /** Names in the agent's configuration, in its order. */
  names(): readonly { name: string; adapter: DataSource['adapter'] }[];
  open(name: string): Promise<DataSource>;
  /** Pause between two probes; 10 s when not given. */
  readonly everyMs?: number;
  readonly clock: Clock;
}

export interface Probes extends Part {
  /** The last answer of every source; sources not yet probed are left out. */
  states(): DataSourceState[];
}

const PROBE_EVERY_MS = 10_000;
const PROBE_TIMEOUT_MS = 5_000;
const MESSAGE_MAX_CHARACTERS = 500;

export function dataSourceProbes(ports: ProbePorts): Probes {
  const last = new Map<string, DataSourceState>();
  const underWay = new Set<string>();

  async function probe(name: string, adapter: string): Promise<void> {
    // A probe that outlived its limit is not joined by a second one: a hung server would collect connections.
    if (underWay.has(name)) return;
    underWay.add(name);
    const asked = probeOnce(ports, name).finally(() => underWay.delete(name));
    const limit = new AbortController();
    const answer = await Promise.race([
      asked,
      ports.clock.sleep(PROBE_TIMEOUT_MS, limit.signal).then(() => ({
        reachable: false as const,
        code: 'DATA_SOURCE_TIMEOUT',
        message: `no answer within ${PROBE_TIMEOUT_MS} ms`,
        hint: '',
      })),
    ]);
    limit.abort();
    last.set(
      name,
      DataSourceState.fromPartial({
        name,
        adapter,
        reachable: answer.reachable,
        code: answer.reachable ? '' : answer.code,
        message: answer.reachable ? '' : sentence(answer).slice(0, MESSAGE_MAX_CHARACTERS),
        checkedAtMs: BigInt(ports.clock.nowMs()),
      }),
    );
  }

  return {
    name: 'data-source-probes',
    async run(signal) {
      while (!signal.aborted) {
        await Promise.all(ports.names().map(({ name, adapter }) => probe(name, adapter)));
        await ports.clock.sleep(ports.everyMs ?? PROBE_EVERY_MS, signal);
      }
    },
    states: () => [...last.values()],
  };
}

async function probeOnce(ports: ProbePorts, name: string) {
  try {
    return await (await ports.open(name)).probe();
  } catch (error) {
    const code =
      error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'UNEXPECTED';
    const message = error instanceof Error ? error.message : String(error);
    return { reachable: false as const, code, message, hint: error instanceof QiaoError ? error.hint : '' };
  }
}

/** What a person should know, in one text. */
function sentence({ message, hint }: { readonly message: string; readonly hint: string }): string {
  return hint === '' ? message : `${message}; ${hint}`;
}
