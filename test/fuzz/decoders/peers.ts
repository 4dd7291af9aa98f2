// What nodes and operators tell each other under a seal, opened: the questions and readings of a comparison, keys of wanted rows,
// accesses to rows and their edits; and answers over request and reply. No refusal may quote a word of it.

import { createHash } from 'node:crypto';
import { HelloReply } from '@qiao/contract/control';
import { CommandOutcome, CommandResult, NodeSnapshot, RowAccess, RowAction, RowContents } from '@qiao/contract/node';
import { Signed } from '@qiao/contract/signed';
import { VerifyQuestion, VerifyReading } from '@qiao/contract/verify';
import {
  BucketSums,
  columnTypeOf,
  decodeContent,
  encodeContent,
  QiaoError,
  readHelloReply,
  type Section,
  snapshotWrittenAtMs,
} from '@qiao/exchange';
import { KeyEncoder } from '../../../packages/agent/src/capture/keys.ts';
import { wantRows } from '../../../packages/agent/src/capture/wantedRows.ts';
import { settleRows } from '../../../packages/agent/src/commands/quarantine.ts';
import { checkAccess } from '../../../packages/agent/src/commands/rowAccess.ts';
import { openExchangeDatabase } from '../../../packages/agent/src/exchange-database/index.ts';
import { readQuestion, readReading } from '../../../packages/agent/src/verify/messages.ts';
import { askNode, UnansweredCommands } from '../../../packages/hub/src/commands/commands.ts';
import { START_MS } from '../../../packages/hub/src/world.testing.ts';
import { type Decoder, holds } from '../decoder.ts';

/** Stands in every seed where a value of a row might. */
const VALUE = 'secretvalue';
const ID = new Uint8Array(16).fill(1);
const HASH = new Uint8Array(32).fill(2);
const NOW = { nowMs: () => START_MS, elapsedMs: () => START_MS, sleep: async () => undefined };

const QUESTION = VerifyQuestion.fromPartial({
  table: VALUE,
  columns: [
    { name: VALUE, typeJson: '{"type":"integer","bits":64}' },
    { name: 'name', typeJson: '{"type":"text","maxLength":20}' },
  ],
  keyColumns: 1,
  compared: [VALUE, 'name'],
  where: `name = '${VALUE}'`,
  epoch: { ordinal: 1n, nonce: ID },
  afterSequence: 5n,
});

export function peerDecoders(): Decoder[] {
  return [...comparison(), rowsWanted(), rowAccess(), rowEdit(), commandResult(), helloReply()].map(unquoted);
}

function helloReply(): Decoder {
  return {
    name: 'hello-reply',
    kind: 'message',
    seeds: [
      HelloReply.encode(
        HelloReply.fromPartial({
          fencingToken: 3n,
          snapshot: {
            payload: NodeSnapshot.encode(NodeSnapshot.fromPartial({ nodeId: ID, writtenAtMs: 5n })).finish(),
            suite: 'es256',
            keyId: HASH,
            signature: HASH,
          },
          renewal: { certificate: HASH, natsJwt: VALUE, hubCertificate: HASH },
        }),
      ).finish(),
      HelloReply.encode(
        HelloReply.fromPartial({ problem: { code: 'NODE_REVOKED', message: VALUE, hint: VALUE } }),
      ).finish(),
    ],
    take(input) {
      const reply = readHelloReply(input);
      holds(Number.isFinite(snapshotWrittenAtMs(reply)), 'a time that is no number');
      return `${reply.problem !== undefined} ${reply.renewal !== undefined} ${reply.snapshot !== undefined}`;
    },
  };
}

/** The same decoder, whose refusals must not quote what came. */
function unquoted(decoder: Decoder): Decoder {
  const prove = (error: unknown): never => {
    if (error instanceof QiaoError) holds(!`${error.message} ${error.hint}`.includes(VALUE), 'a refusal that quotes');
    throw error;
  };
  return {
    ...decoder,
    take(input) {
      try {
        const taken = decoder.take(input);
        return typeof taken === 'string' ? taken : taken.catch(prove);
      } catch (error) {
        return prove(error);
      }
    },
  };
}

