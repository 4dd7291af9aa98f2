/** Milliseconds of "500ms", "30s", "5m", "2h", "7d"; undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  throw new Error(text);
}
/** The shortest exact text of a duration: 300000 → "5m". */
export function durationText(ms: number): string {
  throw new Error(String(ms));
}
