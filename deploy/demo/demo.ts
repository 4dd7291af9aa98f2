// The demo: 低保核查, checking entitlement to the minimum living allowance. Three departments, three real agents, one hub, one
// monitor, real exchange over NATS; it explains what it does as it goes, prints the books, and leaves nothing behind.
// `npm run demo -- --keep` goes on running so that one can play.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BooksLine, Platform, readBooks, until } from '@qiao/testkit';
import { type DepartmentFiles, findBenefitsToStop, makeDepartments, workADay } from './departments.ts';

const BRIDGES = join(dirname(fileURLToPath(import.meta.url)), 'bridges');
const keep = process.argv.includes('--keep');
const startedAtMs = Date.now();

const directory = mkdtempSync(join(tmpdir(), 'qiao-demo-'));
let platform: Platform | undefined;
let isCleaning = false;

async function cleanUp(): Promise<void> {
  if (isCleaning) return;
  isCleaning = true;
  await platform?.[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
}
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void cleanUp().then(() => process.exit(signal === 'SIGINT' ? 130 : 143)));
}

try {
  await tell();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  await cleanUp();
}

async function tell(): Promise<void> {
  const files: DepartmentFiles = {
    health: join(directory, 'business-health.db'),
    socialSecurity: join(directory, 'business-social-security.db'),
    civilAffairs: join(directory, 'business-civil-affairs.db'),
  };

  chapter('低保核查 — who receives the minimum living allowance and should not?');
  line('Civil affairs pays 1,200 households. Deaths are known to health, wages to social security.');
  line('Each department keeps its own database; what is agreed travels over bridges, signed, sealed and counted.');
  const dying = makeDepartments(files);
  line(
    'Three business databases are made: 5,000 births, 2,500 deaths, 6,000 insurance records. All people are made up.',
  );

  chapter('1. A platform');
  const limits = { compareEveryMs: 1_000 };
  platform = await Platform.start({
    directory: made(join(directory, 'platform')),
    onStep: step,
    nodes: [
      {
        code: 'health',
        departmentTitle: '卫生健康委员会',
        dataSources: { his: { adapter: 'sqlite', file: files.health } },
        more: { limits },
      },
      {
        code: 'social-security',
        departmentTitle: '人力资源和社会保障局',
        dataSources: { insurance: { adapter: 'sqlite', file: files.socialSecurity } },
        more: { limits },
      },
      {
        code: 'civil-affairs',
        departmentTitle: '民政局',
        dataSources: { benefits: { adapter: 'sqlite', file: files.civilAffairs } },
        more: { limits },
      },
    ],
  });

  chapter('2. Three bridges, from the files in deploy/demo/bridges');
  line('qiao apply -f deploy/demo/bridges   checks each bridge at every end, deploys it and starts it:');
  print((await platform.qiao('apply', '-f', BRIDGES)).stdout);

  chapter('3. The first load');
  const loaded = await atRest(platform, (lines) => totalReceived(lines) >= 16_000);
  line(
    `${totalReceived(loaded).toLocaleString('en-US')} rows have arrived; identity numbers of mothers are masked, 男/女 became 1/2.`,
  );
  line('What the clerk at civil affairs now sees (benefits ⨝ deaths ⨝ insurance, in her own database):');
  const before = showFindings(files, platform);

  chapter('4. A day at the sources');
  const work = workADay(files, dying);
  line(
    `${work.inserts} inserts, ${work.updates} updates and ${work.deletes} deletes, among them the death of ${dying.name}, who receives a benefit.`,
  );
  const after = await until(platform, 'the death arrives at civil affairs', () => {
    const findings = stopFindings(files, platform as Platform);
    return findings.some((finding) => finding.id_no === dying.idNo) && findings;
  });
  const finding = after.find(({ id_no }) => id_no === dying.idNo);
  line(`→ 应停发: ${finding?.name} ${mask(finding?.id_no ?? '')}  ${finding?.monthly_amount} 元/月  ${finding?.why}`);
  line(`${after.length} benefits should stop now; ${before} were known before.`);
  await atRest(
    platform,
    (lines) =>
      lines.some(
        (one) => one.bridge === 'birth-certificates' && one.received.deletes === 15 && one.received.inserts === 5_120,
      ) && lines.some((one) => one.bridge === 'insurance-records' && one.received.deletes === 12),
  );

  chapter('5. The books');
  print((await platform.qiao('reconcile', '--check')).stdout);
  line(
    'Every row sent has exactly one counted, signed outcome. `qiao reconcile --check` ended with 0: the books balance.',
  );
  const board = (await platform.qiao('monitor', 'board')).stdout.trim();
  line(
    keep
      ? `The health board, for a browser on this machine (the link is good once): ${board}`
      : `The health board was at ${new URL(board).origin}; npm run demo -- --keep leaves it open and prints a link.`,
  );
  line(`The whole story took ${Math.round((Date.now() - startedAtMs) / 1000)} s.`);
  if (keep) await playOn(platform, files);
}

async function playOn(running: Platform, files: DepartmentFiles): Promise<void> {
  chapter('It goes on running. Ctrl-C ends it and removes everything.');
  line(`export QIAO_CONTEXT=${running.context}`);
  line('npm run --silent qiao -- watch');
  line(`sqlite3 ${files.health} "DELETE FROM birth_certificate WHERE certificate_no = 'T370000001'"`);
  line('npm run --silent qiao -- reconcile');
  await new Promise(() => setInterval(() => undefined, 60_000));
}

/** Waits until nothing is under way, the condition holds, and every lane is balanced or explained. */
async function atRest(running: Platform, isDone: (lines: readonly BooksLine[]) => boolean): Promise<BooksLine[]> {
  return until(running, 'the books are at rest', async () => {
    const { lines } = await readBooks(running);
    const atRest = lines.every((one) => one.inFlightDeliveries === 0 && /BALANCED|EXPLAINED/.test(one.verdict));
    return lines.length === 4 && atRest && isDone(lines) && lines;
  });
}

function totalReceived(lines: readonly BooksLine[]): number {
  return lines.reduce((sum, one) => sum + one.received.total, 0);
}

function stopFindings(files: DepartmentFiles, running: Platform) {
  return findBenefitsToStop(files.civilAffairs, join(running.agentDirectory('civil-affairs'), 'exchange-tables.db'));
}

function showFindings(files: DepartmentFiles, running: Platform): number {
  const findings = stopFindings(files, running);
  for (const { name, id_no, monthly_amount, why } of findings.slice(0, 6))
    line(`  ${name}\t${mask(id_no)}\t${monthly_amount} 元/月\t${why}`);
  if (findings.length > 6) line(`  … ${findings.length} in all`);
  return findings.length;
}

function mask(idNo: string): string {
  return `${idNo.slice(0, 6)}********${idNo.slice(-4)}`;
}

function made(path: string): string {
  mkdirSync(path, { recursive: true });
  return path;
}

function chapter(text: string): void {
  console.log(`\n\u001B[1m${text}\u001B[0m`);
}

function line(text: string): void {
  console.log(`  ${text}`);
}

function step(text: string): void {
  line(`· ${text}`);
}

function print(text: string): void {
  console.log(text.trimEnd().replace(/^/gm, '    '));
}
