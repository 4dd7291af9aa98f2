/**
 * The gRPC server of hub and monitor: mutual TLS on one port, the caller's certificate turned into facts at every call, errors
 * turned into problems, a close that lets calls finish. What a role may do inside a service is the implementation's business.
 *
 * TLS asks every client for a certificate and requires none, because JoinService must answer strangers on the same port;
 * the requirement is made per service, before a call's message is read (strangers.ts).
 */
import { randomUUID } from 'node:crypto';
import {
  logVerbosity,
  ResponderBuilder,
  ServerCredentials,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
  ServerListenerBuilder,
  type ServerOptions,
  setLogVerbosity,
} from '@grpc/grpc-js';
import { QiaoError } from '@qiao/exchange';
import {
  type CallContext,
  type CompatServiceDefinition,
  createServer,
  type ServerMiddleware,
  type ServiceImplementation,
  type TsProtoServiceDefinition,
} from 'nice-grpc';
import { ServerError, Status } from 'nice-grpc-common';
import { addressText, parseAddress } from './address.ts';
import type { Caller, CallerContext, CallerPorts, CallerRole, RpcLog } from './caller.ts';
import { presentable, toServerError } from './problemStatus.ts';
import { certificateRequired, Strangers } from './strangers.ts';

export interface ServerTls {
  /** PEM: the server's certificate. */
  readonly cert: string;
  /** PEM, PKCS#8. */
  readonly key: string;
  /** PEM: the authority that issued clients and server. It is also sent to clients, which pin it when they join. */
  readonly ca: string;
}

export interface RpcService {
  readonly definition: TsProtoServiceDefinition;
  readonly implementation: object;
  /** Default true. False only for JoinService. */
  readonly requireClientCertificate?: boolean;
  /** Roles that may call; default operators only. */
  readonly roles?: readonly CallerRole[];
}

export interface GrpcServerOptions extends CallerPorts {
  /** host:port; port 0 takes a free one. */
  readonly listen: string;
  readonly tls: ServerTls;
  readonly services: readonly RpcService[];
  readonly log: RpcLog;
  /** How long a call without a certificate may last; default 30,000. */
  readonly strangerCallMs?: number | undefined;
}

export interface GrpcServer {
  /** host:port with the real port. */
  readonly address: string;
  readonly port: number;
  /** Ends the running calls of every caller for whom `matches` is true: revocation cuts what is live. */
  cut(matches: (caller: Caller) => boolean): void;
  /** Takes a renewed certificate for new connections. */
  renew(tls: ServerTls): void;
  /** Ends streams at once, lets other calls finish for `graceMs` (default 5,000), then cuts. */
  close(graceMs?: number): Promise<void>;
}

/** An entry for `services`, typed: the implementation receives `context.caller`. */
export function service<D extends TsProtoServiceDefinition>(
  definition: D,
  implementation: ServiceImplementation<D, CallerContext>,
  roles: readonly CallerRole[] = ['operator'],
): RpcService {
  return { definition, implementation, roles };
}

/** An entry for `services` that answers strangers: JoinService, nothing else. `context.peer` is the remote address. */
export function openService<D extends TsProtoServiceDefinition>(
  definition: D,
  implementation: ServiceImplementation<D>,
): RpcService {
  return { definition, implementation, requireClientCertificate: false };
}

/** Largest message either way: a bridge file with its shapes is far below. */
export const MESSAGE_MAX_BYTES = 8 * 1024 * 1024;

// grpc-js writes to standard error by itself; what matters here is thrown or logged with its fields.
if (process.env['GRPC_VERBOSITY'] === undefined) setLogVerbosity(logVerbosity.NONE);

