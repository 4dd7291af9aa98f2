// A whole platform in one temporary directory: hub with its nats-server, monitor, agents — real processes, joined with real
// tokens, on free ports. A story owns it with `await using` and leaves nothing behind.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HubServiceDefinition } from '@qiao/contract/hub';
import { MonitorServiceDefinition } from '@qiao/contract/monitor';
import { createGrpcClient, type GrpcClient } from '@qiao/rpc';
import { parse, stringify } from 'yaml';
import { freePorts } from './ports.ts';
import { Program } from './program.ts';
import { type Answer, runQiao } from './qiao.ts';
import { TcpProxy } from './tcpProxy.ts';

export interface NodePlan {
  readonly code: string;
  readonly departmentTitle?: string;
  /** As in agent.yaml. */
  readonly dataSources: Readonly<Record<string, object>>;
  readonly exposes?: readonly object[];
  readonly accepts?: readonly object[];
  /** Further keys of agent.yaml. Its limits stand above the impatient ones of a test. */
  readonly more?: Readonly<Record<string, unknown>> & { readonly limits?: Readonly<Record<string, unknown>> };
}

/** What a department waits for in minutes, a test waits for in seconds. */
const IMPATIENT = { heartbeatMs: 1_000, helloMs: 5_000 };

export interface PlatformPlan {
  readonly nodes: readonly NodePlan[];
  readonly timeZone?: string;
  /** Keys of hub.yaml that differ from what founding writes. */
  readonly hubConfig?: Readonly<Record<string, unknown>>;
  /** Keys of monitor.yaml that differ from what joining writes. */
  readonly monitorConfig?: Readonly<Record<string, unknown>>;
  /** Where everything lies; a temporary directory, removed at the end, when not given. */
  readonly directory?: string;
  /** Agents and monitor reach the bus through a proxy each (`links`), for drills of bad lines. */
  readonly behindProxies?: boolean;
  /** Environment of each program beside this process's own. */
  readonly environment?: (program: string) => Readonly<Record<string, string>>;
  /** Further words of `qiao hub init`. */
  readonly hubInit?: readonly string[];
  /** Called when the hub runs and nobody has joined: a story that moves the hub to another bus does it here. */
  readonly beforeJoining?: (platform: Platform) => Promise<void>;
  /** Told of each step, for a demo that explains itself. */
  readonly onStep?: (step: string) => void;
}

export class Platform implements AsyncDisposable {
  readonly directory: string;
  readonly context: string;
  readonly hub: Program;
  readonly monitor: Program;
  readonly agents = new Map<string, Program>();
  /** Further programs of a story, for example replicas; they end and are logged with the others. */
  readonly others = new Map<string, Program>();
  /** The lines to the bus by node code, `monitor` among them; empty unless the plan asks for proxies. */
  readonly links = new Map<string, TcpProxy>();
  /** Join tokens that were given out, for a search that must not find them anywhere. */
  readonly invited: string[] = [];
  readonly natsPort: number;
  readonly boardPort: number;
  readonly #isTemporary: boolean;
  readonly #plan: PlatformPlan;
  #books: GrpcClient<typeof MonitorServiceDefinition> | undefined;
  #centre: GrpcClient<typeof HubServiceDefinition> | undefined;

  private constructor(plan: PlatformPlan, ports: readonly number[]) {
    this.#plan = plan;
    this.#isTemporary = plan.directory === undefined;
    this.directory = plan.directory ?? mkdtempSync(join(tmpdir(), 'qiao-'));
    this.context = join(this.directory, 'operator');
    this.natsPort = ports[1] as number;
    this.boardPort = ports[3] as number;
    this.hub = this.#program('hub', ['hub', 'start', '--dir', this.hubDirectory], 'hub is ready');
    this.monitor = this.#program('monitor', ['monitor', 'start', '--dir', this.monitorDirectory], 'monitor is ready');
    for (const { code } of plan.nodes) {
      this.agents.set(
        code,
        this.#program(code, ['agent', 'start', '--config', this.agentConfig(code)], 'agent started'),
      );
    }
  }

