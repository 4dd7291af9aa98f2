// `qiao audit`: read the hub's hash chains, and prove them link by link on this machine.

import type { AuditEntry } from '@qiao/contract/hub';
import type { AuditHead } from '@qiao/contract/monitor';
import { QiaoError } from '@qiao/exchange';
import type { WitnessFinding } from '@qiao/hub';
import type { Command } from 'commander';
import { withHub, withMonitor } from './context.ts';
import { wantsJson } from './json.ts';
import { wholeNumber } from './numbers.ts';
import { moment, printJson, printTable, remark, say } from './output.ts';

export function registerAudit(program: Command): void {
  const audit = program.command('audit').description('who did what at the hub, in a hash chain per replica');

  audit
    .command('list')
    .description('entries, chain by chain, oldest first')
    .option('--from <number>', 'first entry', '0')
    .option('--limit <n>', 'at most this many', '200')
    .option('--replica <name>', 'only the chain of this replica of the hub')
    .action(async (options: { from: string; limit: string; replica?: string }, command: Command) => {
      const range = {
        from: BigInt(wholeNumber('--from', options.from)),
        limit: BigInt(wholeNumber('--limit', options.limit)),
        replica: options.replica ?? '',
      };
      const entries: AuditEntry[] = [];
      await withHub(command, async (hub) => {
        for await (const entry of hub.listAudit(range)) entries.push(entry);
      });
      if (wantsJson(command)) return printJson(entries);
      printTable(
        ['replica', 'n', 'at', 'who', 'did', 'to', 'success', 'detail'],
        entries.map((one) => [
          one.replica,
          one.number,
          moment(one.atMs),
          one.actor,
          one.action,
          one.subject,
          one.success,
          one.detailJson,
        ]),
      );
    });

  audit
    .command('verify')
    .description(
      'recompute every chain from its first entry; compare the seals between them, and the heads that the monitor was shown',
    )
    .action(async (_options: object, command: Command) => {
      const { verifyAudit, compareWitnesses } = await import('@qiao/hub');
      const finding = await withHub(command, (hub) =>
        verifyAudit(() => hub.listAudit({ from: 0n, limit: 0n, replica: '' })),
      );
      if (finding.kind === 'broken') {
        throw new QiaoError('AUDIT_BROKEN', `entry ${finding.number} of "${finding.replica}": ${finding.why}`, {
          hint: 'keep a copy of the hub’s database and call the security administrator',
        });
      }
      const witnesses = await witnessesOf(command);
      const seen =
        witnesses.length === 0
          ? undefined
          : await withHub(command, (hub) =>
              compareWitnesses(hub.listAudit({ from: 0n, limit: 0n, replica: '' }), witnesses),
            );
      if (wantsJson(command)) {
        printJson({
          entries: finding.entries,
          verified: (seen?.denied ?? []).length === 0,
          chains: finding.chains,
          witnesses: seen,
        });
      } else {
        for (const { replica, entries, head } of finding.chains) say(`${replica}: ${entries} entries, head ${head}`);
        say(`${finding.entries} entries, every link and every seal holds.`);
        printWitnesses(seen);
      }
      if (seen !== undefined && seen.denied.length > 0) throw deniedBy(seen);
    });
}

function printWitnesses(seen: WitnessFinding | undefined): void {
  if (seen === undefined) {
    remark('The monitor was not asked: it does not answer, or was shown no head yet.');
    return;
  }
  say(`The monitor was shown ${seen.same + seen.lost.length + seen.denied.length} heads; ${seen.same} are the same.`);
  for (const { begun, confirmed } of seen.restores) {
    say(
      `The hub was restored: entry ${begun.number} of ${begun.replica} at ${moment(begun.atMs)}, confirmed by ${confirmed.actor} at ${moment(confirmed.atMs)}.`,
    );
  }
  if (seen.lost.length > 0) {
    say(
      'Its backup lacks these, which the monitor was shown before. Ask who confirmed it what they were, and keep this list:',
    );
    printHeads(seen.lost);
  }
  if (seen.denied.length > 0) {
    say('No restore explains that these are not in the audit:');
    printHeads(seen.denied);
  }
}

function printHeads(heads: readonly AuditHead[]): void {
  printTable(
    ['replica', 'n', 'shown at', 'hash'],
    heads.map(({ replica, number, atMs, hash }) => [replica, number, moment(atMs), Buffer.from(hash).toString('hex')]),
  );
}

function deniedBy({ denied }: WitnessFinding): QiaoError {
  const [first] = denied;
  return new QiaoError(
    'AUDIT_BROKEN',
    `entry ${first?.number} of "${first?.replica}" is not the one that the monitor was shown${denied.length > 1 ? `, nor are ${denied.length - 1} others` : ''}`,
    {
      hint: 'was the hub restored and not confirmed? Otherwise keep copies of both stores and call the security administrator',
    },
  );
}

/** A monitor that is away takes nothing from what the chains prove by themselves. */
async function witnessesOf(command: Command): Promise<AuditHead[]> {
  try {
    return await withMonitor(command, async (monitor) => {
      const heads: AuditHead[] = [];
      for await (const head of monitor.listAuditHeads({})) heads.push(head);
      return heads;
    });
  } catch (error) {
    if (error instanceof QiaoError && (error.fate !== 'permanent' || error.code === 'MONITOR_UNKNOWN')) return [];
    throw error;
  }
}
