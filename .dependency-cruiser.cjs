// The import directions of docs/architecture.md, held by `npm run check`.
// contract ← exchange ← runtime ← security, bus, rpc, database, adapters ← agent, hub, monitor ← cli

const layers = [
  ['contract'],
  ['exchange'],
  ['runtime'],
  ['security', 'bus', 'rpc', 'database', 'adapters'],
  ['agent', 'hub', 'monitor'],
  ['cli'],
];

/** Each package may import only from layers below its own. */
const directions = layers.flatMap((members, level) =>
  members.map((name) => ({
    name: `${name}-imports-only-below`,
    severity: 'error',
    from: { path: `^packages/${name}/src/`, pathNot: '\\.(test|testing)\\.ts$' },
    to: {
      path: '^packages/',
      pathNot: [
        `^packages/${name}/`,
        ...layers
          .slice(0, level)
          .flat()
          .map((below) => `^packages/${below}/`),
      ],
    },
  })),
);

module.exports = {
  forbidden: [
    ...directions,
    {
      name: 'only-bus-imports-nats',
      severity: 'error',
      from: { path: '^packages/', pathNot: '^packages/(bus|testkit)/' },
      to: { path: 'node_modules/(nats|nats-jwt|nkeys\\.js)(/|$)' },
    },
    {
      name: 'only-rpc-imports-grpc',
      severity: 'error',
      from: { path: '^packages/', pathNot: '^packages/(rpc|contract)/' },
      to: { path: 'node_modules/(@grpc|nice-grpc[^/]*)/' },
    },
    {
      name: 'database-drivers-stop-at-their-rooms',
      severity: 'error',
      from: {
        path: '^packages/',
        pathNot: [
          '^packages/(adapters|database|testkit)/',
          '^packages/agent/src/exchange-database/',
          '\\.(test|testing)\\.ts$',
        ],
      },
      to: {
        path: 'node_modules/(better-sqlite3|oracledb|pg|pg-copy-streams|tedious)/',
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'nothing-shipped-imports-testkit',
      severity: 'error',
      from: { path: '^packages/', pathNot: ['^packages/testkit/', '\\.(test|testing)\\.ts$'] },
      to: { path: '^packages/testkit/' },
    },
    {
      name: 'adapters-do-not-import-each-other',
      severity: 'error',
      from: { path: '^packages/adapters/src/(postgres|mysql|mssql|oracle|dameng|sqlite)/' },
      to: {
        path: '^packages/adapters/src/(postgres|mysql|mssql|oracle|dameng|sqlite)/',
        pathNot: '^packages/adapters/src/$1/',
      },
    },
    {
      // Loading the library that writes certificates takes longer than the rest of a start.
      name: 'certificates-are-written-late',
      severity: 'error',
      from: { path: '^packages/', pathNot: '\\.(test|testing)\\.ts$' },
      to: { path: '^packages/security/src/x509\\.ts$', dynamic: false },
    },
    {
      // What it imports before it turned the compile cache on is compiled anew at each start.
      name: 'the-entry-imports-nothing-at-once',
      severity: 'error',
      from: { path: '^packages/cli/src/main\\.ts$' },
      to: { path: '^packages/', dynamic: false },
    },
    {
      name: 'no-circles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    { name: 'no-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '(^|/)(dist|golden)/' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'types', 'node', 'default'] },
  },
};
