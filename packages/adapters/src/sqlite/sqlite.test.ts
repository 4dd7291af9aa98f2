/** SQLite under the common contract, in WAL mode as departments are asked to run it. */
import { adapterContract } from '../contractSuite.ts';
import { makeDepartment } from './department.testing.ts';

adapterContract('sqlite', () => makeDepartment(), {
  rights: 'a file has no rights of its own beyond the operating system, and the tests may run as root',
});
