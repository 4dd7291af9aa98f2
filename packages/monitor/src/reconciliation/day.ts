// The books' day: the calendar day of a moment in the platform's zone.

/** Returns a function from milliseconds since 1970 UTC to YYYY-MM-DD in the zone. Throws RangeError for an unknown zone. */
export function createBooksDay(timeZone: string): (ms: number) => string {
  const format = new Intl.DateTimeFormat('sv-SE', { timeZone, year: 'numeric', month: '2-digit', day: '2-digit' });
  return (ms) => format.format(ms);
}
