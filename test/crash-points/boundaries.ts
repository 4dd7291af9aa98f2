// Finds boundaries between two stores in the code itself: which stores each function writes, directly or through what it calls,
// and where a write to one may be followed by a write to another with no crash point between. It reads the program with the
// compiler, follows ports to the functions that composition roots put into them, and walks branches one by one.
//
// What it cannot see: the next turn of a loop, work handed to a timer or a listener, two parts that run side by side, and the
// inside of one transaction. docs/crash-points.md says so too.

import { relative } from 'node:path';
import ts from 'typescript';

/** A store as a boundary knows it; `point` stands for a crash point on the way. */
export type Store =
  | 'exchange.db'
  | 'source'
  | 'target'
  | 'bus'
  | 'acknowledgement'
  | 'hub.db'
  | 'monitor.db'
  | 'files'
  | 'hub';
type Step = Store | 'point';

export interface Boundary {
  /** file#function, as a waiver names it. */
  readonly at: string;
  readonly line: number;
  readonly from: Store;
  readonly to: Store;
}

/** How a piece of code ends: what it wrote last, and whether it may have written nothing. */
interface End {
  readonly last: ReadonlySet<Step>;
  readonly mayBeEmpty: boolean;
}

/** What a piece of code may write first, and how it ends: where the next statement goes on, and where it returns. */
interface Flow {
  readonly first: ReadonlySet<Step>;
  readonly stays: End | undefined;
  readonly returns: End | undefined;
}

const NOTHING: Flow = { first: new Set(), stays: { last: new Set(), mayBeEmpty: true }, returns: undefined };

type Callable = ts.FunctionLikeDeclaration & { readonly body: ts.Node };

/** Members of these interfaces are stores; nothing behind them is looked at. */
const STORE_MEMBERS: Readonly<Record<string, Readonly<Record<string, Store>>>> = {
  Bus: { publish: 'bus', request: 'bus' },
  BusMessage: { ack: 'acknowledgement' },
  Target: { prepare: 'target', apply: 'target', amend: 'target', forgetLane: 'target' },
  DataSource: { createTable: 'target' },
  // Entries of triggers, which a source keeps for us until they are noted.
  Triggers: { forget: 'source' },
  // What a source keeps of its log for us, until it is told that it may forget.
  SourceLog: { prepare: 'source', remove: 'source' },
  LogReading: { confirm: 'source' },
};
const FILE_WRITES = /^(write|rename|link|rm|unlink|truncate|copyFile)/;
/** Composition roots: they only wire, and what they wire runs in no order that can be read. */
const ROOTS = /\/(agent\/src\/agent|hub\/src\/hub|monitor\/src\/monitor)\.ts$/;

export class BoundaryFinder {
  readonly #root: string;
  readonly #sources: readonly ts.SourceFile[];
  readonly #checker: ts.TypeChecker;
  /** A port's member → what composition roots and classes put there. */
  readonly #behind = new Map<ts.Node, Callable[]>();
  /** A member of a smaller interface → the members of what was given for it. */
  readonly #same = new Map<ts.Node, ts.Declaration[]>();
  readonly #looking = new Set<ts.Node>();
  readonly #flows = new Map<Callable, Flow>();
  #boundaries: Boundary[] = [];
  #ignored = (_name: string): boolean => false;
  /** Every name handed to crashPoint, with where. */
  readonly points: { readonly name: string; readonly at: string }[] = [];

  constructor(root: string, files: readonly string[], options: ts.CompilerOptions) {
    this.#root = root;
    const program = ts.createProgram(files, { ...options, noEmit: true, composite: false, incremental: false });
    this.#checker = program.getTypeChecker();
    this.#sources = files.flatMap((file) => program.getSourceFile(file) ?? []);
    for (const source of this.#sources) {
      this.#learnPorts(source);
      this.#learnPoints(source);
    }
  }

