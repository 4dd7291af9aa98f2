// Owns the founding of a platform: authority, the hub's own certificate, the bus keys, an empty hub.db and the first
// operator's context. hub.yaml is written last and is what makes the directory a hub; nothing is ever replaced.

import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { BusAccounts } from '@qiao/bus';
import { type DatabaseTarget, openDatabase } from '@qiao/database';
import { CODE, idText, type Problem, ProblemsError, QiaoError } from '@qiao/exchange';
import { type Clock, crashPoint, systemClock } from '@qiao/runtime';
import {
  Authority,
  createKeyAndCsr,
  makePrivateDirectory,
  readCertificate,
  writeIdentity,
  writeNewFile,
} from '@qiao/security';
import { stringify } from 'yaml';
import { appendAudit } from './audit/audit.ts';
import { type HubConfig, hubConfigSchema, isTimeZone } from './config.ts';
import { HUB_MIGRATIONS, type HubTables } from './hubDatabase.ts';
import { HUB_CERTIFICATE_DAYS } from './identity/renewOwn.ts';
import { writeContext } from './operatorContext.ts';
import { recordCertificate } from './registry/certificates.ts';
import { insertNode } from './registry/nodes.ts';

export interface InitOptions {
  /** Must not exist or be empty. */
  readonly directory: string;
  readonly platformCode: string;
  readonly platformTitle: string;
  /** host:port for gRPC and for nats-server. */
  readonly listen: string;
  readonly natsListen: string;
  /** Name or address under which nodes reach this machine; the host of `listen` when left out. */
  readonly publicHost?: string;
  /** IANA zone of the books. */
  readonly timeZone: string;
  /** Code of the first operator. */
  readonly operatorName: string;
  /** Where the first operator's context goes. */
  readonly operatorDirectory: string;
  readonly monitorAddress?: string;
  /** An empty PostgreSQL database instead of the file hub.db, for several replicas. */
  readonly database?: DatabaseTarget;
  readonly clock?: Clock;
}

export interface Founded {
  readonly platformId: string;
  readonly authorityFingerprint: string;
  readonly configFile: string;
  readonly operatorDirectory: string;
}

const OPERATOR_CERTIFICATE_DAYS = 1095;

/** Founds a platform. Throws INIT_INVALID with every problem, HUB_EXISTS, CONTEXT_EXISTS, and what opening the database throws. */
export async function initHub(options: InitOptions): Promise<Founded> {
  const directory = resolve(options.directory);
  const operatorDirectory = resolve(options.operatorDirectory);
  const problems = problemsOf(options);
  if (problems.length > 0) throw new ProblemsError(problems, { code: 'INIT_INVALID' });
  requireFree(directory, operatorDirectory);

  const nowMs = (options.clock ?? systemClock).nowMs();
  const platformId = new Uint8Array(randomBytes(16));
  const hubNodeId = new Uint8Array(randomBytes(16));
  const publicHost = options.publicHost ?? hostOf(options.listen);
  const publicAddress = withHost(options.listen, publicHost);
  const busUrl = `tls://${withHost(options.natsListen, publicHost)}`;
  const identityDirectory = join(directory, 'identity');

  makePrivateDirectory(directory);
  const authority = await Authority.create(identityDirectory, {
    platformId,
    platformCode: options.platformCode,
    nowMs,
  });
  const hub = await createKeyAndCsr('hub');
  const hubCertificate = await authority.issue(hub.csrDer, {
    role: 'hub',
    platformId,
    nodeId: hubNodeId,
    code: 'hub',
    days: HUB_CERTIFICATE_DAYS,
    hosts: [
      ...new Set([publicHost, hostOf(options.listen), hostOf(options.natsListen), 'localhost', '127.0.0.1']),
    ].filter((host) => !isWildcard(host)),
    nowMs,
  });
  writeIdentity(identityDirectory, {
    role: 'hub',
    platformId,
    platformCode: options.platformCode,
    platformTitle: options.platformTitle,
    timeZone: options.timeZone,
    nodeId: hubNodeId,
    nodeCode: 'hub',
    departmentCode: options.platformCode,
    departmentTitle: options.platformTitle,
    hubAddress: publicAddress,
    natsUrls: [busUrl],
    keyPem: hub.keyPem,
    certificate: hubCertificate,
    authority: authority.certificateDer,
    hubCertificate: new Uint8Array(),
  });
  await BusAccounts.create(join(directory, 'bus'));
  const operator = await createOperator(authority, options, platformId, nowMs);
  crashPoint('init.keysWritten');
  const target = options.database ?? { url: join(directory, 'hub.db') };
  await foundDatabase(target, options, { platformId, hubNodeId, operator, nowMs });
  crashPoint('init.databaseFounded');
  writeContext(operatorDirectory, {
    platform: options.platformCode,
    operator: options.operatorName,
    hubAddress: publicAddress,
    ...(options.monitorAddress === undefined ? {} : { monitorAddress: options.monitorAddress }),
    keyPem: operator.keyPem,
    certificate: operator.certificate,
    authority: authority.certificateDer,
  });
  crashPoint('init.contextWritten');
  const configFile = join(directory, 'hub.yaml');
  writeNewFile(configFile, configText(options, platformId, publicAddress, busUrl), 0o600);
  return { platformId: idText(platformId), authorityFingerprint: authority.fingerprint, configFile, operatorDirectory };
}