/** Starts listening. Throws LISTEN_FAILED (address in use, not ours). */
export async function startGrpcServer(options: GrpcServerOptions): Promise<GrpcServer> {
  const closing = new AbortController();
  const running = new Set<RunningCall>();
  const strangers = new Strangers({
    openServices: options.services.filter(isOpen).map(({ definition }) => `/${definition.fullName}/`),
    callMs: options.strangerCallMs ?? 30_000,
  });
  const serverOptions: ServerOptions = {
    interceptors: [showCertificate(strangers)],
    'grpc.max_receive_message_length': MESSAGE_MAX_BYTES,
    'grpc.max_send_message_length': MESSAGE_MAX_BYTES,
    'grpc.keepalive_time_ms': 30_000,
    'grpc.keepalive_timeout_ms': 10_000,
    // What one connection, a stranger's included, may hold open at once.
    'grpc.max_concurrent_streams': 200,
    // Nobody keeps connections for nothing; a client dials again by itself.
    'grpc.max_connection_idle_ms': 120_000,
  };
  const server = createServer(serverOptions);
  for (const entry of options.services) {
    server
      .with(gate(entry, options, running, closing.signal))
      // Without the widening tsc resolves another overload, which wants an index signature.
      // oxlint-disable-next-line typescript/no-unnecessary-type-assertion
      .add(entry.definition as CompatServiceDefinition, entry.implementation);
  }
  const credentials = new AskingCredentials(options.tls);
  const wanted = parseAddress(options.listen);
  let port: number;
  try {
    port = await server.listen(addressText(wanted), credentials);
  } catch (cause) {
    throw new QiaoError(
      'LISTEN_FAILED',
      `cannot listen on ${options.listen}: ${cause instanceof Error ? cause.message : 'unknown cause'}`,
      {
        hint: 'another process may hold the port: choose another with listen:',
        cause,
      },
    );
  }
  return {
    address: addressText({ host: wanted.host, port }),
    port,
    cut(matches) {
      for (const call of running) if (matches(call.caller)) call.controller.abort();
    },
    renew: (tls) => credentials.renew(tls),
    async close(graceMs = 5_000) {
      closing.abort();
      let timer: NodeJS.Timeout | undefined;
      const grace = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, graceMs);
      });
      await Promise.race([server.shutdown(), grace]);
      clearTimeout(timer);
      server.forceShutdown();
    },
  };
}

interface RunningCall {
  readonly caller: Caller;
  readonly controller: AbortController;
}

// Set by us alone: whatever a client sends under this name is removed before.
const CERTIFICATE_KEY = 'qiao-peer-certificate-bin';

/**
 * grpc-js shows the peer's certificate to interceptors only, and nice-grpc shows metadata to middleware only: the one hands it
 * to the other. getAuthContext is empty unless TLS proved the chain and the dates, so an unproven certificate is no certificate.
 */
function showCertificate(strangers: Strangers): ServerInterceptor {
  return ({ path }, call) => {
    let end: (() => void) | undefined;
    const listener = new ServerListenerBuilder()
      .withOnReceiveMetadata((metadata, pass) => {
        metadata.remove(CERTIFICATE_KEY);
        const raw = provenCertificate(call);
        if (raw) metadata.set(CERTIFICATE_KEY, raw);
        else {
          end = strangers.admit(path, call);
          if (end === undefined) return;
        }
        pass(metadata);
      })
      // Told once of every call, however it ended.
      .withOnCancel(() => end?.())
      .build();
    return new ServerInterceptingCall(call, new ResponderBuilder().withStart((next) => next(listener)).build());
  };
}

function isOpen(entry: RpcService): boolean {
  return entry.requireClientCertificate === false;
}

function provenCertificate(call: ServerInterceptingCallInterface): Buffer | undefined {
  try {
    return call.getAuthContext().sslPeerCertificate?.raw;
  } catch {
    // The connection ended between the headers and this: the socket is gone, and with it the proof.
    return undefined;
  }
}

