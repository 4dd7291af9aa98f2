// The acts that lead to what traffic alone does not: a bridge that begins and ends, rows and deliveries that are refused, a
// lost inbox, nodes that join and go, platforms that are founded. Each arms its points itself and leaves the exchange at rest.

import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { connectBus, inboxPrefix, subjects } from '@qiao/bus';
import { silentLog } from '@qiao/runtime';
import { readIdentity, toPem } from '@qiao/security';
import { runQiao, until } from '@qiao/testkit';
import { expect } from 'vitest';
import { byOutcome, PERSON_ROWS, TARGET_ROWS, untilAtRest, untilSame } from '../world.ts';
import type { CrashWorld } from './world.ts';

export const ACTS = {
  deliveriesComeTwice,
  theHubRefuses,
  theTargetRefusesRows,
  anInboxIsLost,
  aBridgeBegins,
  aBridgeEnds,
  whatIsSettledIsPurged,
  nodesJoinAndGo,
  platformsAreFounded,
} as const satisfies Record<string, (world: CrashWorld) => Promise<void>>;

export type ActName = keyof typeof ACTS;

/** The sender dies between bus and mark, so that it publishes again what was applied meanwhile. */
async function deliveriesComeTwice(world: CrashWorld): Promise<void> {
  await world.dieAt('civil-affairs', 'receive.answered', async (signal) => {
    while (!signal.aborted) await world.dieAt('health', 'send.published');
  });
}

