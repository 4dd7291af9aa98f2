/**
 * The call that brings a newcomer in: the authority is fetched and pinned first; only then is the one-time secret sent, over TLS
 * that believes nothing else.
 */
import { type JoinRequest, type JoinResponse, JoinServiceDefinition } from '@qiao/contract/hub';
import { firstAnswering } from './addresses.ts';
import { createGrpcClient } from './grpcClient.ts';
import { fetchAuthority } from './serverIdentity.ts';

/** Joins at the hub of a token: at the first of its replicas that answers. Throws AUTHORITY_MISMATCH, SERVER_UNREACHABLE, or the hub's refusal. */
export async function callJoin(
  token: { readonly hubAddress: string; readonly authorityFingerprint: string },
  request: JoinRequest,
): Promise<JoinResponse> {
  const address = await firstAnswering(token.hubAddress);
  const authority = await fetchAuthority(address, token.authorityFingerprint);
  const pem = `-----BEGIN CERTIFICATE-----\n${Buffer.from(authority)
    .toString('base64')
    .replace(/.{64}(?=.)/g, '$&\n')}\n-----END CERTIFICATE-----\n`;
  using client = createGrpcClient(JoinServiceDefinition, { address, tls: { ca: pem } });
  return await client.join(request);
}
