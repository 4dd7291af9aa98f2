/**
 * Bytes made by version 1 of each format, kept: what was signed or sealed once must verify and open in every later version.
 * A test that fails here means a new format name, never new golden bytes. The keys below were made for this file alone.
 */
import { expect, test } from 'vitest';
import { p256Sha256 } from './cryptoSuite.ts';
import { sealing, sealingContext } from './sealing.ts';
import { decryptSecret } from './secretBox.ts';
import { makeToken, readToken, secretHash } from './token.ts';

const from = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'));

test('a p256-sha256 signature of version 1 verifies', () => {
  const publicKey = from(
    'MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE3zzyPLk5ftTXZRZkF5Okj1wcNAl1SZYwtQwdsB3b6BsmA2C1DtJbiOnGrPKvv0V6EDjujnOlf9kzb6XCY+N43w==',
  );
  const signature = from('9bTkzs+JJYy9LCOc8VIYU/xuXH6KELHZXssMIDDdNM7yAWkxu2GmkcS7PhHs5Rz4+xtxEbScmRgkLpH8vL/g/Q==');
  expect(p256Sha256.verify(publicKey, Buffer.from('qiao.receipt.v1\0golden', 'latin1'), signature)).toBe(true);
});

test('a body sealed by version 1 opens', async () => {
  const context = sealingContext({
    laneId: new Uint8Array(16).fill(1),
    epoch: { ordinal: 3n, nonce: new Uint8Array(16).fill(2) },
    sequence: 7n,
    contentHash: new Uint8Array(32).fill(3),
  });
  expect(Buffer.from(context).toString('hex')).toBe(
    '100101010101010101010101010101010110020202020202020202020202020202021000000000000000030000000000000007200303030303030303030303030303030303030303030303030303030303030303',
  );
  const sealed = {
    body: from('l6LlQCZ+B2MbOMmG2Ohb0YOxbThYnxwliLpKLZ+2fudG2N4Q4FuY'),
    wrappedKey: from(
      'BDBZSYUcEKRvl9zs0+2e2PzXwEit+jTc7GJpgypzI7Yp3MCIU524BMRmX1iNwgeeKtSv/kTttK8qFvorxkXAf8mWJ/bmTu4bjwNHF7j3cI2LdUOtFh/Ot8848hYm7q9a6dxp/Z0+wexv8FxJkYifDIQ=',
    ),
  };
  const content = await sealing.open(sealed, from('VDMXMaLGfucZW/hGCxc1pPv1iOwS7n8lfua/yC9sv28='), context);
  expect(Buffer.from(content).toString()).toBe('golden row\n');
});

test('a token of version 1 is read and made the same', () => {
  const token = {
    hubAddress: '127.0.0.1:7400',
    secret: new Uint8Array(32).fill(5),
    authorityFingerprint: 'ab'.repeat(32),
    platformCode: 'demo',
    nodeCode: 'health',
  };
  const text =
    'qiao1.eyJoIjoiMTI3LjAuMC4xOjc0MDAiLCJzIjoiQlFVRkJRVUZCUVVGQlFVRkJRVUZCUVVGQlFVRkJRVUZCUVVGQlFVRkJRVSIsImYiOiJxNnVycTZ1cnE2dXJxNnVycTZ1cnE2dXJxNnVycTZ1cnE2dXJxNnVycTZzIiwicCI6ImRlbW8iLCJuIjoiaGVhbHRoIn3XwGNu';
  expect(makeToken(token)).toBe(text);
  expect(readToken(text)).toEqual(token);
  expect(secretHash(token.secret)).toBe('7f08ab6ab55f82499079af833aae00fb406d20c085fe589f14639b45d2ccbe30');
});

test('a secret encrypted by version 1 opens', () => {
  expect(decryptSecret('qiaosec1:cDN7ujZZpm-mqyw1n3C8u0p28vjNFFR9zk4jHJ1iXnSPvg', new Uint8Array(32).fill(7))).toBe(
    '密码',
  );
});
