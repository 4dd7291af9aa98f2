/**
 * Which rows travelled in a time: the keys of every delivery of the lane that was packed then, out of the parcels that are
 * still kept. They go onto the disk as they are found, so that their number is no matter of memory.
 */
import { decodeContent, QiaoError } from '@qiao/exchange';
import type { PlannedTable } from '../capture/plan.ts';
import type { ExchangeDatabase, Job, JobRow } from '../exchange-database/index.ts';
import { contentOf } from '../send/sealDelivery.ts';
import { keyOf } from './comparing.ts';
import { endOfFields } from './fields.ts';
import { type References, rowReference } from './references.ts';

const PAGE = 50;
const LF = 0x0a;

/** Notes the keys; what is there already stays. Throws RETENTION_PASSED when a parcel of that time is not kept any more. */
export async function gatherRows(
  database: ExchangeDatabase,
  job: Job,
  tables: readonly PlannedTable[],
  references: References,
  signal: AbortSignal,
): Promise<void> {
  const byName = new Map(tables.map((table) => [table.name, table]));
  let place = { lane: job.lane, epoch: -1n, sequence: -1n };
  for (;;) {
    const page = database.deliveriesOut.sealedBetween(place, job.options.fromMs, job.options.toMs, PAGE);
    for (const delivery of page) {
      if (signal.aborted) throw new QiaoError('JOB_STOPPED', 'the agent is stopping', { fate: 'transient' });
      place = { lane: job.lane, epoch: delivery.epoch, sequence: delivery.sequence };
      if (delivery.parcel === undefined) continue;
      if (database.parcels.content(delivery.parcel) === undefined) throw retentionPassed();
      const rows: JobRow[] = [];
      for (const section of decodeContent(await contentOf(database, delivery))) {
        const table = byName.get(section.table);
        if (table === undefined) continue;
        const lines = Buffer.from(section.rows.buffer, section.rows.byteOffset, section.rows.byteLength);
        for (let start = 0; start < lines.length; ) {
          const end = lines.indexOf(LF, start);
          const line = lines.subarray(start, end);
          const key = keyOf(table, line.subarray(0, endOfFields(line, section.keyColumns)));
          rows.push({
            table: table.name,
            key,
            reference: rowReference(references, table.name, key),
            finding: 'resend',
            cause: 'unknown',
            owned: true,
          });
          start = end + 1;
        }
      }
      database.transaction(() => database.jobs.addRows(job.job, rows));
    }
    if (page.length < PAGE) return;
  }
}

export function retentionPassed(): QiaoError {
  return new QiaoError('RETENTION_PASSED', 'what travelled in that time is not kept any more', {
    hint: 'compare both ends instead: qiao bridge resync NAME; limits.retentionMs of agent.yaml says how long parcels are kept',
  });
}
