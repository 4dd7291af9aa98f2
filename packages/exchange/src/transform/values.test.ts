import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkValue } from '../checkValue.ts';
import { type ColumnType, parseTypeText, typeText } from '../columnType.ts';
import { comparable, compareValues } from '../compareValues.ts';
import { floatText } from '../floatText.ts';
import { castBetween } from './cast.ts';
import { compileDateFormat, datePatternProblem } from './dateFormat.ts';
import { compileGeneralise } from './generalise.ts';
import { compileNormalise } from './normalise.ts';
import { type Generalise, NORMAL_FORMS } from './transform.ts';

const typed = (text: string): ColumnType => {
  const type = parseTypeText(text);
  if (type === undefined) throw new Error(text);
  return type;
};
const cast = (from: string, to: string, value: string) => castBetween(typed(from), typed(to))?.convert(value);

describe('a cast', () => {
  test('keeps the value or refuses it', () => {
    const cases: [string, string, string, string | undefined][] = [
      ['text', 'integer(64)', '9007199254740993', '9007199254740993'],
      ['text', 'integer(32)', '9007199254740993', undefined],
      ['text', 'integer(64)', '007', undefined],
      ['text', 'integer(64)', ' 7', undefined],
      ['text', 'decimal(10,2)', '12.5', '12.50'],
      ['text', 'decimal(10,2)', '12.505', undefined],
      ['text', 'decimal(10,2)', '12.500', '12.50'],
      ['text', 'decimal', '0.10', '0.10'],
      ['text', 'float(64)', '0.1', '0.1'],
      ['text', 'float(64)', '0.10', undefined],
      ['text', 'boolean', 'true', undefined],
      ['text', 'date', '2024-02-30', undefined],
      ['text', 'date', '2024-02-29', '2024-02-29'],
      ['text', 'timestamp(0)', '2024-02-29 08:00:00.5', undefined],
      ['text', 'text(2)', '𠮷野', '𠮷野'],
      ['text', 'text(2)', '𠮷野家', undefined],
      ['integer(64)', 'integer(16)', '40000', undefined],
      ['integer(32)', 'decimal(12,2)', '7', '7.00'],
      ['integer(64)', 'float(64)', '9007199254740993', undefined],
      ['integer(64)', 'float(64)', '9007199254740992', '9.007199254740992e+15'],
      ['float(64)', 'float(32)', '0.1', '0.1'],
      ['float(64)', 'float(32)', '0.12345678901', undefined],
      ['float(64)', 'float(32)', '16777217', undefined],
      ['float(64)', 'float(32)', '1e+300', undefined],
      ['float(64)', 'float(32)', '1e-300', undefined],
      ['float(64)', 'float(32)', '1000000', '1e+06'],
      ['float(64)', 'float(32)', '-0', '-0'],
      ['float(64)', 'float(32)', 'NaN', 'NaN'],
      ['float(64)', 'float(32)', '-Infinity', '-Infinity'],
      ['float(32)', 'float(64)', '1e+06', '1000000'],
      ['integer(64)', 'text', '-7', '-7'],
      ['decimal(10,2)', 'integer(32)', '7.00', '7'],
      ['decimal(10,2)', 'integer(32)', '7.50', undefined],
      ['decimal(10,2)', 'decimal(10,1)', '7.50', '7.5'],
      ['decimal(10,2)', 'decimal(10,1)', '7.55', undefined],
      ['decimal', 'integer(32)', 'NaN', undefined],
      ['date', 'timestamp(6)', '0044-03-15 BC', '0044-03-15 00:00:00 BC'],
      ['timestamp(6)', 'date', '0044-03-15 00:00:00 BC', '0044-03-15 BC'],
      ['timestamp(6)', 'date', '2024-01-31 08:00:00', undefined],
      ['timestamp(6)', 'timestamp(0)', '2024-01-31 08:00:00.5', undefined],
    ];
    expect(cases.map(([from, to, value]) => [from, to, value, cast(from, to, value)])).toEqual(cases);
  });

  test('that no value survives is none at all', () => {
    const none = [
      ['boolean', 'integer(32)'],
      ['float(64)', 'integer(64)'],
      ['timestamp(6)', 'timestamptz(6)'],
      ['date', 'integer(32)'],
    ];
    expect(none.filter(([from = '', to = '']) => castBetween(typed(from), typed(to)) !== undefined)).toEqual([]);
  });

  test('between numbers gives an equal one of the other type, whatever the digits', () => {
    const number = fc.tuple(fc.bigInt({ min: -(10n ** 25n), max: 10n ** 25n }), fc.integer({ min: 0, max: 6 }));
    const target = fc.constantFrom('integer(64)', 'decimal(20,3)', 'decimal(38,6)', 'decimal');
    fc.assert(
      fc.property(number, target, ([unscaled, scale], to) => {
        const sign = unscaled < 0n ? '-' : '';
        const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, '0');
        const text = sign + (scale === 0 ? digits : `${digits.slice(0, -scale)}.${digits.slice(-scale)}`);
        const made = cast('decimal', to, text);
        if (made === undefined) return;
        expect(checkValue(typed(to), made)).toBeUndefined();
        expect(compareValues(comparable({ type: 'decimal' }, made), comparable({ type: 'decimal' }, text))).toBe(0);
      }),
    );
  });

  test('of a float into fewer bits comes back as it was, or is refused: numbers that differ still differ', () => {
    const near = fc.tuple(fc.float(), fc.constantFrom(0, 1e-12, 1e-9)).map(([value, off]) => value * (1 + off));
    fc.assert(
      fc.property(fc.oneof(fc.double(), near), (value) => {
        const text = floatText(value, 64);
        const made = cast('float(64)', 'float(32)', text);
        if (made !== undefined) expect(cast('float(32)', 'float(64)', made)).toBe(text);
      }),
    );
    expect(castBetween(typed('float(64)'), typed('float(32)'))?.keepsApart).toBe(true);
  });

  test('is named by the text of its type', () => {
    const texts = [
      'integer(16)',
      'float(32)',
      'decimal',
      'decimal(10,2)',
      'text',
      'text(20)',
      'boolean',
      'date',
      'time(0)',
    ];
    expect(texts.map((text) => typeText(typed(text)))).toEqual(texts);
    const wrong = [
      'integer',
      'integer(8)',
      'decimal(0)',
      'decimal(2,3)',
      'text(0)',
      'date(1)',
      'time',
      'bytes',
      'x',
      '',
    ];
    expect(wrong.filter((text) => parseTypeText(text) !== undefined)).toEqual([]);
  });
});

