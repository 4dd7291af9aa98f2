/**
 * Keys and claims of the bus: one operator and three accounts. QIAO holds every stream and is the hub's alone; NODES holds the users of agents
 * and monitors; SYS is the way claims are pushed. Nodes have an account of their own because NATS checks the subject a client publishes to,
 * never the *reply* subject it asks an answer to be sent to: inside QIAO a node could have JetStream's answers to its own harmless
 * requests delivered to `$JS.API.STREAM.DELETE.…`. NODES has no such subject: only what `accountBorders.ts` lets through.
 *
 * The files are the hub's secrets (0600 in a 0700 directory). Revocations are kept beside the keys and are part of the claims of
 * NODES, which holds every user that is ever revoked (the hub's own is made anew at each start and given to nobody), so that a bus
 * that lost everything learns them again at its next start.
 */
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, open, readFile, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { QiaoError } from '@qiao/exchange';
import { crashPoint } from '@qiao/runtime';
import { Algorithms, encodeAccount, encodeOperator, encodeUser } from 'nats-jwt';
import { createAccount, createOperator, createUser, fromPublic, fromSeed, type KeyPair } from 'nkeys.js';
import './ed25519.ts';
import { accountBorders } from './accountBorders.ts';
import type { BusAddress, BusCredentials } from './bus.ts';
import { type BusRole, permissionsOf } from './permissions.ts';
import { pushClaims } from './pushClaims.ts';

export interface BusUser {
  /** Public NATS user key ("U…"). */
  readonly natsUser: string;
  readonly role: BusRole;
  /** Codes of the platform and of the node; the hub's node code is `hub`. */
  readonly platform: string;
  readonly node: string;
  /** Milliseconds since 1970 UTC; without it the JWT lives until revoked. */
  readonly expiresAtMs?: number;
}

/** What `natsServerPart` writes into nats.conf. */
export interface ServerAuthConfig {
  readonly operatorJwt: string;
  readonly systemAccount: string;
  /** Account public key to account JWT. */
  readonly preload: Readonly<Record<string, string>>;
}

const FILES = {
  operatorSeed: 'operator.seed',
  accountSeed: 'account.seed',
  nodesSeed: 'nodes.seed',
  systemSeed: 'system.seed',
  revocations: 'revocations.json',
} as const;

const UNLIMITED = { subs: -1, data: -1, payload: -1, imports: -1, exports: -1, conn: -1, leaf: 0, wildcards: true };
/** Without these four an account has no JetStream at all. */
const JETSTREAM = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 };
const ANSWER_TTL_MS = 300_000;
const NANOS_PER_MS = 1_000_000;
const SYSTEM_USER_LIVES_MS = 300_000;

/** NATS user key to the second (since 1970) up to which its JWTs are void. */
type Revocations = Record<string, number>;

interface Keys {
  readonly operator: KeyPair;
  /** QIAO: the hub and every stream. */
  readonly account: KeyPair;
  /** NODES: agents and monitors. */
  readonly nodes: KeyPair;
  readonly system: KeyPair;
}

export class BusAccounts {
  readonly #dir: string;
  readonly #keys: Keys;
  #revocations: Revocations;
  #auth: ServerAuthConfig;
  /** Changes of the claims happen one after the other: the last push must carry every revocation. */
  #lastChange: Promise<void> = Promise.resolve();

  private constructor(dir: string, keys: Keys, revocations: Revocations, auth: ServerAuthConfig) {
    this.#dir = dir;
    this.#keys = keys;
    this.#revocations = revocations;
    this.#auth = auth;
  }

  /** Makes new keys in `dir`. Throws BUS_KEYS_EXIST when it holds some: replacing them would cut off every node. */
  static async create(dir: string): Promise<BusAccounts> {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    await chmod(dir, 0o700);
    if ((await stat(join(dir, FILES.operatorSeed)).catch(() => undefined)) !== undefined) {
      throw new QiaoError('BUS_KEYS_EXIST', `${dir} holds the keys of a bus already`, { hint: 'choose another --dir' });
    }
    const decoder = new TextDecoder();
    // The operator's last: its file says that the set is whole.
    await writeSecret(join(dir, FILES.revocations), '{}\n');
    await writeSecret(join(dir, FILES.accountSeed), `${decoder.decode(createAccount().getSeed())}\n`);
    await writeSecret(join(dir, FILES.nodesSeed), `${decoder.decode(createAccount().getSeed())}\n`);
    await writeSecret(join(dir, FILES.systemSeed), `${decoder.decode(createAccount().getSeed())}\n`);
    await writeSecret(join(dir, FILES.operatorSeed), `${decoder.decode(createOperator().getSeed())}\n`);
    return BusAccounts.open(dir);
  }

