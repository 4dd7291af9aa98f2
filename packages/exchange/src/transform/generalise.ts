/** Generalises: of a date only its month or year, of an address only the units it lies in. What is not understood is refused. */

import { PROVINCES } from '../checks/divisionCode.ts';
import type { ColumnType } from '../columnType.ts';
import type { Generalise } from './transform.ts';

export interface CompiledGeneralise {
  type: ColumnType;
  convert(text: string): string | undefined;
}

/** A string says what column is expected. */
export function compileGeneralise({ to }: Generalise, source: ColumnType): CompiledGeneralise | string {
  switch (to) {
    case 'year':
    case 'month':
      if (source.type !== 'date' && source.type !== 'timestamp') return 'a column of dates or timestamps';
      return { type: { type: 'text', maxLength: to === 'year' ? 4 : 7 }, convert: to === 'year' ? yearOf : monthOf };
    case 'province':
    case 'city':
    case 'district':
      if (source.type !== 'text') return 'a column of text';
      return { type: { ...source, padded: false }, convert: (text) => areaOf(text, to) };
    default:
      return to satisfies never;
  }
}

function yearOf(text: string): string | undefined {
  return /^(\d{4})-\d\d-\d\d(?: [\d:.]+)?$/.exec(text)?.[1];
}

function monthOf(text: string): string | undefined {
  return /^(\d{4}-\d\d)-\d\d(?: [\d:.]+)?$/.exec(text)?.[1];
}

const MUNICIPALITIES = ['北京市', '天津市', '上海市', '重庆市'];
/** Districts follow at once. */
const WITHOUT_CITIES = [...MUNICIPALITIES, '香港特别行政区', '澳门特别行政区'].map(shortName);
const PROVINCE = startingWith(Object.values(PROVINCES));
/** 北京市 as it is said: 北京. Streets (上海路), cities (吉林市) and prefectures elsewhere (海南藏族自治州) bear such names, too. */
const SHORT_PROVINCE = startingWith(Object.values(PROVINCES).map(shortName));
/** What follows those; no unit below a province has a name that begins so. */
const OTHER_NAME = /^(?:[市区县州旗盟路街道]|大道|\p{Script=Han}{0,2}族)/u;
// The shortest run that a unit's name ends; no town of that rank has a name of one character before its suffix.
const CITY = /^\p{Script=Han}{2,10}?(?:自治州|地区|盟|市)/u;
const DISTRICT = /^(?:\p{Script=Han}{2,14}?市|\p{Script=Han}{1,14}?(?:区|县|旗))/u;
/** Words of streets and houses: an address that names no unit of that rank would give its street away as one. */
const STREET = /.路|[街巷弄号栋幢室村]|(?:小|社|校|院|厂|景|园|街)区$/u;

/** The address up to the end of the unit; undefined when it does not name that unit in so many words. */
function areaOf(text: string, to: 'province' | 'city' | 'district'): string | undefined {
  const province = PROVINCE.exec(text)?.[0] ?? shortProvince(text);
  if (province === undefined || to === 'province') return province;
  const isMunicipality = MUNICIPALITIES.some((name) => name === province || shortName(name) === province);
  // 北京市 is province and city in one; written twice, as in 北京市市辖区, the second is a district's place.
  const city = isMunicipality ? '' : unitAt(text, province.length, CITY);
  if (city === undefined) return undefined;
  if (to === 'city') return province + city;
  const district = unitAt(text, province.length + city.length, DISTRICT);
  return district === undefined ? undefined : province + city + district;
}

function shortProvince(text: string): string | undefined {
  const name = SHORT_PROVINCE.exec(text)?.[0];
  if (name === undefined || OTHER_NAME.test(text.slice(name.length))) return undefined;
  const next = unitAt(text, name.length, WITHOUT_CITIES.includes(name) ? DISTRICT : CITY);
  return next === undefined ? undefined : name;
}

function unitAt(text: string, start: number, shape: RegExp): string | undefined {
  const unit = shape.exec(text.slice(start))?.[0];
  return unit === undefined || STREET.test(unit) ? undefined : unit;
}

function shortName(name: string): string {
  return name.replace(/(?:省|市|特别行政区|(?:维吾尔|壮族|回族)?自治区)$/u, '');
}

function startingWith(names: readonly string[]): RegExp {
  return new RegExp(`^(?:${names.join('|')})`, 'u');
}
