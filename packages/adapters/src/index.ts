export * from './adapter.ts';
export { openDataSource } from './open.ts';
