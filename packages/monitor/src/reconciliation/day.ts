// The books' day: the calendar day of a moment in the platform's zone.

/** Returns a function from milliseconds since 1970 UTC to YYYY-MM-DD in the zone. Throws RangeError for an unknown zone. */
export function createBooksDay(timeZone: string): (ms: number) => string {
  const format = new Intl.DateTimeFormat('sv-SE', { timeZone, year: 'numeric', month: '2-digit', day: '2-digit' });
  return (ms) => format.format(ms);
}

const DAY = /^\d{4}-\d{2}-\d{2}$/;

/** YYYY-MM-DD, and in the calendar: no 30th of February. */
export function isDay(text: string): boolean {
  const ms = DAY.test(text) ? Date.parse(text) : Number.NaN;
  return !Number.isNaN(ms) && new Date(ms).toISOString().startsWith(text);
}