  /** Founds the platform, starts everything and joins every node. On failure it takes down what it had started. */
  static async start(plan: PlatformPlan): Promise<Platform> {
    const step = plan.onStep ?? (() => undefined);
    const ports = await freePorts(4);
    const platform = new Platform(plan, ports);
    const [hub, nats, monitor, board] = ports.map((port) => `127.0.0.1:${port}`) as [string, string, string, string];
    try {
      step('found the platform: certificate authority, keys, the first operator');
      await platform.qiao(
        ...[
          'hub',
          'init',
          '--dir',
          platform.hubDirectory,
          '--platform',
          'demo',
          '--title',
          '演示平台',
          '--listen',
          hub,
        ],
        ...[
          '--nats-listen',
          nats,
          '--time-zone',
          plan.timeZone ?? 'Asia/Shanghai',
          '--operator-dir',
          platform.context,
          '--monitor',
          monitor,
        ],
        ...(plan.hubInit ?? []),
      );
      if (plan.hubConfig !== undefined) change(join(platform.hubDirectory, 'hub.yaml'), plan.hubConfig);
      step('start the hub and its nats-server');
      await platform.hub.start();
      await plan.beforeJoining?.(platform);
      step('join and start the monitor');
      const token = await platform.invite('monitor', ['--role', 'monitor']);
      await platform.qiao(
        ...[
          'monitor',
          'join',
          '--dir',
          platform.monitorDirectory,
          '--token',
          token,
          '--listen',
          monitor,
          '--board-listen',
          board,
        ],
      );
      await platform.#putBehindProxy('monitor', platform.monitorDirectory);
      if (plan.monitorConfig !== undefined) change(join(platform.monitorDirectory, 'monitor.yaml'), plan.monitorConfig);
      await platform.monitor.start();
      await Promise.all(
        plan.nodes.map(async (node) => {
          step(`join and start the agent of ${node.departmentTitle ?? node.code}`);
          await platform.join(node);
          await platform.agent(node.code).start();
        }),
      );
      return platform;
    } catch (error) {
      await platform[Symbol.asyncDispose]();
      throw error;
    }
  }

  get hubDirectory(): string {
    return join(this.directory, 'hub');
  }

  get monitorDirectory(): string {
    return join(this.directory, 'monitor');
  }

  agentDirectory(code: string): string {
    return join(this.directory, code);
  }

  agentConfig(code: string): string {
    return join(this.directory, `${code}.yaml`);
  }

  agent(code: string): Program {
    const program = this.agents.get(code);
    if (program === undefined) throw new Error(`no agent ${code} in this platform`);
    return program;
  }

  /** Every process, for a story that kills one at random. */
  get programs(): Program[] {
    return [this.hub, this.monitor, ...this.agents.values(), ...this.others.values()];
  }

  async invite(code: string, words: readonly string[] = []): Promise<string> {
    const answer = await this.qiao('node', 'invite', code, ...words, '--json');
    const { token } = JSON.parse(answer.stdout) as { token: string };
    this.invited.push(token);
    return token;
  }

  /** Writes agent.yaml and joins; the agent is not started. */
  async join(node: NodePlan): Promise<void> {
    this.writeAgentConfig(node);
    const token = await this.invite(node.code, [
      '--department',
      node.code,
      '--department-title',
      node.departmentTitle ?? node.code,
    ]);
    await this.qiao('agent', 'join', '--config', this.agentConfig(node.code), '--token', token);
    await this.#putBehindProxy(node.code, this.agentDirectory(node.code));
  }

  writeAgentConfig(node: NodePlan): void {
    mkdirSync(this.agentDirectory(node.code), { recursive: true });
    const config = {
      node: { code: node.code },
      directory: this.agentDirectory(node.code),
      dataSources: node.dataSources,
      exposes: node.exposes ?? Object.keys(node.dataSources).map((dataSource) => ({ dataSource, table: '*' })),
      accepts:
        node.accepts ??
        [...Object.keys(node.dataSources), 'exchange'].map((dataSource) => ({ dataSource, table: '*' })),
      ...node.more,
      limits: { ...IMPATIENT, ...node.more?.limits },
    };
    writeFileSync(this.agentConfig(node.code), stringify(config), { mode: 0o600 });
    if (!this.agents.has(node.code)) {
      this.agents.set(
        node.code,
        this.#program(node.code, ['agent', 'start', '--config', this.agentConfig(node.code)], 'agent started'),
      );
    }
  }

  /** Runs the CLI as this platform's operator; throws with both outputs when it fails. */
  async qiao(...words: string[]): Promise<Answer> {
    const answer = await this.tryQiao(...words);
    if (answer.code !== 0)
      throw new Error(`qiao ${words.join(' ')} ended with ${answer.code}\n${answer.stdout}${answer.stderr}`);
    return answer;
  }

  /** Runs the CLI as this platform's operator and gives its answer, whatever it is. */
  async tryQiao(...words: string[]): Promise<Answer> {
    return runQiao(words, { context: this.context });
  }

