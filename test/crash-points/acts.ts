// The acts that lead processes past their crash points: rows that travel, bridges that begin and end, rows and deliveries that are
// refused, both ends compared, a lost inbox, nodes that join and go, platforms that are founded. Each kills its victims at the points
// that scenes.ts gives it and leaves the exchange at rest.

import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { connectBus, inboxPrefix, subjects } from '@qiao/bus';
import { NodeStatus } from '@qiao/contract/hub';
import { JobState } from '@qiao/contract/job';
import { NodeRole, RowAction } from '@qiao/contract/node';
import { silentLog } from '@qiao/runtime';
import { readIdentity, toPem } from '@qiao/security';
import { runQiao, until } from '@qiao/testkit';
import { expect } from 'vitest';
import { booksLine, bridgeYaml, byOutcome, PERSON_ROWS, TARGET_ROWS, untilAtRest, untilSame } from '../world.ts';
import type { CrashWorld, PointsOf, Process } from './world.ts';

export const ACTS = {
  rowsTravel,
  theHubRefuses,
  bothEndsAreCompared,
  theTargetRefusesRows,
  anInboxIsLost,
  aBridgeBegins,
  aBridgeEnds,
  nodesJoinAndGo,
  platformsAreFounded,
} as const satisfies Record<string, (world: CrashWorld, points: PointsOf) => Promise<void>>;

export type ActName = keyof typeof ACTS;

const AGENTS: readonly Process[] = ['health', 'civil-affairs', 'archive'];
/** Passed when some agent starts. */
const AT_STARTS = /^(desired|snapshot|hello|route\.reported)/;

/** Only the start of an agent leads to what is left, and nobody starts by himself any more. */
const isDriven = (left: ReadonlySet<string>) => [...left].every((point) => AT_STARTS.test(point));

/** What ordinary traffic passes, and what hub and peers pass when an agent starts: here somebody always does. */
async function rowsTravel(world: CrashWorld, points: PointsOf): Promise<void> {
  await world.dieAt(points, async (drive) => {
    while (!drive.signal.aborted) {
      await world.batch();
      await pause(500);
      // A sender that died between bus and mark publishes again what was applied meanwhile.
      if (drive.left('civil-affairs').has('receive.answered') && drive.isOver('health')) {
        await world.dieAt({ health: ['send.published'] }, () => world.batch());
      } else if (drive.isOver('archive') && AGENTS.every((agent) => isDriven(drive.left(agent)))) {
        await world.program('archive').kill();
        await world.program('archive').start();
      }
    }
  });
}

/** Bytes that are no delivery come on the sender's subject: the hub writes it down, tells the sender and lets it go. */
async function theHubRefuses(world: CrashWorld, points: PointsOf): Promise<void> {
  await world.dieAt(points, async (drive) => {
    while (!drive.signal.aborted) await world.again(drive, () => publishNonsense(world));
  });
  await until(world.platform, 'the refusals are written down', async () => {
    const { refusals } = await world.centre((hub) => hub.listRefusals({ limit: 100 }));
    return refusals.some(({ code }) => code === 'MESSAGE_UNREADABLE');
  });
}

async function publishNonsense({ platform }: CrashWorld): Promise<void> {
  const identity = readIdentity(join(platform.agentDirectory('health'), 'identity'));
  if (identity.nats === undefined) throw new Error('an agent has credentials for the bus');
  const bus = await connectBus({
    urls: identity.natsUrls,
    name: 'nonsense',
    credentials: identity.nats,
    tls: { authorityPem: toPem(identity.authority, 'CERTIFICATE') },
    inboxPrefix: inboxPrefix('health'),
    log: silentLog(),
  });
  try {
    await bus.publish(subjects.up(identity.platformCode, 'health', 'data'), Buffer.from('nonsense'));
  } finally {
    await bus.close();
  }
}

/** A row that somebody deleted at the target is found and sent again, from the operator's command to its commit. */
async function bothEndsAreCompared(world: CrashWorld, points: PointsOf): Promise<void> {
  const { platform, source, target } = world;
  const all = { destinationNode: '', tables: [], rowsPerSecond: 0, where: '', dryRun: false, allowedDeletes: 0n };
  const isThere = async () => (await target.rows('SELECT id FROM ex_odd')).length === 1;
  const mend = async (signal?: AbortSignal) => {
    await world.centre((hub) => hub.resyncBridge({ name: 'odd', ...all }, signal === undefined ? {} : { signal }));
    await pause(200);
  };
  await untilAtRest(platform, 'odd', 1);
  await world.dieAt(points, async (drive) => {
    while (!drive.signal.aborted) {
      await target.run('DELETE FROM ex_odd');
      // A job that was under way already may have read the target before.
      while (!drive.signal.aborted && !(await isThere())) await world.again(drive, mend);
    }
  });
  await until(platform, 'the row is there again', async () => (await isThere()) || (await mend(), false));
  // The others find nothing any more; one that still waits would send again what the next act keeps from landing.
  await until(platform, 'no job is under way', async () => {
    const { jobs } = await world.centre((hub) => hub.getBridgeJobs({ name: 'odd', jobIds: [] }));
    return jobs.every(({ state }) => state === JobState.DONE || state === JobState.FAILED);
  });
  await untilSame(platform, source, PERSON_ROWS.replace('person', 'odd'), target, TARGET_ROWS('ex_odd'));
  const line = await untilAtRest(platform, 'odd', 2);
  expect([line.verdict, byOutcome(line)]).toEqual(['VERDICT_BALANCED', { inserted: line.sent.total }]);
}

