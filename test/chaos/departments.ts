// Who takes part in every chaos run: three departments, each with three databases it reads from and three it lands in.

export const NODES = ['health', 'civil', 'police'] as const;
export type NodeCode = (typeof NODES)[number];

export const SOURCES = ['pg', 'lite', 'my'] as const;
export type SourceName = (typeof SOURCES)[number];

export const LANDINGS = ['pg-in', 'lite-in', 'my-in'] as const;
export type LandingName = (typeof LANDINGS)[number];

export type Adapter = 'postgres' | 'sqlite' | 'mysql';

export const ADAPTERS: Readonly<Record<SourceName | LandingName, Adapter>> = {
  pg: 'postgres',
  'pg-in': 'postgres',
  lite: 'sqlite',
  'lite-in': 'sqlite',
  my: 'mysql',
  'my-in': 'mysql',
};

/** N:1 bridges share a target table; each city's rows belong to one of them. */
export const CITIES = ['3702', '3703'] as const;
