/** The report of a run: what a person pastes into an issue. No address, no account, no password. */
import type { Waivers } from '../contractSuite.ts';

export interface TestOutcome {
  /** `reading by keys`. */
  readonly group: string;
  readonly test: string;
  readonly isPassed: boolean;
  /** Lines of what went wrong. */
  readonly errors: readonly string[];
}

export interface Run {
  readonly adapter: string;
  readonly server: string;
  readonly outcomes: readonly TestOutcome[];
  readonly waivers: Waivers;
  readonly missing: readonly string[];
  /** Only tests whose names match were run. */
  readonly only?: string | undefined;
  readonly seconds: number;
}

const NOT_TRIED: Readonly<Record<keyof Waivers, string>> = {
  rights: 'an account that may only read',
  unlimitedDecimal: 'numbers without a limit of digits',
  infinity: 'infinities in floats',
  padding: 'texts filled up with blanks',
  partialIndexes: 'indexes over part of a table',
  keyCircles: 'tables that refer to each other in a circle',
  openTransactions: 'two writers at a time',
  log: 'capture: log',
  triggers: 'capture: trigger',
  target: 'everything that is written',
  horizon: 'the wait of capture: cursor for open transactions',
};

/** Markdown. */
export function reportOf({ adapter, server, outcomes, waivers, missing, only, seconds }: Run): string {
  const failed = outcomes.filter(({ isPassed }) => !isPassed);
  const groups = [...new Set(outcomes.map(({ group }) => group))].map((group) => {
    const own = outcomes.filter((each) => each.group === group);
    const passed = own.filter(({ isPassed }) => isPassed).length;
    return `| ${group} | ${passed} | ${own.length - passed} |`;
  });
  const waived = Object.entries(waivers) as [keyof Waivers, string][];
  const lacks = [
    ...waived.map(([what, why]) => `- ${NOT_TRIED[what]}: ${oneLine(why)}`),
    ...missing.map((statement) => `- the statement \`${oneLine(statement)}\``),
  ];
  return [
    `### Adapter contract: ${server}`,
    '',
    `Adapter ${adapter}, ${outcomes.length - failed.length} of ${outcomes.length} tests passed in ${seconds} s.${
      only === undefined ? '' : ` Only tests that match \`${only}\` were run.`
    }`,
    '',
    '| promise | passed | failed |',
    '| --- | ---: | ---: |',
    ...groups,
    ...section('Not there, or not open to this account, and not tried', lacks),
    ...section(
      'Failed',
      failed.map(({ group, test, errors }) => `- ${group}: ${test}\n  ${errors.map(oneLine).join('\n  ')}`),
    ),
    '',
  ].join('\n');
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : ['', `${title}:`, '', ...lines];
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, ' ').trim().slice(0, 300);
}
