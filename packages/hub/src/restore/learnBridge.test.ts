// What a restored hub knows again of a bridge must not depend on the order in which its nodes report: each shows its own lanes only, and
// the number of its snapshot is its own.

import { BridgeState, NodeSnapshot } from '@qiao/contract/node';
import { type BridgeDefinition, bridgeJson, parseBridge } from '@qiao/exchange';
import { silentLog } from '@qiao/runtime';
import { describe, expect, test } from 'vitest';
import { createDesiredState } from '../desired/snapshots.ts';
import { bytes, idText, START_MS, type TestNode, TestWorld } from '../world.testing.ts';
import { learnBridge } from './learnBridge.ts';

const NODES = ['health', 'civil', 'police'] as const;
type Code = (typeof NODES)[number];
const ORDERS = NODES.flatMap((first) =>
  NODES.filter((code) => code !== first).map((second) => {
    const third = NODES.find((code) => code !== first && code !== second) as Code;
    return [[first, second, third].join(' '), [first, second, third]] as const;
  }),
);

function definitionTo(...destinations: readonly Code[]): BridgeDefinition {
  const ends = destinations.map(
    (node) => `  - {node: ${node}, dataSource: exchange, tables: {birth: {to: t, ownership: whole}}}`,
  );
  const { definition } = parseBridge(`
kind: Bridge
name: births
title: 出生
source: {node: health, dataSource: his, capture: compare, tables: [{name: birth, key: [id]}]}
schedule: realtime
destinations:
${ends.join('\n')}
`);
  if (definition === undefined) throw new Error('a definition');
  return definition;
}

/** A hub with a bridge from health to civil and police, and what each node would show of it. */
class FanOut implements AsyncDisposable {
  readonly world: TestWorld;
  readonly nodes: Record<Code, TestNode>;
  readonly bridge: string;
  readonly lanes: { readonly civil: string; readonly police: string };
  readonly #desired: ReturnType<typeof createDesiredState>;

