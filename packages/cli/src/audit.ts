// `qiao audit`: read the hub's hash chains, and prove them link by link on this machine.

import type { AuditEntry } from '@qiao/contract/hub';
import type { AuditHead } from '@qiao/contract/monitor';
import { QiaoError } from '@qiao/exchange';
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
    .description('recompute every chain from its first entry, and compare the seals between them')
    .action(async (_options: object, command: Command) => {
      const { verifyAudit } = await import('@qiao/hub');
      const finding = await withHub(command, (hub) =>
        verifyAudit(() => hub.listAudit({ from: 0n, limit: 0n, replica: '' })),
      );
      if (finding.kind === 'broken') {
        throw new QiaoError('AUDIT_BROKEN', `entry ${finding.number} of "${finding.replica}": ${finding.why}`, {
          hint: 'keep a copy of the hub’s database and call the security administrator',
        });
      }
      const witness = await requireWitnessed(command);
      if (wantsJson(command)) {
        return printJson({
          entries: finding.entries,
          verified: true,
          chains: finding.chains,
          witnessed: witness?.number ?? 0n,
        });
      }
      for (const { replica, entries, head } of finding.chains) say(`${replica}: ${entries} entries, head ${head}`);
      say(`${finding.entries} entries, every link and every seal holds.`);
      if (witness === undefined) remark('The monitor was not asked: it does not answer, or was shown no head yet.');
      else say(`The monitor was shown entry ${witness.number} of ${witness.replica}, and it is the same.`);
    });
}

/** The newest head that the monitor was shown is an entry of the audit still. Throws AUDIT_BROKEN. */
async function requireWitnessed(command: Command): Promise<AuditHead | undefined> {
  const witness = await auditHeadOf(command);
  if (witness === undefined) return undefined;
  const { replica, number, hash } = witness;
  await withHub(command, async (hub) => {
    for await (const entry of hub.listAudit({ from: number, limit: 1n, replica })) {
      if (entry.number === number && Buffer.compare(entry.hash, hash) === 0) return;
    }
    throw new QiaoError('AUDIT_BROKEN', `entry ${number} of "${replica}" is not the one that the monitor was shown`, {
      hint: 'was the hub restored from a backup? Otherwise keep copies of both stores and call the security administrator',
    });
  });
  return witness;
}

/** A monitor that is away takes nothing from what the chains prove by themselves. */
async function auditHeadOf(command: Command): Promise<AuditHead | undefined> {
  try {
    const head = await withMonitor(command, (monitor) => monitor.getAuditHead({}));
    return head.number === 0n ? undefined : head;
  } catch (error) {
    if (error instanceof QiaoError && (error.fate !== 'permanent' || error.code === 'MONITOR_UNKNOWN'))
      return undefined;
    throw error;
  }
}