  /** Reads what `create` wrote. Throws BUS_KEYS_MISSING. */
  static async open(dir: string): Promise<BusAccounts> {
    const keys = {
      operator: await readSeed(join(dir, FILES.operatorSeed)),
      account: await readSeed(join(dir, FILES.accountSeed)),
      nodes: await readSeed(join(dir, FILES.nodesSeed)),
      system: await readSeed(join(dir, FILES.systemSeed)),
    };
    const revocations = await readRevocations(join(dir, FILES.revocations));
    return new BusAccounts(dir, keys, revocations, await encodeAuth(keys, revocations));
  }

  /** What the server must know to let users in; ask again after a revocation. */
  serverAuthConfig(): ServerAuthConfig {
    return this.#auth;
  }

  /** Public keys of the users whose JWTs are void. */
  get revokedUsers(): readonly string[] {
    return Object.keys(this.#revocations).sort();
  }

  /** A JWT that allows a node exactly what `permissionsOf` lists. Throws BAD_NATS_USER, BAD_CODE. */
  async userJwt(user: BusUser): Promise<string> {
    const permissions = permissionsOf(user.role, user.platform, user.node);
    return encodeUser(
      `${user.platform}/${user.node}`,
      readUserKey(user.natsUser),
      user.role === 'hub' ? this.#keys.account : this.#keys.nodes,
      {
        pub: { allow: [...permissions.publish], deny: [] },
        sub: { allow: [...permissions.subscribe], deny: [] },
        ...(permissions.mayAnswer ? { resp: { max: 1, ttl: ANSWER_TTL_MS * NANOS_PER_MS } } : {}),
        bearer_token: false,
        allowed_connection_types: ['STANDARD'],
      },
      {
        algorithm: Algorithms.v2,
        ...(user.expiresAtMs === undefined ? {} : { exp: Math.floor(user.expiresAtMs / 1000) }),
      },
    );
  }

  /** A new user key and its JWT in one: for the hub itself. Nodes make their own keys with `createBusUserKey`. */
  async createUser(user: Omit<BusUser, 'natsUser'>): Promise<BusCredentials & { readonly natsUser: string }> {
    const key = createBusUserKey();
    return { ...key, jwt: await this.userJwt({ ...user, natsUser: key.natsUser }) };
  }

  /**
   * Voids every JWT given to these users of agents and monitors until now, on disk first, then at the server, which cuts their live
   * connections. Throws BUS_UNREACHABLE (transient) when the server was not told: call again, or `push` when it is back.
   */
  async revoke(natsUsers: string | readonly string[], at: BusAddress): Promise<void> {
    const users = typeof natsUsers === 'string' ? [natsUsers] : natsUsers;
    for (const natsUser of users) readUserKey(natsUser);
    await this.#change(async () => {
      const nowS = Math.floor(Date.now() / 1000);
      const revocations = { ...this.#revocations };
      for (const natsUser of users) revocations[natsUser] = nowS;
      await writeSecret(join(this.#dir, FILES.revocations), `${JSON.stringify(revocations)}\n`);
      this.#auth = await encodeAuth(this.#keys, revocations);
      this.#revocations = revocations;
    });
    crashPoint('revocation.written');
    await this.push(at);
  }

  /**
   * Pushes the present claims of the nodes' account, every revocation included, to a running server. Never those of the streams'
   * account, in which nobody is revoked: new ones make nats-server forget every pull that came over the border, and what it then
   * answers to them is lost until the ack wait. Throws BUS_UNREACHABLE, CLAIMS_REFUSED.
   */
  async push(at: BusAddress): Promise<void> {
    await this.#change(async () => {
      const claims = this.#auth.preload[this.#keys.nodes.getPublicKey()] ?? '';
      await pushClaims(claims, await this.#systemUser(), at);
    });
  }

  /** A user of the system account that may do one thing, for five minutes. */
  async #systemUser(): Promise<BusCredentials> {
    const key = createUser();
    const jwt = await encodeUser(
      'claims',
      key,
      this.#keys.system,
      {
        pub: { allow: ['$SYS.REQ.CLAIMS.UPDATE'], deny: [] },
        sub: { allow: ['_INBOX_claims.>'], deny: [] },
        allowed_connection_types: ['STANDARD'],
      },
      { algorithm: Algorithms.v2, exp: Math.floor((Date.now() + SYSTEM_USER_LIVES_MS) / 1000) },
    );
    return { jwt, seed: new TextDecoder().decode(key.getSeed()) };
  }

