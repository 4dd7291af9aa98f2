/** Work at both ends at the same time. */

/** Both, or what the first to fail threw, after the other was stopped and has ended. The other is told whether the one has ended. */
export async function together<One, Other>(
  signal: AbortSignal,
  one: (stop: AbortSignal) => Promise<One>,
  other: (stop: AbortSignal, isAlone: () => boolean) => Promise<Other>,
): Promise<[One, Other]> {
  const failed = new AbortController();
  const stop = AbortSignal.any([signal, failed.signal]);
  let isAlone = false;
  const first = one(stop).finally(() => {
    isAlone = true;
  });
  const work = [first, other(stop, () => isAlone)] as const;
  for (const each of work) each.catch((error: unknown) => failed.abort(error));
  await Promise.allSettled(work);
  if (failed.signal.aborted) throw failed.signal.reason;
  return Promise.all(work);
}
