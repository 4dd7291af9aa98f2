// Made-up people for the demo: identity numbers with correct check digits (GB 11643), names, birth days. Everything follows
// from a seed, so that two runs tell the same story; none of these people exists.

const WEIGHTS = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
const CHECK_DIGITS = '10X98765432';

/** The check digit of the first 17 digits of a citizen identity number (GB 11643-1999, ISO 7064 MOD 11-2). */
export function checkDigit(first17: string): string {
  const sum = WEIGHTS.reduce((total, weight, index) => total + weight * Number(first17[index]), 0);
  return CHECK_DIGITS[sum % 11] as string;
}

const DISTRICTS = ['370202', '370203', '370211', '370212', '370213', '370214', '370215', '370281', '370283', '370285'];
const SURNAMES = '王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩冯邓曹彭曾肖田董潘袁蔡蒋余';
const GIVEN =
  '伟芳娜秀英敏静丽强磊军洋勇艳杰娟涛明超兰霞平刚桂文辉玲鑫波宇浩凯健俊帆雪婷佳琪晨梓涵欣怡诗雨泽轩思远博睿';

export interface Person {
  readonly idNo: string;
  readonly name: string;
  readonly sex: '男' | '女';
  /** YYYY-MM-DD. */
  readonly birthDate: string;
}

/** A made-up person born in the given years, both included. */
export function makePerson(random: () => number, bornFrom: number, bornTo: number): Person {
  const pick = (text: string) => text[Math.floor(random() * text.length)] as string;
  const birthDate = randomDay(random, bornFrom, bornTo);
  const order = Math.floor(random() * 1000);
  const first17 = `${DISTRICTS[Math.floor(random() * DISTRICTS.length)]}${birthDate.replaceAll('-', '')}${String(order).padStart(3, '0')}`;
  return {
    idNo: first17 + checkDigit(first17),
    name: pick(SURNAMES) + pick(GIVEN) + (random() < 0.75 ? pick(GIVEN) : ''),
    sex: order % 2 === 1 ? '男' : '女',
    birthDate,
  };
}

/** A day in the given years, both included, as YYYY-MM-DD. */
export function randomDay(random: () => number, fromYear: number, toYear: number): string {
  const from = Date.UTC(fromYear, 0, 1);
  const days = Math.floor((Date.UTC(toYear + 1, 0, 1) - from) / 86_400_000);
  return new Date(from + Math.floor(random() * days) * 86_400_000).toISOString().slice(0, 10);
}
