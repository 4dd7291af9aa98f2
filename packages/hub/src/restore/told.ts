// Owns the order of what nodes show: a snapshot is named by the generation and the number under which this hub signed it.

export interface Told {
  readonly generation: number;
  readonly number: number;
}

export function isAfter(told: Told, before: Told): boolean {
  return told.generation > before.generation || (told.generation === before.generation && told.number > before.number);
}
