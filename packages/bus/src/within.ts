/** Waiting for work that must not hold a stop for ever. */

/** Resolves when `work` has settled, or after `limitMs`; its failure is nobody's concern here. */
export async function withinMs(work: Promise<unknown>, limitMs: number): Promise<void> {
  const limit = Promise.withResolvers<void>();
  const timer = setTimeout(limit.resolve, limitMs);
  await Promise.race([work.catch(() => {}), limit.promise]);
  clearTimeout(timer);
}
