// Inputs that would fill memory if they were believed: each is refused by its code, in a process whose heap is a quarter of
// what a small machine has, and the most that was ever resident is measured.

import { execFileSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, test } from 'vitest';
import type { Told } from './hostileBodies.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** Where messages are decoded without being counted: all of them lay in the store of the program that reads them. */
const OF_ITS_OWN = [
  'agent/src/apply/openAhead.ts',
  'agent/src/apply/settleRows.ts',
  'agent/src/books/publish.ts',
  'agent/src/cleaning/cancelOpen.ts',
  'agent/src/commands/status.ts',
  'agent/src/control/knowledge.ts',
  'agent/src/control/outgoing.ts',
  'agent/src/control/takeSnapshot.ts',
  'agent/src/data-sources/triggers.ts',
  'agent/src/exchange-database/books.ts',
  'agent/src/join/join.ts',
  'agent/src/receive/answer.ts',
  'agent/src/send/sealDelivery.ts',
  'hub/src/desired/directory.ts',
  'hub/src/desired/snapshots.ts',
  'monitor/src/ingest/nodes.ts',
];

const HEAP_MIB = 256;
/** The heap, buffers of the largest content, and the program itself. */
const RESIDENT_MIB = 480;

let told: Told[];
beforeAll(() => {
  const script = fileURLToPath(new URL('./hostileBodies.ts', import.meta.url));
  const said = execFileSync(process.execPath, ['--expose-gc', `--max-old-space-size=${HEAP_MIB}`, script], {
    encoding: 'utf8',
    timeout: 100_000,
  });
  told = said
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Told);
});

test('every one of them is refused by a code of its own, and nothing dies of it', () => {
  const codes = Object.fromEntries(told.map(({ what, code }) => [what, code]));
  expect(codes).toEqual({
    'a body of 2 GiB under a header that says 1 KiB': 'BODY_UNREADABLE',
    'a body of 2 GiB under a header that says the most there is': 'BODY_UNREADABLE',
    'a header that says more than the most there is': 'CONTENT_INVALID',
    'a section that claims 4 GiB': 'CONTENT_INVALID',
    'rows that claim 4 GiB': 'CONTENT_INVALID',
    'content of the most bytes in the smallest sections': 'CONTENT_INVALID',
    'content past the most bytes': 'CONTENT_INVALID',
    'a row past the most bytes': 'CONTENT_INVALID',
    'a control message of groups within groups': 'CONTROL_INVALID',
    'a delivery of groups within groups': 'MESSAGE_UNREADABLE',
    'a delivery larger than any': 'MESSAGE_UNREADABLE',
    'a header of half a million tables': 'MESSAGE_UNREADABLE',
    'a header of two million tables behind a length that lies': 'MESSAGE_UNREADABLE',
    'the same at a receiver': 'MESSAGE_UNREADABLE',
    'a control message of four million refused bridges': 'CONTROL_INVALID',
    'a heartbeat of half a million services': 'MESSAGE_UNREADABLE',
    'a greeting of four million lanes': 'HELLO_INVALID',
    'a greeting that knows of four million lanes': 'HELLO_INVALID',
    'four million book entries': 'ENTRIES_INVALID',
    'a book entry of two million counts': 'ENTRIES_INVALID',
    'three million counts in a thousand book entries': 'ENTRIES_INVALID',
    'a bridge of aliases of aliases': 'YAML_ALIAS',
    'a bridge of lists within lists': 'YAML_INVALID',
    'a bridge of lists within lists, by indicators': 'YAML_INVALID',
    'a bridge of mappings within mappings': 'YAML_INVALID',
    'a bridge of forty thousand keys': 'UNKNOWN_KEY',
    'a bridge of more than the most bytes': 'YAML_INVALID',
    'a definition of lists within lists': 'JSON_INVALID',
    'a definition of mappings within mappings': 'JSON_INVALID',
    'a filter of parentheses within parentheses': 'FILTER_INVALID',
    'a filter of NOT within NOT': 'FILTER_INVALID',
    'a filter of quotes within quotes': 'FILTER_INVALID',
  });
});

test('the most that was ever resident stays under what a small machine has', () => {
  expect(Math.max(...told.map(({ peakMiB }) => peakMiB))).toBeLessThan(RESIDENT_MIB);
});

test('what comes from outside is counted where it is decoded', () => {
  const files = globSync('{agent,hub,monitor,cli,bus,security,exchange}/src/**/*.ts', { cwd: `${ROOT}/packages` });
  const decoding = files.filter((file) => {
    const code = readFileSync(`${ROOT}/packages/${file}`, 'utf8');
    const messages = [...code.matchAll(/\b([A-Z]\w+)\.decode\(/g)].map(([, name]) => name);
    const contract = [...code.matchAll(/import \{([^}]*)\} from '@qiao\/contract/g)].join();
    return messages.some((name) => new RegExp(`\\b${name}\\b`).test(contract));
  });
  const sources = decoding.filter((file) => !/\.(test|testing)\.ts$/.test(file));
  expect(sources.sort(), 'read it with readMessage').toEqual(OF_ITS_OWN);
});
