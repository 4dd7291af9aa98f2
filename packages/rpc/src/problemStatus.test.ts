import { ProblemsError, QiaoError } from '@qiao/exchange';
import { ClientError, Metadata, Status } from 'nice-grpc-common';
import { expect, test } from 'vitest';
import {
  fromClientError,
  httpStatusOf,
  PROBLEM_TRAILER,
  presentable,
  statusOf,
  toServerError,
} from './problemStatus.ts';

test('a code’s shape decides the status, else its fate', () => {
  const table: [QiaoError, Status, number][] = [
    [new QiaoError('TOKEN_INVALID', ''), Status.UNAUTHENTICATED, 401],
    [new QiaoError('CERTIFICATE_EXPIRED', ''), Status.UNAUTHENTICATED, 401],
    [new QiaoError('ROLE_REFUSED', ''), Status.PERMISSION_DENIED, 403],
    [new QiaoError('TOO_MANY_ATTEMPTS', '', { fate: 'transient' }), Status.RESOURCE_EXHAUSTED, 429],
    [new QiaoError('BRIDGE_NOT_FOUND', ''), Status.NOT_FOUND, 404],
    [new QiaoError('NODE_EXISTS', ''), Status.ALREADY_EXISTS, 409],
    [new QiaoError('YAML_INVALID', ''), Status.INVALID_ARGUMENT, 400],
    [new QiaoError('BUS_UNREACHABLE', '', { fate: 'transient' }), Status.UNAVAILABLE, 503],
    [new QiaoError('PUBLISH_TIMED_OUT', '', { fate: 'ambiguous' }), Status.DEADLINE_EXCEEDED, 504],
    [new QiaoError('BRIDGE_RUNNING', ''), Status.FAILED_PRECONDITION, 409],
    [new ProblemsError([{ code: 'KEY_MISSING', path: '', message: '', hint: '' }]), Status.INVALID_ARGUMENT, 400],
    [new QiaoError('INTERNAL', ''), Status.INTERNAL, 500],
  ];
  expect(table.map(([error]) => [error.code, statusOf(error), httpStatusOf(error)])).toEqual(
    table.map(([error, status, http]) => [error.code, status, http]),
  );
});

test('a long message is cut to what headers hold', () => {
  const trailer = Metadata();
  const error = toServerError(new QiaoError('X', '长'.repeat(5_000), { hint: '提'.repeat(5_000) }), trailer);
  expect(error.details.length).toBeLessThan(200);
  expect(trailer.get(PROBLEM_TRAILER)?.length).toBeLessThan(4_096);
});

test('an error that is not ours shows nothing but a reference', () => {
  const cause = new Error('row content');
  const reported: unknown[] = [];
  const shown = presentable(cause, 'ref-1', (reference, error) => reported.push(reference, error));
  expect(shown.code).toBe('INTERNAL');
  expect(shown.message).toContain('ref-1');
  expect(shown.message).not.toContain('row content');
  expect(reported).toEqual(['ref-1', cause]);
});

test('a server that does not answer is told in our words: which one, where, why, and the next command', () => {
  const why = 'No connection established. Last error: connect ECONNREFUSED 127.0.0.1:1. Resolution note: ';
  const told = (details: string, role: 'hub' | 'monitor') =>
    fromClientError(new ClientError('/x', Status.UNAVAILABLE, details), undefined, '10.0.0.5:7400', role);
  const refused = told(why, 'monitor');
  expect(refused.message).toBe('the monitor at 10.0.0.5:7400 does not answer: nobody listens there (ECONNREFUSED)');
  expect(refused.hint).toContain('systemctl status qiao-monitor');
  expect(refused.hint).toContain('qiao operator monitor HOST:PORT');
  const other = 'No connection established. Last error: something new. Resolution note: ';
  expect(told(other, 'hub').message).toBe('the hub at 10.0.0.5:7400 does not answer: something new');
});
