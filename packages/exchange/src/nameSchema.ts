/** Names as people write them in files of the house. */
import { z } from 'zod';
import { COLUMN_NAME_MAX } from './content.ts';

export const name = (most: number, what: string) =>
  z.string().refine((text) => text.length > 0 && Array.from(text).length <= most && !/\p{Cc}/u.test(text), {
    error: `${what} of 1 to ${most} characters`,
  });

export const columnName = name(COLUMN_NAME_MAX, 'a column name');

/** A file beside the YAML: no way out of its directory, nothing hidden. */
export const fileName = z
  .string()
  .refine((text) => /^[^./\\\p{Cc}][^/\\\p{Cc}]{0,99}$/u.test(text), { error: 'the name of a file beside the bridge' });
