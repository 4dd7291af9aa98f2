// While one delivery is applied, the body of the next of its lane is opened: loads come one after another.

import { DeliveryHeader } from '@qiao/contract/delivery';
import { Signed } from '@qiao/contract/signed';
import { sameBytes } from '@qiao/exchange';
import type { ExchangeDatabase, InboxDelivery } from '../exchange-database/index.ts';
import type { OpenedDelivery } from './applyDelivery.ts';
import { type BodyOpener, openBody } from './openBody.ts';

export interface OpenAheadPorts {
  readonly database: Pick<ExchangeDatabase, 'inbox'>;
  readonly body: BodyOpener;
}

export class OpenAhead {
  readonly #ports: OpenAheadPorts;
  /** The one body opened ahead. */
  #ahead: { delivery: InboxDelivery; opened: Promise<OpenedDelivery> } | undefined;

  constructor(ports: OpenAheadPorts) {
    this.#ports = ports;
  }

  /** This delivery, opened now if it was not before. Throws what openBody throws. */
  take(delivery: InboxDelivery): Promise<OpenedDelivery> {
    const ahead = this.#ahead;
    this.#ahead = undefined;
    // Not the number alone: SQLite gives it again when the newest row went, and a void may have come in its place.
    const isSame = ahead?.delivery.number === delivery.number && sameBytes(ahead.delivery.header, delivery.header);
    return isSame ? ahead.opened : open(delivery, this.#ports);
  }

  /** Begins to open the delivery behind this one. */
  openBehind(delivery: InboxDelivery): void {
    const next = this.#ports.database.inbox.get({ ...delivery, sequence: delivery.sequence + 1n });
    if (next === undefined) return;
    const opened = open(next, this.#ports);
    // Whoever takes it sees the failure; until then it must not end the process.
    opened.catch(() => {});
    this.#ahead = { delivery: next, opened };
  }

  forget(): void {
    this.#ahead = undefined;
  }
}

async function open(delivery: InboxDelivery, ports: OpenAheadPorts): Promise<OpenedDelivery> {
  const header = DeliveryHeader.decode(Signed.decode(delivery.header).payload);
  if (header.role?.$case !== 'rows') return { delivery, header, sections: [] };
  const body = ports.database.inbox.body(delivery) ?? new Uint8Array(0);
  return { delivery, header, sections: await openBody(header, body, ports.body) };
}
