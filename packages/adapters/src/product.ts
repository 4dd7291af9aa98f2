/**
 * Which product answers behind a protocol that several speak, and what it turns out to lack. Nothing is taken from a product's name but the
 * name: whether it does what the adapter needs is tried at the server itself, by statements that change nothing. The names that a server
 * gives itself are the adapters' own matter (`product.ts` in each).
 */
import { type Problem, QiaoError } from '@qiao/exchange';

/** A server as it names itself. */
export interface Product {
  /** `PostgreSQL`, `MariaDB`, `openGauss`, … */
  readonly name: string;
  readonly version: string;
  /** Of another house than the protocol: what it has is tried before anything relies on it. */
  readonly isKin: boolean;
  /** Tests run on this version. */
  readonly isVerified: boolean;
}

export type Side = 'SOURCE' | 'TARGET';

/** Something that the adapter relies on. */
export interface Trial<Session> {
  /** What the server has to do, for people. */
  readonly what: string;
  /** The end that needs it; both when not given. */
  readonly side?: Side;
  /** False, or an error, when the server does not do it. Leaves nothing behind. */
  run(session: Session): Promise<boolean>;
}

/** What a kin server does not do, of what this end needs. Throws what is no answer: a server that is away. */
export async function lacking<Session>(
  session: Session,
  side: Side,
  trials: readonly Trial<Session>[],
): Promise<string[]> {
  const lacks: string[] = [];
  for (const trial of trials) {
    if (trial.side !== undefined && trial.side !== side) continue;
    const does = await trial.run(session).catch((error: unknown) => {
      if (error instanceof QiaoError && error.fate !== 'permanent') throw error;
      return false;
    });
    if (!does) lacks.push(trial.what);
  }
  return lacks;
}

/** `openGauss 5.0.0`. */
export function named({ name, version }: Pick<Product, 'name' | 'version'>): string {
  return `${name} ${version}`;
}

/** What a person should know of a server that no test runs on; undefined where one does. */
export function remarkOf(product: Product): string | undefined {
  return product.isVerified
    ? undefined
    : `${named(product)} is not verified here: the tests of this version run on other servers`;
}

/** The preflight's word on a kin server, before any table is looked at. */
export function kinProblems(product: Product, side: Side, lacks: readonly string[]): Problem[] {
  if (!product.isKin) return [];
  if (lacks.length > 0) {
    const { message, hint } = lackError(product, side, lacks);
    return [{ code: 'SERVER_LACKS', path: '', message, hint }];
  }
  return [
    {
      code: 'SERVER_UNVERIFIED',
      path: '',
      message: `${named(product)} is not verified here; it does what was tried at it`,
      hint: 'try all of it at a server that nobody needs: npm run contract, see docs/adapters.md',
      warning: true,
    },
  ];
}

/** `<SIDE>_SERVER_LACKS`: nothing can be asked of this server, not even what its tables are. */
export function lackError(product: Product, side: Side, lacks: readonly string[]): QiaoError {
  return new QiaoError(
    `${side}_SERVER_LACKS`,
    `${named(product)} does not do, or not for this account: ${lacks.join('; ')}`,
    {
      hint: 'share through the exchange tables of this node, or through files',
    },
  );
}
