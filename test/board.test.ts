// The health board in a real browser: it shows what the books say, refreshes by itself, and answers nobody without a link.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Platform, sqliteDatabase } from '@qiao/testkit';
import { chromium } from 'playwright-core';
import { expect, test } from 'vitest';
import { applyBridges, bridgeYaml, PERSON_TABLE, people, TARGET_TABLE, untilAtRest } from './world.ts';

test('the board shows sent and received of every bridge and follows a change without a reload', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'qiao-board-'));
  {
    await using source = sqliteDatabase(join(folder, 'source.db'));
    await using target = sqliteDatabase(join(folder, 'target.db'));
    await source.run(PERSON_TABLE, `INSERT INTO person VALUES ${people(1, 1_234, '3702')}`);
    await target.run(TARGET_TABLE('ex_person'));
    await using platform = await Platform.start({
      nodes: [
        {
          code: 'health',
          departmentTitle: '卫生健康委员会',
          dataSources: { his: source.config },
          more: { limits: { compareEveryMs: 300 } },
        },
        { code: 'civil-affairs', dataSources: { own: target.config } },
      ],
    });
    await applyBridges(
      platform,
      bridgeYaml({
        name: 'births',
        from: 'health',
        source: 'his',
        to: [{ node: 'civil-affairs', dataSource: 'own', table: 'ex_person' }],
      }),
    );
    await untilAtRest(platform, 'births', 1_234);

    const browser = await chromium.launch({
      executablePath: '/usr/bin/chromium',
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    });
    try {
      const page = await browser.newPage();
      const stranger = await page.goto(`http://127.0.0.1:${platform.boardPort}/`);
      expect(stranger?.status()).toBe(401);

      const link = (await platform.qiao('monitor', 'board')).stdout.trim();
      await page.goto(link);
      const row = page.locator('tr[data-bridge=births]');
      await row.waitFor();
      const cells = await row.locator('td').allInnerTexts();
      expect(cells.slice(2, 10)).toEqual(['1,234', '1,234', '0', '0', '1,234', '1,234', '0', '0']);
      expect(await row.getAttribute('data-verdict')).toBe('VERDICT_BALANCED');
      expect(await page.title()).toContain('桥');

      await source.run('DELETE FROM person WHERE id <= 4');
      await row.locator('td').nth(9).filter({ hasText: /^4$/ }).waitFor({ timeout: 30_000 });
      await page.getByRole('button', { name: 'EN' }).click();
      expect(await page.locator('h2').first().innerText()).toBe('Bridges');
      if (process.env.QIAO_SCREENSHOT !== undefined)
        await page.screenshot({ path: process.env.QIAO_SCREENSHOT, fullPage: true });

      // A link is good once.
      const second = await browser.newContext();
      const again = await (await second.newPage()).goto(link);
      expect(again?.status()).toBe(401);
    } finally {
      await browser.close();
    }
  }
  rmSync(folder, { recursive: true, force: true });
});
