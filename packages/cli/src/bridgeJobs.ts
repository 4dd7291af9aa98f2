// `qiao bridge verify|resync|resend|jobs`: asks the source of a bridge, waits when told to, and prints what was found. Rows are
// named by references; their keys never leave the two ends.

import { type BridgeJob, JobKind, JobState, type TableFindings } from '@qiao/contract/job';
import { QiaoError } from '@qiao/exchange';
import { systemClock } from '@qiao/runtime';
import type { Command } from 'commander';
import { type HubClient, withHub } from './context.ts';
import { EXIT } from './exitCodes.ts';
import { wantsJson } from './json.ts';
import { wholeNumber } from './numbers.ts';
import { colour, grouped, moment, printJson, printTable, say } from './output.ts';
import { teller, WAIT_LIMIT } from './progress.ts';

const LOOK_EVERY_MS = 500;

interface ScopeOptions {
  readonly destination?: string;
  readonly table?: string[];
  readonly rate?: string;
  readonly wait?: boolean;
}

interface ResyncOptions extends ScopeOptions {
  readonly where?: string;
  readonly dryRun?: boolean;
  readonly allowDeletes?: string;
}

interface ResendOptions extends ScopeOptions {
  readonly from: string;
  readonly to: string;
  readonly reason: string;
  readonly journals?: boolean;
}

export function registerBridgeJobs(bridge: Command): void {
  scoped(bridge.command('verify <name>'))
    .description('compare both ends row by row and report (一致性核验); changes nothing')
    .option('--rate <rows>', 'read no more rows a second at each end')
    .action(async (name: string, options: ScopeOptions, command: Command) => {
      const asked = { ...scope(name, options), rowsPerSecond: rate(options) };
      await run(name, options, command, async (hub) => (await hub.verifyBridge(asked)).jobs);
    });

  scoped(bridge.command('resync <name>'))
    .description('compare both ends and send only the differences (差异补传)')
    .option('--rate <rows>', 'read no more rows a second at each end')
    .option('--where <filter>', 'only rows that this filter lets pass, over the columns as they leave the source')
    .option('--dry-run', 'report what would be sent; send nothing')
    .option('--allow-deletes <rows>', 'deletes allowed past the deleteGuard')
    .action(async (name: string, options: ResyncOptions, command: Command) => {
      const asked = {
        ...scope(name, options),
        rowsPerSecond: rate(options),
        where: options.where ?? '',
        dryRun: options.dryRun ?? false,
        allowedDeletes: BigInt(
          options.allowDeletes === undefined ? 0 : wholeNumber('--allow-deletes', options.allowDeletes),
        ),
      };
      await run(name, options, command, async (hub) => (await hub.resyncBridge(asked)).jobs);
    });

  scoped(bridge.command('resend <name>'))
    .description('send rows that travelled in a time again, in their present state (补数)')
    .requiredOption('--from <time>', 'first moment, for example 2026-01-31T08:00:00+08:00')
    .requiredOption('--to <time>', 'last moment')
    .requiredOption('--reason <text>', 'why; kept in the audit')
    .option('--journals', 'also tables that land as a journal: their rows land once more')
    .action(async (name: string, options: ResendOptions, command: Command) => {
      const asked = {
        ...scope(name, options),
        fromMs: BigInt(momentOf('--from', options.from)),
        toMs: BigInt(momentOf('--to', options.to)),
        reason: options.reason,
        includeJournals: options.journals ?? false,
      };
      await run(name, options, command, async (hub) => (await hub.resendBridge(asked)).jobs);
    });

  bridge
    .command('jobs <name>')
    .description('comparisons and resends of a bridge, newest first, as its source remembers them')
    .action(async (name: string, _options: object, command: Command) => {
      const { jobs } = await withHub(command, (hub) => hub.getBridgeJobs({ name, jobIds: [] }));
      if (wantsJson(command)) return printJson(jobs);
      printTable(
        ['job', 'kind', 'to', 'state', 'asked', 'by', 'differences', 'sent'],
        jobs.map((job) => [
          idText(job).slice(0, 12),
          kindWord(job),
          job.destinationNode,
          stateWord(job),
          moment(job.createdAtMs),
          job.operator,
          grouped(sum(job, differences)),
          grouped(sum(job, ({ sentRows, sentDeletes }) => sentRows + sentDeletes)),
        ]),
        'no job yet',
      );
    });
}

function scoped(command: Command): Command {
  return command
    .option('--destination <node>', 'only the lane to this node')
    .option('--table <name...>', 'only these source tables')
    .option('--wait', `until it is finished, and what it sent has its receipts; ${WAIT_LIMIT}`);
}

function scope(name: string, options: ScopeOptions) {
  return { name, destinationNode: options.destination ?? '', tables: options.table ?? [] };
}

function rate(options: ScopeOptions): number {
  return options.rate === undefined ? 0 : wholeNumber('--rate', options.rate);
}

/** Milliseconds since 1970 UTC. A time without a zone would mean another moment on each machine. */
function momentOf(option: string, text: string): number {
  const ms = Date.parse(text);
  if (/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/.test(text) && !Number.isNaN(ms)) return ms;
  throw new QiaoError('TIME_INVALID', `${option} is ${text}; expected a moment with its zone`, {
    hint: `${option} 2026-01-31T08:00:00+08:00`,
  });
}

