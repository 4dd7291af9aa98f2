/** For the tests of this package only: a real nats-server with TLS, its accounts, and a throw-away authority. */
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';
import { silentLog } from '@qiao/runtime';
import {
  type Bus,
  BusAccounts,
  type BusAddress,
  BusAdministration,
  type BusCredentials,
  type BusSizes,
  connectBus,
  inboxPrefix,
  type NatsServerPart,
  natsServerPart,
} from './index.ts';

const KEY = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const MIB = 1024 * 1024;
export const PLATFORM = 'demo';

/** Small streams: tests fill them. */
const SIZES: Partial<BusSizes> = {
  upDataBytes: 256 * MIB,
  upControlBytes: 16 * MIB,
  telemetryBytes: 16 * MIB,
  nodeDataBytes: 64 * MIB,
  nodeControlBytes: 4 * MIB,
};

export class TestBus implements AsyncDisposable {
  readonly dir: string;
  readonly authorityPem: string;
  readonly accounts: BusAccounts;
  readonly log = silentLog();
  address: BusAddress = { urls: [], tls: { authorityPem: '' } };
  hub!: Bus;
  administration!: BusAdministration;
  readonly #part: NatsServerPart;
  readonly #buses: Bus[] = [];
  #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();

  private constructor(dir: string, authorityPem: string, accounts: BusAccounts) {
    this.dir = dir;
    this.authorityPem = authorityPem;
    this.accounts = accounts;
    this.#part = natsServerPart({
      dir: join(dir, 'bus'),
      listen: '127.0.0.1:0',
      tls: {
        certFile: join(dir, 'server.pem'),
        keyFile: join(dir, 'server.key'),
        authorityFile: join(dir, 'authority.pem'),
      },
      auth: () => accounts.serverAuthConfig(),
      jetstreamDir: join(dir, 'jetstream'),
      maxStoreBytes: 2048 * MIB,
      log: this.log,
    });
  }

  /** Started, with the platform's streams made. */
  static async start(): Promise<TestBus> {
    const dir = await mkdtemp(join(tmpdir(), 'qiao-bus-'));
    const authorityPem = await writeCertificates(dir);
    const accounts = await BusAccounts.create(join(dir, 'keys'));
    const world = new TestBus(dir, authorityPem, accounts);
    world.startServer();
    const { url } = await world.#part.ready;
    world.address = { urls: [url], tls: { authorityPem } };
    world.hub = await world.connect('hub', await accounts.createUser({ role: 'hub', platform: PLATFORM, node: 'hub' }));
    world.administration = new BusAdministration({ bus: world.hub, platform: PLATFORM, log: world.log, sizes: SIZES });
    await world.administration.ensureStreams();
    return world;
  }

  startServer(): void {
    this.#stop = new AbortController();
    this.#running = this.#part.run(this.#stop.signal);
    this.#running.catch(() => {});
  }

  async stopServer(): Promise<void> {
    this.#stop.abort();
    await this.#running.catch(() => {});
  }

  /** kill -9; resolves when the part has noticed. */
  async killServer(): Promise<void> {
    process.kill(Number(await readFile(join(this.dir, 'bus', 'nats-server.pid'), 'utf8')), 'SIGKILL');
    await this.#running.then(
      () => Promise.reject(new Error('the part ended without an error')),
      () => {},
    );
  }

  async wipeStore(): Promise<void> {
    await rm(join(this.dir, 'jetstream'), { recursive: true });
    await rm(join(this.dir, 'bus'), { recursive: true });
  }

  /** An agent or monitor with its streams and a connection of its own. */
  async node(code: string, role: 'agent' | 'monitor' = 'agent'): Promise<{ bus: Bus; natsUser: string }> {
    await this.administration.ensureNode({ code, role });
    const user = await this.accounts.createUser({ role, platform: PLATFORM, node: code });
    return { bus: await this.connect(code, user), natsUser: user.natsUser };
  }

  async connect(code: string, credentials: BusCredentials): Promise<Bus> {
    const bus = await connectBus({
      ...this.address,
      name: code,
      credentials: { jwt: credentials.jwt, seed: credentials.seed },
      inboxPrefix: inboxPrefix(code),
      log: this.log,
    });
    this.#buses.push(bus);
    return bus;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#buses.map((bus) => bus.close()));
    await this.stopServer();
    await rm(this.dir, { recursive: true, force: true });
  }
}

/** Resolves when the bus says so, or at once when it is so already. */
export function until(bus: Bus, kind: 'connected' | 'away'): Promise<void> {
  const isSo = () => bus.isConnected === (kind === 'connected');
  return new Promise((resolve) => {
    if (isSo()) {
      resolve();
      return;
    }
    const forget = bus.onStatus((status) => {
      if (status.kind !== kind) return;
      forget();
      resolve();
    });
  });
}

export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function text(data: Uint8Array): string {
  return new TextDecoder().decode(data);
}

async function writeCertificates(dir: string): Promise<string> {
  x509.cryptoProvider.set(webcrypto as unknown as Parameters<typeof x509.cryptoProvider.set>[0]);
  const authorityKeys = await makeKeys();
  const authority = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name: 'CN=throw-away authority',
    notAfter: new Date(Date.now() + 86_400_000),
    signingAlgorithm: KEY,
    keys: authorityKeys,
    extensions: [new x509.BasicConstraintsExtension(true, 0, true)],
  });
  const serverKeys = await makeKeys();
  const server = await x509.X509CertificateGenerator.create({
    serialNumber: '02',
    subject: 'CN=nats',
    issuer: authority.subject,
    notAfter: new Date(Date.now() + 86_400_000),
    signingAlgorithm: KEY,
    publicKey: serverKeys.publicKey,
    signingKey: authorityKeys.privateKey,
    extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'ip', value: '127.0.0.1' }])],
  });
  const keyDer = await webcrypto.subtle.exportKey('pkcs8', serverKeys.privateKey);
  await writeFile(join(dir, 'authority.pem'), authority.toString('pem'));
  await writeFile(join(dir, 'server.pem'), server.toString('pem'));
  await writeFile(join(dir, 'server.key'), x509.PemConverter.encode(keyDer, 'PRIVATE KEY'), { mode: 0o600 });
  return authority.toString('pem');
}

function makeKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(KEY, true, ['sign', 'verify']);
}