function comparison(): Decoder[] {
  const rows: VerifyQuestion = { ...QUESTION, what: { $case: 'rows', value: { bits: 4, buckets: [1, 3] } } };
  const whats: VerifyQuestion['what'][] = [
    { $case: 'shape', value: true },
    { $case: 'sums', value: { bits: 2, buckets: [] } },
    { $case: 'text', value: true },
  ];
  const sums = new BucketSums(2);
  sums.add(1, '0f'.repeat(16));
  const reading = {
    comparable: [VALUE, 'name'],
    notComparable: [`${VALUE}: why`],
    epoch: { ordinal: 1n, nonce: ID },
    appliedBefore: 5n,
    appliedAfter: 6n,
    rowsRead: 1n,
    openKeys: ID,
  };
  const row = { keyHash: ID, digest: ID, owned: true, key: Buffer.from(VALUE), bucket: 3, outside: false };
  const readings = [{ sums: sums.encode() }, { rows: [row, { ...row, key: new Uint8Array() }] }, { text: HASH }];
  return [
    {
      name: 'verify-question',
      kind: 'message',
      seeds: [rows, ...whats.map((what) => ({ ...QUESTION, what }))].map((one) => VerifyQuestion.encode(one).finish()),
      take(input) {
        const { columns, keyColumns, what } = readQuestion(input);
        holds(columns.length >= 1 && keyColumns <= columns.length, 'columns past their limit');
        const types = columns.map(({ typeJson }) => columnTypeOf(typeJson).type);
        return `${what?.$case} ${types.slice(0, 2).join()}`;
      },
    },
    {
      name: 'verify-reading',
      kind: 'message',
      seeds: readings.map((one) => VerifyReading.encode(VerifyReading.fromPartial({ ...reading, ...one })).finish()),
      take(input) {
        const found = readReading(input, rows);
        // As the sender reads them: sums of as many buckets as it asked for.
        const there = found.sums.length === 0 ? undefined : BucketSums.decode(found.sums, 2);
        if (there !== undefined) holds(same(there.encode(), found.sums), 'sums that are not written as they were read');
        const keys = new KeyEncoder([{ type: 'integer', bits: 64 }]);
        for (const { key } of found.rows) {
          if (key.length === 0) continue;
          const line = Buffer.from(key);
          const back = keys.decode(keys.encode(line, 0, line.length));
          holds(same(back, Buffer.concat([line, Buffer.from('\n')])), 'a key that is not written as it was read');
        }
        return `${found.rows.length > 0} ${there !== undefined} ${found.text.length}`;
      },
    },
  ];
}

function rowsWanted(): Decoder {
  const database = openExchangeDatabase(':memory:');
  database.captures.addTable(ID, 'person', {
    layout: '[]',
    keyLayout: JSON.stringify(['id', 'code', 'it']),
    layoutVersion: 1,
  });
  const section: Section = {
    table: 'person',
    kind: 'delete',
    columns: ['id', 'code'],
    keyColumns: 2,
    rowCount: 2,
    rows: Buffer.from(`7\t${VALUE}\n-8\t\\N\n`),
    wholeRows: false,
  };
  return {
    name: 'rows-wanted',
    kind: 'message',
    seeds: [section, { ...section, table: VALUE }].map((one) => encodeContent([one])),
    take: (input) => `rows ${Math.min(3, wantRows(database, ID, decodeContent(input)))}`,
    close: () => database.close(),
  };
}

const ROW_PORTS = {
  nodeCode: 'civil',
  rights: { mayRead: ['li'], mayEdit: ['li'] },
  trust: { operatorOf: () => ({ name: 'li', fingerprint: '' }) },
  clock: NOW,
};
const REF = 'civil/00112233445566778899';

function signed(payload: Uint8Array): Signed {
  return { payload, suite: '', keyId: ID, signature: ID };
}