async function run(
  name: string,
  options: ScopeOptions,
  command: Command,
  start: (hub: HubClient) => Promise<BridgeJob[]>,
): Promise<void> {
  const jobs = await withHub(command, async (hub) => {
    const started = await start(hub);
    return options.wait === true ? await finished(hub, name, started) : started;
  });
  if (wantsJson(command)) printJson(jobs);
  else {
    for (const job of jobs) printJob(job);
    if (options.wait !== true) say(`\nNext:  qiao bridge jobs ${name}`);
  }
  if (jobs.some(({ state }) => state === JobState.FAILED)) process.exitCode = EXIT.refused;
  else if (options.wait === true && jobs.some((job) => left(job) > 0n)) process.exitCode = EXIT.problems;
}

async function finished(hub: HubClient, name: string, started: readonly BridgeJob[]): Promise<BridgeJob[]> {
  const jobIds = started.map(({ jobId }) => jobId);
  const tell = teller();
  for (;;) {
    const { jobs } = await hub.getBridgeJobs({ name, jobIds });
    if (jobs.every(({ state }) => state === JobState.DONE || state === JobState.FAILED)) return jobs;
    const steps = jobs.map(({ destinationNode, step }) => `${destinationNode}: ${step || 'not begun'}`);
    tell(`${name}: ${steps.join('; ')}`);
    await systemClock.sleep(LOOK_EVERY_MS);
  }
}

function printJob(job: BridgeJob): void {
  say(
    `\n${job.bridge} → ${job.destinationNode}   ${kindWord(job)}${job.dryRun ? ' (dry run)' : ''}   ${stateWord(job)}`,
  );
  if (job.state === JobState.FAILED) {
    say(`${job.code}: ${job.message}${job.hint === '' ? '' : `\nTry:  ${job.hint}`}`);
    return;
  }
  if (job.state !== JobState.DONE) return say(job.step === '' ? `job ${idText(job)}` : job.step);
  for (const table of job.tables) printTableFindings(job, table);
}

function printTableFindings(job: BridgeJob, found: TableFindings): void {
  say(`\n${found.table}`);
  if (found.skipped !== '') return say(`  left out: ${found.skipped}`);
  if (job.kind !== JobKind.RESEND) {
    say(`  rows      ${grouped(found.sourceRows)} at the source, ${grouped(found.targetRows)} at the target`);
    const count = differences(found);
    const { missing, differing, extraOwned, extraKept } = found;
    say(
      count === 0n
        ? `  ${isSame(found) ? colour('green', 'the same at both ends') : 'no difference but the rows named below'}`
        : `  differ    ${grouped(missing)} missing, ${grouped(differing)} other values, ${grouped(extraOwned)} extra, ${grouped(extraKept)} extra and not the lane's`,
    );
    if (count > 0n) {
      const { neverApplied, changedAtTarget, unknown } = found;
      say(
        `  cause     ${grouped(neverApplied)} never applied, ${grouped(changedAtTarget)} changed at the target or edited in quarantine, ${grouped(unknown)} unknown`,
      );
    }
    if (count > 0n && found.conflict !== '') {
      say(`  policy    ${found.conflict}: other values at the target may be there by right, and a resync keeps them`);
    }
    if (found.standing !== '') {
      say(`  waiting   ${grouped(found.inMotion)} rows, and nothing moves them: the capture stands`);
      say(`            ${found.standing}`);
    } else if (found.inMotion > 0n) {
      say(`  in motion ${grouped(found.inMotion)} rows changed meanwhile: no verdict on them`);
    }
    if (found.refusedAtSource > 0n) {
      const of = found.stale === 0n ? '' : `; of ${grouped(found.stale)} the target has an older version`;
      say(
        `  refused   ${grouped(found.refusedAtSource)} rows at the source cannot travel${of}: qiao bridge refused ${job.bridge}`,
      );
    }
    if (found.unreadableAtTarget > 0n) say(`  unread    ${grouped(found.unreadableAtTarget)} rows at the target`);
    for (const text of found.notCompared) say(`  column    not compared: ${text}`);
  }
  if (job.kind !== JobKind.VERIFY && !job.dryRun) {
    say(
      `  sent      ${grouped(found.sentRows)} rows, ${grouped(found.sentDeletes)} deletes${found.left > 0n ? `; ${grouped(found.left)} left` : ''}`,
    );
  }
  if (found.rows.length > 0) {
    printTable(
      ['row', 'finding', 'cause', "the lane's"],
      found.rows.map((row) => [row.reference, row.finding, row.cause, row.owned ? 'yes' : 'no']),
    );
  }
}

/** What is still different when the job is over: rows of others, and those that the lane does not own, stay. */
function left(job: BridgeJob): bigint {
  if (job.kind === JobKind.RESEND) return 0n;
  if (job.kind === JobKind.RESYNC && !job.dryRun) return sum(job, ({ inMotion }) => inMotion);
  return sum(job, (table) => differences(table) - table.extraKept + table.refusedAtSource + waiting(table));
}

/** Rows that no round of traffic brings to rest. */
function waiting({ standing, inMotion }: TableFindings): bigint {
  return standing === '' ? 0n : inMotion;
}

/** Nothing is known to be otherwise, or not known. */
function isSame({ inMotion, refusedAtSource, unreadableAtTarget }: TableFindings): boolean {
  return inMotion + refusedAtSource + unreadableAtTarget === 0n;
}

function differences({ missing, differing, extraOwned, extraKept }: TableFindings): bigint {
  return missing + differing + extraOwned + extraKept;
}

function sum(job: BridgeJob, of: (table: TableFindings) => bigint): bigint {
  return job.tables.reduce((total, table) => total + of(table), 0n);
}

function kindWord(job: BridgeJob): string {
  return job.kind.replace('JOB_KIND_', '').toLowerCase();
}

function stateWord(job: BridgeJob): string {
  return job.state.replace('JOB_STATE_', '').toLowerCase();
}

function idText(job: BridgeJob): string {
  return Buffer.from(job.jobId).toString('hex');
}
