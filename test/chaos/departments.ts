// Who takes part in every chaos run: three departments, each with two databases it reads from and two it lands in.

export const NODES = ['health', 'civil', 'police'] as const;
export type NodeCode = (typeof NODES)[number];

export const SOURCES = ['pg', 'lite'] as const;
export type SourceName = (typeof SOURCES)[number];

export const LANDINGS = ['pg-in', 'lite-in'] as const;
export type LandingName = (typeof LANDINGS)[number];

/** N:1 bridges share a target table; each city's rows belong to one of them. */
export const CITIES = ['3702', '3703'] as const;