  /** Every boundary without a crash point; those that `ignored` names count as not there. */
  find(ignored: (point: string) => boolean = () => false): readonly Boundary[] {
    this.#boundaries = [];
    this.#flows.clear();
    this.#ignored = ignored;
    for (const source of this.#sources) {
      if (ROOTS.test(source.fileName)) continue;
      eachCallable(source, (callable) => this.#flowOf(callable));
    }
    return this.#boundaries;
  }

  #learnPoints(source: ts.SourceFile): void {
    const visit = (node: ts.Node): void => {
      const names = ts.isCallExpression(node) ? pointsOf(node) : [];
      for (const name of names) this.points.push({ name, at: this.#placeOf(node) });
      ts.forEachChild(node, visit);
    };
    visit(source);
  }

  /** `{ publish: (bytes) => … }` where an object with `publish` is expected: that function stands behind the member. */
  #learnPorts(source: ts.SourceFile): void {
    const visit = (node: ts.Node): void => {
      if (ts.isObjectLiteralExpression(node)) {
        const expected = this.#checker.getContextualType(node);
        for (const property of node.properties) {
          const name = property.name?.getText();
          const member = name === undefined ? undefined : expected?.getProperty(name);
          for (const declaration of member?.declarations ?? []) this.#putBehind(declaration, property);
          if (member !== undefined) this.#standFor(member, property);
        }
      }
      for (const argument of ts.isCallExpression(node) || ts.isNewExpression(node) ? (node.arguments ?? []) : []) {
        // `sendCommand(ports, …)`: an object made elsewhere stands for the ports expected here.
        if (ts.isIdentifier(argument)) this.#stand(this.#checker.getContextualType(argument), argument);
      }
      if (ts.isClassDeclaration(node)) {
        for (const clause of node.heritageClauses ?? []) {
          for (const type of clause.types.map((one) => this.#checker.getTypeAtLocation(one))) {
            for (const member of node.members) {
              if (!isCallable(member)) continue;
              const [declaration] = type.getProperty(member.name?.getText() ?? '')?.declarations ?? [];
              if (declaration !== undefined) this.#add(declaration, [member]);
            }
          }
        }
      }
      ts.forEachChild(node, visit);
    };
    visit(source);
  }

  /** `bus` given where a smaller `SendBus` is expected: each member of the smaller one is that of the larger. */
  #standFor(member: ts.Symbol, property: ts.ObjectLiteralElementLike): void {
    if (ts.isSpreadAssignment(property) || ts.isMethodDeclaration(property)) return;
    const expected = this.#checker.getTypeOfSymbolAtLocation(member, property);
    this.#stand(expected, ts.isPropertyAssignment(property) ? property.initializer : property.name);
  }

  #stand(expected: ts.Type | undefined, value: ts.Node | undefined): void {
    const given = value === undefined ? undefined : this.#checker.getTypeAtLocation(value);
    for (const part of expected?.getNonNullableType().getProperties() ?? []) {
      const [small] = part.declarations ?? [];
      const large = given?.getProperty(part.name)?.declarations ?? [];
      if (small === undefined || small.getSourceFile().isDeclarationFile || large.includes(small)) continue;
      this.#same.set(small, [...(this.#same.get(small) ?? []), ...large]);
    }
  }

