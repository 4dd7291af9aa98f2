// `npm run contract`: the contract suite of the adapters against a server that somebody has, in a schema (PostgreSQL and kin) or database
// (MySQL and kin) of its own, which it makes and removes, or in the empty schema of an account (Oracle, 达梦). Prints a report for an issue. Ends with 1 when a promise was not kept, with 2
// when the suite was not run.
//
//   npm run contract -- --url postgres://user:password@host:5432/database [--name qiao_contract] [--test "reading by keys"]
//   QIAO_CONTRACT_PASSWORD=… npm run contract -- --url mysql://user@host:3306
//   … --url mssql://user@host:1433/database, oracle://user@host:1521/service, dm://user@host:5236?tls=disable&driver=/opt/qiao-drivers

import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { QiaoError } from '@qiao/exchange';
import type { Reporter, TestCase, Vitest } from 'vitest/node';
import { type ServerConfig, serverAt } from './address.testing.ts';
import { claim, fixtureOf, type Given, waiversOf } from './given.testing.ts';
import { reportOf, type TestOutcome } from './report.testing.ts';
import { survey } from './survey.testing.ts';

const [NOT_KEPT, NOT_RUN] = [1, 2];

try {
  const { values } = parseArgs({
    options: {
      url: { type: 'string' },
      name: { type: 'string', default: 'qiao_contract' },
      test: { type: 'string' },
    },
  });
  if (values.url === undefined) {
    throw new QiaoError('CONTRACT_URL', 'no --url was given', {
      hint: 'npm run contract -- --url postgres://user@host:5432/database, with the password in QIAO_CONTRACT_PASSWORD',
    });
  }
  const config = serverAt(values.url, values.name, process.env.QIAO_CONTRACT_PASSWORD);
  process.exitCode = (await contractRun(config, values.test)) ? 0 : NOT_KEPT;
} catch (error) {
  const { code = '', message, hint = '' } = error as Partial<QiaoError> & Error;
  process.stderr.write(`${code} ${message}\n${hint === '' ? '' : `→ ${hint}\n`}`);
  process.exitCode = NOT_RUN;
}

/** Whether every promise that was tried is kept. What was made at the server is removed however it ends. */
async function contractRun(config: ServerConfig, only: string | undefined): Promise<boolean> {
  const claimed = await claim(config);
  try {
    const { reader } = claimed;
    const found = await survey(() => fixtureOf({ config, reader, missing: [] }));
    const waivers = { ...waiversOf(config), ...found.waivers };
    say(`${found.server}: the suite takes some minutes`);
    const startedAtMs = performance.now();
    const outcomes = await runSuite({ config, reader, waivers, missing: found.missing }, only);
    const seconds = Math.round((performance.now() - startedAtMs) / 1000);
    const { server, missing } = found;
    say(`\n${reportOf({ adapter: config.adapter, server, outcomes, waivers, missing, only, seconds })}`);
    return outcomes.length > 0 && outcomes.every(({ isPassed }) => isPassed);
  } finally {
    await claimed.release();
  }
}

async function runSuite(given: Given, only: string | undefined): Promise<TestOutcome[]> {
  // Those of a run that is told to end come twice.
  const outcomes = new Map<string, TestOutcome>();
  const reporter: Reporter = {
    onTestCaseResult(test) {
      const outcome = outcomeOf(test);
      if (outcome === undefined || outcomes.has(test.id)) return;
      outcomes.set(test.id, outcome);
      say(`${outcome.isPassed ? '✓' : '✗'} ${outcome.group}: ${outcome.test}`);
    },
  };
  const { createVitest } = await import('vitest/node');
  const root = fileURLToPath(new URL('.', import.meta.url));
  const vitest = await createVitest('test', {
    config: false,
    root,
    watch: false,
    include: ['given.contract.ts'],
    testTimeout: 240_000,
    hookTimeout: 120_000,
    reporters: [reporter],
    ...(only === undefined ? {} : { testNamePattern: only }),
  });
  try {
    vitest.provide('given', given);
    const signal = untilInterrupted(vitest);
    await vitest.start();
    if (signal() !== undefined)
      throw new QiaoError('CONTRACT_INTERRUPTED', `${signal()}: the suite did not run to its end`);
    const errors = vitest.state.getUnhandledErrors();
    if (errors.length > 0) throw new AggregateError(errors, `the suite did not run: ${String(errors[0])}`);
    return [...outcomes.values()];
  } finally {
    await vitest.close();
  }
}

/** When a person has had enough, the suite ends with the test under way, so that what was made can be removed. Gives the signal, if there was one. */
function untilInterrupted(vitest: Vitest): () => string | undefined {
  let told: string | undefined;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    // Vitest's own would end the process at once.
    process.removeAllListeners(signal);
    process.on(signal, () => {
      told = signal;
      void vitest.cancelCurrentRun('keyboard-input');
    });
  }
  return () => told;
}

/** Undefined for a test that was not asked for. */
function outcomeOf(test: TestCase): TestOutcome | undefined {
  const { state, errors } = test.result();
  if (state === 'skipped') return undefined;
  const group = test.parent.type === 'suite' ? test.parent.name : '';
  return { group, test: test.name, isPassed: state === 'passed', errors: (errors ?? []).map(({ message }) => message) };
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