  #change(work: () => Promise<void>): Promise<void> {
    const change = this.#lastChange.then(work);
    this.#lastChange = change.catch(() => {});
    return change;
  }
}

/** Makes a NATS user key on the node: the public key goes into JoinRequest.nats_user, the seed never leaves. */
export function createBusUserKey(): { natsUser: string; seed: string } {
  const key = createUser();
  return { natsUser: key.getPublicKey(), seed: new TextDecoder().decode(key.getSeed()) };
}

/** The key of a user that joined before, out of its seed. Throws BAD_NATS_USER. */
export function busUserKeyOf(seed: string): { natsUser: string; seed: string } {
  try {
    return { natsUser: fromSeed(new TextEncoder().encode(seed)).getPublicKey(), seed };
  } catch {
    // Without the cause: it may quote the seed.
    throw new QiaoError('BAD_NATS_USER', 'the bus key of this identity is damaged', {
      hint: 'restore the identity directory from its backup, or join again',
    });
  }
}

async function encodeAuth(keys: Keys, revocations: Revocations): Promise<ServerAuthConfig> {
  const systemAccount = keys.system.getPublicKey();
  const operatorJwt = await encodeOperator(
    'qiao',
    keys.operator,
    { system_account: systemAccount },
    { algorithm: Algorithms.v2 },
  );
  const account = keys.account.getPublicKey();
  const nodes = keys.nodes.getPublicKey();
  const borders = accountBorders(account, nodes);
  const limits = { ...UNLIMITED, ...JETSTREAM };
  const signed = { algorithm: Algorithms.v2, signer: keys.operator };
  return {
    operatorJwt,
    systemAccount,
    preload: {
      [nodes]: await encodeAccount('NODES', keys.nodes, { limits: UNLIMITED, revocations, ...borders.nodes }, signed),
      [account]: await encodeAccount('QIAO', keys.account, { limits, ...borders.qiao }, signed),
      [systemAccount]: await encodeAccount('SYS', keys.system, { limits: UNLIMITED, ...borders.system }, signed),
    },
  };
}

function readUserKey(natsUser: string): KeyPair {
  try {
    if (!/^U[A-Z2-7]{55}$/.test(natsUser)) throw new Error('shape');
    return fromPublic(natsUser);
  } catch (cause) {
    throw new QiaoError(
      'BAD_NATS_USER',
      'found a NATS user key that cannot be read, expected "U" and 55 letters or digits',
      { cause },
    );
  }
}

async function readSeed(file: string): Promise<KeyPair> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    throw new QiaoError('BUS_KEYS_MISSING', `found no bus key at ${file}`, { hint: 'qiao hub init', cause });
  }
  try {
    return fromSeed(new TextEncoder().encode(text.trim()));
  } catch {
    // Without the cause: it may quote the seed.
    throw new QiaoError('BUS_KEYS_MISSING', `the bus key at ${file} is damaged`, {
      hint: 'restore it from the backup',
    });
  }
}

async function readRevocations(file: string): Promise<Revocations> {
  // A missing or damaged list must stop the hub: going on without it would let revoked nodes in again.
  try {
    const read: unknown = JSON.parse(await readFile(file, 'utf8'));
    if (typeof read !== 'object' || read === null) throw new Error('not an object');
    for (const [user, second] of Object.entries(read)) {
      if (!/^U[A-Z2-7]{55}$/.test(user) || !Number.isSafeInteger(second)) throw new Error('not a revocation');
    }
    return read as Revocations;
  } catch (cause) {
    throw new QiaoError('BUS_REVOCATIONS_UNREADABLE', `found no readable list of revocations at ${file}`, {
      hint: 'restore it from the backup',
      cause,
    });
  }
}

/** Whole or not at all: temporary file, flushed, renamed, directory flushed. */
async function writeSecret(file: string, text: string): Promise<void> {
  const temporary = `${file}.${randomBytes(4).toString('hex')}`;
  const handle = await open(temporary, 'wx', 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, file);
  const dir = await open(join(file, '..'), 'r');
  try {
    await dir.sync();
  } finally {
    await dir.close();
  }
}