  #putBehind(member: ts.Node, property: ts.ObjectLiteralElementLike): void {
    if (ts.isMethodDeclaration(property)) this.#add(member, isCallable(property) ? [property] : []);
    else if (ts.isPropertyAssignment(property)) this.#add(member, this.#callablesOf(property.initializer));
    else if (ts.isShorthandPropertyAssignment(property)) {
      const value = this.#checker.getShorthandAssignmentValueSymbol(property);
      this.#add(
        member,
        (value?.declarations ?? []).flatMap((declaration) => this.#declared(declaration)),
      );
    }
  }

  #add(member: ts.Node, callables: readonly Callable[]): void {
    const known = this.#behind.get(member) ?? [];
    this.#behind.set(member, [...known, ...callables.filter((one) => !known.includes(one))]);
  }

  /** Functions that an expression may be: written there, named there, or made by the call there. */
  #callablesOf(expression: ts.Expression): Callable[] {
    // One that names itself, through whatever way, adds nothing to itself.
    if (this.#looking.has(expression)) return [];
    this.#looking.add(expression);
    try {
      return this.#callablesAt(expression);
    } finally {
      this.#looking.delete(expression);
    }
  }

  #callablesAt(expression: ts.Expression): Callable[] {
    if (isCallable(expression)) return [expression];
    if (ts.isParenthesizedExpression(expression)) return this.#callablesOf(expression.expression);
    if (ts.isCallExpression(expression)) {
      return this.#targets(expression.expression).flatMap((maker) => {
        const made: Callable[] = isCallable(maker.body) ? [maker.body] : [];
        eachCallable(maker.body, (callable) => made.push(callable));
        return made;
      });
    }
    return this.#targets(expression);
  }

  /** Functions that a callee names, through imports, variables and ports. */
  #targets(callee: ts.Expression): Callable[] {
    let symbol = this.#checker.getSymbolAtLocation(callee);
    if (symbol !== undefined && symbol.flags & ts.SymbolFlags.Alias) symbol = this.#checker.getAliasedSymbol(symbol);
    return (symbol?.declarations ?? []).flatMap((declaration) => this.#declared(declaration));
  }

  #declared(declaration: ts.Declaration): Callable[] {
    if (isCallable(declaration)) return [declaration];
    if (ts.isVariableDeclaration(declaration) && declaration.initializer !== undefined) {
      return this.#callablesOf(declaration.initializer);
    }
    if (ts.isPropertyAssignment(declaration)) return this.#callablesOf(declaration.initializer);
    if (isRunOfPart(declaration)) return [];
    return this.#alike(declaration).flatMap((one) => {
      if (isCallable(one)) return [one];
      return ts.isPropertyAssignment(one) ? this.#callablesOf(one.initializer) : (this.#behind.get(one) ?? []);
    });
  }

  /** The declaration, the port's member that a parameter like `{ publish }` takes out, and what was given for a smaller port. */
  #alike(declaration: ts.Declaration): ts.Declaration[] {
    if (ts.isBindingElement(declaration) && ts.isObjectBindingPattern(declaration.parent)) {
      const name = (declaration.propertyName ?? declaration.name).getText();
      const member = this.#checker.getTypeAtLocation(declaration.parent).getProperty(name);
      return (member?.declarations ?? []).filter((one) => one !== declaration).flatMap((one) => this.#alike(one));
    }
    return [declaration, ...(this.#same.get(declaration) ?? [])];
  }

  #flowOf(callable: Callable): Flow {
    const known = this.#flows.get(callable);
    if (known !== undefined) return known;
    // A function that calls itself adds nothing to itself.
    this.#flows.set(callable, NOTHING);
    const body = this.#walk(callable.body, callable);
    // An arrow without braces returns what it says.
    const flow: Flow = { first: body.first, stays: merged([body.stays, body.returns]), returns: undefined };
    this.#flows.set(callable, flow);
    return flow;
  }

  #walk(node: ts.Node, within: Callable): Flow {
    const walk = (child: ts.Node | undefined): Flow => (child === undefined ? NOTHING : this.#walk(child, within));
    const inTurn = (...flows: Flow[]) => this.#inTurn(flows, node, within);
    // Functions written here run when somebody calls them; a callback runs inside its call, see there.
    if (isCallable(node) && node !== within) return NOTHING;
    if (ts.isCallExpression(node)) return this.#call(node, within);
    if (ts.isIfStatement(node)) {
      return inTurn(walk(node.expression), either([walk(node.thenStatement), walk(node.elseStatement)]));
    }
    if (ts.isConditionalExpression(node)) {
      return inTurn(walk(node.condition), either([walk(node.whenTrue), walk(node.whenFalse)]));
    }
    if (ts.isBinaryExpression(node) && /^(&&|\|\||\?\?)$/.test(node.operatorToken.getText())) {
      return inTurn(walk(node.left), either([walk(node.right), NOTHING]));
    }
    if (ts.isSwitchStatement(node)) {
      const clauses = node.caseBlock.clauses.map((clause) => inTurn(...clause.statements.map(walk)));
      return inTurn(walk(node.expression), either(clauses));
    }
    if (ts.isIterationStatement(node, false)) {
      const parts: Flow[] = [];
      ts.forEachChild(node, (child) => void parts.push(walk(child)));
      return either([inTurn(...parts), NOTHING]);
    }
    if (ts.isTryStatement(node)) {
      const caught = walk(node.catchClause?.block);
      return inTurn(either([walk(node.tryBlock), caught]), walk(node.finallyBlock));
    }
    if (ts.isReturnStatement(node)) {
      const value = walk(node.expression);
      return { first: value.first, stays: undefined, returns: merged([value.stays, value.returns]) };
    }
    // What was thrown left nothing that its caller goes on from: the attempt is over.
    if (ts.isThrowStatement(node)) return { ...walk(node.expression), stays: undefined };
    if (ts.isBreakStatement(node) || ts.isContinueStatement(node)) return NOTHING;
    const parts: Flow[] = [];
    ts.forEachChild(node, (child) => void parts.push(walk(child)));
    return inTurn(...parts);
  }

  #call(node: ts.CallExpression, within: Callable): Flow {
    const flows = [this.#walk(node.expression, within)];
    for (const argument of node.arguments) {
      if (!isCallable(argument)) flows.push(this.#walk(argument, within));
      else if (!/^(on|once|setTimeout|setInterval|addEventListener)/.test(lastName(node))) {
        flows.push(either([this.#flowOf(argument), NOTHING]));
      }
    }
    flows.push(this.#effectOf(node));
    return this.#inTurn(flows, node, within);
  }

  /** What the call itself writes. */
  #effectOf(node: ts.CallExpression): Flow {
    const callee = node.expression;
    const name = lastName(node);
    if (name === 'crashPoint') return pointsOf(node).every((point) => this.#ignored(point)) ? NOTHING : step('point');
    const symbol = this.#checker.getSymbolAtLocation(ts.isPropertyAccessExpression(callee) ? callee.name : callee);
    const resolved =
      symbol !== undefined && symbol.flags & ts.SymbolFlags.Alias ? this.#checker.getAliasedSymbol(symbol) : symbol;
    for (const declaration of (resolved?.declarations ?? []).flatMap((one) => this.#alike(one))) {
      const store = storeOf(declaration, name, node);
      if (store !== undefined) return step(store);
    }
    return either(this.#targets(callee).map((target) => this.#flowOf(target)));
  }

  #inTurn(flows: readonly Flow[], node: ts.Node, within: Callable): Flow {
    return flows.reduce((before, after) => {
      const { stays } = before;
      if (stays === undefined) return before;
      for (const from of stays.last) {
        for (const to of after.first) {
          if (from !== to && from !== 'point' && to !== 'point') this.#report(from, to, node, within);
        }
      }
      const behind = (end: End | undefined): End | undefined =>
        end && {
          last: end.mayBeEmpty ? union([stays.last, end.last]) : end.last,
          mayBeEmpty: stays.mayBeEmpty && end.mayBeEmpty,
        };
      return {
        first: stays.mayBeEmpty ? union([before.first, after.first]) : before.first,
        stays: behind(after.stays),
        returns: merged([before.returns, behind(after.returns)]),
      };
    }, NOTHING);
  }

  #report(from: Store, to: Store, node: ts.Node, within: Callable): void {
    const at = this.#placeOf(within);
    if (ROOTS.test(node.getSourceFile().fileName)) return;
    if (this.#boundaries.some((known) => known.at === at && known.from === from && known.to === to)) return;
    const line = node.getSourceFile().getLineAndCharacterOfPosition(node.getStart()).line + 1;
    this.#boundaries.push({ at, line, from, to });
  }

  #placeOf(node: ts.Node): string {
    const file = relative(this.#root, node.getSourceFile().fileName).replace('packages/', '').replace('/src/', '/');
    for (let one: ts.Node | undefined = node; one !== undefined; one = one.parent) {
      if ((ts.isFunctionDeclaration(one) || ts.isMethodDeclaration(one)) && one.name !== undefined) {
        return `${file}#${one.name.getText()}`;
      }
      if (isCallable(one) && (ts.isVariableDeclaration(one.parent) || ts.isPropertyAssignment(one.parent))) {
        return `${file}#${one.parent.name.getText()}`;
      }
    }
    return file;
  }
}

function storeOf(declaration: ts.Declaration, name: string, node: ts.CallExpression): Store | undefined {
  const file = declaration.getSourceFile().fileName;
  const owner = declaration.parent;
  if (ts.isInterfaceDeclaration(owner)) {
    const store = STORE_MEMBERS[owner.name.text]?.[name];
    if (store !== undefined) return store;
  }
  const from = node.getSourceFile().fileName;
  if (file.includes('/better-sqlite3/') && from.includes('/exchange-database/')) {
    return name === 'run' || name === 'exec' ? 'exchange.db' : undefined;
  }
  if (file.includes('/kysely/') && name.startsWith('execute')) {
    if (!/\.(insertInto|updateTable|deleteFrom|replaceInto|transaction)\(/.test(node.expression.getText()))
      return undefined;
    return from.includes('/monitor/') ? 'monitor.db' : 'hub.db';
  }
  if (/\/@types\/node\/fs/.test(file)) return FILE_WRITES.test(name) ? 'files' : undefined;
  if (file.endsWith('rpc/src/callJoin.ts')) return 'hub';
  return undefined;
}

/** Parts run side by side: what one does comes neither before nor after another. */
function isRunOfPart(declaration: ts.Declaration): boolean {
  const owner = declaration.parent;
  return ts.isInterfaceDeclaration(owner) && owner.name.text === 'Part';
}

/** The names a call of crashPoint may have: one, or one of two by a condition. */
function pointsOf(node: ts.CallExpression): string[] {
  const [name] = node.expression.getText() === 'crashPoint' ? node.arguments : [];
  if (name === undefined) return [];
  const names = ts.isConditionalExpression(name) ? [name.whenTrue, name.whenFalse] : [name];
  return names.filter(ts.isStringLiteral).map(({ text }) => text);
}

function lastName(node: ts.CallExpression): string {
  const callee = node.expression;
  return ts.isPropertyAccessExpression(callee) ? callee.name.text : callee.getText();
}

function isCallable(node: ts.Node): node is Callable {
  return (
    (ts.isFunctionDeclaration(node) ||
      ts.isMethodDeclaration(node) ||
      ts.isFunctionExpression(node) ||
      ts.isArrowFunction(node) ||
      ts.isConstructorDeclaration(node)) &&
    node.body !== undefined
  );
}

function eachCallable(root: ts.Node, visit: (callable: Callable) => void): void {
  ts.forEachChild(root, function look(node) {
    if (isCallable(node)) visit(node);
    ts.forEachChild(node, look);
  });
}

function step(store: Step): Flow {
  const only = new Set([store]);
  return { first: only, stays: { last: only, mayBeEmpty: false }, returns: undefined };
}

function either(ways: readonly Flow[]): Flow {
  if (ways.length === 0) return NOTHING;
  return {
    first: union(ways.map(({ first }) => first)),
    stays: merged(ways.map(({ stays }) => stays)),
    returns: merged(ways.map(({ returns }) => returns)),
  };
}

function merged(ends: readonly (End | undefined)[]): End | undefined {
  const known = ends.filter((end) => end !== undefined);
  if (known.length === 0) return undefined;
  return { last: union(known.map(({ last }) => last)), mayBeEmpty: known.some(({ mayBeEmpty }) => mayBeEmpty) };
}

function union<T>(sets: readonly ReadonlySet<T>[]): ReadonlySet<T> {
  return new Set(sets.flatMap((set) => [...set]));
}
