// Owns the calls of operators: who asked, what they asked, and that a refused change stands in the audit as well as one that
// succeeded. What the calls do lives in the rooms.

import type { HubServiceImplementation } from '@qiao/contract/hub';
import { QiaoError } from '@qiao/exchange';
import type { CallerContext } from '@qiao/rpc';
import { VERSION } from '@qiao/runtime';
import { appendAudit, readAudit } from '../audit/audit.ts';
import * as bridges from '../bridges/bridges.ts';
import { bridgeJobs, startJobs } from '../bridges/jobs.ts';
import { getBridge, isBlocking } from '../bridges/versions.ts';
import type { IdentityPorts } from '../identity/identity.ts';
import { invite } from '../identity/invite.ts';
import { renew } from '../identity/renew.ts';
import { revoke } from '../identity/revoke.ts';
import { listOpenRows, type OpenRowPorts, settleRows, showOpenRow } from '../quarantine/openRows.ts';
import { listRefusedRows, previewRows } from '../quarantine/sourceRows.ts';
import { getNode, listNodes } from '../registry/nodes.ts';
import { confirmRestore, readRestore } from '../restore/confirm.ts';
import { bridgeView, nodeView, refusalViews } from './views.ts';

export interface HubServicePorts {
  readonly identity: IdentityPorts;
  readonly bridges: bridges.BridgePorts;
  readonly openRows: OpenRowPorts;
  readonly bus: () => { readonly isConnected: boolean; readonly serverVersion: string };
  /** An operator called. */
  readonly seen: (nodeId: string, atMs: number) => void;
  /** A hub restored from a backup, until a person has confirmed. */
  readonly hold: { readonly isHeld: boolean; release(): void };
}

const MAX_REFUSALS = 1_000;
/** Rights may be ended at any time; all else waits until this hub knows again what it knew. */
const WHILE_HELD = new Set(['node.revoke', 'hub.confirm', 'node.renew']);

