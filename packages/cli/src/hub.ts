// `qiao hub`: found a platform, run it, look at it.

import { createLog, stopSignal } from '@qiao/runtime';
import { type Command, Option } from 'commander';
import { contextDirectory, withHub } from './context.ts';
import { wantsJson } from './json.ts';
import { LOG_LEVELS } from './logLevels.ts';
import { colour, printFacts, printJson, say, shellWord } from './output.ts';

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
        'bus addresses': platform.natsUrls.join(', '),
      });
    });
}

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
}
