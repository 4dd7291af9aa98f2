// What each fault does to the running platform, and how it is healed. A fault is a function that begins it and gives back its heal;
// healing is always possible and may be repeated. What a fault needs and does not find (a PostgreSQL target in a seed that has none)
// makes it nothing, and the timeline says so.

import { rmSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { lose, reorder, repeat } from './busFaults.ts';
import { bind, deploy, stopAndStart, unbind } from './configFaults.ts';
import { deadlock, lockTable, readOnly, statementError, terminate } from './databaseFaults.ts';
import { describeFault, type Fault, type LinkName, type ProcessName } from './faultPlan.ts';
import type { PlannedFault } from './plan.ts';
import type { Play } from './play.ts';
import { type Stage, sendSignal } from './stage.ts';

/** Ends a fault. */
export type Heal = () => Promise<void>;

const CUT_EVERY_MS = 80;
const NOTHING: Heal = async () => undefined;

/** Begins the fault at its moment, lets it last, heals it. Resolves when it is healed; throws when it could not be. */
export async function playFault(play: Play, { number, atMs, forMs, fault }: PlannedFault): Promise<void> {
  await pause(Math.max(0, atMs - play.timeline.sinceMs));
  const name = `fault ${number}: ${describeFault(fault)}`;
  play.timeline.add(`${name} begins`);
  const heal = await beginFault(play, fault, forMs);
  if (heal === undefined) {
    play.timeline.add(`${name}: nothing here to do it to`);
    return;
  }
  play.count(fault.kind);
  await pause(forMs);
  await heal();
  play.timeline.add(`${name} is healed`);
}

/** Undefined when the seed has nothing of the kind that the fault needs. */
async function beginFault(play: Play, fault: Fault, forMs: number): Promise<Heal | undefined> {
  const { stage } = play;
  switch (fault.kind) {
    case 'kill':
      return kill(stage, fault.process);
    case 'freeze': {
      const thaw = stage.freeze(fault.process);
      return async () => thaw();
    }
    case 'cut':
      return cutAgainAndAgain(stage, fault.link);
    case 'refuse':
    case 'delay':
    case 'stall':
    case 'halfClose':
    case 'double':
      return spoilLink(stage, fault);
    case 'lose':
      return lose(stage, fault);
    case 'reorder':
      return reorder(stage, fault);
    case 'repeat':
      repeat(stage, fault);
      return NOTHING;
    case 'wipeBus':
      return wipeBus(stage);
    case 'fullDisk':
      stage.disk(fault.node).fill();
      return async () => stage.disk(fault.node).free();
    case 'clock':
      stage.setClock(fault.process, fault.offsetMs);
      return async () => stage.setClock(fault.process, 0);
    case 'terminate':
      return terminate(play, fault.node, fault.database);
    case 'restartPostgres':
      await stage.postgres.restart();
      return NOTHING;
    case 'restartMysql':
      await stage.mysql.restart();
      return NOTHING;
    case 'readOnly':
      return readOnly(play, fault.node);
    case 'lock':
      return lockTable(play, fault.bridge);
    case 'deadlock':
      return deadlock(play, fault.bridge, forMs);
    case 'statementError':
      return statementError(play, fault.bridge, fault.sqlState);
    case 'stopStart':
      return stopAndStart(play, fault.bridge);
    case 'deploy':
      await deploy(play, fault.bridge);
      return NOTHING;
    case 'bind':
      return bind(play, fault.bridge);
    case 'unbind':
      return unbind(play, fault.bridge);
    default:
      return fault satisfies never;
  }
}

async function kill(stage: Stage, name: ProcessName): Promise<Heal> {
  if (name === 'nats') {
    const pid = stage.natsPid();
    if (pid !== undefined) process.kill(pid, 'SIGKILL');
    // The hub starts it again.
    return NOTHING;
  }
  await stage.inTurn(name, () => stage.program(name).kill());
  return () => stage.inTurn(name, () => stage.revive(name));
}

async function cutAgainAndAgain(stage: Stage, link: LinkName): Promise<Heal> {
  const proxy = stage.link(link);
  const timer = setInterval(() => proxy.cut(), CUT_EVERY_MS);
  proxy.cut();
  return async () => clearInterval(timer);
}

function spoilLink(
  stage: Stage,
  fault: Extract<Fault, { kind: 'refuse' | 'delay' | 'stall' | 'halfClose' | 'double' }>,
): Heal {
  const link = stage.link(fault.link);
  switch (fault.kind) {
    case 'refuse':
      link.refuse(true);
      link.cut();
      return async () => link.refuse(false);
    case 'delay':
      link.delay(fault.ms);
      return async () => link.delay(0);
    case 'stall':
      link.stall(true);
      return async () => link.stall(false);
    case 'halfClose':
      link.halfClose(fault.side);
      return NOTHING;
    case 'double':
      link.double(true);
      link.cut();
      return async () => link.double(false);
    default:
      return fault satisfies never;
  }
}

/** The bus with its disks: the hub goes too, because its nats-server is its child, and finds an empty store when it is back. */
async function wipeBus(stage: Stage): Promise<Heal> {
  stage.tap.deafen();
  await stage.inTurn('hub', async () => {
    await stage.program('hub').kill();
    for (let pid = stage.natsPid(); pid !== undefined; pid = stage.natsPid()) {
      sendSignal(pid, 'SIGKILL');
      await pause(20);
    }
    rmSync(stage.natsStore, { recursive: true, force: true });
  });
  return () => stage.inTurn('hub', () => stage.revive('hub'));
}
