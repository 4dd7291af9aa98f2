export * from './bus.ts';
export * from './bus-accounts.ts';
export * from './bus-administration.ts';
export * from './connect-bus.ts';
export * from './names.ts';
export * from './nats-server-part.ts';
