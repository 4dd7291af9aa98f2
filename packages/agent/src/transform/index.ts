export { type TableTransform, type TransformedLine, tableTransform } from './tableTransform.ts';
