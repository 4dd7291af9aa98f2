/**
 * QiaoError <-> gRPC status, in both directions, and the HTTP status of the same error. Owns the table from codes to statuses
 * and the two trailers: `qiao-problem-bin` (one Problem) and `qiao-problems-bin` (every finding of a check).
 */
import { Problem as ContractProblem } from '@qiao/contract/control';
import { CheckBridgeResponse } from '@qiao/contract/hub';
import { type Fate, type Problem, ProblemsError, QiaoError } from '@qiao/exchange';
import { type ClientError, type Metadata, ServerError, Status } from 'nice-grpc-common';
import type { ServerRole } from './serverIdentity.ts';
import { unreachable } from './unreachable.ts';

export const PROBLEM_TRAILER = 'qiao-problem-bin';
export const PROBLEMS_TRAILER = 'qiao-problems-bin';

// Trailers share one header block; peers commonly take 8 KiB (and base64 adds a third).
const PROBLEMS_MAX_BYTES = 4 * 1024;
// Characters; three bytes each in Chinese.
const MESSAGE_MAX = 600;

/** Codes by shape, first match wins; an error's fate decides what none of them does. */
const STATUS_OF_CODE: readonly (readonly [RegExp, Status])[] = [
  [/^TOO_MANY_|_EXHAUSTED$/, Status.RESOURCE_EXHAUSTED],
  [/^(CERTIFICATE|TOKEN|SESSION|TICKET)_|^CALLER_REVOKED$/, Status.UNAUTHENTICATED],
  [/^(ROLE_REFUSED|ACCESS_DENIED)$|_FORBIDDEN$/, Status.PERMISSION_DENIED],
  [/_NOT_FOUND$|_UNKNOWN$/, Status.NOT_FOUND],
  [/_EXISTS$|_TAKEN$/, Status.ALREADY_EXISTS],
  [/_INVALID$|^BAD_/, Status.INVALID_ARGUMENT],
  [/^INTERNAL$/, Status.INTERNAL],
];

/** The gRPC status that stands for an error. */
export function statusOf(error: QiaoError): Status {
  for (const [shape, status] of STATUS_OF_CODE) if (shape.test(error.code)) return status;
  switch (error.fate) {
    case 'transient':
      return Status.UNAVAILABLE;
    case 'ambiguous':
      return Status.DEADLINE_EXCEEDED;
    case 'permanent':
      return error instanceof ProblemsError ? Status.INVALID_ARGUMENT : Status.FAILED_PRECONDITION;
    default:
      return error.fate satisfies never;
  }
}

/** The HTTP status that stands for an error. */
export function httpStatusOf(error: QiaoError): number {
  switch (statusOf(error)) {
    case Status.RESOURCE_EXHAUSTED:
      return 429;
    case Status.UNAUTHENTICATED:
      return 401;
    case Status.PERMISSION_DENIED:
      return 403;
    case Status.NOT_FOUND:
      return 404;
    case Status.ALREADY_EXISTS:
    case Status.FAILED_PRECONDITION:
      return 409;
    case Status.INVALID_ARGUMENT:
      return 400;
    case Status.UNAVAILABLE:
      return 503;
    case Status.DEADLINE_EXCEEDED:
      return 504;
    default:
      return 500;
  }
}

/**
 * What a caller may see of any failure. Errors that are not QiaoErrors are bugs or library errors whose text may hold rows:
 * only a reference goes out; `report` gets the error itself under that reference.
 */
export function presentable(
  error: unknown,
  reference: string,
  report: (reference: string, error: unknown) => void,
): QiaoError {
  if (error instanceof QiaoError) return error;
  report(reference, error);
  return new QiaoError(
    'INTERNAL',
    `the call failed unexpectedly; the server's log names the cause under ${reference}`,
    {
      hint: `look for ${reference} in the server's log`,
    },
  );
}

/** Writes the trailers and makes the error that nice-grpc turns into a status. */
export function toServerError(error: QiaoError, trailer: Metadata): ServerError {
  const message = shorten(error.message, MESSAGE_MAX);
  trailer.set(
    PROBLEM_TRAILER,
    ContractProblem.encode({ code: error.code, message, hint: shorten(error.hint, 200) }).finish(),
  );
  if (error instanceof ProblemsError) trailer.set(PROBLEMS_TRAILER, encodeProblems(error.problems));
  // Percent-encoding makes nine bytes of a Chinese character: the status text stays short, the trailer carries the whole.
  return new ServerError(statusOf(error), `${error.code}: ${shorten(message, 120)}`);
}

/** The error a client throws: as the server threw it when the trailer says so, else in words for the status. */
export function fromClientError(
  error: ClientError,
  trailer: Metadata | undefined,
  address: string,
  role: ServerRole = 'hub',
): QiaoError {
  const fate = fateOf(error.code);
  const problem = decode(trailer?.get(PROBLEM_TRAILER), (bytes) => ContractProblem.decode(bytes));
  const list = decode(trailer?.get(PROBLEMS_TRAILER), (bytes) => CheckBridgeResponse.decode(bytes));
  if (problem && list && list.problems.length > 0) {
    return new ProblemsError(list.problems, { code: problem.code, cause: error });
  }
  if (problem) return new QiaoError(problem.code, problem.message, { hint: problem.hint, fate, cause: error });
  switch (error.code) {
    case Status.UNAVAILABLE:
      return unreachable(role, [{ address, details: error.details }], error);
    case Status.UNIMPLEMENTED:
      return new QiaoError('CALL_NOT_SERVED', `${address} does not serve ${error.path}`, {
        hint: 'compare versions: qiao --version at both ends',
        cause: error,
      });
    default:
      return new QiaoError(
        `RPC_${Status[error.code] ?? 'UNKNOWN'}`,
        `${address} answered ${error.path} with: ${shorten(error.details, 300)}`,
        { fate, cause: error },
      );
  }
}

function fateOf(status: Status): Fate {
  switch (status) {
    case Status.UNAVAILABLE:
    case Status.RESOURCE_EXHAUSTED:
      return 'transient';
    case Status.DEADLINE_EXCEEDED:
    case Status.CANCELLED:
      return 'ambiguous';
    default:
      return 'permanent';
  }
}

function encodeProblems(problems: readonly Problem[]): Uint8Array {
  let encoded: Uint8Array = new Uint8Array(0);
  const kept: Problem[] = [];
  for (const problem of problems) {
    kept.push({ ...problem, message: shorten(problem.message, 300), hint: shorten(problem.hint, 200) });
    const next = CheckBridgeResponse.encode(CheckBridgeResponse.fromPartial({ problems: kept })).finish();
    if (next.length > PROBLEMS_MAX_BYTES) break;
    encoded = next;
  }
  return encoded;
}

function decode<T>(bytes: Uint8Array | undefined, read: (bytes: Uint8Array) => T): T | undefined {
  if (!bytes) return undefined;
  try {
    return read(bytes);
  } catch {
    // A trailer from a stranger in between: the status still says what happened.
    return undefined;
  }
}

function shorten(text: string, characters: number): string {
  return text.length <= characters ? text : `${text.slice(0, characters - 1)}…`;
}
