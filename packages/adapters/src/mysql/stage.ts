/**
 * Temporary tables that rows pass through before set-based statements land them: a raw one of texts only, which takes the lines as they
 * are, and a typed one with the very columns of the target, filled from it in strict mode. They live as long as their session; making
 * one neither commits nor is undone.
 */

import type { Piece } from '../sectionPort.ts';
import { schemaError } from '../targetServer.ts';
import { storedSql } from './conversions.ts';
import { columnOf, type Layout } from './layout.ts';
import { type Session, STREAM_NAME } from './session.ts';
import { identifier, identifiers } from './sql.ts';

/** A stage that so many bytes went through is made anew: deleted rows stay in the way, and in the server's memory, until it is. */
const MOST_BYTES = 1024 * 1024;
/** Enough for every table and shape of a busy node; beyond it those of earlier deliveries go. */
const MOST_STAGES = 200;
/** What one INSERT of literals carries where LOAD DATA is not allowed. */
const BATCH_BYTES = 512 * 1024;

const LF = 0x0a;
const TAB = 0x09;
const QUOTE = 0x27;
const BACKSLASH = 0x5c;
const LETTER_N = 0x4e;

/** One temporary table. */
interface StageTable {
  readonly name: string;
  readonly create: string;
  /** Of row text that went through since it was made. */
  bytes: number;
}

export interface Stage {
  /** Texts: one column per column sent, in their order, numbered. */
  readonly raw: StageTable;
  /** The target's own columns. */
  readonly typed: StageTable;
  /** Quoted name of the column that numbers the lines of both. */
  readonly ordinal: string;
  readonly columns: readonly string[];
  /** The stored value of each column, over the raw table as `r`. */
  readonly stored: readonly string[];
}

/** These columns of a table. */
export interface Shape {
  readonly layout: Layout;
  readonly columns: readonly string[];
}

/** The stages of one session. */
export class Stages {
  readonly #stages = new Map<string, Stage>();
  readonly #raw = new Map<number, StageTable>();
  #made = 0;

  /** A stage for each shape of one delivery, under the names given. Call outside a transaction. */
  async ensure(session: Session, shapes: ReadonlyMap<string, Shape>): Promise<Map<string, Stage>> {
    await this.#makeRoom(session, new Set([...shapes.values()].map(idOf)));
    const stages = new Map<string, Stage>();
    for (const [name, shape] of shapes) stages.set(name, await this.#ensureOne(session, shape));
    return stages;
  }

  async #ensureOne(session: Session, shape: Shape): Promise<Stage> {
    const { layout, columns } = shape;
    const id = idOf(shape);
    const known = this.#stages.get(id);
    if (known !== undefined) {
      await renew(session, known.raw);
      await renew(session, known.typed);
      return known;
    }
    const stored = columns.map((name, place) => storedSql(columnOf(layout, name), `r.c${place}`));
    const raw = await this.#ensureRaw(session, columns.length);
    let ordinal = 'qiao_ordinal';
    while (columns.includes(ordinal)) ordinal += '_';
    const typed = await make(
      session,
      `qiao_typed_${++this.#made}`,
      `(${identifier(ordinal)} bigint unsigned NOT NULL PRIMARY KEY) ENGINE = InnoDB
       AS SELECT 0 AS ${identifier(ordinal)}, ${identifiers(columns)} FROM ${layout.sql} LIMIT 0`,
    );
    const stage: Stage = { raw, typed, ordinal: identifier(ordinal), columns, stored };
    this.#stages.set(id, stage);
    return stage;
  }

