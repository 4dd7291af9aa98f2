// `qiao audit`: read the hub's hash chain, and prove it link by link on this machine.

import type { AuditEntry } from '@qiao/contract/hub';
import { QiaoError } from '@qiao/exchange';
import type { Command } from 'commander';
import { withHub } from './context.ts';
import { wantsJson } from './json.ts';
import { wholeNumber } from './numbers.ts';
import { moment, printJson, printTable, say } from './output.ts';

export function registerAudit(program: Command): void {
  const audit = program.command('audit').description('who did what at the hub, in a hash chain');

  audit
    .command('list')
    .description('entries, oldest first')
    .option('--from <number>', 'first entry', '0')
    .option('--limit <n>', 'at most this many', '200')
    .action(async (options: { from: string; limit: string }, command: Command) => {
      const range = {
        from: BigInt(wholeNumber('--from', options.from)),
        limit: BigInt(wholeNumber('--limit', options.limit)),
      };
      const entries: AuditEntry[] = [];
      await withHub(command, async (hub) => {
        for await (const entry of hub.listAudit(range)) entries.push(entry);
      });
      if (wantsJson(command)) return printJson(entries);
      printTable(
        ['n', 'at', 'who', 'did', 'to', 'success', 'detail'],
        entries.map((one) => [
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
    .description('recompute the chain from its first entry')
    .action(async (_options: object, command: Command) => {
      const { auditHash } = await import('@qiao/hub');
      let count = 0n;
      let previous: Uint8Array = new Uint8Array(32);
      await withHub(command, async (hub) => {
        for await (const entry of hub.listAudit({ from: 0n, limit: 0n })) {
          count += 1n;
          const isLinked =
            Buffer.compare(entry.previousHash, previous) === 0 && Buffer.compare(entry.hash, auditHash(entry)) === 0;
          if (!isLinked || entry.number !== count) {
            throw new QiaoError('AUDIT_BROKEN', `entry ${entry.number} does not follow from the one before it`, {
              hint: 'keep a copy of hub.db and call the security administrator',
            });
          }
          previous = entry.hash;
        }
      });
      if (wantsJson(command)) return printJson({ entries: count, verified: true, head: previous });
      say(`${count} entries, every link holds; head ${Buffer.from(previous).toString('hex')}.`);
    });
}
