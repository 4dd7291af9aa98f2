// The mark in the target is the truth about a lane: at rest it names the last delivery that the sender gave out, epoch, sequence and
// chain, and the receiver remembers the same.

import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import type { NodeCode } from './departments.ts';
import type { DestinationPlan } from './plan.ts';
import type { Play } from './play.ts';
import type { Stage } from './stage.ts';

/** Sentences about marks that do not stand where their lanes do. */
export async function brokenMarks(play: Play): Promise<string[]> {
  const { stage, plan } = play;
  const found: string[] = [];
  for (const bridge of plan.bridges) {
    const { lanes } = await stage.platform.centre.getBridge({ name: bridge.name });
    for (const end of play.destinations(bridge.name)) {
      const lane = lanes.find(({ destinationNode, ended }) => destinationNode === end.node && !ended);
      const where = `lane of ${bridge.name} → ${end.node}`;
      if (lane === undefined) {
        found.push(`${where}: the hub knows none`);
        continue;
      }
      const id = Buffer.from(lane.laneId).toString('hex');
      const sent = standsAt(stage, bridge.from.node, SENT, id);
      const remembered = standsAt(stage, end.node, REMEMBERED, id);
      const mark = await markOf(stage, end, id);
      if (sent === undefined) found.push(`${where}: its sender knows no such lane`);
      if (mark !== sent) found.push(`${where}: the mark stands at ${mark}, the last delivery is ${sent}`);
      if (remembered !== sent)
        found.push(`${where}: the receiver remembers ${remembered}, the last delivery is ${sent}`);
    }
  }
  return found;
}

const SENT =
  "SELECT epoch || '.' || last_sequence || ' ' || lower(hex(chain)) FROM lane_out WHERE hex(lane) = upper(?)";
const REMEMBERED =
  "SELECT epoch || '.' || applied_sequence || ' ' || lower(hex(chain)) FROM lane_in WHERE hex(lane) = upper(?)";

function standsAt(stage: Stage, node: NodeCode, sql: string, lane: string): string | undefined {
  const database = new Sqlite(join(stage.platform.agentDirectory(node), 'exchange.db'), { readonly: true });
  try {
    return database.prepare<[string], string>(sql).pluck().get(lane);
  } finally {
    database.close();
  }
}

async function markOf(stage: Stage, { node, dataSource }: DestinationPlan, lane: string): Promise<string | undefined> {
  const database = stage.database(node, dataSource);
  const chain = database.adapter === 'postgres' ? "encode(chain, 'hex')" : 'lower(hex(chain))';
  const [newest] = await database.rows(
    `SELECT epoch, sequence, ${chain} FROM qiao_mark WHERE lane = '${lane}' ORDER BY epoch DESC, sequence DESC LIMIT 1`,
  );
  if (newest === undefined) return undefined;
  return `${newest[0]}.${newest[1]} ${newest[2]}`;
}