interface Operator {
  readonly id: Uint8Array;
  readonly keyPem: string;
  readonly certificate: Uint8Array;
}

async function createOperator(
  authority: Authority,
  options: InitOptions,
  platformId: Uint8Array,
  nowMs: number,
): Promise<Operator> {
  const id = new Uint8Array(randomBytes(16));
  const { keyPem, csrDer } = await createKeyAndCsr(options.operatorName);
  const certificate = await authority.issue(csrDer, {
    role: 'operator',
    platformId,
    nodeId: id,
    code: options.operatorName,
    days: OPERATOR_CERTIFICATE_DAYS,
    nowMs,
  });
  return { id, keyPem, certificate };
}

async function foundDatabase(
  target: DatabaseTarget,
  options: InitOptions,
  facts: { platformId: Uint8Array; hubNodeId: Uint8Array; operator: Operator; nowMs: number },
): Promise<void> {
  const database = await openDatabase<HubTables>(target, HUB_MIGRATIONS);
  const { operator, nowMs } = facts;
  const { fingerprint, notAfterMs } = readCertificate(operator.certificate);
  try {
    await database.transaction().execute(async (store) => {
      if ((await store.selectFrom('hub_state').select('id').executeTakeFirst()) !== undefined) {
        throw new QiaoError('HUB_EXISTS', 'the database holds a platform already', {
          hint: 'name an empty database; a further replica of that platform: qiao hub add-replica',
        });
      }
      await store
        .insertInto('hub_state')
        .values({
          id: 1,
          platform_id: idText(facts.platformId),
          hub_node_id: idText(facts.hubNodeId),
          generation: 1,
          number: 0,
        })
        .execute();
      await insertNode(store, {
        id: idText(operator.id),
        code: options.operatorName,
        title: options.operatorName,
        departmentCode: options.platformCode,
        departmentTitle: options.platformTitle,
        role: 'operator',
      });
      await store
        .updateTable('nodes')
        .set({
          status: 'joined',
          certificate: operator.certificate,
          fingerprint,
          certificate_ends_at_ms: notAfterMs,
          joined_at_ms: nowMs,
        })
        .where('id', '=', idText(operator.id))
        .execute();
      await recordCertificate(store, {
        certificate: operator.certificate,
        fingerprint,
        nodeId: idText(operator.id),
        natsUser: null,
        issuedAtMs: nowMs,
      });
      await appendAudit(store, {
        atMs: nowMs,
        actor: 'hub',
        action: 'platform.found',
        subject: options.platformCode,
        success: true,
        detail: { operator: options.operatorName, fingerprint },
      });
    });
  } finally {
    await database.destroy();
  }
}

