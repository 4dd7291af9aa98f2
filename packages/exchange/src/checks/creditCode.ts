/**
 * Unified social credit codes (统一社会信用代码, GB 32100-2015): registering authority, category, six digits of the division, nine
 * characters of the organisation, and a check character over the other seventeen (GB/T 17710, MOD 31-3).
 */
export type CreditCodeProblem = 'CREDIT_CODE_FORM' | 'CREDIT_CODE_CHECK_CHARACTER';

/** Without I, O, S, V and Z. */
const CHARACTERS = '0123456789ABCDEFGHJKLMNPQRTUWXY';
const FORM = /^[1-9A-HJ-NP-RTUWXY][1-9A-HJ-NP-RTUWXY]\d{6}[0-9A-HJ-NP-RTUWXY]{10}$/;

/** What is wrong with it; undefined when nothing is. */
export function creditCodeProblem(text: string): CreditCodeProblem | undefined {
  if (!FORM.test(text)) return 'CREDIT_CODE_FORM';
  return text[17] === creditCheckCharacter(text.slice(0, 17)) ? undefined : 'CREDIT_CODE_CHECK_CHARACTER';
}

/** The check character of the first seventeen. */
export function creditCheckCharacter(text: string): string {
  let weight = 1;
  let sum = 0;
  for (const character of text) {
    sum += CHARACTERS.indexOf(character) * weight;
    weight = (weight * 3) % 31;
  }
  return CHARACTERS[(31 - (sum % 31)) % 31] as string;
}
