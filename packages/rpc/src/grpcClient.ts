/**
 * The gRPC client: one connection, the platform's authority as the only root, deadlines on every unary call, and errors as the
 * server threw them. Retrying is the caller's decision, by the error's fate.
 */

import { QiaoError } from '@qiao/exchange';
import {
  ChannelCredentials,
  type Client,
  type CompatServiceDefinition,
  createChannel,
  createClientFactory,
} from 'nice-grpc';
import { ClientError, type ClientMiddleware, type Metadata } from 'nice-grpc-common';
import { addressText, parseAddress } from './address.ts';
import { MESSAGE_MAX_BYTES } from './grpcServer.ts';
import { fromClientError } from './problemStatus.ts';
import { SERVER_NAME, type ServerRole, serverIdentityCheck } from './serverIdentity.ts';

export interface ClientTls {
  /** PEM: the platform's authority, the only one believed. */
  readonly ca: string;
  /** PEM: the caller's certificate and key; both or neither (joining). */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

export interface GrpcClientOptions {
  /** host:port. */
  readonly address: string;
  readonly tls: ClientTls;
  /** Whose certificate the server must show; default hub. */
  readonly role?: ServerRole | undefined;
  /** For unary calls without one of their own; default 30,000. Streams have none. */
  readonly deadlineMs?: number | undefined;
}

export interface DeadlineOption {
  /** Milliseconds this call may take; for a stream, its whole length. */
  readonly deadlineMs?: number | undefined;
}

export type GrpcClient<D extends CompatServiceDefinition> = Client<D, DeadlineOption> & { close(): void } & Disposable;

/**
 * A client of one service. Nothing is dialled before the first call. Calls throw QiaoError (ProblemsError when the server sent
 * several findings); SERVER_UNREACHABLE is transient, RPC_DEADLINE ambiguous, an aborted signal throws AbortError.
 */
export function createGrpcClient<D extends CompatServiceDefinition>(
  definition: D,
  options: GrpcClientOptions,
): GrpcClient<D> {
  const address = addressText(parseAddress(options.address));
  const { ca, cert, key } = options.tls;
  const credentials = ChannelCredentials.createSsl(
    Buffer.from(ca),
    key === undefined ? null : Buffer.from(key),
    cert === undefined ? null : Buffer.from(cert),
    { checkServerIdentity: serverIdentityCheck(options.role ?? 'hub') },
  );
  const channel = createChannel(address, credentials, {
    'grpc.ssl_target_name_override': SERVER_NAME,
    // A proxy of the environment would see, and could refuse, what only the two ends should.
    'grpc.enable_http_proxy': 0,
    // Connections belong to this client alone, so that close() closes them.
    'grpc.use_local_subchannel_pool': 1,
    'grpc.max_receive_message_length': MESSAGE_MAX_BYTES,
    'grpc.max_send_message_length': MESSAGE_MAX_BYTES,
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
    // A hub or monitor that was away for half a minute would otherwise be called away for two more after it is back.
    'grpc.initial_reconnect_backoff_ms': 200,
    'grpc.max_reconnect_backoff_ms': 2_000,
  });
  const client = createClientFactory()
    .use(problems(address, options.role ?? 'hub', options.deadlineMs ?? 30_000))
    .create(definition, channel);
  const close = (): void => channel.close();
  return Object.assign(client, { close, [Symbol.dispose]: close }) as GrpcClient<D>;
}

function problems(address: string, role: ServerRole, defaultDeadlineMs: number): ClientMiddleware<DeadlineOption> {
  return async function* callProblems(call, { deadlineMs, ...options }) {
    const limitMs = deadlineMs ?? (call.responseStream ? undefined : defaultDeadlineMs);
    const deadline = new AbortController();
    const timer = limitMs === undefined ? undefined : setTimeout(() => deadline.abort(), limitMs);
    let trailer: Metadata | undefined;
    const signal = options.signal ? AbortSignal.any([options.signal, deadline.signal]) : deadline.signal;
    try {
      return yield* call.next(call.request, {
        ...options,
        signal,
        onTrailer(received) {
          trailer = received;
          options.onTrailer?.(received);
        },
      });
    } catch (error) {
      if (deadline.signal.aborted && !options.signal?.aborted) {
        throw new QiaoError(
          'RPC_DEADLINE',
          `${address} did not answer ${call.method.path} in ${limitMs} ms; whether it was done is not known`,
          {
            hint: 'ask for the present state before calling again',
            fate: 'ambiguous',
            cause: error,
          },
        );
      }
      if (!(error instanceof ClientError)) throw error;
      // grpc-js hands the status to the callback before it emits it: the trailer arrives one turn later.
      if (!trailer) await new Promise<void>((resolve) => setImmediate(resolve));
      throw fromClientError(error, trailer, address, role);
    } finally {
      clearTimeout(timer);
    }
  };
}
