import { expect, test } from 'vitest';
import { isThisMachine } from './thisMachine.ts';

test('only loopback and a socket are this machine', () => {
  const hosts = ['localhost', '127.0.0.1', '127.8.9.10', '::1', '/run/postgresql'];
  const others = ['127.example.gov', '127.0.0.1.example.gov', '127.1.2', 'localhost.example.gov', '10.127.0.1', ''];
  expect([...hosts, ...others].filter(isThisMachine)).toEqual(hosts);
});
