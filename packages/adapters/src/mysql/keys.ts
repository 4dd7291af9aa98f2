/** Finds the rows of named keys (S6 of adapter.ts): a comparison for each type that an index serves and that no conversion blurs. */
import { identifier, literal } from './sql.ts';
import { floatBits, keyLiteral, type ReadColumn } from './texts.ts';

/** The condition under which a row has one of these keys. */
export function keyCondition(key: readonly ReadColumn[], keys: readonly (readonly string[])[]): string {
  if (keys.length === 0) return 'FALSE';
  const [first] = key;
  if (key.length === 1 && first !== undefined) {
    return `${identifier(first.name)} IN (${keys.map(([text]) => equalLiteral(first, text ?? '')).join(', ')})`;
  }
  const one = (fields: readonly string[]) =>
    key.map((column, place) => `${identifier(column.name)} = ${equalLiteral(column, fields[place] ?? '')}`);
  return keys.map((fields) => `(${one(fields).join(' AND ')})`).join(' OR ');
}

const NUMBER = /^-?\d+(\.\d+)?$/;

function equalLiteral({ catalog }: ReadColumn, text: string): string {
  switch (catalog.name) {
    case 'float':
    case 'double':
      // A FLOAT equals the double that it widens to, not the decimal that it prints.
      return literal(String(floatBits(catalog) === 32 ? Math.fround(Number(text)) : Number(text)));
    case 'decimal':
    case 'bigint':
    case 'int':
    case 'mediumint':
    case 'smallint':
    case 'year':
      // Against a text they would be compared as doubles.
      return NUMBER.test(text) ? text : literal(text);
    case 'char':
      // Read without its blanks, which a collation that does not pad would miss.
      return keyLiteral(catalog, text.replace(/ +$/, ''));
    default:
      return keyLiteral(catalog, text);
  }
}