/** Rows against a CHECK of the target, later changes of their keys, and a person who gives the rows up one after the other. */
async function theTargetRefusesRows(world: CrashWorld, points: PointsOf): Promise<void> {
  const { platform, source, target } = world;
  const before = await untilAtRest(platform, 'odd', 1);
  const selected = { refs: [], bridge: 'odd', laneId: Buffer.alloc(0), table: '', code: '' };
  const openRows = async () => {
    const list = { rows: selected, includeSettled: false, limit: 100 };
    const { rows, problems } = await world.centre((hub) => hub.listOpenRows({ list, node: '' }));
    if (problems.length > 0) throw new Error('the receiver did not answer');
    return rows;
  };
  await world.dieAt(points, async (drive) => {
    const row = (id: number, note: string) => `(${id}, '王', '3702', '${note}')`;
    await source.run(
      `INSERT INTO odd VALUES ${row(2, 'refused')}, ${row(3, 'taken')}, ${row(4, 'refused')}, ${row(5, 'refused')}`,
    );
    await untilAtRest(platform, 'odd', before.sent.total + 4);
    await source.run(
      "UPDATE odd SET note = 'refused still' WHERE id = 2",
      "UPDATE odd SET note = 'taken too' WHERE id = 3",
    );
    await untilAtRest(platform, 'odd', before.sent.total + 6);
    for (let open = await openRows(); open.length > 0; ) {
      const refs = open.slice(0, 1).map(({ ref }) => ref);
      const settle = { action: RowAction.ABANDON, reason: 'story', mostRows: 1, edit: undefined };
      const abandon = async (signal: AbortSignal) => {
        await world.centre((hub) =>
          hub.settleRows({ settle: { ...settle, rows: { ...selected, refs } }, node: '' }, { signal }),
        );
      };
      await world.again(drive, abandon);
      open = await until(platform, 'the row is given up', async () => {
        const now = await openRows();
        return now.every(({ ref }) => ref !== refs[0]) && now;
      });
    }
  });
  const line = await until(platform, 'no row waits', async () => {
    const now = await booksLine(platform, 'odd');
    return now.openRows === 0 && now;
  });
  const inserted = (byOutcome(before).inserted ?? 0) + 1;
  expect(byOutcome(line)).toEqual({ inserted, updated: 1, abandoned: 4 });
  expect(line.verdict).toBe('VERDICT_EXPLAINED');
  expect(await target.rows('SELECT id, note FROM ex_odd ORDER BY id')).toEqual([
    ['1', null],
    ['3', 'taken too'],
  ]);
}

/** A receiver that lost its exchange database asks the sender for what it may have lost. */
async function anInboxIsLost(world: CrashWorld, points: PointsOf): Promise<void> {
  await world.dieAt(points, async () => {
    const archive = world.program('archive');
    await archive.kill();
    for (const suffix of ['', '-wal', '-shm']) {
      rmSync(join(world.platform.agentDirectory('archive'), `exchange.db${suffix}`), { force: true });
    }
    await world.batch();
    await archive.start();
  });
}

/** Bridges out of files into tables that do not exist yet, with a death at each step until their first load. */
async function aBridgeBegins(world: CrashWorld, points: PointsOf): Promise<void> {
  const begun = ['late'];
  const apply = (name: string) => [['apply', '-f', '-'], lateYaml(name)] as const;
  await world.commandDiesAt('bridgeFile.created', ...apply('late'));
  await world.commandDiesAt('bridgeFile.deployed', ...apply('late'));
  // A sender opens its lanes as soon as a snapshot names them, and sends when the bridge is started. The hub learns an epoch from its
  // first delivery, unless a sender that connected anew says hello in between: then the next bridge will do.
  await world.dieAt(points, async (drive) => {
    while (!drive.signal.aborted) {
      const name = begun.at(-1) as string;
      await world.again(drive, (signal) => world.command(signal, ...apply(name)));
      if (!drive.signal.aborted) await sameLate(world, name);
      if (!drive.signal.aborted) begun.push(`soon-${begun.length}`);
    }
  });
  for (const name of begun) {
    await world.command(undefined, ...apply(name));
    await sameLate(world, name);
    expect(byOutcome(await untilAtRest(world.platform, name, 20))).toEqual({ inserted: 20 });
  }
}