const formatted = (from: string | undefined, to: string, value: string, type = 'text') => {
  const format = compileDateFormat({ ...(from === undefined ? {} : { from }), to }, typed(type));
  if (typeof format === 'string') throw new Error(format);
  return format.convert(value);
};

describe('a date format', () => {
  test('reads and writes dates as declared', () => {
    expect(formatted('yyyyMMdd', 'date', '20240131')).toBe('2024-01-31');
    expect(formatted('yyyyMMdd', 'date', '20240131', 'integer(32)')).toBe('2024-01-31');
    expect(formatted(undefined, 'yyyyMMdd', '2024-01-31', 'date')).toBe('20240131');
    expect(formatted(undefined, 'yyyyMMddHHmmss', '2024-01-31 08:09:10', 'timestamp(0)')).toBe('20240131080910');
    expect(formatted('yyyyMMddHHmmss', 'timestamp', '20240131080910')).toBe('2024-01-31 08:09:10');
    expect(formatted('yyyy年M月d日', 'date', '2024年1月31日')).toBe('2024-01-31');
    expect(formatted(undefined, 'yyyy年M月d日', '2024-01-01', 'date')).toBe('2024年1月1日');
    expect(formatted('dd/MM/yyyy', 'yyyy.MM.dd', '31/01/2024')).toBe('2024.01.31');
    expect(formatted('yyyy-MM-ddTHH:mm:ss', 'date', '2024-01-31T00:00:00')).toBe('2024-01-31');
  });

  test('refuses days that do not exist, signs that were not declared, and times that would be lost', () => {
    const refused = ['20240230', '20241301', '2024131', '202401311', '2024-01-31', '00000101', '', ' 20240131'];
    expect(refused.map((value) => formatted('yyyyMMdd', 'date', value))).toEqual(refused.map(() => undefined));
    expect(formatted('yyyy年M月d日', 'date', '2024年01月31日')).toBeUndefined();
    expect(formatted('yyyyMMddHHmmss', 'date', '20240131080910')).toBeUndefined();
    expect(formatted(undefined, 'yyyyMMddHHmmss', '2024-01-31 08:09:10.5', 'timestamp(6)')).toBeUndefined();
    expect(formatted(undefined, 'yyyyMMdd', 'infinity', 'date')).toBeUndefined();
    expect(formatted(undefined, 'yyyyMMdd', '0044-03-15 BC', 'date')).toBeUndefined();
  });

  test('goes there and back, for every day', () => {
    const patterns = ['yyyyMMdd', 'yyyy-MM-dd', 'yyyy年M月d日', 'd/M/yyyy', 'dd.MM.yyyy'];
    const noInvalidDate = true;
    const day = fc.date({ min: new Date('0001-01-01'), max: new Date('9999-12-31'), noInvalidDate });
    fc.assert(
      fc.property(day, fc.constantFrom(...patterns), (date, pattern) => {
        const text = date.toISOString().slice(0, 10);
        const written = formatted(undefined, pattern, text, 'date') as string;
        expect(formatted(pattern, 'date', written)).toBe(text);
      }),
    );
  });

  test('is declared so that each text has one meaning', () => {
    const right = ['yyyyMMdd', 'yyyy-MM-ddTHH:mm:ss', 'd.M.yyyy'];
    expect(right.map((text) => datePatternProblem(text, false))).toEqual(right.map(() => undefined));
    const wrong = ['', 'date', 'yyyyMM', 'yyyyMMddMM', 'yyyyMd', 'YYYYMMDD', 'yyyyMMdd a', 'yyMMdd'];
    expect(wrong.filter((text) => datePatternProblem(text, false) === undefined)).toEqual([]);
    expect(datePatternProblem('date', true)).toBeUndefined();
  });

  test('says which column it needs', () => {
    expect(compileDateFormat({ to: 'yyyyMMdd' }, { type: 'text' })).toBe('a column of dates or timestamps, or from:');
    expect(compileDateFormat({ from: 'yyyyMMdd', to: 'date' }, { type: 'date' })).toContain('text or integers');
    expect(compileDateFormat({ to: 'yyyyMMdd' }, { type: 'timestamptz', digits: 0 })).toBeTypeOf('string');
  });
});

