// Owns the edit of a bridge's text when a destination is bound or unbound: one entry comes or goes, every other line and
// comment of the operator's file stays as written.

import { QiaoError, readYaml } from '@qiao/exchange';
import { type Document, isSeq, parseDocument } from 'yaml';

/** The text with one more entry under `destinations:`. Throws DESTINATION_INVALID. */
export function withDestination(yaml: string, destinationYaml: string): string {
  const { value, problems } = readYaml(destinationYaml);
  const [problem] = problems;
  if (problem !== undefined) throw invalid(`the destination cannot be read: ${problem.message.slice(0, 500)}`);
  let entry = value;
  // `- node: …` as it stands in the file is as good as `node: …`.
  if (Array.isArray(entry) && entry.length === 1) entry = entry[0];
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) {
    throw invalid('found no mapping, expected one entry of `destinations:`');
  }
  const document = parseDocument(yaml);
  destinationsOf(document).add(document.createNode(entry));
  return document.toString();
}

/** The text without every destination at this node. Throws DESTINATION_UNKNOWN, LAST_DESTINATION. */
export function withoutDestination(yaml: string, name: string, nodeCode: string): string {
  const document = parseDocument(yaml);
  const destinations = destinationsOf(document);
  const nodes = (destinations.toJSON() as { node?: unknown }[]).map((entry) => entry?.node);
  const left = nodes.filter((node) => node !== nodeCode).length;
  if (left === nodes.length) {
    throw new QiaoError('DESTINATION_UNKNOWN', `the bridge "${name}" has no destination at "${nodeCode}"`, {
      hint: `qiao bridge show ${name}`,
    });
  }
  if (left === 0) {
    if (nodes.length === 1) {
      throw new QiaoError('LAST_DESTINATION', `"${nodeCode}" is the only destination of "${name}"`, {
        hint: `qiao bridge retire ${name}  # or stop it`,
      });
    }
    throw new QiaoError('LAST_DESTINATION', `all ${nodes.length} destinations of "${name}" are at "${nodeCode}"`, {
      hint: `qiao bridge deploy ${name} --file FILE  # a version without the one that ends; or retire the bridge`,
    });
  }
  for (let index = nodes.length - 1; index >= 0; index -= 1) {
    if (nodes[index] === nodeCode) destinations.delete(index);
  }
  return document.toString();
}

function destinationsOf(document: Document) {
  const destinations = document.get('destinations');
  if (isSeq(destinations)) return destinations;
  throw invalid('the stored bridge has no list `destinations:`');
}

function invalid(message: string): QiaoError {
  return new QiaoError('DESTINATION_INVALID', message, {
    hint: 'write one entry, for example: {node: civil-affairs, dataSource: exchange, tables: {…}}',
  });
}
