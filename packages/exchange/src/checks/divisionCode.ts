/**
 * Administrative division codes (行政区划代码, GB/T 2260): two digits each for the province, the prefecture and the county. Divisions
 * change by decree every year, so only the provinces are shipped; a bridge brings the table it goes by as a file.
 */
export type DivisionCodeProblem = 'DIVISION_CODE_FORM' | 'DIVISION_CODE_UNKNOWN';

/** The province-level divisions by their two digits. */
export const PROVINCES: Readonly<Record<string, string>> = {
  11: '北京市',
  12: '天津市',
  13: '河北省',
  14: '山西省',
  15: '内蒙古自治区',
  21: '辽宁省',
  22: '吉林省',
  23: '黑龙江省',
  31: '上海市',
  32: '江苏省',
  33: '浙江省',
  34: '安徽省',
  35: '福建省',
  36: '江西省',
  37: '山东省',
  41: '河南省',
  42: '湖北省',
  43: '湖南省',
  44: '广东省',
  45: '广西壮族自治区',
  46: '海南省',
  50: '重庆市',
  51: '四川省',
  52: '贵州省',
  53: '云南省',
  54: '西藏自治区',
  61: '陕西省',
  62: '甘肃省',
  63: '青海省',
  64: '宁夏回族自治区',
  65: '新疆维吾尔自治区',
  71: '台湾省',
  81: '香港特别行政区',
  82: '澳门特别行政区',
};

/** What is wrong with it; undefined when nothing is. `divisions`: the codes that exist; without it the province is looked at. */
export function divisionCodeProblem(text: string, divisions?: ReadonlySet<string>): DivisionCodeProblem | undefined {
  // A county without a prefecture has no place to lie in.
  if (!/^\d{6}$/.test(text) || /^..00(?!00)/.test(text)) return 'DIVISION_CODE_FORM';
  const isKnown = divisions === undefined ? Object.hasOwn(PROVINCES, text.slice(0, 2)) : divisions.has(text);
  return isKnown ? undefined : 'DIVISION_CODE_UNKNOWN';
}
