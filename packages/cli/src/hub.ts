// `qiao hub`: found a platform, run it, look at it.

import type { Restore } from '@qiao/contract/hub';
import { createLog, stopSignal } from '@qiao/runtime';
import { type Command, Option } from 'commander';
import { type BackupKind, registerBackup, registerBackupKey } from './backup.ts';
import { contextDirectory, withHub } from './context.ts';
import { wantsJson } from './json.ts';
import { LOG_LEVELS } from './logLevels.ts';
import { colour, moment, printFacts, printJson, printTable, remark, say, shellWord } from './output.ts';

export function registerHub(program: Command): void {
  const hub = program.command('hub').description('the exchange centre (交换中心): found it, run it, look at it');

  hub
    .command('init')
    .description('found a platform: authority, keys, configuration, database, and the first operator')
    .requiredOption('--dir <dir>', 'where the hub keeps everything; must not exist or be empty')
    .requiredOption('--platform <code>', 'code of the platform, [a-z][a-z0-9-]{0,31}')
    .option('--title <text>', 'title of the platform')
    .option('--listen <host:port>', 'where the hub answers the CLI and joining nodes', '127.0.0.1:7400')
    .option('--nats-listen <host:port>', 'where the embedded nats-server listens', '127.0.0.1:4222')
    .option('--public-host <name>', 'name or address under which nodes reach this machine')
    .option('--time-zone <zone>', 'zone of the books, IANA name', 'Asia/Shanghai')
    .option('--operator <name>', 'name of the first operator', 'operator')
    .option('--operator-dir <dir>', "where the first operator's context goes (default: --context or ~/.config/qiao)")
    .option('--monitor <host:port>', 'where the monitor will answer', '127.0.0.1:7401')
    .option('--database <url>', 'an empty PostgreSQL database, for several replicas: postgres://user@host:port/name')
    .option('--database-password-env <name>', 'environment variable that holds its password')
    .option('--database-password-file <file>', 'file that holds its password, mode 0600')
    .action(async (options: InitOptions, command: Command) => {
      const operatorDirectory = options.operatorDir || contextDirectory(command);
      const [{ initHub }, { parseAddress }] = await Promise.all([import('@qiao/hub'), import('@qiao/rpc')]);
      for (const address of [options.listen, options.natsListen, options.monitor]) parseAddress(address);
      const founded = await initHub({
        directory: options.dir,
        platformCode: options.platform,
        platformTitle: options.title ?? options.platform,
        listen: options.listen,
        natsListen: options.natsListen,
        timeZone: options.timeZone,
        operatorName: options.operator,
        operatorDirectory,
        monitorAddress: options.monitor,
        ...(options.publicHost === undefined ? {} : { publicHost: options.publicHost }),
        ...(options.database === undefined ? {} : { database: { url: options.database, ...passwordOf(options) } }),
      });
      if (wantsJson(command)) return printJson(founded);
      say(`Platform ${options.platform} is founded in ${options.dir}.`);
      printFacts({
        'authority fingerprint': founded.authorityFingerprint,
        configuration: founded.configFile,
        "operator's context": operatorDirectory,
      });
      say(`\nNext:  qiao hub start --dir ${shellWord(options.dir)}`);
    });

  hub
    .command('start')
    .description('run the hub in the foreground, with its nats-server unless the configuration names a cluster')
    .requiredOption('--dir <dir>', 'the directory made by `qiao hub init`')
    .addOption(new Option('--log-level <level>', 'how much is logged').choices(LOG_LEVELS).default('info'))
    .action(async (options: { dir: string; logLevel: string }) => {
      const { readHubConfig, startHub } = await import('@qiao/hub');
      const log = createLog({ component: 'hub', level: options.logLevel });
      const running = await startHub({ config: readHubConfig(options.dir), signal: stopSignal(), log });
      log.info({ address: running.address }, 'hub is ready');
      await running.closed;
    });

  hub
    .command('add-replica')
    .description('write the directory of a further replica: the same keys, a name of its own')
    .requiredOption('--dir <dir>', 'the directory of a hub with a PostgreSQL database and an outside bus')
    .requiredOption('--to <dir>', 'the new directory; carry it to the other machine by a safe way')
    .requiredOption('--replica <name>', 'name of the new replica, [a-z][a-z0-9-]{0,31}')
    .option('--listen <host:port>', 'where it answers, when that differs')
    .action(async (options: { dir: string; to: string; replica: string; listen?: string }, command: Command) => {
      const [{ addReplica }, { parseAddress }] = await Promise.all([import('@qiao/hub'), import('@qiao/rpc')]);
      if (options.listen !== undefined) parseAddress(options.listen);
      addReplica({
        directory: options.dir,
        to: options.to,
        replica: options.replica,
        ...(options.listen === undefined ? {} : { listen: options.listen }),
      });
      if (wantsJson(command)) return printJson({ replica: options.replica, directory: options.to });
      say(
        `The replica ${options.replica} is in ${options.to}. It holds every key of the platform: carry it by a safe way.`,
      );
      say(`\nNext, on its machine:  qiao hub start --dir ${shellWord(options.to)}`);
    });

  hub
    .command('status')
    .description('the platform, its generation and its bus')
    .action(async (_options: object, command: Command) => {
      const platform = await withHub(command, (client) => client.getPlatform({}));
      if (wantsJson(command)) return printJson(platform);
      printFacts({
        platform: `${platform.code} ${platform.title}`,
        'time zone': platform.timeZone,
        generation: platform.generation,
        version: platform.version,
        bus: platform.busConnected
          ? colour('green', `connected, nats-server ${platform.natsVersion}`)
          : colour('red', 'not connected'),
        routing: platform.restoreWaits ? colour('yellow', 'waits: qiao hub confirm') : undefined,
        'bus addresses': platform.natsUrls.join(', '),
      });
    });

  hub
    .command('confirm')
    .description('what a hub restored from a backup has collected and what is missing; with --yes it routes again')
    .option('--yes', 'confirm: a new generation begins and routing starts')
    .option('--without-missing', 'with --yes: although nodes have not reported')
    .action(async (options: { yes?: boolean; withoutMissing?: boolean }, command: Command) => {
      const request = { withoutMissing: options.withoutMissing ?? false };
      const restore = await withHub(command, (client) =>
        options.yes === true ? client.confirmRestore(request) : client.getRestore({}),
      );
      if (wantsJson(command)) return printJson(restore);
      printRestore(restore);
    });

  registerBackupKey(hub);
  registerBackup(hub, backup);
}

