export { nodeHasher } from './nodeHasher.ts';
export { type TableTransform, type TransformedLine, tableTransform } from './tableTransform.ts';