describe('a normal form', () => {
  const inForm = (forms: readonly (typeof NORMAL_FORMS)[number][], text: string) => compileNormalise(forms)(text);

  test('is one spelling for what is written in several', () => {
    expect(inForm(['ethnicName'], '买买提•阿卜杜拉．江・某·人')).toBe('买买提·阿卜杜拉·江·某·人');
    expect(inForm(['halfWidth'], 'ＡＢ－１２　（甲）')).toBe('AB-12 (甲)');
    expect(inForm(['fullWidth'], 'AB-12 (甲)')).toBe('ＡＢ－１２　（甲）');
    expect(inForm(['trimmed'], '\u3000 王小明 \t')).toBe('王小明');
    expect(inForm(['idNumber', 'trimmed', 'halfWidth'], '\u3000１１０１０５４９１２３１００２')).toBe(
      '11010519491231002X',
    );
    expect(inForm(['halfWidth', 'ethnicName'], '买买提．江')).toBe('买买提·江');
  });

  test('of what has it already is the same', () => {
    const text = fc.string({ unit: fc.constantFrom(...Array.from('aX1 ·•．・Ａ１　王x\t-')) });
    const number = fc.stringMatching(/^[1-9][0-9]{14}$/);
    fc.assert(
      fc.property(fc.subarray([...NORMAL_FORMS], { minLength: 1 }), fc.oneof(text, number), (forms, value) => {
        fc.pre(!(forms.includes('halfWidth') && forms.includes('fullWidth')));
        const once = inForm(forms, value);
        expect(inForm(forms, once)).toBe(once);
      }),
    );
  });
});

