// Configuration that changes during traffic: stop and start, a next version, destinations bound and unbound. The hub may be away in
// another fault: the operator looks what came of the last attempt and tries again.

import { bridgeText, destinationText } from './bridges.ts';
import { persist } from './databaseFaults.ts';
import type { Heal } from './faults.ts';
import type { Play } from './play.ts';

export async function stopAndStart(play: Play, name: string): Promise<Heal> {
  const { centre } = play.stage.platform;
  await play.inTurn(name, () => persist(() => centre.stopBridge({ name })));
  return async () => void (await play.inTurn(name, () => persist(() => centre.startBridge({ name }))));
}

/** The next version has another title: the same rows travel under a new number. */
export async function deploy(play: Play, name: string): Promise<void> {
  await play.inTurn(name, async () => {
    const title = `${name} at ${Math.round(play.timeline.sinceMs)}`;
    const yaml = bridgeText(play.bridge(name), play.destinations(name), title);
    const { problems } = await persist(() =>
      play.stage.platform.centre.deployBridge({ name, yaml, rollbackTo: 0, backfill: true }),
    );
    // A check asks every end; an end that is away in another fault refuses, and the operator would come back later.
    const refused = problems.filter(({ warning }) => !warning);
    if (refused.length > 0) play.timeline.add(`${name}: not deployed: ${refused.map(({ code }) => code).join(', ')}`);
  });
}

/** Certain only at the end of the fault: an end that is away refuses a destination until then. */
export async function bind(play: Play, name: string): Promise<Heal | undefined> {
  const bridge = play.bridge(name);
  const { spare } = bridge;
  if (spare === undefined || play.destinations(name).includes(spare)) return undefined;
  return () =>
    play.inTurn(name, async () => {
      await persist(async () => {
        if (await isBound(play, name, spare.node)) return;
        await play.stage.platform.centre.bindDestination({ name, destinationYaml: destinationText(bridge, spare) });
      });
      if (!play.destinations(name).includes(spare)) play.setDestinations(name, [...play.destinations(name), spare]);
    });
}

export async function unbind(play: Play, name: string): Promise<Heal | undefined> {
  const [kept, ended] = play.destinations(name);
  if (kept === undefined || ended === undefined) return undefined;
  await play.inTurn(name, async () => {
    await persist(async () => {
      if (!(await isBound(play, name, ended.node))) return;
      await play.stage.platform.centre.unbindDestination({ name, nodeCode: ended.node });
    });
    play.setDestinations(name, [kept]);
  });
  return async () => undefined;
}

async function isBound(play: Play, name: string, node: string): Promise<boolean> {
  const { lanes } = await play.stage.platform.centre.getBridge({ name });
  return lanes.some(({ destinationNode, ended }) => destinationNode === node && !ended);
}
