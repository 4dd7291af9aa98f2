/** Row text. */
export function escapeField(text: string): string {
  throw new Error(text);
}
export function unescapeField(field: string): string {
  throw new Error(field);
}
/** Splits one line (without LF) into its fields, unescaped. */
export function splitRow(line: string): (string | null)[] {
  throw new Error(line);
}
export function joinRow(fields: readonly (string | null)[]): string {
  throw new Error(String(fields));
}
export function checkRows(rows: Uint8Array, columns: number): number {
  throw new Error(String([rows, columns]));
}
