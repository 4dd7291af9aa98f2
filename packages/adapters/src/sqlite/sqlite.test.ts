/** SQLite under the common contract, in WAL mode as departments are asked to run it. */
import { adapterContract } from '../contractSuite.ts';
import { makeDepartment } from './department.testing.ts';

adapterContract('sqlite', () => makeDepartment(), {
  padding: 'nothing is filled up: CHAR(n) is a text of at most n characters',
  openTransactions: 'a file has one writer at a time',
  keyCircles: 'they land with their keys deferred',
  rights: 'a file has no rights of its own beyond the operating system, and the tests may run as root',
  log: 'SQLite keeps no log of changes for readers',
});
