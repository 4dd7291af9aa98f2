// What people and files say: bridges in YAML and JSON, filters, the three configurations, tokens, encrypted secrets.

import { agentConfigSchema } from '@qiao/agent';
import {
  bridgeJson,
  filterText,
  ProblemsError,
  parseBridge,
  parseBridgeJson,
  parseExamples,
  parseFilter,
  playExamples,
  QiaoError,
} from '@qiao/exchange';
import { hubConfigSchema } from '@qiao/hub';
import { monitorConfigSchema } from '@qiao/monitor';
import { parseConfig } from '@qiao/runtime';
import { decryptSecret, encryptSecret, makeToken, readToken } from '@qiao/security';
import { withDestination, withoutDestination } from '../../../packages/hub/src/bridges/destinations.ts';
import { type Decoder, holds } from '../decoder.ts';
import { sample } from '../samples.ts';

const textOf = (input: Uint8Array): string => Buffer.from(input).toString('utf8');

const KEYS = [
  ...['kind', 'name', 'title', 'source', 'node', 'dataSource', 'capture', 'tables', 'key', 'columns', 'where'],
  ...[
    'transform',
    'rename',
    'dictionary',
    'mask',
    'map',
    'otherwise',
    'checks',
    'required',
    ...[
      'constant',
      'value',
      'concatenate',
      'into',
      'separator',
      'split',
      'at',
      'cast',
      'dateFormat',
      'from',
      'yyyyMMdd',
    ],
    ...[
      'file',
      'files',
      'hash',
      'scope',
      'digits',
      'generalise',
      'normalise',
      'default',
      'drop',
      'pattern',
      'range',
      'least',
    ],
    ...['most', 'idNumber', 'creditCode', 'divisionCode', 'divisions', '(a{9}|b)*', 'decimal(10,2)', 'from,to'],
    'schedule',
    'every',
    'cron',
  ],
  ...[
    'destinations',
    'to',
    'ownership',
    'landing',
    'journal',
    'onDelete',
    'mark',
    'lateAfter',
    'limits',
    'window',
    '30s',
  ],
];
const FILTER_WORDS = [
  'AND',
  'OR',
  'NOT',
  'IN',
  'BETWEEN',
  'IS',
  'NULL',
  'LIKE',
  '<>',
  '<=',
  '>=',
  '!=',
  '%',
  '_',
  '"id"',
];