  private constructor(world: TestWorld, nodes: Record<Code, TestNode>, bridge: string, civil: string, police: string) {
    this.world = world;
    this.nodes = nodes;
    this.bridge = bridge;
    this.lanes = { civil, police };
    this.#desired = createDesiredState({
      store: world.store,
      platform: world.platform,
      clock: world.clock,
      log: silentLog(),
      sign: (context, payload) => world.hub.signer.sign(context, payload),
      isLeader: () => true,
      toNode: async () => {},
      toMonitor: async () => {},
    });
  }

  static async create(): Promise<FanOut> {
    const world = await TestWorld.create();
    const nodes = {
      health: await world.join('health'),
      civil: await world.join('civil'),
      police: await world.join('police'),
    };
    const { bridgeId, laneId } = await world.bridge('births', nodes.health, nodes.civil);
    const fanOut = new FanOut(world, nodes, idText(bridgeId), idText(laneId), idText(bytes(16)));
    const definition_json = bridgeJson(definitionTo('civil', 'police'));
    await world.store.updateTable('bridge_versions').set({ definition_json }).execute();
    await world.store
      .insertInto('lanes')
      .values({
        id: fanOut.lanes.police,
        bridge_id: fanOut.bridge,
        sender_id: idText(nodes.health.id),
        receiver_id: idText(nodes.police.id),
        data_source: 'exchange',
        destination: 1,
        bound_at_ms: START_MS,
        ended_at_ms: null,
        highest_epoch: 0,
        highest_nonce: null,
        routed_sequence: 0,
        routed_deliveries: 0,
        refused_deliveries: 0,
      })
      .execute();
    return fanOut;
  }

  async number(): Promise<number> {
    const { number } = await this.world.store.selectFrom('hub_state').select('number').executeTakeFirstOrThrow();
    return number;
  }

  /** Deploys a second version without civil. */
  async unbindCivil(): Promise<void> {
    const { store } = this.world;
    const definition_json = bridgeJson(definitionTo('police'));
    const stored = { yaml: '', stored_at_ms: START_MS, stored_by: 'zhang', deployed_at_ms: START_MS };
    await store
      .insertInto('bridge_versions')
      .values({ bridge_id: this.bridge, version: 2, definition_json, ...stored })
      .execute();
    await store.updateTable('bridges').set({ version: 2, deployed_version: 2 }).execute();
    await store.updateTable('lanes').set({ ended_at_ms: START_MS }).where('id', '=', this.lanes.civil).execute();
    await store.updateTable('lanes').set({ destination: 0 }).where('id', '=', this.lanes.police).execute();
  }

  /** Puts the store back to where civil was bound. */
  async bindCivil(): Promise<void> {
    const { store } = this.world;
    await store.deleteFrom('bridge_versions').where('version', '=', 2).execute();
    await store.updateTable('bridges').set({ version: 1, deployed_version: 1 }).execute();
    await store.updateTable('lanes').set({ ended_at_ms: null }).execute();
    await store.updateTable('lanes').set({ destination: 1 }).where('id', '=', this.lanes.police).execute();
  }

  async shown(): Promise<Record<Code, NodeSnapshot>> {
    await this.#desired.refresh();
    const read = async (code: Code) =>
      NodeSnapshot.decode((await this.#desired.snapshotOf(idText(this.nodes[code].id))).payload);
    return { health: await read('health'), civil: await read('civil'), police: await read('police') };
  }

  /** The hub is the backup of `number`, and hears what the nodes show one after the other. */
  async restore(number: number, snapshots: readonly NodeSnapshot[]): Promise<void> {
    await this.world.store.updateTable('hub_state').set({ number, backup_number: number }).execute();
    for (const snapshot of snapshots) {
      for (const bridge of snapshot.bridges) await learnBridge(this.world.store, bridge, snapshot, START_MS + 1);
    }
  }

  /** Open lanes with their place in the definition. */
  async open(): Promise<string[]> {
    const lanes = await this.world.store
      .selectFrom('lanes')
      .select(['id', 'destination'])
      .where('ended_at_ms', 'is', null)
      .orderBy('destination')
      .execute();
    return lanes.map(({ id, destination }) => `${destination} ${id === this.lanes.civil ? 'civil' : 'police'}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.world[Symbol.asyncDispose]();
  }
}

describe.each(ORDERS)('told in the order %s', (_order, order) => {
  test('a bridge that was made after the backup comes back with every lane', async () => {
    await using it = await FanOut.create();
    const shown = await it.shown();
    for (const table of ['lanes', 'bridge_versions', 'bridges'] as const)
      await it.world.store.deleteFrom(table).execute();
    await it.restore(
      0,
      order.map((code) => shown[code]),
    );
    expect(await it.open()).toEqual(['0 civil', '1 police']);
  });

  test('a destination that was unbound after the backup stays unbound', async () => {
    await using it = await FanOut.create();
    await it.shown();
    const backup = await it.number();
    await it.unbindCivil();
    const shown = await it.shown();
    await it.bindCivil();
    await it.restore(
      backup,
      order.map((code) => shown[code]),
    );
    expect(await it.open()).toEqual(['0 police']);
  });

  test('a destination that was unbound and has not been heard of since stays unbound', async () => {
    await using it = await FanOut.create();
    const before = await it.shown();
    await it.unbindCivil();
    const shown = { ...(await it.shown()), civil: before.civil };
    await it.bindCivil();
    await it.restore(
      0,
      order.map((code) => shown[code]),
    );
    expect(await it.open()).toEqual(['0 police']);
  });
});

test.each([
  ['first', (told: readonly [unknown, unknown]) => told],
  ['last', ([old, living]: readonly [unknown, unknown]) => [living, old]],
] as const)(
  'a bridge whose name was given anew stays retired when the node that knows it alone reports %s',
  async (_when, inOrder) => {
    await using world = await TestWorld.create();
    const [health, civil, away] = [await world.join('health'), await world.join('civil'), await world.join('away')];
    await world.store.updateTable('hub_state').set({ number: 100, backup_number: 100 }).execute();
    const told = (receiver: Uint8Array, number: bigint) => ({
      assignment: {
        bridgeId: bytes(16),
        name: 'births',
        version: 1,
        definitionJson: bridgeJson(definitionTo('civil')),
        state: BridgeState.RUNNING,
        lanes: [
          {
            laneId: bytes(16),
            senderId: health.id,
            receiverId: receiver,
            destination: 0,
            highestEpoch: 1n,
            ended: false,
          },
        ],
        runNumber: 0n,
        allowedDeletes: 0n,
        circles: undefined,
      },
      at: { generation: 1n, number },
    });
    const old = told(away.id, 110n);
    const living = told(civil.id, 150n);
    for (const { assignment, at } of inOrder([old, living]) as (typeof old)[]) {
      await learnBridge(world.store, assignment, at, START_MS);
    }
    const alive = await world.store.selectFrom('bridges').select('id').where('state', '<>', 'retired').execute();
    expect(alive.map(({ id }) => id)).toEqual([idText(living.assignment.bridgeId)]);
    const open = await world.store.selectFrom('lanes').select('bridge_id').where('ended_at_ms', 'is', null).execute();
    expect(open.map(({ bridge_id }) => bridge_id)).toEqual([idText(living.assignment.bridgeId)]);
  },
);
