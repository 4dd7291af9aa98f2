// The workload of one bridge: transactions over a small table, in an order of their own. A transaction that stays open holds its rows: those
// that commit beside it do others, so that the plan knows what is there after each, whatever the timing.

import { type ChangeKind, endingsOf, type Step, stepsOf } from './changes.ts';
import type { Dice } from './dice.ts';
import { Register } from './register.ts';
import { Statements, type StatementsPlan } from './statements.ts';

export interface Transaction {
  /** Within its workload, from 0. */
  readonly number: number;
  /** From the moment the bridges were started; negative: before. */
  readonly atMs: number;
  readonly statements: readonly string[];
  /** How long it stays open before it ends; those that are planned meanwhile commit beside it. */
  readonly openMs: number;
  readonly isRolledBack: boolean;
  readonly kinds: readonly ChangeKind[];
}

export interface Workload {
  readonly transactions: readonly Transaction[];
  /** Keys that the target may keep as they were: it refuses a version of the row, or of one that shared a code with it. */
  readonly refused: ReadonlySet<number>;
}

export interface WorkloadPlan extends StatementsPlan {
  readonly lengthMs: number;
  /** Bridges into one target table must not share keys. */
  readonly firstKey: number;
}

export function planWorkload(dice: Dice, plan: WorkloadPlan): Workload {
  const { adapter, capture, lengthMs } = plan;
  const register = new Register(plan.firstKey);
  const statements = new Statements(dice, register, plan);
  const [steps, endings] = [stepsOf(capture, adapter), endingsOf(adapter)];
  const plain = steps.filter(([step]) => step !== 'savepoint' && step !== 'truncate');

  const first = statements.insert(Array.from({ length: dice.between(0, 300) }, () => register.newKey()));
  const transactions: Transaction[] = [
    { number: 0, atMs: -1, statements: first, openMs: 0, isRolledBack: false, kinds: ['insert'] },
  ];
  const moments = Array.from({ length: dice.between(3, 12) }, () => dice.between(0, lengthMs)).sort((a, b) => a - b);
  let heldUntilMs = -1;
  for (const atMs of moments) {
    const isBeside = atMs < heldUntilMs;
    if (!isBeside) register.hold(new Set());
    const ending = isBeside ? 'commit' : dice.weighted(endings);
    const isRolledBack = ending === 'rollback' || (ending === 'held' && dice.chance(0.2));
    const openMs = ending === 'held' ? dice.between(100, 700) : 0;
    const made: string[] = [];
    const kinds: ChangeKind[] = ending === 'commit' ? [] : [ending];
    // TRUNCATE waits for everybody, and everybody for it; in MariaDB it is a transaction by itself.
    const mayTruncate = ending !== 'held' && !isBeside;
    const may = mayTruncate ? steps : steps.filter(([step]) => step !== 'truncate');
    const isAlone = mayTruncate && adapter === 'mysql';
    const fill = () => {
      for (let left = dice.between(1, 3); left > 0; left -= 1) {
        const drawn = dice.weighted(
          isAlone && (made.length > 0 || isRolledBack) ? may.filter(([step]) => step !== 'truncate') : may,
        );
        const some = statements.of(drawn, (): Step => dice.weighted(plain));
        if (some.length === 0) continue;
        made.push(...some);
        if (!isRolledBack) kinds.push(drawn);
        if (drawn === 'truncate' && isAlone) return;
      }
    };
    register.takeTouched();
    if (isRolledBack) register.undone(fill);
    else fill();
    if (made.length === 0) continue;
    if (ending === 'held') {
      heldUntilMs = atMs + openMs;
      register.hold(register.takeTouched());
    }
    transactions.push({ number: transactions.length, atMs, statements: made, openMs, isRolledBack, kinds });
  }
  return { transactions, refused: register.refused };
}
