// No boundary between two stores is without its crash point: the code is read with the compiler, and wherever a write to one
// store may be followed by a write to another, a name from the registry must stand between.

import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CRASH_POINTS } from '@qiao/runtime';
import ts from 'typescript';
import { beforeAll, describe, expect, test } from 'vitest';
import { BoundaryFinder } from './crash-points/boundaries.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** Writes to two stores of which neither stands for the other: nothing that a crash between them could leave half done. */
const WAIVED: Readonly<Record<string, string>> = {
  'hub/routing/routeData.ts#run acknowledgement → hub.db':
    'counters, written once a second: a crash leaves them behind',
  'hub/busUpkeep.ts#run bus → hub.db': 'news for the nodes after a round; every start looks for it again',
  'hub/busUpkeep.ts#round bus → files': 'every step is idempotent and repeated in the next round',
  'agent/apply/apply.ts#run exchange.db → target': 'what a claim notes of one lane stands for itself',
  'agent/join/join.ts#moveForeignExchangeDatabase exchange.db → files':
    'opened only to be read; moving it aside later is the same',
  'agent/join/join.ts#joinAgent files → exchange.db':
    'the first start makes what joining did not, and its books say that they begin there, where nothing was before',
  'security/joining.ts#joinPlatform exchange.db → files':
    'the same database, moved aside before the identity is written',
  'hub/api/hubService.ts#listRefusedRows bus → hub.db': 'the audit of an attempt that failed and showed nothing',
  'hub/api/hubService.ts#revokeNode bus → hub.db': 'the audit of an attempt that failed and changed nothing',
  'hub/api/hubService.ts#deployBridge bus → hub.db': 'the audit of a deploy that was refused and changed nothing',
  'agent/capture/logReader.ts##round exchange.db → source':
    'a log that is begun anew: until it is removed it is tried once more, and who follows one that is gone owes a scan',
  'agent/control/takeSnapshot.ts#plan exchange.db → files':
    'keys of peers that were seen: a snapshot in the cache is planned again at the next start, which sees them again',
  'agent/control/hello.ts#hello files → exchange.db':
    'keys of peers that were seen, and then the token: a hello that did not end is said again',
  'agent/control/takeSnapshot.ts#take files → exchange.db': 'what runs is reported again at every start',
  'agent/control/takeSnapshot.ts#judgeAgain files → exchange.db': 'what runs is reported again at every start',
  'agent/transform/nodeHasher.ts#openHasher files → exchange.db':
    'the name of the masking key: nothing was hashed with it yet, and the next start finds the key',
  'agent/compose.ts#composeAgent files → exchange.db':
    'the same name, and definitions of a cached snapshot: kept at every start',
  'agent/compose.ts#composeAgent exchange.db → files':
    'keys of peers that were seen, from a cached snapshot: seen again at every start',
  'monitor/ingest/askDirectory.ts#askOnce bus → monitor.db':
    'a question leaves nothing on the bus, and is asked again all the time',
  'agent/join/preflight.ts#preflight bus → files': 'looks, and leaves nothing',
  'agent/join/preflight.ts#preflight files → bus': 'looks, and leaves nothing',
  ...Object.fromEntries(
    [
      'agent/capture/scan.ts#scanBridge exchange.db → target',
      'agent/capture/scan.ts#scanBridge target → exchange.db',
      'agent/capture/scan.ts#requireLanded target → exchange.db',
      'agent/capture/bridgeCapture.ts#scan exchange.db → target',
      'agent/capture/bridgeCapture.ts#run exchange.db → target',
    ].map((boundary) => [
      boundary,
      'a look at the mark, whose empty tables it makes where they are gone, as apply would',
    ]),
  ),
};

/** What the reading must find when no crash point counts: the backbone of the road. */
const BACKBONE = [
  'agent/send/sendLane.ts#sendBatch bus → exchange.db',
  'hub/routing/routeData.ts##publish bus → acknowledgement',
  'hub/routing/routeControl.ts#end bus → acknowledgement',
  'agent/receive/receive.ts#takeDelivery exchange.db → acknowledgement',
  'agent/apply/applyDelivery.ts#landDelivery exchange.db → target',
  'agent/apply/applyDelivery.ts#applyDelivery target → exchange.db',
  'agent/control/outgoing.ts#run bus → exchange.db',
  'agent/control/consume.ts#run exchange.db → acknowledgement',
  'agent/books/publish.ts#run bus → exchange.db',
  'monitor/ingest/ingest.ts#take monitor.db → acknowledgement',
  'hub/bridges/bridges.ts#deployBridge bus → hub.db',
  'hub/identity/revoke.ts#revoke hub.db → bus',
];

describe('the code, read with the compiler', () => {
  let finder: BoundaryFinder;
  beforeAll(() => {
    const files = globSync('packages/{agent,hub,monitor,cli,security,bus,rpc,runtime,database,adapters}/src/**/*.ts', {
      cwd: ROOT,
    }).filter((file) => !/\.(test|testing|suite)\.ts$|testBus\.ts$|contract-suite|contractSuite/.test(file));
    const config = ts.readConfigFile(join(ROOT, '.config/tsconfig.options.json'), (file) => readFileSync(file, 'utf8'));
    const { options } = ts.parseJsonConfigFileContent(config.config, ts.sys, join(ROOT, '.config'));
    finder = new BoundaryFinder(
      ROOT,
      files.map((file) => join(ROOT, file)),
      options,
    );
    // Quick on a quiet machine: the whole program is type-checked once.
  }, 300_000);

  test('has a crash point at every boundary between two stores', () => {
    const found = finder.find().map(({ at, from, to }) => `${at} ${from} → ${to}`);
    const without = found.filter((boundary) => WAIVED[boundary] === undefined);
    expect(
      without,
      'name a crash point between (packages/runtime/src/crashPoints.ts), or say in WAIVED why not',
    ).toEqual([]);
    expect(
      Object.keys(WAIVED).filter((boundary) => !found.includes(boundary)),
      'waived and not there any more',
    ).toEqual([]);
  });

  test('uses every crash point of the registry', () => {
    const used = new Set(finder.points.map(({ name }) => name));
    expect(Object.keys(CRASH_POINTS).filter((name) => !used.has(name))).toEqual([]);
  });

  test('names the inside of a target’s transaction, at a server and in a file', () => {
    const inside = ['apply.landed', 'apply.marked', 'apply.written'];
    for (const where of ['serverTarget.ts', 'sqlite/']) {
      const names = finder.points.filter(({ at }) => at.startsWith(`adapters/${where}`)).map(({ name }) => name);
      expect({ where, names: names.sort() }).toEqual({ where, names: inside });
    }
  });

  test('would show the boundaries of the road if nobody had named them', () => {
    const found = new Set(finder.find(() => true).map(({ at, from, to }) => `${at} ${from} → ${to}`));
    expect(BACKBONE.filter((boundary) => !found.has(boundary))).toEqual([]);
  });
});