function printRestore(restore: Restore): void {
  if (!restore.waiting && restore.reason === '') return say('This hub was never restored; it routes.');
  printFacts({
    state: restore.waiting
      ? colour('yellow', 'restored, waits for a person: nothing is routed')
      : 'confirmed, it routes',
    noticed: restore.reason,
    'this hub stands at': `${restore.generation}.${restore.number}`,
    'nodes know up to':
      restore.highestGeneration === 0n ? undefined : `${restore.highestGeneration}.${restore.highestNumber}`,
  });
  printTable(
    ['node', 'reported', ''],
    restore.nodes.map(({ code, reportedAtMs, joinedAfterBackup }) => [
      code,
      reportedAtMs === 0n ? 'missing' : moment(reportedAtMs),
      joinedAfterBackup ? 'joined after the backup' : '',
    ]),
    'no node has joined',
  );
  for (const sentence of restore.learned) say(`- ${sentence}`);
  if (!restore.waiting) return;
  remark('\nNot collected: operators and invitations made after the backup, and the audit since. Invite them again.');
  remark('Next:  qiao hub confirm --yes');
}

const backup: BackupKind<{ dir: string }> = {
  component: 'hub',
  place: ['--dir <dir>', "the hub's directory; at a restore a new one"],
  mayBeOnServer: true,
  backup: async ({ dir }, task) => (await import('@qiao/hub')).backupHub({ directory: dir, ...task }),
  restore: async ({ dir }, task) => ({
    ...(await (await import('@qiao/hub')).restoreHub({ directory: dir, ...task })),
    next: `qiao hub start --dir ${shellWord(dir)}, wait until the nodes have reported, then: qiao hub confirm`,
  }),
};

interface InitOptions {
  readonly dir: string;
  readonly platform: string;
  readonly title?: string;
  readonly listen: string;
  readonly natsListen: string;
  readonly publicHost?: string;
  readonly timeZone: string;
  readonly operator: string;
  readonly operatorDir?: string;
  readonly monitor: string;
  readonly database?: string;
  readonly databasePasswordEnv?: string;
  readonly databasePasswordFile?: string;
}

function passwordOf({ databasePasswordEnv: env, databasePasswordFile: file }: InitOptions) {
  if (env !== undefined) return { password: { env } };
  return file === undefined ? {} : { password: { file } };
}
