/**
 * Contract services as JSON over HTTP: `POST /api/<service>/<Method>` with the request as JSON; one JSON answer, or NDJSON (one
 * message a line) for a server stream. Calls the same implementations as gRPC does. Who may come this far is `http.ts`'s business.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { ProblemsError, QiaoError } from '@qiao/exchange';
import { type CallContext, type CompatServiceDefinition, Metadata, type ServiceImplementation } from 'nice-grpc';
import type { Caller, CallerContext, CallerRole } from './caller.ts';
import { httpStatusOf } from './problemStatus.ts';

export interface HttpService {
  readonly definition: JsonServiceDefinition;
  readonly implementation: object;
  /** The methods a browser may call, by their name in the definition (`getBoard`). Nothing else is reachable. */
  readonly methods: readonly string[];
  /** Roles whose sessions may call; default operators only. */
  readonly roles: readonly CallerRole[];
}

/** The generated generic definitions, as far as JSON needs them. */
export interface JsonServiceDefinition {
  readonly fullName: string;
  readonly methods: Readonly<Record<string, JsonMethod>>;
}

interface JsonMethod {
  readonly name: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly requestType: { fromJSON(value: unknown): unknown };
  readonly responseType: { toJSON(message: never): unknown; fromPartial(message: never): unknown };
}

/** An entry for `startHttp`, typed: browsers may call exactly `methods`. */
export function httpService<
  D extends CompatServiceDefinition & JsonServiceDefinition,
  M extends keyof ServiceImplementation<D, CallerContext> & string,
>(
  definition: D,
  implementation: Pick<ServiceImplementation<D, CallerContext>, NoInfer<M>>,
  methods: readonly M[],
  roles: readonly CallerRole[] = ['operator'],
): HttpService {
  return { definition, implementation, methods, roles };
}

const REQUEST_MAX_BYTES = 1024 * 1024;

export interface ApiCall {
  readonly service: HttpService;
  readonly key: string;
  readonly method: JsonMethod;
}

/** The call a path names, when a browser may make it. */
export function findCall(services: readonly HttpService[], path: string): ApiCall | undefined {
  const [, serviceName, methodName] = /^\/api\/([\w.]+)\/(\w+)$/.exec(path) ?? [];
  const service = services.find((entry) => entry.definition.fullName === serviceName);
  const key = service?.methods.find((name) => service.definition.methods[name]?.name === methodName);
  const method = key === undefined ? undefined : service?.definition.methods[key];
  return service && key !== undefined && method && !method.requestStream ? { service, key, method } : undefined;
}

/** Runs one call. Errors before the first byte are thrown; a stream that fails later ends with `{"problem": …}` as its last line. */
export async function answerCall(
  call: ApiCall,
  caller: Caller,
  request: IncomingMessage,
  response: ServerResponse,
  ports: { readonly signal: AbortSignal; presentable(error: unknown): QiaoError },
): Promise<void> {
  if (!call.service.roles.includes(caller.role)) {
    throw new QiaoError(
      'ROLE_REFUSED',
      `${call.method.name} may be called by ${call.service.roles.join(', ')}; this session is of ${caller.role} ${caller.code}`,
    );
  }
  const message = readMessage(call.method, await readBody(request));
  const context = contextFor(caller, request.socket.remoteAddress ?? '', ports.signal);
  const run = (
    call.service.implementation as Record<string, (message: unknown, context: CallContext & CallerContext) => unknown>
  )[call.key];
  if (!run) throw new QiaoError('CALL_NOT_FOUND', `${call.method.name} is not served here`);
  const json = (answer: unknown): string =>
    JSON.stringify(call.method.responseType.toJSON(call.method.responseType.fromPartial(answer as never) as never));
  if (!call.method.responseStream) {
    const text = json(await run.call(call.service.implementation, message, context));
    response.writeHead(200, { 'content-type': 'application/json; charset=utf-8' });
    response.end(text);
    return;
  }
  const answers = run.call(call.service.implementation, message, context) as AsyncIterable<unknown>;
  try {
    for await (const answer of answers) {
      if (ports.signal.aborted) break;
      if (!response.headersSent) response.writeHead(200, { 'content-type': 'application/x-ndjson; charset=utf-8' });
      if (!response.write(`${json(answer)}\n`)) await drained(response, ports.signal);
    }
  } catch (error) {
    if (ports.signal.aborted) return void response.end();
    if (!response.headersSent) throw error;
    response.end(`${JSON.stringify({ problem: problemJson(ports.presentable(error)) })}\n`);
    return;
  }
  if (!response.headersSent) response.writeHead(200, { 'content-type': 'application/x-ndjson; charset=utf-8' });
  response.end();
}

/** Answers with an error: its status, and code, message and hint as JSON. */
export function answerProblem(response: ServerResponse, error: QiaoError): void {
  if (response.headersSent) return void response.destroy();
  response.writeHead(httpStatusOf(error), { 'content-type': 'application/json; charset=utf-8' });
  response.end(JSON.stringify(problemJson(error)));
}

function problemJson(error: QiaoError): object {
  const problem = { code: error.code, message: error.message, hint: error.hint };
  return error instanceof ProblemsError ? { ...problem, problems: error.problems } : problem;
}

function readMessage(method: JsonMethod, text: string): unknown {
  try {
    const value: unknown = text.trim() === '' ? {} : JSON.parse(text);
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new TypeError('not an object');
    return method.requestType.fromJSON(value);
  } catch (cause) {
    throw new QiaoError('REQUEST_INVALID', `the body is not the JSON of a request of ${method.name}`, { cause });
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const type = (request.headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase();
  // A form of another site cannot send this type without asking first, and it is never allowed to.
  if (type !== 'application/json')
    throw new QiaoError('REQUEST_INVALID', `the body is ${type || 'of no type'}; expected application/json`);
  const parts: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const part of request as AsyncIterable<Buffer>) {
      bytes += part.length;
      if (bytes > REQUEST_MAX_BYTES)
        throw new QiaoError('REQUEST_INVALID', `the body is over ${REQUEST_MAX_BYTES} bytes`);
      parts.push(part);
    }
  } catch (cause) {
    if (cause instanceof QiaoError) throw cause;
    // Whoever closes in the middle of a body reads no answer, and is no fault of this server.
    throw new QiaoError('REQUEST_INVALID', `the body ended after ${bytes} bytes, before its announced end`, { cause });
  }
  return Buffer.concat(parts).toString('utf8');
}

function contextFor(caller: Caller, peer: string, signal: AbortSignal): CallContext & CallerContext {
  return { caller, peer, signal, metadata: Metadata(), header: Metadata(), trailer: Metadata(), sendHeader() {} };
}

function drained(response: ServerResponse, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
    signal.addEventListener('abort', done);
    if (signal.aborted) done();
  });
}
