// Old, foreign and stolen messages at every door. One table: what is wrong with a message, which door it comes to, what the
// door says. Each message is genuine but for one thing, with real keys and certificates of one authority; every row is tried
// beside its genuine twin, which the same door takes.

import { Signed } from '@qiao/contract/signed';
import { readCertificate } from '@qiao/security';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bytes, START_MS } from '../packages/hub/src/world.testing.ts';
import {
  AFTER_ALL_MS,
  city,
  civil,
  DAY_MS,
  endActors,
  foreignHealth,
  health,
  ids,
  oldHealth,
  otherIds,
  startActors,
  taken,
  watch,
  world,
} from './refused/actors.ts';
import {
  answerOf,
  atHub,
  atReceiver,
  commandAtAgent,
  controlAtHub,
  controlAtSender,
  directoryAtMonitor,
  disposableDatabase,
  entriesAtMonitor,
  heartbeatAtMonitor,
  openMonitor,
  snapshotAtAgent,
  snapshotsAtAgent,
} from './refused/doors.ts';
import {
  answerTo,
  booksThrough,
  change,
  command,
  controlMessage,
  deliveryAs,
  directory,
  heartbeat,
  questionOf,
  receiptMessage,
  refusalOf,
  resendOf,
  settlement,
  snapshot,
  statement,
  wantedOf,
} from './refused/messages.ts';

beforeAll(startActors);
afterAll(endActors);

const FROM_HUB = 'qiao.telemetry.demo.hub.directory';