export function textDecoders(): Decoder[] {
  const bridge = sample('packages/exchange/golden/bridge.yaml');
  const steps = sample('packages/exchange/golden/bridge-steps.yaml');
  const least = sample('packages/exchange/golden/bridge-least.yaml');
  const json = sample('packages/exchange/golden/bridge-json.txt');
  const config = (name: string, schema: Parameters<typeof parseConfig>[2], file: string): Decoder => ({
    name,
    kind: 'text',
    words: KEYS,
    seeds: [sample(`deploy/config/${file}`)],
    take(input) {
      return read(parseConfig(textOf(input), file, schema));
    },
  });
  const hostKey = new Uint8Array(32).fill(7);
  return [
    {
      name: 'bridge-yaml',
      kind: 'text',
      words: KEYS,
      seeds: [bridge, least, steps],
      take(input) {
        const { definition, problems } = parseBridge(textOf(input));
        if (definition === undefined) throw new ProblemsError(problems);
        proveDefinition(bridgeJson(definition));
        return 'definition';
      },
    },
    {
      name: 'examples-yaml',
      kind: 'text',
      words: [...KEYS, 'Examples', 'examples', 'types', 'row', 'becomes', 'refused', 'code', 'filtered'],
      seeds: [
        sample('packages/exchange/golden/bridge.examples.yaml'),
        sample('packages/exchange/golden/bridge-steps.examples.yaml'),
      ],
      take(input) {
        const { examples, problems } = parseExamples(textOf(input));
        if (examples === undefined) throw new ProblemsError(problems);
        const { definition } = parseBridge(textOf(bridge));
        if (definition === undefined) throw new Error('the golden bridge cannot be read');
        playExamples(definition, examples, (_scope, text) => text);
        return 'played';
      },
    },
    {
      name: 'bridge-json',
      kind: 'text',
      words: KEYS,
      seeds: [json],
      take(input) {
        proveDefinition(bridgeJson(parseBridgeJson(textOf(input))));
        return 'definition';
      },
    },
    {
      name: 'filter',
      kind: 'text',
      words: FILTER_WORDS,
      seeds: [
        `birth_date >= '2020-01-01' AND (city = '3702' OR NOT city IN ('1', '2'))`,
        `"名" LIKE 'a%\\_' AND n BETWEEN -1 AND 3.50 AND x IS NOT NULL`,
      ].map((text) => Buffer.from(text)),
      take(input) {
        const { filter, problem } = parseFilter(textOf(input));
        if (filter === undefined) throw new QiaoError('FILTER_INVALID', problem ?? '');
        const written = filterText(filter);
        // Written out, a filter may be longer than one that is read: parentheses and quotes are added.
        if (written.length > 10_000) return 'long';
        const again = parseFilter(written);
        holds(again.filter !== undefined, `a filter that is not read as it was written: ${again.problem}`);
        holds(filterText(again.filter as never) === written, 'a filter that changes when it is written twice');
        return filter.kind;
      },
    },
    {
      name: 'destination-yaml',
      kind: 'text',
      words: [...KEYS, '&a', '*a', '<<', '!!binary'],
      maxBytes: 8_192,
      seeds: [
        '{node: statistics, dataSource: exchange, tables: {birth_certificate: {to: births}}}',
        '- node: statistics\n  dataSource: exchange\n  tables:\n    birth_certificate: {to: births, ownership: whole}\n',
      ].map((text) => Buffer.from(text)),
      take(input) {
        const bound = withDestination(textOf(bridge), textOf(input));
        const { definition, problems } = parseBridge(bound);
        if (definition === undefined) return `read, and refused: ${problems[0]?.code}`;
        const node = definition.destinations.at(-1)?.node ?? '';
        const { definition: unbound } = parseBridge(withoutDestination(bound, 'births', node));
        holds(unbound?.destinations.every((one) => one.node !== node) === true, 'a destination that stays bound');
        return 'bound';
      },
    },
    config('agent-yaml', agentConfigSchema, 'agent.yaml'),
    config('hub-yaml', hubConfigSchema, 'hub.yaml'),
    config('monitor-yaml', monitorConfigSchema, 'monitor.yaml'),
    {
      name: 'join-token',
      kind: 'bytes',
      seeds: [
        Buffer.from(
          makeToken({
            hubAddress: 'hub.example:7000',
            secret: new Uint8Array(32).fill(1),
            authorityFingerprint: 'ab'.repeat(32),
            platformCode: 'demo',
            nodeCode: 'health',
          }),
        ),
      ],
      take(input) {
        const token = readToken(textOf(input));
        holds(token.secret.length === 32 && token.authorityFingerprint.length === 64, 'a token past its limits');
        holds(readToken(makeToken(token)).nodeCode === token.nodeCode, 'a token that is not read as it was written');
        return 'token';
      },
    },
    {
      name: 'secret-at-rest',
      kind: 'bytes',
      seeds: [Buffer.from(encryptSecret('a password', hostKey))],
      take(input) {
        holds(decryptSecret(textOf(input), hostKey) === 'a password', 'another secret than was encrypted');
        return 'secret';
      },
    },
  ];
}

/** One definition has one text, and reading that text gives the same again. */
function proveDefinition(json: string): void {
  holds(bridgeJson(parseBridgeJson(json)) === json, 'a definition that is not read as it was written');
}

function read(value: unknown): string {
  holds(typeof value === 'object' && value !== null, 'a configuration that is no mapping');
  return `configuration ${Object.keys(value as object).length}`;
}