export function hubService(ports: HubServicePorts): HubServiceImplementation<CallerContext> {
  const { store, clock, platform } = ports.identity;

  /** Runs a change for its caller; one that fails is written down with its code. */
  async function change<T>(
    { caller }: CallerContext,
    action: string,
    subject: string,
    act: (operator: string) => Promise<T>,
  ): Promise<T> {
    ports.seen(Buffer.from(caller.nodeId).toString('hex'), clock.nowMs());
    try {
      if (ports.hold.isHeld && !WHILE_HELD.has(action)) throw restored();
      return await act(caller.name);
    } catch (error) {
      await writeRefused(caller.name, action, subject, [error instanceof QiaoError ? error.code : 'INTERNAL']);
      throw error;
    }
  }

  async function writeRefused(operator: string, action: string, subject: string, codes: readonly string[]) {
    const actor = `operator:${operator}`;
    const event = { atMs: clock.nowMs(), actor, action, subject, success: false, detail: { codes } };
    await store.transaction().execute((transaction) => appendAudit(transaction, event));
  }

  const showBridge = async (name: string) => await bridgeView(store, await getBridge(store, name));

  return {
    async getPlatform() {
      const { generation } = await store.selectFrom('hub_state').select('generation').executeTakeFirstOrThrow();
      const bus = ports.bus();
      return {
        platformId: platform.id,
        code: platform.code,
        title: platform.title,
        timeZone: platform.timeZone,
        generation: BigInt(generation),
        version: VERSION,
        natsVersion: bus.serverVersion,
        natsUrls: [...ports.identity.busUrls()],
        busConnected: bus.isConnected,
        restoreWaits: ports.hold.isHeld,
      };
    },
    async invite(request, context) {
      return await change(context, 'node.invite', request.nodeCode, (operator) =>
        invite(ports.identity, request, `operator:${operator}`),
      );
    },
    async listNodes() {
      return { nodes: (await listNodes(store)).map(nodeView) };
    },
    async getNode({ code }) {
      return nodeView(await getNode(store, code));
    },
    async revokeNode({ code, reason }, context) {
      return await change(context, 'node.revoke', code, async (operator) => {
        return nodeView(await revoke(ports.identity, code, reason, `operator:${operator}`));
      });
    },
    async checkBridge({ yaml }, { caller }) {
      return await bridges.checkBridge(ports.bridges, yaml, caller.name);
    },
    async createBridge({ yaml }, context) {
      return await change(context, 'bridge.create', '', async (operator) =>
        bridgeView(store, await bridges.createBridge(ports.bridges, yaml, operator)),
      );
    },
    async deployBridge(request, context) {
      return await change(context, 'bridge.deploy', request.name, async (operator) => {
        const deployed = await bridges.deployBridge(ports.bridges, request.name, request, operator);
        const blocking = deployed.problems.filter(isBlocking).map(({ code }) => code);
        if (blocking.length > 0) await writeRefused(operator, 'bridge.deploy', request.name, blocking);
        return {
          bridge: await showBridge(request.name),
          problems: [...deployed.problems],
          effects: [...deployed.effects],
        };
      });
    },
    async startBridge({ name }, context) {
      return await change(context, 'bridge.start', name, async (operator) =>
        bridgeView(store, await bridges.startBridge(ports.bridges, name, operator)),
      );
    },
    async stopBridge({ name }, context) {
      return await change(context, 'bridge.stop', name, async (operator) =>
        bridgeView(store, await bridges.stopBridge(ports.bridges, name, operator)),
      );
    },
    async retireBridge({ name }, context) {
      return await change(context, 'bridge.retire', name, async (operator) =>
        bridgeView(store, await bridges.retireBridge(ports.bridges, name, operator)),
      );
    },
    async runBridge({ name, allowedDeletes }, context) {
      return await change(context, 'bridge.run', name, async (operator) => {
        if (allowedDeletes > BigInt(Number.MAX_SAFE_INTEGER)) {
          throw new QiaoError('BAD_ALLOWED_DELETES', `found ${allowedDeletes}, expected a number of rows`, {
            hint: `qiao bridge run ${name} --allow-deletes ROWS`,
          });
        }
        return bridgeView(store, await bridges.runBridge(ports.bridges, name, Number(allowedDeletes), operator));
      });
    },
    async bindDestination({ name, destinationYaml }, context) {
      return await change(context, 'bridge.bind', name, async (operator) =>
        bridgeView(store, await bridges.bindDestination(ports.bridges, name, destinationYaml, operator)),
      );
    },
    async unbindDestination({ name, nodeCode }, context) {
      return await change(context, 'bridge.unbind', name, async (operator) =>
        bridgeView(store, await bridges.unbindDestination(ports.bridges, name, nodeCode, operator)),
      );
    },
    async verifyBridge(request, context) {
      return await change(context, 'bridge.verify', request.name, async (operator) => {
        const work = { kind: 'verify', rowsPerSecond: request.rowsPerSecond } as const;
        return { jobs: await startJobs(ports.bridges, request, work, operator) };
      });
    },
    async resyncBridge(request, context) {
      return await change(context, 'bridge.resync', request.name, async (operator) => ({
        jobs: await startJobs(ports.bridges, request, { kind: 'resync', ...request }, operator),
      }));
    },
    async resendBridge(request, context) {
      return await change(context, 'bridge.resend', request.name, async (operator) => ({
        jobs: await startJobs(ports.bridges, request, { kind: 'resend', ...request }, operator),
      }));
    },
    async getBridgeJobs({ name, jobIds }, { caller }) {
      return { jobs: await bridgeJobs(ports.bridges, name, jobIds, caller.name) };
    },
    async listBridges({ includeRetired }) {
      const rows = await store
        .selectFrom('bridges')
        .selectAll()
        .$if(!includeRetired, (query) => query.where('state', '<>', 'retired'))
        .orderBy('name')
        .orderBy('created_at_ms')
        .execute();
      return { bridges: await Promise.all(rows.map((row) => bridgeView(store, row))) };
    },
    async getBridge({ name }) {
      return await showBridge(name);
    },
    async listRefusals({ limit }) {
      return { refusals: await refusalViews(store, limit === 0 ? 100 : Math.min(limit, MAX_REFUSALS)) };
    },
    async listOpenRows(request, { caller }) {
      return await listOpenRows(ports.openRows, request, caller.name);
    },
    async showOpenRow(request, context) {
      return await change(context, 'rows.show', request.show?.ref ?? '', (operator) =>
        showOpenRow(ports.openRows, request, operator),
      );
    },
    async previewRows(request, context) {
      return await change(context, 'rows.preview', request.preview?.bridge ?? '', (operator) =>
        previewRows(ports.openRows, request, operator),
      );
    },
    async listRefusedRows(request, context) {
      return await change(context, 'rows.refused', request.list?.bridge ?? '', (operator) =>
        listRefusedRows(ports.openRows, request, operator),
      );
    },
    async settleRows(request, context) {
      const subject = request.settle?.rows?.refs[0] ?? request.settle?.rows?.bridge ?? request.node;
      return await change(context, 'rows.settle', subject, (operator) => settleRows(ports.openRows, request, operator));
    },
    async renewCertificate({ csr }, context) {
      const { name } = context.caller;
      return await change(context, 'node.renew', name, async () => {
        const { certificate, authority } = await renew(ports.identity, await getNode(store, name), csr);
        return { certificate, authority };
      });
    },
    async getRestore() {
      return await readRestore(store);
    },
    async confirmRestore({ withoutMissing }, context) {
      return await change(context, 'hub.confirm', 'hub', async (operator) => {
        const before = await readRestore(store);
        await confirmRestore(store, { actor: `operator:${operator}`, withoutMissing, nowMs: clock.nowMs() });
        ports.hold.release();
        await ports.identity.changed();
        return { ...before, ...(await readRestore(store)) };
      });
    },
    async *listAudit({ from, limit, replica }) {
      const bounded = (value: bigint) =>
        Number(value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : value);
      yield* readAudit(store, { from: bounded(from), limit: bounded(limit), replica });
    },
  };
}

function restored(): QiaoError {
  return new QiaoError('HUB_RESTORED', 'this hub was restored from a backup and waits until a person has confirmed', {
    hint: 'qiao hub confirm',
  });
}
