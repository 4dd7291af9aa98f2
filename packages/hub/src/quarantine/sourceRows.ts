// Owns the road of operators to rows at a source: the first ones as they would leave, and those that were refused there. As with rows in
// quarantine, the hub relays ciphertext and writes down who looked.

import type { ListRefusedRowsRequest, NodeAnswer, PreviewRowsRequest } from '@qiao/contract/hub';
import { ListRefusedRows, PreviewRows } from '@qiao/contract/node';
import { crashPoint } from '@qiao/runtime';
import { getBridge } from '../bridges/versions.ts';
import type { NodeRow } from '../hubDatabase.ts';
import { type OpenRowPorts, throwProblem, written } from './openRows.ts';

/** The source node's own signed answer. Throws BRIDGE_UNKNOWN and what the node refuses. */
export async function previewRows(
  ports: OpenRowPorts,
  { preview }: PreviewRowsRequest,
  operator: string,
): Promise<NodeAnswer> {
  const value = PreviewRows.fromPartial(preview ?? {});
  const node = await sourceOf(ports, value.bridge);
  const { result, signed } = await ports.ask(node, operator, { $case: 'previewRows', value });
  throwProblem(result);
  crashPoint('rows.asked');
  await written(ports, operator, 'rows.preview', value.bridge, { table: value.table, rows: value.rows });
  return { result: signed, certificate: node.certificate ?? new Uint8Array(0) };
}

/** As above; only keys that were shown are written down. */
export async function listRefusedRows(
  ports: OpenRowPorts,
  { list }: ListRefusedRowsRequest,
  operator: string,
): Promise<NodeAnswer> {
  const value = ListRefusedRows.fromPartial(list ?? {});
  const node = await sourceOf(ports, value.bridge);
  const { result, signed } = await ports.ask(node, operator, { $case: 'listRefusedRows', value });
  throwProblem(result);
  if (value.access !== undefined) {
    crashPoint('rows.asked');
    await written(ports, operator, 'rows.refusedKeys', value.bridge, { table: value.table });
  }
  return { result: signed, certificate: node.certificate ?? new Uint8Array(0) };
}

/** Throws BRIDGE_UNKNOWN. */
async function sourceOf({ store }: OpenRowPorts, bridge: string): Promise<NodeRow> {
  const { source_node_id: id } = await getBridge(store, bridge);
  return await store.selectFrom('nodes').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
}
