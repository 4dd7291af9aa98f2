/**
 * The one error class of the house and the one finding of a check. Codes are stable and defined where they are thrown;
 * how an error crosses the wire belongs to `rpc`, how it is logged to `runtime`.
 */

/** Whether trying again helps: it will pass by itself, nobody knows whether it happened, or a person must act. */
export type Fate = 'transient' | 'ambiguous' | 'permanent';

/** An error that a person can act on: a stable code, what was found and expected, and the next command to run. */
export class QiaoError extends Error {
  readonly code: string;
  readonly hint: string;
  readonly fate: Fate;

  constructor(code: string, message: string, options: { hint?: string; fate?: Fate; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'QiaoError';
    this.code = code;
    this.hint = options.hint ?? '';
    this.fate = options.fate ?? 'permanent';
  }
}

/** One finding of a check; the same shape as the contract's CheckProblem. A warning does not stop the bridge. */
export interface Problem {
  code: string;
  /** Where, for example `source.tables[0].columns[3]`; empty for the whole. */
  path: string;
  message: string;
  hint: string;
  warning?: boolean;
}

/** Several findings at once; the message lists every one of them. */
export class ProblemsError extends QiaoError {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[], options: { code?: string; cause?: unknown } = {}) {
    const first = problems[0];
    super(options.code ?? first?.code ?? 'PROBLEMS', problems.map(problemText).join('\n'), {
      hint: first?.hint ?? '',
      cause: options.cause,
    });
    this.name = 'ProblemsError';
    this.problems = problems;
  }
}

/** One finding as one line: `path: message`. */
export function problemText(problem: Problem): string {
  return problem.path === '' ? problem.message : `${problem.path}: ${problem.message}`;
}
