/** MariaDB under the common contract, in a database with the server's own default collation, which tells neither case nor blanks. */
import { adapterContract } from '../contractSuite.ts';
import { mysqlFixture, mysqlWaivers } from './contract.testing.ts';
import { connectMysql, startMysql } from './server.testing.ts';

adapterContract(
  'MariaDB',
  async () => {
    const server = await startMysql();
    const config = await server.database();
    const reader = { ...config, user: `r_${config.user}` };
    await using owner = connectMysql(server.url, config.database);
    // Whom a cursor may have to wait for is told to this right only.
    await owner.query(`GRANT PROCESS, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO '${config.user}'@'%';
      GRANT ALL PRIVILEGES ON ${config.database}.* TO '${config.user}'@'%' WITH GRANT OPTION;
      DROP USER IF EXISTS '${reader.user}'@'%'; CREATE USER '${reader.user}'@'%' IDENTIFIED BY 'secret'`);
    return await mysqlFixture(config, reader);
  },
  mysqlWaivers,
);