  /** Runs the CLI with a file on standard input, for -f -. */
  async qiaoWith(input: string, ...words: string[]): Promise<Answer> {
    return runQiao(words, { context: this.context, input });
  }

  /** The monitor's service, called as this platform's operator. */
  get books(): GrpcClient<typeof MonitorServiceDefinition> {
    this.#books ??= createGrpcClient(MonitorServiceDefinition, {
      ...this.#operator('monitorAddress'),
      role: 'monitor',
    });
    return this.#books;
  }

  /** The service of the monitor at this address. The caller closes it. */
  booksAt(address: string): GrpcClient<typeof MonitorServiceDefinition> {
    return createGrpcClient(MonitorServiceDefinition, {
      ...this.#operator('monitorAddress'),
      address,
      role: 'monitor',
    });
  }

  /**
   * Hub and monitor as called by another operator, whose context lies in this directory; those that the platform's own operator calls, or
   * the replicas at these addresses. The caller closes both.
   */
  callersOf(context: string, at: { readonly hub?: string; readonly monitor?: string } = {}) {
    const tls = tlsOf(context);
    const [hub, monitor] = [this.#operator('hubAddress'), this.#operator('monitorAddress')];
    return {
      centre: createGrpcClient(HubServiceDefinition, { address: at.hub ?? hub.address, tls, role: 'hub' }),
      books: createGrpcClient(MonitorServiceDefinition, {
        address: at.monitor ?? monitor.address,
        tls,
        role: 'monitor',
      }),
    };
  }

  /** Another program of this platform, not started yet. */
  program(name: string, words: readonly string[], readyWhen: string): Program {
    const program = this.#program(name, words, readyWhen);
    this.others.set(name, program);
    return program;
  }

  /** The hub's service, called as this platform's operator: what the CLI asks, without a process for each question. */
  get centre(): GrpcClient<typeof HubServiceDefinition> {
    this.#centre ??= this.newCentre();
    return this.#centre;
  }

  /** The hub's service over a line of its own, for a story whose hub dies. The caller closes it. */
  newCentre(): GrpcClient<typeof HubServiceDefinition> {
    return createGrpcClient(HubServiceDefinition, { ...this.#operator('hubAddress'), role: 'hub' });
  }

  /** The logs of every process, for a story that failed. */
  get logs(): string {
    return this.programs.map((program) => `--- ${program.name}\n${program.log}`).join('\n');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#books?.close();
    this.#centre?.close();
    for (const program of this.programs) program.thaw();
    await Promise.all([...this.agents.values(), this.monitor].map((program) => program.stop()));
    await Promise.all([...this.others.values()].map((program) => program.stop()));
    await this.hub.stop();
    for (const link of this.links.values()) await link[Symbol.asyncDispose]();
    if (this.#isTemporary && process.env.QIAO_KEEP === undefined)
      rmSync(this.directory, { recursive: true, force: true });
  }

  #operator(address: 'hubAddress' | 'monitorAddress') {
    const text = readFileSync(join(this.context, 'context.json'), 'utf8');
    const addresses = JSON.parse(text) as Record<typeof address, string>;
    return { address: addresses[address], tls: tlsOf(this.context) };
  }

  /** What joining wrote names the bus itself; here the node is told of its proxy instead. */
  async #putBehindProxy(code: string, directory: string): Promise<void> {
    if (this.#plan.behindProxies !== true) return;
    const link = await TcpProxy.open({ host: '127.0.0.1', port: this.natsPort });
    this.links.set(code, link);
    const file = join(directory, 'identity', 'identity.json');
    const facts = JSON.parse(readFileSync(file, 'utf8')) as object;
    writeFileSync(file, JSON.stringify({ ...facts, natsUrls: [`tls://127.0.0.1:${link.port}`] }));
  }

  #program(name: string, words: readonly string[], readyWhen: string): Program {
    const logFile = join(this.directory, `${name}.log`);
    const environment = this.#plan.environment?.(name) ?? {};
    return new Program({ name, arguments: words, readyWhen, logFile, environment });
  }
}

function change(file: string, changes: Readonly<Record<string, unknown>>): void {
  writeFileSync(file, stringify({ ...(parse(readFileSync(file, 'utf8')) as object), ...changes }));
}

function tlsOf(context: string): { ca: string; cert: string; key: string } {
  const read = (name: string) => readFileSync(join(context, name), 'utf8');
  return { ca: read('authority.pem'), cert: read('certificate.pem'), key: read('key.pem') };
}
