// The hub of a simulated run, as far as lanes know it: it gives fencing tokens, remembers each lane's highest epoch, forwards what
// is in order and refuses the rest with the fates of the real one. Its memory can be restored from a backup.

import { ControlMessage, type Refusal, RefusalFate } from '@qiao/contract/control';
import { DeliveryHeader, DeliveryMessage } from '@qiao/contract/delivery';
import { Signed } from '@qiao/contract/signed';
import { idText, parseId, sameBytes } from '@qiao/exchange';
import { HUB, type World } from './node.testing.ts';

interface KnownEpoch {
  readonly ordinal: bigint;
  readonly nonce: Uint8Array;
}

export class SimulatedHub {
  readonly #world: World;
  #epochs = new Map<string, KnownEpoch>();
  #tokens = new Map<string, bigint>();

  constructor(world: World) {
    this.#world = world;
  }

  highestEpoch(laneId: string): bigint {
    return this.#epochs.get(laneId)?.ordinal ?? 0n;
  }

  /** A start's fencing token: above every token given before, and above what the node remembers. */
  giveToken(nodeId: string, last: bigint): bigint {
    const given = this.#tokens.get(nodeId) ?? 0n;
    const token = (given > last ? given : last) + 1n;
    this.#tokens.set(nodeId, token);
    return token;
  }

  backup(): () => void {
    const epochs = new Map(this.#epochs);
    const tokens = new Map(this.#tokens);
    return () => {
      this.#epochs = new Map(epochs);
      this.#tokens = new Map(tokens);
    };
  }

  /** Forwards one delivery and one control message, when they wait. */
  route(): void {
    const { upData, upControl } = this.#world;
    const delivery = upData.shift();
    if (delivery !== undefined) this.#routeData(delivery);
    const control = upControl.shift();
    if (control !== undefined) this.#routeControl(control);
  }

  #routeData(data: Uint8Array): void {
    const message = DeliveryMessage.decode(data);
    const header = DeliveryHeader.decode(message.header?.payload ?? new Uint8Array(0));
    const lane = idText(header.laneId);
    const epoch = header.epoch ?? { ordinal: 0n, nonce: new Uint8Array(0) };
    const known = this.#epochs.get(lane);
    const refuse = (code: string, fate: RefusalFate) => this.#refuse(header, code, fate, known?.ordinal ?? 0n);
    if (header.fencingToken < (this.#tokens.get(idText(header.senderId)) ?? 0n)) {
      refuse('FENCED', RefusalFate.RESEND);
      return;
    }
    if (known !== undefined && epoch.ordinal <= known.ordinal && !sameBytes(epoch.nonce, known.nonce)) {
      refuse('EPOCH_TOO_LOW', RefusalFate.NEW_EPOCH);
      return;
    }
    this.#epochs.set(lane, { ordinal: epoch.ordinal, nonce: epoch.nonce });
    this.#world.downData.get(idText(header.receiverId))?.push(data);
  }

  #routeControl(data: Uint8Array): void {
    const { toNodeId } = ControlMessage.decode(Signed.decode(data).payload);
    this.#world.downControl.get(toNodeId.length === 16 ? idText(toNodeId) : '')?.push(data);
  }

  #refuse(header: DeliveryHeader, code: string, fate: RefusalFate, highestEpoch: bigint): void {
    const { laneId, epoch, sequence, contentHash } = header;
    const refusal: Refusal = {
      laneId,
      epoch,
      sequence,
      code,
      message: code,
      hint: '',
      fate,
      highestEpoch,
      contentHash,
      fencingToken: 0n,
    };
    const payload = ControlMessage.encode({
      toNodeId: header.senderId,
      body: { $case: 'refusal', value: refusal },
    }).finish();
    const signed = { payload, suite: 'simulated', keyId: parseId(HUB), signature: Buffer.from('qiao.control.v1') };
    this.#world.downControl.get(idText(header.senderId))?.push(Signed.encode(signed).finish());
  }
}
