// Fewer faults that still fail. Timings differ from run to run, so a subset that passes once proves little; one that fails once is
// enough to go on with.

import type { PlannedFault, SeedPlan } from './plan.ts';

/**
 * Leaves away first halves of the faults, then single ones, as long as the seed still fails; at most `attempts` runs.
 * Returns the smallest list that was seen failing.
 */
export async function shrinkFaults(
  plan: SeedPlan,
  attempts: number,
  fails: (plan: SeedPlan) => Promise<boolean>,
): Promise<readonly PlannedFault[]> {
  let smallest = plan.faults;
  let left = attempts;
  for (let size = Math.ceil(smallest.length / 2); size >= 1 && left > 0; ) {
    const smaller = await firstFailing(without(smallest, size));
    if (smaller !== undefined) {
      smallest = smaller;
      size = Math.min(size, Math.ceil(smallest.length / 2));
      if (smallest.length === 0) break;
    } else if (size === 1) break;
    else size = Math.ceil(size / 2);
  }
  return smallest;

  async function firstFailing(
    lists: readonly (readonly PlannedFault[])[],
  ): Promise<readonly PlannedFault[] | undefined> {
    for (const faults of lists) {
      if (left === 0) return undefined;
      left -= 1;
      if (await fails({ ...plan, faults })) return faults;
    }
    return undefined;
  }
}

/** The list without each run of `size` faults in turn. */
function without(faults: readonly PlannedFault[], size: number): (readonly PlannedFault[])[] {
  const lists: (readonly PlannedFault[])[] = [];
  for (let start = 0; start < faults.length; start += size) {
    lists.push([...faults.slice(0, start), ...faults.slice(start + size)]);
  }
  return lists;
}
