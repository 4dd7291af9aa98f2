// Numbers that an operator writes on the command line.

import { QiaoError } from '@qiao/exchange';

/** A whole number, 0 or more. Throws NUMBER_INVALID. */
export function wholeNumber(option: string, text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) {
    throw new QiaoError(
      'NUMBER_INVALID',
      `${option} is ${text === '' ? 'empty' : text}; expected a whole number, 0 or more`,
    );
  }
  return value;
}
