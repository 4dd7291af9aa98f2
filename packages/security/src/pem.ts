/** PEM <-> DER (RFC 7468). Owns the text form only; what the bytes mean is read elsewhere. */
import { QiaoError } from '@qiao/exchange';

export type PemLabel = 'CERTIFICATE' | 'PRIVATE KEY' | 'CERTIFICATE REQUEST';

/** The PEM block of these bytes, 64 columns, final newline. */
export function toPem(der: Uint8Array, label: PemLabel): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}

/** The bytes of the first block with this label. Throws PEM_INVALID. */
export function fromPem(text: string, label: PemLabel): Uint8Array {
  const match = new RegExp(`-----BEGIN ${label}-----([A-Za-z0-9+/=\\s]+)-----END ${label}-----`).exec(text);
  const der = Buffer.from(match?.[1] ?? '', 'base64');
  if (der.length === 0) throw new QiaoError('PEM_INVALID', `no PEM block labelled ${label} was found`);
  return new Uint8Array(der);
}
