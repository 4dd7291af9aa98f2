/**
 * Normal forms of text: one spelling for what people and programs write in several. A value that a form has no rule for is left as
 * it is, for the checks to judge. A value in its forms comes back as it is.
 */
import { idNumberOf } from '../checks/idNumber.ts';
import { NORMAL_FORMS, type NormalForm } from './transform.ts';

/** The forms in the one order in which each finds what the others leave, however a bridge lists them. */
export function compileNormalise(forms: readonly NormalForm[]): (text: string) => string {
  const ordered = NORMAL_FORMS.filter((form) => forms.includes(form));
  return (text) => ordered.reduce(inForm, text);
}

/** Characters of the longest value that can come out, of a column whose longest has so many. */
export function longestNormal(forms: readonly NormalForm[], longest: number): number {
  return forms.includes('idNumber') ? Math.max(longest, 18) : longest;
}

function inForm(text: string, form: NormalForm): string {
  switch (form) {
    case 'trimmed':
      return text.trim();
    case 'halfWidth':
      return text.replace(/[\uff01-\uff5e\u3000]/g, (sign) =>
        sign === '\u3000' ? ' ' : String.fromCharCode(sign.charCodeAt(0) - WIDTH),
      );
    case 'fullWidth':
      return text.replace(/[!-~ ]/g, (sign) =>
        sign === ' ' ? '\u3000' : String.fromCharCode(sign.charCodeAt(0) + WIDTH),
      );
    case 'idNumber':
      return idNumberOf(text);
    case 'ethnicName':
      return text.replace(DOTS, '\u00b7');
    default:
      return form satisfies never;
  }
}

/** From a half-width sign to its full-width twin (Unicode block FF00). */
const WIDTH = 0xfee0;
/** What stands for the dot between the parts of a name: • ． ・ ･ ‧ ∙ ⋅ · */
const DOTS = /[\u2022\uff0e\u30fb\uff65\u2027\u2219\u22c5\u0387]/g;
