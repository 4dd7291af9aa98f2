export * from './books.ts';
export * from './bridge.ts';
export { missingFiles, withFiles } from './bridgeFiles.ts';
export * from './bucketSums.ts';
export * from './chain.ts';
export type { Check, Divisions, Rule } from './checks/check.ts';
export * from './checkValue.ts';
export * from './columnType.ts';
export { comparable, compareValues } from './compareValues.ts';
export * from './conflict.ts';
export * from './content.ts';
export * from './counts.ts';
export * from './cursorValue.ts';
export * from './duration.ts';
export * from './errors.ts';
export * from './evaluateFilter.ts';
export * from './examples.ts';
export { MOST_TOKENS_AHEAD } from './fencing.ts';
export * from './filter.ts';
export * from './filterSql.ts';
export * from './fit.ts';
export * from './floatText.ts';
export * from './folding.ts';
export * from './header.ts';
export * from './helloReply.ts';
export * from './ids.ts';
export * from './kind.ts';
export * from './lane.ts';
export * from './matrix.ts';
export * from './mayFlow.ts';
export { didYouMean, nearestName } from './nearestName.ts';
export * from './outcome.ts';
export * from './ownership.ts';
export * from './pairText.ts';
export * from './parcel.ts';
export { bridgeJson, DEFAULT_JOURNAL_COLUMNS, parseBridge, parseBridgeJson } from './parseBridge.ts';
export * from './place.ts';
export * from './reconcile.ts';
export * from './repeatedFields.ts';
export * from './rowText.ts';
export * from './schedule.ts';
export { schemaProblems } from './schemaProblems.ts';
export { leavingKey, leavingNames } from './transform/columns.ts';
export * from './transform/compile.ts';
export type * from './transform/transform.ts';
export {
  BOOK_ENTRIES_LIMITS,
  CONTROL_LIMITS,
  HEADER_LIMITS,
  MAX_RECEIPTS_WANTED,
  RECEIPT_LIMITS,
  STATEMENT_LIMITS,
} from './wireLimits.ts';
export { readYaml } from './yamlText.ts';