/** The middleware of one service: who calls, may they, and what a failure looks like outside. */
function gate(
  entry: RpcService,
  ports: CallerPorts & { log: RpcLog },
  running: Set<RunningCall>,
  closing: AbortSignal,
): ServerMiddleware<Partial<CallerContext>> {
  const roles = entry.roles ?? ['operator'];
  return async function* callGate(call, context) {
    const controller = new AbortController();
    let registered: RunningCall | undefined;
    try {
      const caller = isOpen(entry) ? undefined : callerOf(context, ports);
      if (caller) {
        // Before it is asked for: a revocation that comes while the answer is on its way must find this call.
        registered = { caller, controller };
        running.add(registered);
        await admit(caller, roles, ports, call.method.path);
      }
      // Streams have no end of their own, so closing ends them; a unary call is given its grace.
      const signals = [context.signal, controller.signal, ...(call.responseStream ? [closing] : [])];
      const signal = AbortSignal.any(signals);
      signal.throwIfAborted();
      const next = { ...context, ...(caller ? { caller } : {}), signal } as typeof context & Partial<CallerContext>;
      if (!call.responseStream) return yield* call.next(call.request, next);
      for await (const message of call.next(call.request, next)) {
        signal.throwIfAborted();
        // A stream may be older than its caller's last minute: proven again, as a new call would be.
        if (caller && ports.nowMs() > caller.notAfterMs) callerOf(context, ports);
        yield message;
      }
      // An implementation that returns when told to stop has not finished: the caller must not take it for the end.
      signal.throwIfAborted();
      return undefined;
    } catch (error) {
      if (controller.signal.aborted && registered) throw toServerError(revoked(registered.caller), context.trailer);
      if (closing.aborted && call.responseStream) {
        throw toServerError(
          new QiaoError('SERVER_CLOSING', 'the server is closing', {
            fate: 'transient',
            hint: 'call again in a moment',
          }),
          context.trailer,
        );
      }
      // Nobody reads this answer. The error itself is not handed on: nice-grpc would print it, and it may quote a row.
      if (context.signal.aborted) throw new ServerError(Status.CANCELLED, 'the caller ended the call');
      const shown = presentable(error, randomUUID().slice(0, 8), (reference, cause) =>
        ports.log.error({ reference, method: call.method.path, error: describe(cause) }, 'call failed unexpectedly'),
      );
      throw toServerError(shown, context.trailer);
    } finally {
      if (registered) running.delete(registered);
    }
  };
}

/** Who calls, by the certificate of the connection, proven at this moment. */
function callerOf(context: CallContext, ports: CallerPorts): Caller {
  const certificate = context.metadata.get(CERTIFICATE_KEY);
  if (!certificate) throw certificateRequired();
  const facts = ports.identify(certificate);
  const { role, code, nodeId, fingerprint, twinFingerprint, notAfterMs } = facts;
  return { role, code, name: code, nodeId, fingerprint, twinFingerprint, notAfterMs };
}

async function admit(
  caller: Caller,
  roles: readonly CallerRole[],
  ports: CallerPorts & { log: RpcLog },
  path: string,
): Promise<void> {
  if (await ports.isRevoked(caller)) {
    ports.log.warn({ role: caller.role, code: caller.code, method: path }, 'revoked caller refused');
    throw revoked(caller);
  }
  if (!roles.includes(caller.role)) {
    ports.log.warn({ role: caller.role, code: caller.code, method: path }, 'caller of another role refused');
    throw new QiaoError(
      'ROLE_REFUSED',
      `${path} may be called by ${roles.join(', ')}; the certificate is of ${caller.role} ${caller.code}`,
      {
        hint: 'use an operator context: --context DIR',
      },
    );
  }
}

function revoked(caller: Caller): QiaoError {
  return new QiaoError('CALLER_REVOKED', `the rights of ${caller.role} ${caller.code} were ended`, {
    hint: `qiao node invite ${caller.code}  # by an operator, when it should join again`,
  });
}

/** The error's class and place without its message, which may quote a row. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return typeof error;
  const code = (error as { code?: unknown }).code;
  const place =
    error.stack
      ?.split('\n')
      .find((line) => line.startsWith('    at '))
      ?.trim() ?? '';
  return `${error.name}${typeof code === 'string' ? ` ${code}` : ''} ${place}`;
}

/** Credentials that ask a client for its certificate without requiring one; grpc-js's own ask only when they require. */
class AskingCredentials extends ServerCredentials {
  constructor(tls: ServerTls) {
    super({ requestCert: true, rejectUnauthorized: false, minVersion: 'TLSv1.2' }, contextOptions(tls));
  }

  renew(tls: ServerTls): void {
    this.updateSecureContextOptions(contextOptions(tls));
  }

  override _equals(other: ServerCredentials): boolean {
    return other === this;
  }
}

function contextOptions(tls: ServerTls): { ca: string; cert: string; key: string } {
  return { ca: tls.ca, cert: `${tls.cert.trimEnd()}\n${tls.ca}`, key: tls.key };
}