function rowAccess(): Decoder {
  const access = { node: 'civil', ref: REF, sessionKey: HASH, sealedSha256: HASH, atMs: BigInt(START_MS) };
  return {
    name: 'row-access',
    kind: 'message',
    seeds: [access, { ...access, ref: VALUE, node: VALUE }].map((one) =>
      RowAccess.encode({ ...one, action: RowAction.SHOW }).finish(),
    ),
    take(input) {
      const asked = { access: signed(input), certificate: ID, ref: REF, action: RowAction.SHOW };
      return `key of ${checkAccess(asked, ROW_PORTS).sessionKey.length}`;
    },
  };
}

/** The contents of an edit, behind an access that is in order. */
function rowEdit(): Decoder {
  const line = Buffer.from(`1\t${VALUE}\n`);
  const row = { state: 'open', columns: ['id', 'name'], keyColumns: 1, keyText: '1', kind: 'insert' };
  let edited = 0;
  const ports = {
    ...ROW_PORTS,
    database: {
      transaction: <T>(work: () => T) => work(),
      rowDecisions: {
        byRef: () => row,
      },
      rowLines: {
        newest: () => line,
        edits: () => ({ count: 0 }),
        addEdit: (_row: unknown, bytes: Uint8Array) => {
          edited = bytes.length;
          holds(bytes.indexOf(0x0a) === bytes.length - 1, 'an edit of another number of lines');
        },
      },
    },
    unseal: async ({ body }: { body: Uint8Array }) => body,
  };
  const contents = (text: string) =>
    RowContents.encode(
      RowContents.fromPartial({
        columns: row.columns,
        edited: Buffer.from(text),
        beforeSha256: createHash('sha256').update(line).digest(),
      }),
    ).finish();
  return {
    name: 'row-contents',
    kind: 'message',
    seeds: [contents('1\tAnna\n'), contents(`1\t${VALUE}\\t\n`), contents('2\t\\N\n')],
    async take(input) {
      const access = RowAccess.encode({
        node: 'civil',
        ref: REF,
        action: RowAction.EDIT,
        sessionKey: new Uint8Array(),
        sealedSha256: createHash('sha256').update(input).digest(),
        atMs: BigInt(START_MS),
      }).finish();
      const edit = { access: signed(access), certificate: ID, sealed: input, wrappedKey: ID };
      const settle = { rows: { refs: [REF] }, action: RowAction.EDIT, edit, reason: '', mostRows: 0 };
      await settleRows(settle as never, ports as never, 'li');
      return `edited ${edited > 0}`;
    },
  };
}

function commandResult(): Decoder {
  const column = { name: 'id', typeJson: '{"type":"integer","bits":64}', nullable: false };
  const problem = { code: 'TABLE_MISSING', path: 'source', message: VALUE, hint: VALUE, warning: false };
  const result = CommandResult.fromPartial({
    id: ID,
    outcome: CommandOutcome.PARTLY_DONE,
    problems: [problem],
    tables: [{ table: VALUE, columns: [column, { ...column, typeJson: `"${VALUE}"` }], key: ['id'] }],
    reportJson: `{"a":"${VALUE}"}`,
  });
  const node = { id: '01'.repeat(16), code: 'civil', certificate: HASH } as never;
  return {
    name: 'command-result',
    kind: 'message',
    seeds: [result, { ...result, tables: [], problems: [] }].map((one) =>
      Signed.encode(signed(CommandResult.encode(one).finish())).finish(),
    ),
    async take(input) {
      const ports = {
        clock: NOW,
        random: () => ID,
        sign: signed,
        verifier: { verify: () => undefined } as never,
        request: async () => input,
        unanswered: new UnansweredCommands(),
      };
      const { result: found } = await askNode(ports, node, 'li', { $case: 'diagnose', value: {} });
      for (const { columns } of found.tables) for (const { typeJson } of columns) columnTypeOf(typeJson);
      return `${found.outcome} ${found.problems.length > 0} ${found.tables.length > 0}`;
    },
  };
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
