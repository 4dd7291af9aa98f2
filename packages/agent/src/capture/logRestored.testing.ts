/** For tests only: what holds when the server whose log is followed is put back, as a suite for each kind of server. */
import { execFile } from 'node:child_process';
import { rename, rm } from 'node:fs/promises';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import type { LogWorld } from './logWorld.testing.ts';

export interface RestoredServer {
  world(ddl: string): Promise<LogWorld>;
  restart(between?: (data: string) => Promise<void>): Promise<void>;
  /** Rows that it writes since it was put back: fewer than were lost, and more where the log says which transaction stands at a place. */
  readonly writtenSince: readonly number[];
}

const run = promisify(execFile);
const ROWS = 'SELECT id, name FROM person';

export function noticesRestores(server: RestoredServer): void {
  test.each(server.writtenSince)(
    'a server whose data was put back, and that wrote %i rows since, is a gap: told, and closed by a scan',
    async (rows) => {
      await using w = await server.world(
        "CREATE TABLE person (id int PRIMARY KEY, name varchar(400)); INSERT INTO person VALUES (1, 'a'), (2, 'b')",
      );
      w.start();
      await w.arrived('person', ROWS);
      await w.stop();
      await server.restart(async (data) => {
        // With owners and modes, as a backup has them.
        await run('cp', ['-a', data, `${data}.backup`]);
      });
      await w.reconnect();
      w.start();
      for (let id = 10; id < 30; id++) await w.sql(`INSERT INTO person VALUES (${id}, 'written after the backup')`);
      await w.sql('DELETE FROM person WHERE id = 2');
      await w.arrived('person', ROWS);
      await w.stop();
      await server.restart(async (data) => {
        await rm(data, { recursive: true });
        await rename(`${data}.backup`, data);
      });
      await w.reconnect();
      for (let n = 0; n < rows; n++)
        await w.sql(`INSERT INTO person VALUES (${100 + n}, '${'after it was put back '.repeat(10)}')`);
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