function problemsOf(options: InitOptions): Problem[] {
  const problems: Problem[] = [];
  const codeHint = 'a code is a lower-case letter, then up to 31 of a-z 0-9 -';
  for (const [path, code] of [
    ['platform', options.platformCode],
    ['operator', options.operatorName],
  ] as const) {
    if (CODE.test(code) && code !== 'hub') continue;
    problems.push({
      code: 'BAD_CODE',
      path,
      message: `found ${JSON.stringify(code.slice(0, 64))}, expected a code`,
      hint: codeHint,
    });
  }
  if (!isTimeZone(options.timeZone)) {
    const message = `found ${JSON.stringify(options.timeZone)}, expected an IANA zone`;
    problems.push({ code: 'BAD_TIME_ZONE', path: 'time-zone', message, hint: '--time-zone Asia/Shanghai' });
  }
  if (options.publicHost === undefined && isWildcard(hostOf(options.listen))) {
    const message = `the hub listens on every address (${options.listen}), so nodes must be told which to dial`;
    problems.push({ code: 'PUBLIC_HOST_MISSING', path: 'public-host', message, hint: '--public-host NAME-OR-ADDRESS' });
  }
  // The same limits as at every start, so that a founding never writes a file that the start refuses.
  const parsed = hubConfigSchema.safeParse(
    configOf(options, new Uint8Array(16), options.listen, 'tls://localhost:4222'),
  );
  for (const issue of parsed.success ? [] : parsed.error.issues) {
    if (['code', 'timeZone'].includes(String(issue.path.at(-1)))) continue;
    problems.push({
      code: 'CONFIG_VALUE',
      path: issue.path.map(String).join('.'),
      message: issue.message,
      hint: 'qiao hub init --help',
    });
  }
  return problems;
}

function requireFree(directory: string, operatorDirectory: string): void {
  if (existsSync(directory) && readdirSync(directory).length > 0) {
    throw new QiaoError('HUB_EXISTS', `${directory} is not empty`, { hint: 'choose a new directory with --dir' });
  }
  if (existsSync(join(operatorDirectory, 'context.json'))) {
    throw new QiaoError('CONTEXT_EXISTS', `${operatorDirectory} holds an operator's context already`, {
      hint: 'choose another directory with --operator-dir',
    });
  }
}

function configOf(
  options: InitOptions,
  platformId: Uint8Array,
  publicAddress: string,
  busUrl: string,
): Partial<Omit<HubConfig, 'bus'>> & { bus: object } {
  return {
    platform: {
      id: idText(platformId),
      code: options.platformCode,
      title: options.platformTitle,
      timeZone: options.timeZone,
    },
    listen: options.listen,
    publicAddress,
    ...(options.database === undefined
      ? { database: 'hub.db' }
      : {
          database: options.database.url,
          ...(options.database.password === undefined ? {} : { databasePassword: options.database.password }),
        }),
    bus: { server: 'embedded', listen: options.natsListen, publicUrls: [busUrl] },
  };
}

function configText(options: InitOptions, platformId: Uint8Array, publicAddress: string, busUrl: string): string {
  return (
    '# The hub of this platform. Unknown keys are refused; `qiao hub start` names every problem at once.\n' +
    stringify(configOf(options, platformId, publicAddress, busUrl))
  );
}

function hostOf(address: string): string {
  return address.slice(0, Math.max(0, address.lastIndexOf(':'))).replace(/^\[|\]$/g, '');
}

function withHost(address: string, host: string): string {
  return `${host.includes(':') ? `[${host}]` : host}${address.slice(address.lastIndexOf(':'))}`;
}

function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::' || host === '';
}