describe('a generalisation', () => {
  const general = (to: Generalise['to'], value: string, type = 'text') => {
    const compiled = compileGeneralise({ column: 'c', to }, typed(type));
    return typeof compiled === 'string' ? compiled : compiled.convert(value);
  };

  test('of a date is its month or year', () => {
    expect(general('month', '2024-01-31', 'date')).toBe('2024-01');
    expect(general('year', '2024-01-31 08:00:00.5', 'timestamp(6)')).toBe('2024');
    expect(general('month', 'infinity', 'date')).toBeUndefined();
    expect(general('month', '20240131')).toBe('a column of dates or timestamps');
  });

  test('of an address ends where the unit ends', () => {
    const address = '山东省青岛市市南区香港中路10号';
    expect([general('province', address), general('city', address), general('district', address)]).toEqual([
      '山东省',
      '山东省青岛市',
      '山东省青岛市市南区',
    ]);
    const districts = {
      北京市朝阳区建国路1号: '北京市朝阳区',
      内蒙古自治区锡林郭勒盟西乌珠穆沁旗某镇: '内蒙古自治区锡林郭勒盟西乌珠穆沁旗',
      湖南省常德市津市市某街道: '湖南省常德市津市市',
      湖北省荆州市沙市区某路: '湖北省荆州市沙市区',
      河北省唐山市路南区某街: '河北省唐山市路南区',
      甘肃省临夏回族自治州积石山保安族东乡族撒拉族自治县某乡: '甘肃省临夏回族自治州积石山保安族东乡族撒拉族自治县',
      新疆维吾尔自治区喀什地区喀什市某路: '新疆维吾尔自治区喀什地区喀什市',
      广西南宁市青秀区民族大道: '广西南宁市青秀区',
    };
    const found = Object.fromEntries(Object.keys(districts).map((text) => [text, general('district', text)]));
    expect(found).toEqual(districts);
  });

  test('of an address that does not name the unit is refused: a street would come out in its place', () => {
    const unclear = [
      '山东省济南市经十路12号阳光小区',
      '青岛市市南区',
      '某处',
      '',
      '山东省济南市历下街道某社区',
      '山东省',
    ];
    expect(unclear.map((text) => general('district', text))).toEqual(unclear.map(() => undefined));
    expect(general('city', '山东省')).toBeUndefined();
    expect(general('city', '上海市浦东新区')).toBe('上海市');
  });

  test('takes the short name of a province only where a unit of the next level follows: streets and prefectures bear such names', () => {
    const provinces = {
      上海浦东新区某路: '上海',
      广西南宁市青秀区: '广西',
      吉林吉林市昌邑区: '吉林',
      内蒙古锡林郭勒盟某旗: '内蒙古',
      新疆克孜勒苏柯尔克孜自治州: '新疆',
      四川甘孜藏族自治州: '四川',
      香港湾仔区某街: '香港',
      山东省某处: '山东省',
    };
    const found = Object.fromEntries(Object.keys(provinces).map((text) => [text, general('province', text)]));
    expect(found).toEqual(provinces);
    const unclear = [
      '上海路12号',
      '上海路长宁区',
      '北京大道越秀区',
      '香港中路10号',
      '四川北路某市场',
      '海南藏族自治州',
      '海南藏族自治州共和县',
      '河南蒙古族自治县',
      '海南区某街',
      '吉林市船营区某市场',
      '上海',
    ];
    expect(unclear.map((text) => general('province', text))).toEqual(unclear.map(() => undefined));
  });
});
