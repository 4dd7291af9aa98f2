/** Schemas of Oracle and of databases like it. */

/** Where a data source names no schema, that of its user; who was made without quotes is in capitals. */
export function schemaOf({ schema, user }: { readonly schema?: string | undefined; readonly user: string }): string {
  return schema ?? user.toUpperCase();
}