// biome-ignore format: one row, one line
const TABLE: readonly [wrong: string, door: string, said: string, bring: () => Promise<string | undefined>][] = [
  // Deliveries.
  ['nothing', 'hub, a delivery', taken, () => atHub(change({}), {})],
  ['nothing', 'receiver, a delivery', taken, () => atReceiver(change({}), {})],
  ['signed by another node', 'hub, a delivery', 'SIGNATURE_INVALID', () => atHub(change({}, city.signer), {})],
  ['signed by another node', 'receiver, a delivery', 'KEY_MISMATCH', () => atReceiver(change({}, city.signer), {})],
  ['signed for another purpose', 'hub, a delivery', 'SIGNATURE_INVALID', () => atHub(deliveryAs('qiao.control.v1'), {})],
  ['signed for another purpose', 'receiver, a delivery', 'SIGNATURE_INVALID', () => atReceiver(deliveryAs('qiao.control.v1'), {})],
  ['of another platform’s authority', 'hub, a delivery', 'SIGNATURE_INVALID', () => atHub(change({}, foreignHealth), {})],
  ['of another platform’s authority', 'receiver, a delivery', 'KEY_MISMATCH', () => atReceiver(change({}, foreignHealth), {})],
  ['for another platform', 'hub, a delivery', 'PLATFORM_UNKNOWN', () => atHub(change({ platformId: bytes(16) }), {})],
  ['for another platform', 'receiver, a delivery', 'DELIVERY_FOREIGN', () => atReceiver(change({ platformId: bytes(16) }), {})],
  ['for another lane', 'hub, a delivery', 'DESTINATION_NOT_BOUND', () => atHub(change({ laneId: otherIds.laneId }), {})],
  ['for another lane', 'receiver, a delivery', 'DELIVERY_FOREIGN', () => atReceiver(change({ laneId: otherIds.laneId }), {})],
  ['for another bridge', 'hub, a delivery', 'NOT_THE_SOURCE', () => atHub(change(otherIds), {})],
  ['for another bridge', 'receiver, a delivery', 'DELIVERY_FOREIGN', () => atReceiver(change(otherIds), {})],
  ['for another receiver', 'hub, a delivery', 'DESTINATION_NOT_BOUND', () => atHub(change({ receiverId: city.id }), {})],
  ['for another receiver', 'receiver, a delivery', 'DELIVERY_FOREIGN', () => atReceiver(change({}), {}, city)],
  ['from a revoked node', 'hub, a delivery', 'NODE_REVOKED', () => atHub(change({}), { revoked: true })],
  ['from a revoked node', 'receiver, a delivery', 'SENDER_REVOKED', () => atReceiver(change({}), { revoked: true })],
  ['under a certificate that was replaced', 'hub, a delivery', 'SIGNATURE_INVALID', () => atHub(change({}, oldHealth.signer), {})],
  ['under a certificate that was replaced', 'receiver, a delivery', 'KEY_MISMATCH', () => atReceiver(change({}, oldHealth.signer), {})],
  ['under an expired certificate', 'hub, a delivery', 'CERTIFICATE_EXPIRED', () => atHub(change({}), { nowMs: AFTER_ALL_MS })],
  ['under an expired certificate', 'receiver, a delivery', 'CERTIFICATE_EXPIRED', () => atReceiver(change({}), { nowMs: AFTER_ALL_MS })],
  ['of an older start', 'hub, a delivery', 'FENCED', () => atHub(change({}), { fencingToken: 2n })],

  // Receipts.
  ['nothing', 'hub, a receipt', taken, () => controlAtHub(receiptMessage({}), {}, 'civil')],
  ['nothing', 'sender, a receipt', taken, () => controlAtSender(receiptMessage({}), {})],
  ['signed by another node', 'hub, a receipt', 'SIGNATURE_INVALID', () => controlAtHub(receiptMessage({ signer: city.signer }), {}, 'civil')],
  ['signed by another node', 'sender, a receipt', 'KEY_MISMATCH', () => controlAtSender(receiptMessage({ signer: city.signer }), {})],
  ['signed inside for another purpose', 'hub, a receipt', 'SIGNATURE_INVALID', () => controlAtHub(receiptMessage({ inner: 'qiao.statement.v1' }), {}, 'civil')],
  ['signed inside for another purpose', 'sender, a receipt', 'SIGNATURE_INVALID', () => controlAtSender(receiptMessage({ inner: 'qiao.statement.v1' }), {})],
  ['signed outside for another purpose', 'hub, a receipt', 'SIGNATURE_INVALID', () => controlAtHub(receiptMessage({ outer: 'qiao.receipt.v1' }), {}, 'civil')],
  ['for another platform', 'hub, a receipt', 'PLATFORM_UNKNOWN', () => controlAtHub(receiptMessage({ platformId: bytes(16) }), {}, 'civil')],
  ['for another platform', 'sender, a receipt', 'RECEIPT_FOREIGN', () => controlAtSender(receiptMessage({ platformId: bytes(16) }), {})],
  ['for another lane', 'hub, a receipt', 'CONTROL_NOT_ALLOWED', () => controlAtHub(receiptMessage({ lane: otherIds }), {}, 'civil')],
  ['for another lane', 'sender, a receipt', 'RECEIPT_FOREIGN', () => controlAtSender(receiptMessage({ lane: otherIds }), {})],
  ['for another sender', 'hub, a receipt', 'CONTROL_NOT_ALLOWED', () => controlAtHub(receiptMessage({ to: city }), {}, 'civil')],
  ['for another sender', 'sender, a receipt', 'CONTROL_FOREIGN', () => controlAtSender(receiptMessage({ to: city }), {})],
  ['from a node that does not receive', 'hub, a receipt', 'CONTROL_NOT_ALLOWED', () => controlAtHub(receiptMessage({ from: city }), {}, 'city')],
  ['from a revoked node', 'sender, a receipt', 'NODE_REVOKED', () => controlAtSender(receiptMessage({}), { revoked: true })],
  ['under an expired certificate', 'hub, a receipt', 'CERTIFICATE_EXPIRED', () => controlAtHub(receiptMessage({}), { nowMs: AFTER_ALL_MS }, 'civil')],
  ['under an expired certificate', 'sender, a receipt', 'CERTIFICATE_EXPIRED', () => controlAtSender(receiptMessage({}), { nowMs: AFTER_ALL_MS })],

  // Resend requests, refusals, the monitor's word.
  ['nothing', 'sender, a resend request', taken, () => controlAtSender(controlMessage(civil.signer, health.id, resendOf(ids.laneId)), {})],
  ['about another lane', 'hub, a resend request', 'CONTROL_NOT_ALLOWED', () => controlAtHub(controlMessage(civil.signer, health.id, resendOf(otherIds.laneId)), {}, 'civil')],
  ['about another lane', 'sender, a resend request', 'CONTROL_FOREIGN', () => controlAtSender(controlMessage(civil.signer, health.id, resendOf(otherIds.laneId)), {})],
  ['from a revoked node', 'sender, a resend request', 'NODE_REVOKED', () => controlAtSender(controlMessage(civil.signer, health.id, resendOf(ids.laneId)), { revoked: true })],
  ['under an expired certificate', 'sender, a resend request', 'CERTIFICATE_EXPIRED', () => controlAtSender(controlMessage(civil.signer, health.id, resendOf(ids.laneId)), { nowMs: AFTER_ALL_MS })],
  ['for another node', 'sender, a refusal of the hub', 'CONTROL_FOREIGN', () => controlAtSender(controlMessage(world.hub.signer, city.id, refusalOf(ids.laneId)), {})],
  ['of another hub', 'sender, a refusal of the hub', 'KEY_MISMATCH', () => controlAtSender(controlMessage(foreignHealth, health.id, refusalOf(ids.laneId)), {})],
  ['nothing', 'agent, how far the books are held', taken, () => controlAtSender(controlMessage(watch.signer, health.id, booksThrough), {})],
  ['from an agent', 'hub, how far the books are held', 'CONTROL_NOT_ALLOWED', () => controlAtHub(controlMessage(city.signer, health.id, booksThrough), {}, 'city')],
  ['from an agent', 'agent, how far the books are held', 'MONITOR_UNKNOWN', () => controlAtSender(controlMessage(city.signer, health.id, booksThrough), {})],
  ['for another node', 'agent, how far the books are held', 'CONTROL_FOREIGN', () => controlAtSender(controlMessage(watch.signer, city.id, booksThrough), {})],
  ['under an expired certificate', 'agent, how far the books are held', 'CERTIFICATE_EXPIRED', () => controlAtSender(controlMessage(watch.signer, health.id, booksThrough), { nowMs: AFTER_ALL_MS })],
  ['from a revoked node', 'hub, any control message', 'NODE_REVOKED', () => controlAtHub(controlMessage(health.signer, civil.id, resendOf(ids.laneId)), { revoked: true })],

  // Comparisons, and rows that are wanted whole.
  ['nothing', 'hub, a comparison’s question', taken, () => controlAtHub(controlMessage(health.signer, civil.id, questionOf(ids.laneId)), {})],
  ['nothing', 'receiver, a comparison’s question', taken, () => controlAtSender(controlMessage(health.signer, civil.id, questionOf(ids.laneId)), {}, civil)],
  ['about another lane', 'hub, a comparison’s question', 'CONTROL_NOT_ALLOWED', () => controlAtHub(controlMessage(health.signer, civil.id, questionOf(otherIds.laneId)), {})],
  ['about another lane', 'receiver, a comparison’s question', 'KEY_MISMATCH', () => controlAtSender(controlMessage(health.signer, civil.id, questionOf(otherIds.laneId)), {}, civil)],
  ['for another node', 'hub, a comparison’s question', 'CONTROL_NOT_ALLOWED', () => controlAtHub(controlMessage(health.signer, city.id, questionOf(ids.laneId)), {})],
  ['for another node', 'receiver, a comparison’s question', 'CONTROL_FOREIGN', () => controlAtSender(controlMessage(health.signer, city.id, questionOf(ids.laneId)), {}, civil)],
  ['from the lane’s other end', 'sender, a comparison’s question', 'CONTROL_FOREIGN', () => controlAtSender(controlMessage(civil.signer, health.id, questionOf(ids.laneId)), {})],
  ['of the hub', 'receiver, a comparison’s question', 'KEY_MISMATCH', () => controlAtSender(controlMessage(world.hub.signer, civil.id, questionOf(ids.laneId)), {}, civil)],
  ['under an expired certificate', 'hub, a comparison’s question', 'CERTIFICATE_EXPIRED', () => controlAtHub(controlMessage(health.signer, civil.id, questionOf(ids.laneId)), { nowMs: AFTER_ALL_MS })],
  ['under an expired certificate', 'receiver, a comparison’s question', 'CERTIFICATE_EXPIRED', () => controlAtSender(controlMessage(health.signer, civil.id, questionOf(ids.laneId)), { nowMs: AFTER_ALL_MS }, civil)],
  ['nothing', 'hub, a comparison’s answer', taken, () => controlAtHub(controlMessage(civil.signer, health.id, answerTo(ids.laneId)), {}, 'civil')],
  ['nothing', 'sender, a comparison’s answer', taken, () => controlAtSender(controlMessage(civil.signer, health.id, answerTo(ids.laneId)), {})],
  ['about another lane', 'hub, a comparison’s answer', 'CONTROL_NOT_ALLOWED', () => controlAtHub(controlMessage(civil.signer, health.id, answerTo(otherIds.laneId)), {}, 'civil')],
  ['about another lane', 'sender, a comparison’s answer', 'CONTROL_FOREIGN', () => controlAtSender(controlMessage(civil.signer, health.id, answerTo(otherIds.laneId)), {})],
  ['for another node', 'sender, a comparison’s answer', 'CONTROL_FOREIGN', () => controlAtSender(controlMessage(civil.signer, city.id, answerTo(ids.laneId)), {})],
  ['under an expired certificate', 'sender, a comparison’s answer', 'CERTIFICATE_EXPIRED', () => controlAtSender(controlMessage(civil.signer, health.id, answerTo(ids.laneId)), { nowMs: AFTER_ALL_MS })],
  ['nothing', 'hub, a wish for whole rows', taken, () => controlAtHub(controlMessage(civil.signer, health.id, wantedOf(ids.laneId)), {}, 'civil')],
  ['nothing', 'sender, a wish for whole rows', taken, () => controlAtSender(controlMessage(civil.signer, health.id, wantedOf(ids.laneId)), {})],
  ['about another lane', 'hub, a wish for whole rows', 'CONTROL_NOT_ALLOWED', () => controlAtHub(controlMessage(civil.signer, health.id, wantedOf(otherIds.laneId)), {}, 'civil')],
  ['about another lane', 'sender, a wish for whole rows', 'CONTROL_FOREIGN', () => controlAtSender(controlMessage(civil.signer, health.id, wantedOf(otherIds.laneId)), {})],
  ['for another node', 'sender, a wish for whole rows', 'CONTROL_FOREIGN', () => controlAtSender(controlMessage(civil.signer, city.id, wantedOf(ids.laneId)), {})],
  ['under an expired certificate', 'sender, a wish for whole rows', 'CERTIFICATE_EXPIRED', () => controlAtSender(controlMessage(civil.signer, health.id, wantedOf(ids.laneId)), { nowMs: AFTER_ALL_MS })],

  // Desired state and commands.
  ['an older one', 'agent, a snapshot behind a newer', 'older, number 6', async () => snapshotsAtAgent(snapshot(), snapshot({ number: 5n }))],
  ['of an older generation', 'agent, a snapshot behind a newer', 'older, number 6', async () => snapshotsAtAgent(snapshot({ generation: 2n }), snapshot({ generation: 1n, number: 9n }))],
  ['nothing', 'agent, a snapshot', taken, () => snapshotAtAgent(snapshot(), {})],
  ['for another node', 'agent, a snapshot', 'SNAPSHOT_FOREIGN', () => snapshotAtAgent(snapshot({ nodeId: city.id }), {})],
  ['for another platform', 'agent, a snapshot', 'SNAPSHOT_FOREIGN', () => snapshotAtAgent(snapshot({ platformId: bytes(16) }), {})],
  ['signed by a node', 'agent, a snapshot', 'KEY_MISMATCH', () => snapshotAtAgent(snapshot({}, 'qiao.snapshot.v1', city.signer), {})],
  ['a directory, not a snapshot', 'agent, a snapshot', 'SIGNATURE_INVALID', () => snapshotAtAgent(snapshot({}, 'qiao.directory.v1'), {})],
  ['nothing', 'agent, a command', 'executed 1', () => commandAtAgent(command())],
  ['brought twice', 'agent, a command', 'executed 1', () => commandAtAgent(command(), command())],
  ['brought again after a restart', 'agent, a command', 'COMMAND_REPEATED', commandAfterRestart],
  ['for another node', 'agent, a command', 'COMMAND_FOREIGN', () => commandAtAgent(command({ nodeId: city.id }))],
  ['expired', 'agent, a command', 'COMMAND_EXPIRED', () => commandAtAgent(command({ expiresAtMs: BigInt(START_MS - 1) }))],
  ['good for years', 'agent, a command', 'COMMAND_EXPIRED', () => commandAtAgent(command({ expiresAtMs: BigInt(START_MS + 400 * DAY_MS) }))],
  ['outside of time', 'agent, a command', 'COMMAND_EXPIRED', () => commandAtAgent(command({ expiresAtMs: -(2n ** 63n) }))],
  ['signed by a node', 'agent, a command', 'KEY_MISMATCH', () => commandAtAgent(command({}, 'qiao.command.v1', city.signer))],
  ['signed for another purpose', 'agent, a command', 'SIGNATURE_INVALID', () => commandAtAgent(command({}, 'qiao.snapshot.v1'))],

  // The books.
  ['nothing', 'monitor, a statement', taken, () => entriesAtMonitor(statement(), {})],
  ['signed by another node', 'monitor, a statement', 'KEY_MISMATCH', () => entriesAtMonitor(statement({}, 'qiao.statement.v1', city.signer), {})],
  ['signed for another purpose', 'monitor, a statement', 'SIGNATURE_INVALID', () => entriesAtMonitor(statement({}, 'qiao.receipt.v1'), {})],
  ['for another platform', 'monitor, a statement', 'PLATFORM_UNKNOWN', () => entriesAtMonitor(statement({ platformId: bytes(16) }), {})],
  ['for another platform', 'monitor, a settlement', 'PLATFORM_UNKNOWN', () => entriesAtMonitor(settlement({ platformId: bytes(16) }), {})],
  ['about another lane', 'monitor, a statement', 'LANE_FOREIGN', () => entriesAtMonitor(statement({ laneId: otherIds.laneId }), {})],
  ['to another receiver', 'monitor, a statement', 'LANE_FOREIGN', () => entriesAtMonitor(statement({ receiverId: city.id }), {})],
  ['in another’s name', 'monitor, a statement', 'AUTHOR_MISMATCH', () => entriesAtMonitor(statement({ senderId: city.id }), {})],
  ['brought by another node', 'monitor, a statement', 'ENTRIES_INVALID', () => entriesAtMonitor(statement(), {}, city.certificate)],
  ['from a revoked node', 'monitor, a statement', 'CERTIFICATE_REVOKED', () => entriesAtMonitor(statement(), { revoked: true })],
  ['under a certificate that was replaced', 'monitor, a statement', 'CERTIFICATE_REVOKED', () => entriesAtMonitor(statement({}, 'qiao.statement.v1', oldHealth.signer), {}, oldHealth.certificate)],
  ['under an expired certificate', 'monitor, a statement', 'CERTIFICATE_EXPIRED', () => entriesAtMonitor(statement(), { nowMs: AFTER_ALL_MS })],

  // Heartbeats and the directory.
  ['nothing', 'monitor, a heartbeat', taken, () => heartbeatAtMonitor(heartbeat(), {})],
  ['signed by another node', 'monitor, a heartbeat', 'KEY_MISMATCH', () => heartbeatAtMonitor(heartbeat('qiao.heartbeat.v1', city.signer), {})],
  ['signed for another purpose', 'monitor, a heartbeat', 'SIGNATURE_INVALID', () => heartbeatAtMonitor(heartbeat('qiao.control.v1'), {})],
  ['in another’s name', 'monitor, a heartbeat', 'HEARTBEAT_INVALID', () => heartbeatAtMonitor(heartbeat('qiao.heartbeat.v1', health.signer, city.id), {})],
  ['from a revoked node', 'monitor, a heartbeat', 'NODE_REVOKED', () => heartbeatAtMonitor(heartbeat(), { revoked: true })],
  ['under a certificate that was replaced', 'monitor, a heartbeat', 'KEY_MISMATCH', () => heartbeatAtMonitor(heartbeat('qiao.heartbeat.v1', oldHealth.signer), {})],
  ['under an expired certificate', 'monitor, a heartbeat', 'CERTIFICATE_EXPIRED', () => heartbeatAtMonitor(heartbeat(), { nowMs: AFTER_ALL_MS })],
  ['nothing', 'monitor, a directory', 'number 8', () => directoryAtMonitor(directory(8n), FROM_HUB)],
  ['an older one', 'monitor, a directory', 'number 7', () => directoryAtMonitor(directory(6n), FROM_HUB)],
  ['brought by a node', 'monitor, a directory', 'DIRECTORY_FOREIGN', () => directoryAtMonitor(directory(8n), 'qiao.telemetry.demo.city.directory')],
  ['signed by a node', 'monitor, a directory', 'KEY_MISMATCH', () => directoryAtMonitor(directory(8n, 'qiao.directory.v1', city.signer), FROM_HUB)],
  ['a snapshot, not a directory', 'monitor, a directory', 'SIGNATURE_INVALID', () => directoryAtMonitor(Signed.encode(snapshot({ number: 9n })).finish(), FROM_HUB)],
];

async function commandAfterRestart(): Promise<string> {
  using database = disposableDatabase();
  expect(await answerOf(database.open(), [command()])).toBe('executed 1');
  return await answerOf(database.open(), [command()]);
}

test.each(TABLE)('wrong: %s; at %s: %s', async (_wrong, _door, said, bring) => {
  expect(await bring()).toBe(said);
});

test('a certificate counts as revoked by its own fingerprint, so that the one in its place is believed', async () => {
  await using monitor = await openMonitor({});
  expect(monitor.nodes.isCertificateRevoked(readCertificate(oldHealth.certificate))).toBe(true);
  expect(monitor.nodes.isCertificateRevoked(readCertificate(health.certificate))).toBe(false);
});
