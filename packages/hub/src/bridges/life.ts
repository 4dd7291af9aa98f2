// Owns a bridge's life, and nothing but it: created → deployed → running ⇄ stopped → retired. Pure; the rows are moved by
// whoever asks.

import { QiaoError } from '@qiao/exchange';
import type { BridgeStateName } from '../hubDatabase.ts';

export type BridgeVerb = 'deploy' | 'start' | 'stop' | 'retire' | 'run';

/** State after the verb; a missing cell is refused. Deploying changes the version, not whether it runs. */
const LIFE: Readonly<Record<BridgeStateName, Partial<Record<BridgeVerb, BridgeStateName>>>> = {
  created: { deploy: 'deployed', retire: 'retired' },
  deployed: { deploy: 'deployed', start: 'running', retire: 'retired' },
  running: { deploy: 'running', start: 'running', stop: 'stopped', run: 'running', retire: 'retired' },
  // Capture goes on while sending is paused, so a run may be asked for.
  stopped: { deploy: 'stopped', start: 'running', stop: 'stopped', run: 'stopped', retire: 'retired' },
  retired: {},
};

/** The state that `verb` leads to. Throws BRIDGE_STATE with the command that comes first. */
export function stateAfter(name: string, state: BridgeStateName, verb: BridgeVerb): BridgeStateName {
  const next = LIFE[state][verb];
  if (next !== undefined) return next;
  throw new QiaoError('BRIDGE_STATE', `the bridge "${name}" is ${state}: it cannot ${verb}`, {
    hint: firstStep(name, state),
  });
}

function firstStep(name: string, state: BridgeStateName): string {
  switch (state) {
    case 'created':
      return `qiao bridge deploy ${name}`;
    case 'deployed':
    case 'stopped':
      return `qiao bridge start ${name}`;
    case 'running':
      return `qiao bridge show ${name}`;
    case 'retired':
      return `qiao bridge create -f ${name}.yaml  # the name is free`;
    default:
      return state satisfies never;
  }
}
