/**
 * Citizen identity numbers (公民身份号码, GB 11643-1999): six digits of the division, the date of birth, three of the sequence and a
 * check character (ISO 7064, MOD 11-2).
 */
import { checkValue } from '../checkValue.ts';
import { PROVINCES } from './divisionCode.ts';

export type IdNumberProblem = 'ID_NUMBER_FORM' | 'ID_NUMBER_DIVISION' | 'ID_NUMBER_DATE' | 'ID_NUMBER_CHECK_CHARACTER';

const WEIGHTS = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2] as const;
const CHECK_CHARACTERS = '10X98765432';
/** Residence permits of people from Taiwan carry 83 in the place of the province, those of Hong Kong and Macao 81 and 82. */
const PROVINCE_OF_PERMITS = '83';

/** What is wrong with it; undefined when nothing is. `divisions`: the codes that exist; without it the province is looked at. */
export function idNumberProblem(text: string, divisions?: ReadonlySet<string>): IdNumberProblem | undefined {
  if (!/^[1-9]\d{16}[\dX]$/.test(text)) return 'ID_NUMBER_FORM';
  const province = text.slice(0, 2);
  if (province !== PROVINCE_OF_PERMITS) {
    const isKnown = divisions === undefined ? Object.hasOwn(PROVINCES, province) : divisions.has(text.slice(0, 6));
    if (!isKnown) return 'ID_NUMBER_DIVISION';
  }
  if (!isBirthDate(text.slice(6, 14))) return 'ID_NUMBER_DATE';
  return text[17] === idCheckCharacter(text.slice(0, 17)) ? undefined : 'ID_NUMBER_CHECK_CHARACTER';
}

/** The check character of seventeen digits. */
export function idCheckCharacter(digits: string): string {
  const sum = WEIGHTS.reduce((total, weight, index) => total + weight * Number(digits[index]), 0);
  return CHECK_CHARACTERS[sum % 11] as string;
}

/**
 * The eighteen characters of a number of fifteen digits, and X for x. Anything else comes back as it is, so do the sequences 996 to
 * 999, which were kept for people of over a hundred years: their century is a guess.
 */
export function idNumberOf(text: string): string {
  if (/^\d{17}x$/.test(text)) return text.replace('x', 'X');
  if (!/^[1-9]\d{14}$/.test(text) || text.slice(12) >= '996') return text;
  const digits = `${text.slice(0, 6)}19${text.slice(6)}`;
  return isBirthDate(digits.slice(6, 14)) ? digits + idCheckCharacter(digits) : text;
}

function isBirthDate(digits: string): boolean {
  const date = `${digits.slice(0, 4)}-${digits.slice(4, 6)}-${digits.slice(6)}`;
  return /^(?:18|19|20)/.test(digits) && checkValue({ type: 'date' }, date) === undefined;
}
