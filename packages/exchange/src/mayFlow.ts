/**
 * The one question that the exchange asks the catalog: may these rows travel now? The catalog answers elsewhere.
 */

/** One flow about to happen. Identities are texts; `grantId` and `purpose` are absent when the bridge names none. */
export interface Flow {
  bridgeId: string;
  laneId: string;
  resourceCode?: string | undefined;
  grantId?: string | undefined;
  purpose?: string | undefined;
  atMs: number;
}

export type MayFlow = (flow: Flow) => { allowed: true } | { allowed: false; code: string; reason: string };

/** The answer while no catalog is connected. */
export const everythingMayFlow: MayFlow = () => ({ allowed: true });
