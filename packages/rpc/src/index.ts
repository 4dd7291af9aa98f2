export { type Address, addressText, parseAddress } from './address.ts';
export { firstAnswering, parseAddresses } from './addresses.ts';
export type { Caller, CallerContext, CallerFacts, CallerPorts, CallerRole, RpcLog } from './caller.ts';
export { callJoin } from './callJoin.ts';
export {
  type ClientTls,
  createGrpcClient,
  type DeadlineOption,
  type GrpcClient,
  type GrpcClientOptions,
} from './grpcClient.ts';
export {
  type GrpcServer,
  type GrpcServerOptions,
  MESSAGE_MAX_BYTES,
  openService,
  type RpcService,
  type ServerTls,
  service,
  startGrpcServer,
} from './grpcServer.ts';
export { type Asset, type HttpOptions, type HttpServer, startHttp } from './http.ts';
export { type HttpService, httpService, type JsonServiceDefinition } from './httpApi.ts';
export { httpStatusOf, statusOf } from './problemStatus.ts';
export { fetchAuthority, type ServerRole } from './serverIdentity.ts';