  async #ensureRaw(session: Session, columns: number): Promise<StageTable> {
    const known = this.#raw.get(columns);
    if (known !== undefined) {
      await renew(session, known);
      return known;
    }
    const texts = Array.from({ length: columns }, (_, place) => `c${place} longtext`);
    const raw = await make(
      session,
      `qiao_raw_${columns}`,
      `(line bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, ${texts.join(', ')})
       ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
    );
    this.#raw.set(columns, raw);
    return raw;
  }

  /** Stages that these shapes do not use go first; what one delivery needs stays together, be it more than the limit. */
  async #makeRoom(session: Session, wanted: ReadonlySet<string>): Promise<void> {
    const missing = [...wanted].filter((id) => !this.#stages.has(id)).length;
    if (missing === 0 || this.#stages.size + missing <= MOST_STAGES) return;
    for (const [id, stage] of this.#stages) {
      if (wanted.has(id)) continue;
      await session.run(`DROP TEMPORARY TABLE ${stage.typed.name}`);
      this.#stages.delete(id);
    }
  }
}

async function make(session: Session, name: string, definition: string): Promise<StageTable> {
  const create = `CREATE TEMPORARY TABLE ${name} ${definition}`;
  await session.run(create);
  return { name, create, bytes: 0 };
}

async function renew(session: Session, table: StageTable): Promise<void> {
  if (table.bytes < MOST_BYTES) return;
  await session.run(`DROP TEMPORARY TABLE IF EXISTS ${table.name}`);
  await session.run(table.create);
  table.bytes = 0;
}

function idOf({ layout, columns }: Shape): string {
  return JSON.stringify([layout.fingerprint, columns]);
}

/** Fills the raw table with lines of row text; what it held before is gone. */
export async function fillRaw(session: Session, stage: Stage, piece: Pick<Piece, 'rows' | 'rowCount'>): Promise<void> {
  const { raw, typed } = stage;
  await session.run(`DELETE FROM ${raw.name}`);
  raw.bytes += piece.rows.length;
  typed.bytes += piece.rows.length;
  const names = stage.columns.map((_, place) => `c${place}`).join(', ');
  const stored = session.server.takesLocalFiles
    ? await session.load(
        `LOAD DATA LOCAL INFILE '${STREAM_NAME}' INTO TABLE ${raw.name} CHARACTER SET utf8mb4
         FIELDS TERMINATED BY '\\t' ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' (${names})`,
        piece.rows,
      )
    : await insertLiterals(session, `INSERT INTO ${raw.name} (${names}) VALUES `, piece.rows);
  if (stored !== piece.rowCount) throw schemaError(`a stage took ${stored} rows of ${piece.rowCount}`);
}

/** Fills the typed table from the raw one. Throws RowError for a text that is no value of its column. */
export async function fillTyped(session: Session, stage: Stage): Promise<void> {
  const { typed } = stage;
  await session.run(`DELETE FROM ${typed.name}`);
  await session.store(
    `INSERT INTO ${typed.name} (${stage.ordinal}, ${identifiers(stage.columns)}) SELECT r.line, ${stage.stored.join(', ')} FROM ${stage.raw.name} r ORDER BY r.line`,
    { isByLine: true },
  );
}

/** Takes lines out of the typed table; gives their places in the piece, from 0. */
export async function takeLines(session: Session, stage: Stage, condition: string): Promise<number[]> {
  const lines = await session.rows(`SELECT s.${stage.ordinal} FROM ${stage.typed.name} s WHERE ${condition}`);
  if (lines.length === 0) return [];
  const numbers = lines.map(([line]) => String(BigInt(line ?? 0))).join(', ');
  await session.run(`DELETE FROM ${stage.typed.name} WHERE ${stage.ordinal} IN (${numbers})`);
  const places = await session.rows(
    `SELECT q.place FROM (SELECT r.line, ROW_NUMBER() OVER (ORDER BY r.line) - 1 AS place FROM ${stage.raw.name} r) q
      WHERE q.line IN (${numbers}) ORDER BY q.place`,
  );
  return places.map(([place]) => Number(place));
}

/** The escapes of row text are those of a literal, too: only quotes, field ends and NULL are written otherwise. */
async function insertLiterals(session: Session, insert: string, rows: Uint8Array): Promise<number> {
  const mostBytes = Math.max(1024, Math.min(BATCH_BYTES, session.server.maxAllowedPacket / 2));
  let stored = 0;
  for (let start = 0; start < rows.length; ) {
    let end = rows.indexOf(LF, start) + 1;
    while (end < rows.length) {
      const next = rows.indexOf(LF, end) + 1;
      if (next - start > mostBytes) break;
      end = next;
    }
    stored += await session.store(insert + literals(rows.subarray(start, end)));
    start = end;
  }
  return stored;
}

function literals(lines: Uint8Array): string {
  let quotes = 0;
  for (const byte of lines) if (byte === QUOTE || byte === TAB || byte === LF) quotes += 1;
  const out = Buffer.allocUnsafe(lines.length + 6 * quotes + 8);
  let length = out.write("('");
  const write = (text: string) => {
    length += out.write(text, length);
  };
  let isNull = false;
  for (let at = 0; at < lines.length; at++) {
    const byte = lines[at] as number;
    if (byte === QUOTE) write("''");
    else if (byte === BACKSLASH && lines[at + 1] === LETTER_N) {
      // Only a field that is NULL has this escape, and nothing else.
      length -= 1;
      write('NULL');
      isNull = true;
      at += 1;
    } else if (byte === BACKSLASH) {
      out[length++] = byte;
      out[length++] = lines[++at] as number;
    } else if (byte === TAB || byte === LF) {
      const isLast = at === lines.length - 1;
      write(isNull ? '' : "'");
      write(byte === TAB ? ", '" : isLast ? ')' : "), ('");
      isNull = false;
    } else out[length++] = byte;
  }
  return out.toString('utf8', 0, length);
}
