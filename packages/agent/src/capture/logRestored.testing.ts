/** For tests only: what holds when the server whose log is followed is another one than it was, as a suite for each kind of server. */
import { execFile } from 'node:child_process';
import { rename, rm } from 'node:fs/promises';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import type { LogWorld } from './logWorld.testing.ts';

/** Keeps the server as it is now; calling the result makes it that again, at the same address. */
export type Past = () => Promise<() => Promise<void>>;

export interface RestoredServer {
  world(ddl: string): Promise<LogWorld>;
  /** How it comes to be another one, in words that follow "a server". */
  readonly pasts: Readonly<Record<string, Past>>;
  /** Rows that it writes since: fewer than were lost, and more where the log says which transaction stands at a place. */
  readonly writtenSince: readonly number[];
}

const run = promisify(execFile);
const ROWS = 'SELECT id, name FROM person';

/** A copy of its files is put back, as a snapshot of its machine would be. */
export function copyOfFiles(restart: (between: (data: string) => Promise<void>) => Promise<void>): Past {
  return async () => {
    await restart(async (data) => {
      // With owners and modes, as a backup has them.
      await run('cp', ['-a', data, `${data}.backup`]);
    });
    return () =>
      restart(async (data) => {
        await rm(data, { recursive: true });
        await rename(`${data}.backup`, data);
      });
  };
}

export function noticesRestores(server: RestoredServer): void {
  const cases = Object.keys(server.pasts).flatMap((past) =>
    server.writtenSince.map((rows): [string, number] => [past, rows]),
  );
  test.each(cases)(
    'a server %s, and that wrote %i rows since, is a gap: told, and closed by a scan',
    async (past, rows) => {
      await using w = await server.world(
        "CREATE TABLE person (id int PRIMARY KEY, name varchar(400)); INSERT INTO person VALUES (1, 'a'), (2, 'b')",
      );
      w.start();
      await w.arrived('person', ROWS);
      await w.stop();
      const goBack = await server.pasts[past]?.();
      await w.reconnect();
      w.start();
      for (let id = 10; id < 30; id++) await w.sql(`INSERT INTO person VALUES (${id}, 'lost with the server')`);
      await w.sql('DELETE FROM person WHERE id = 2');
      await w.arrived('person', ROWS);
      await w.stop();
      await goBack?.();
      await w.reconnect();
      for (let n = 0; n < rows; n++)
        await w.sql(`INSERT INTO person VALUES (${100 + n}, '${'written since then '.repeat(10)}')`);
      w.start();
      await w.until('the gap is told', () => w.trouble === 'LOG_GAP');
      await w.arrived('person', ROWS);
      expect(w.scans).toBe(2);
      await w.sql("UPDATE person SET name = 'followed' WHERE id = 1");
      await w.arrived('person', ROWS);
      expect(w.scans).toBe(2);
    },
  );
}
