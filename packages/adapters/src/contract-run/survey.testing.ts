/** What a server and the account have before the suite runs: asked of the adapter's own preflight wherever it knows. */
import { QiaoError } from '@qiao/exchange';
import type { DataSource } from '../adapter.ts';
import type { Fixture, Waivers } from '../contractSuite.ts';

export interface Survey {
  readonly server: string;
  /** What is not tried, each with the reason. */
  readonly waivers: Waivers;
  /** Statements of the dialect that the server does not take. */
  readonly missing: readonly string[];
}

/** Looks at the server through an empty database of the run's own. Throws for a server that the adapter refuses. */
export async function survey(make: () => Promise<Fixture>): Promise<Survey> {
  await using fixture = await make();
  const { dataSource } = fixture;
  const probe = await dataSource.probe();
  if (!probe.reachable) throw new QiaoError(probe.code, probe.message, { hint: probe.hint });
  await fixture.sql('CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, x bigint)');
  const log = await refusal(dataSource, /^LOG_(OFF|RIGHTS|PUBLICATION|NO_ROOM)$/, { log: true });
  const horizon = await refusal(dataSource, /^CURSOR_HORIZON_UNPROVEN$/, { cursor: 'id' });
  const triggers = await reasonOf(() => installTriggers(dataSource));
  const rights = await reasonOf(async () => await (await fixture.restricted?.())?.describe({ name: 't' }));
  return {
    server: probe.version,
    waivers: {
      ...(log === undefined ? {} : { log }),
      ...(horizon === undefined ? {} : { horizon }),
      ...(triggers === undefined ? {} : { triggers }),
      ...(rights === undefined ? {} : { rights }),
    },
    missing: await missingStatements(fixture),
  };
}

async function refusal(
  dataSource: DataSource,
  codes: RegExp,
  asked: { log?: boolean; cursor?: string },
): Promise<string | undefined> {
  const problems = await dataSource.checkSource([{ table: 't', ref: { name: 't' }, ...asked }]);
  const found = problems.filter(({ code }) => codes.test(code)).map(({ code, message }) => `${code}: ${message}`);
  return found.length === 0 ? undefined : found.join('; ');
}

async function installTriggers({ triggers }: DataSource): Promise<void> {
  const plan = await triggers?.plan({ ref: { name: 't' }, table: 't', owner: 'contract' });
  if (plan === undefined) throw new Error('the adapter has no triggers');
  await triggers?.run(plan.install);
  await triggers?.run(plan.remove);
}

async function missingStatements(fixture: Fixture): Promise<string[]> {
  const missing: string[] = [];
  for (const [statement] of fixture.dialect.upserts ?? []) {
    if ((await reasonOf(() => fixture.sql(statement))) !== undefined) missing.push(statement);
  }
  return missing;
}

async function reasonOf(attempt: () => Promise<unknown>): Promise<string | undefined> {
  return await attempt().then(
    () => undefined,
    (error: Error & { code?: string }) =>
      error.code === undefined ? error.message : `${error.code}: ${error.message}`,
  );
}
