// The commented samples in deploy/config are read by the same schemas as the real files: a key renamed in the code fails here.

import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { agentConfigSchema } from '@qiao/agent';
import { parseBridge } from '@qiao/exchange';
import { hubConfigSchema, requireReplicable } from '@qiao/hub';
import { monitorConfigSchema } from '@qiao/monitor';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';

const SAMPLES = join(dirname(fileURLToPath(import.meta.url)), '../deploy/config');
const text = (name: string) => readFileSync(join(SAMPLES, name), 'utf8');

describe('the sample configurations', () => {
  test.each([
    ['hub.yaml', hubConfigSchema],
    ['hub-external-bus.yaml', hubConfigSchema],
    ['hub-replica.yaml', hubConfigSchema],
    ['monitor.yaml', monitorConfigSchema],
    ['agent.yaml', agentConfigSchema],
  ] as const)('%s is accepted as it stands', (name, schema) => {
    const read = schema.safeParse(parse(text(name), { uniqueKeys: true }));
    expect(read.error?.issues ?? []).toEqual([]);
  });

  test('what a sample calls a default is the default', () => {
    const monitor = monitorConfigSchema.parse({});
    const { alerts } = monitorConfigSchema.parse(parse(text('monitor.yaml')));
    expect(alerts).toEqual(monitor.alerts);

    const agent = agentConfigSchema.parse({ node: { code: 'health' }, directory: '/somewhere' });
    const { limits, log } = agentConfigSchema.parse(parse(text('agent.yaml')));
    expect({ limits, log }).toEqual({ limits: agent.limits, log: agent.log });

    const sample = hubConfigSchema.parse(parse(text('hub.yaml')));
    const hub = hubConfigSchema.parse({
      platform: sample.platform,
      listen: sample.listen,
      bus: { server: 'embedded', listen: '127.0.0.1:4222' },
    });
    expect(sample.certificateDays).toBe(hub.certificateDays);
    expect(sample.bus).toMatchObject({ maxStoreBytes: hub.bus.server === 'embedded' && hub.bus.maxStoreBytes });
  });

  test('what a replica says of its store, its name and its addresses is what the hub reads', () => {
    const replica = hubConfigSchema.parse(parse(text('hub-replica.yaml')));
    expect(replica.publicAddress).toBe('hub-1.example.gov.cn:7400,hub-2.example.gov.cn:7400');
    expect(() => requireReplicable({ ...replica, directory: '/' })).not.toThrow();
    expect(() => requireReplicable({ ...replica, directory: '/', database: 'hub.db' })).toThrow('PostgreSQL');
    expect(hubConfigSchema.parse(parse(text('hub.yaml'))).replica).toBe('hub');
    expect(monitorConfigSchema.parse(parse(text('monitor.yaml'))).database).toBe(
      monitorConfigSchema.parse({}).database,
    );
  });

  test('bridge.yaml is a bridge without a problem, and its comments tell its defaults', () => {
    const { definition, problems } = parseBridge(text('bridge.yaml'));
    expect(problems).toEqual([]);
    expect(definition).toMatchObject({
      name: 'birth-certificates',
      lateAfterMs: 300_000,
      deleteGuard: { rows: 1_000, share: 0.05 },
    });
  });

  test('a key nobody knows is refused in every one of them', () => {
    for (const [name, schema] of [
      ['hub.yaml', hubConfigSchema],
      ['monitor.yaml', monitorConfigSchema],
      ['agent.yaml', agentConfigSchema],
    ] as const) {
      const read = schema.safeParse({ ...parse(text(name)), colour: 'red' });
      expect(read.error?.issues.map(({ code }) => code)).toEqual(['unrecognized_keys']);
    }
    const { problems } = parseBridge(`${text('bridge.yaml')}\ncolour: red\n`);
    expect(problems.map(({ code }) => code)).toEqual(['UNKNOWN_KEY']);
  });
});