/** Bytes that are no delivery come on the sender's subject: the hub writes it down, tells the sender and lets it go. */
async function theHubRefuses(world: CrashWorld): Promise<void> {
  for (const point of ['route.refusalRecorded', 'route.refusalTold'] as const) {
    await world.dieAt('hub', point, () => publishNonsense(world));
  }
  await world.dieAt('health', 'refusal.recorded', () => publishNonsense(world));
  await until(world.platform, 'the refusals are written down', async () => {
    const { stdout } = await world.platform.qiao('bridge', 'refusals', '--json');
    return stdout.includes('MESSAGE_UNREADABLE');
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

/** A row against a CHECK of the target, then a later change of its key. */
async function theTargetRefusesRows(world: CrashWorld): Promise<void> {
  const { platform, source, target } = world;
  await world.dieAt('civil-affairs', 'quarantine.kept', () =>
    source.run("INSERT INTO odd VALUES (2, '王', '3702', 'refused'), (3, '王', '3702', 'taken')"),
  );
  await untilAtRest(platform, 'odd', 3);
  await world.dieAt('civil-affairs', 'quarantine.held', () =>
    source.run("UPDATE odd SET note = 'refused still' WHERE id = 2", "UPDATE odd SET note = 'taken too' WHERE id = 3"),
  );
  const line = await untilAtRest(platform, 'odd', 5);
  expect(line.sent).toEqual({ total: 5, inserts: 3, updates: 2, deletes: 0 });
  expect(byOutcome(line)).toEqual({ inserted: 2, quarantined: 1, held: 1, updated: 1 });
  expect(await target.rows('SELECT id, note FROM ex_odd ORDER BY id')).toEqual([
    ['1', null],
    ['3', 'taken too'],
  ]);
}

/** A receiver that lost its exchange database asks the sender for what it may have lost. */
async function anInboxIsLost(world: CrashWorld): Promise<void> {
  await world.dieAt('health', 'resend.recorded', async () => {
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
async function aBridgeBegins(world: CrashWorld): Promise<void> {
  // The hub learns an epoch from its first delivery, unless a sender that connected anew says hello in between: then the next will do.
  const begun: string[] = [];
  await world.dieTogether(
    [
      ['hub', 'route.learned'],
      ['archive', 'epoch.applied'],
    ],
    async (signal) => {
      while (!signal.aborted) {
        begun.push(`soon-${begun.length + 1}`);
        await world.command(signal, ['apply', '-f', '-'], lateYaml(begun.at(-1) as string, ['late']));
        await sameLate(world, begun.at(-1) as string);
      }
    },
  );
  for (const name of begun) {
    await world.platform.qiaoWith(lateYaml(name, ['late']), 'apply', '-f', '-');
    await sameLate(world, name);
  }

  const yaml = lateYaml('late', ['late', 'extra']);
  const apply = (signal: AbortSignal) => world.command(signal, ['apply', '-f', '-'], yaml);
  await world.commandDiesAt('bridgeFile.created', ['apply', '-f', '-'], yaml);
  await world.dieAt('archive', 'table.created', apply);
  await world.dieAt('hub', 'bridge.checked', apply);
  // The sender opens its lanes as soon as a snapshot names them, and sends when the bridge is started.
  await world.dieTogether(
    [
      ['hub', 'bridge.stored'],
      ['health', 'epoch.opened'],
    ],
    apply,
  );
  await world.commandDiesAt('bridgeFile.deployed', ['apply', '-f', '-'], yaml);
  await apply(new AbortController().signal);
  await sameLate(world, 'late');
  for (const bridge of [...begun, 'late']) {
    expect(byOutcome(await untilAtRest(world.platform, bridge, 20))).toEqual({ inserted: 20 });
  }
}

async function aBridgeEnds(world: CrashWorld): Promise<void> {
  await world.dieAt('health', 'lane.ended', (signal) => world.command(signal, ['bridge', 'retire', 'late']));
  await sameLate(world, 'late');
}

/** A bridge of these tables of the source into exchange tables that begin with its name. */
function lateYaml(bridge: string, tables: readonly string[]): string {
  return `kind: Bridge
name: ${bridge}
title: ${bridge}
source:
  node: health
  dataSource: his
  capture: compare
  tables:
${tables.map((table) => `    - name: ${table}\n`).join('')}schedule: realtime
destinations:
  - node: archive
    dataSource: exchange
    tables:
${tables.map((table) => `      ${table}: { to: ${tableOf(bridge, table)}, ownership: whole }\n`).join('')}`;
}

function tableOf(bridge: string, table: string): string {
  return `${bridge.replace('-', '_')}_${table}`;
}

async function sameLate(world: CrashWorld, bridge: string): Promise<void> {
  const { platform, source } = world;
  await using archive = world.exchangeTables();
  await untilSame(
    platform,
    source,
    PERSON_ROWS.replace('person', 'late'),
    archive,
    TARGET_ROWS(tableOf(bridge, 'late')),
  );
}

/** A start purges what was settled; at rest everything is. */
async function whatIsSettledIsPurged(world: CrashWorld): Promise<void> {
  await world.batch();
  await world.books();
  await world.dieAt('health', 'purge.removed', async () => undefined);
}

/** Invitations, joins and revocations of nodes that exchange nothing: nobody may be half a member. */
async function nodesJoinAndGo(world: CrashWorld): Promise<void> {
  const { platform } = world;
  const joining = (code: string, token: string) => [
    'agent',
    'join',
    '--config',
    platform.agentConfig(code),
    '--token',
    token,
  ];
  const guests = ['guest-a', 'guest-b', 'guest-c', 'guest-d'] as const;
  for (const code of guests) platform.writeAgentConfig({ code, dataSources: {} });

  await world.dieAt('hub', 'invite.stored', () => invite(world, 'guest-a'));
  for (const [code, point] of [
    ['guest-a', 'join.stored'],
    ['guest-b', 'join.prepared'],
  ] as const) {
    const token = await invite(world, code);
    await world.dieAt('hub', point, (signal) => world.command(signal, joining(code, token)));
  }
  for (const [code, point] of [
    ['guest-c', 'join.answered'],
    ['guest-d', 'identity.written'],
  ] as const) {
    await world.commandDiesAt(point, joining(code, await invite(world, code)));
  }
  // Whoever got no answer, or could not keep it, is invited again and joins.
  await Promise.all(guests.map(async (code) => await platform.qiao(...joining(code, await invite(world, code)))));

  for (const [code, point] of [
    ['guest-a', 'revoke.stored'],
    ['guest-b', 'revocation.written'],
    ['guest-c', 'revoke.told'],
    ['guest-d', 'revoke.routed'],
  ] as const) {
    await world.dieAt('hub', point, (signal) => world.command(signal, ['node', 'revoke', code, '--reason', 'story']));
  }
  const { stdout } = await platform.qiao('node', 'list', '--json');
  const nodes = JSON.parse(stdout) as { code: string; status: string }[];
  const found = nodes.filter(({ code }) => code.startsWith('guest')).map(({ code, status }) => [code, status]);
  expect(Object.fromEntries(found)).toEqual({
    'guest-a': 'NODE_STATUS_REVOKED',
    'guest-b': 'NODE_STATUS_REVOKED',
    'guest-c': 'NODE_STATUS_REVOKED',
    'guest-d': 'NODE_STATUS_REVOKED',
  });
  await until(platform, 'the bus has been told of every revocation', () => {
    const told = JSON.parse(readFileSync(join(platform.hubDirectory, 'bus', 'revocations.json'), 'utf8')) as object;
    return Object.keys(told).length >= 4;
  });
}

async function invite({ platform }: CrashWorld, code: string): Promise<string> {
  return await platform.invite(code, ['--department', code, '--department-title', code]);
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