/** All bridges that began late end: their sender closes their books, their receiver forgets them, down to the mark in the target. */
async function aBridgeEnds(world: CrashWorld, points: PointsOf): Promise<void> {
  const { bridges } = await world.centre((hub) => hub.listBridges({ includeRetired: false }));
  const late = bridges.map(({ name }) => name).filter((name) => /^(late|soon-\d+)$/.test(name));
  await world.dieAt(points, async (drive) => {
    for (const name of late) await world.again(drive, () => world.centre((hub) => hub.retireBridge({ name })));
  });
  await using archive = world.exchangeTables();
  await until(
    world.platform,
    'no mark but that of the bridge that goes on',
    async () => (await archive.rows('SELECT DISTINCT lane FROM qiao_mark WHERE epoch > 0')).length === 1,
  );
  for (const name of late) await sameLate(world, name);
}

/** A bridge of the table `late` into an exchange table that begins with the bridge's name. */
function lateYaml(bridge: string): string {
  return bridgeYaml({
    name: bridge,
    from: 'health',
    source: 'his',
    table: 'late',
    to: [{ node: 'archive', dataSource: 'exchange', table: tableOf(bridge) }],
  });
}

function tableOf(bridge: string): string {
  return `${bridge.replace('-', '_')}_late`;
}

async function sameLate(world: CrashWorld, bridge: string): Promise<void> {
  const { platform, source } = world;
  await using archive = world.exchangeTables();
  await untilSame(platform, source, PERSON_ROWS.replace('person', 'late'), archive, TARGET_ROWS(tableOf(bridge)));
}

/** Invitations, joins and revocations of nodes that exchange nothing: nobody may be half a member. */
async function nodesJoinAndGo(world: CrashWorld, points: PointsOf): Promise<void> {
  const { platform } = world;
  const guests = ['guest-a', 'guest-b', 'guest-c', 'guest-d'] as const;
  for (const code of guests) platform.writeAgentConfig({ code, dataSources: {} });
  const invited = async (code: string, signal?: AbortSignal) => {
    const invitation = {
      ...{ nodeCode: code, nodeTitle: code, departmentCode: code, departmentTitle: code },
      ...{ role: NodeRole.AGENT, expiresInS: 0 },
    };
    const { token } = await world.centre((hub) => hub.invite(invitation, signal === undefined ? {} : { signal }));
    return ['agent', 'join', '--config', platform.agentConfig(code), '--token', token];
  };
  await Promise.all([
    invited('guest-c').then((words) => world.commandDiesAt('join.answered', words)),
    invited('guest-d').then((words) => world.commandDiesAt('identity.written', words)),
  ]);
  const revoked: string[] = [];
  await world.dieAt(points, async (drive) => {
    // Whoever got no answer, or could not keep it, is invited again and joins.
    for (const code of guests) {
      await world.again(drive, async (signal) => world.command(signal, await invited(code, signal)));
    }
    // Given once: what a death leaves undone the hub does at its start.
    for (const code of guests) {
      await world.again(drive, () => world.centre((hub) => hub.listNodes({})));
      // Only now: the hub's last death may be heard of after its answer failed, and would end the next command too.
      const signal = drive.untilDeath();
      await world.centre((hub) => hub.revokeNode({ code, reason: 'story' }, { signal })).catch(() => undefined);
      revoked.push(code);
    }
  });
  expect(revoked).toEqual(guests);
  const { nodes } = await world.centre((hub) => hub.listNodes({}));
  const found = nodes.filter(({ code }) => code.startsWith('guest')).map(({ code, status }) => [code, status]);
  expect(Object.fromEntries(found)).toEqual(Object.fromEntries(guests.map((code) => [code, NodeStatus.REVOKED])));
  await until(platform, 'the bus has been told of every revocation', () => {
    const told = JSON.parse(readFileSync(join(platform.hubDirectory, 'bus', 'revocations.json'), 'utf8')) as object;
    return Object.keys(told).length >= 4;
  });
}

/** A directory that was left half founded is no hub, and founding goes well once it is gone. */
async function platformsAreFounded(world: CrashWorld): Promise<void> {
  await Promise.all(
    (['init.keysWritten', 'init.databaseFounded', 'init.contextWritten'] as const).map(async (point) => {
      const directory = join(world.folder, point);
      const [hub, operator] = [join(directory, 'hub'), join(directory, 'operator')];
      const words = [
        ...['hub', 'init', '--dir', hub, '--operator-dir', operator, '--platform', 'demo', '--title', '演示'],
        ...['--listen', '127.0.0.1:7400', '--nats-listen', '127.0.0.1:4222'],
      ];
      await world.commandDiesAt(point, words);
      expect(existsSync(join(hub, 'hub.yaml'))).toBe(false);
      const started = await runQiao(['hub', 'start', '--dir', hub], { context: operator });
      expect(started.code).not.toBe(0);
      rmSync(directory, { recursive: true });
      const founded = await runQiao(words, { context: operator });
      expect(founded.code, founded.stderr).toBe(0);
    }),
  );
}
