// `qiao operator`: further operators join with a token; the context learns where the monitor is.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { QiaoError } from '@qiao/exchange';
import { systemClock } from '@qiao/runtime';
import type { Command } from 'commander';
import { contextDirectory, readContext, withHub, writeContext } from './context.ts';
import { moment, say } from './output.ts';

export function registerOperator(program: Command): void {
  const operator = program.command('operator').description("operators and this machine's context");

  operator
    .command('join')
    .description('make a key here and get a certificate, with a token from `qiao node invite --role operator`')
    .requiredOption('--token <token>', 'the one-time token (or QIAO_TOKEN)', process.env.QIAO_TOKEN)
    .option('--monitor <host:port>', 'where the monitor answers')
    .action(async (options: { token: string; monitor?: string }, command: Command) => {
      const directory = contextDirectory(command);
      const [{ callJoin, parseAddresses }, { joinPlatform }] = await Promise.all([
        import('@qiao/rpc'),
        import('@qiao/security'),
      ]);
      // Before the token is spent.
      if (options.monitor !== undefined) parseAddresses(options.monitor);
      const identity = await joinPlatform({
        token: options.token,
        role: 'operator',
        directory,
        readsFormat: 0,
        callHub: callJoin,
        nowMs: () => systemClock.nowMs(),
      });
      writeContext({
        directory,
        platform: identity.platformCode,
        operator: identity.nodeCode,
        hubAddress: identity.hubAddress,
        ...(options.monitor === undefined ? {} : { monitorAddress: options.monitor }),
      });
      say(`Joined ${identity.platformCode} as ${identity.nodeCode}; the context is in ${directory}.`);
    });

  operator
    .command('renew')
    .description("renew this operator's certificate before it ends; the key stays")
    .action(async (_options: object, command: Command) => {
      const context = readContext(command);
      const { createCsr, fromPem, readCertificate, renewedAuthority, sameKey, toPem, writeFileAtomically } =
        await import('@qiao/security');
      const read = (name: string) => readFileSync(join(context.directory, name), 'utf8');
      const csr = await createCsr(context.operator, read('key.pem'));
      const { certificate, authority } = await withHub(command, (hub) => hub.renewCertificate({ csr }));
      const former = fromPem(read('certificate.pem'), 'CERTIFICATE');
      if (!sameKey(certificate, former)) {
        throw new QiaoError('RENEWAL_INVALID', 'the hub answered with a certificate for another key', {
          hint: 'qiao hub status',
        });
      }
      const trusted = renewedAuthority(fromPem(read('authority.pem'), 'CERTIFICATE'), authority);
      writeFileAtomically(join(context.directory, 'authority.pem'), toPem(trusted, 'CERTIFICATE'), 0o644);
      writeFileAtomically(join(context.directory, 'certificate.pem'), toPem(certificate, 'CERTIFICATE'), 0o644);
      say(`The certificate of ${context.operator} ends at ${moment(readCertificate(certificate).notAfterMs)} now.`);
    });

  operator
    .command('monitor <host:port>')
    .description('remember where the monitor answers; several monitors, separated by commas')
    .action(async (monitorAddress: string, _options: object, command: Command) => {
      const { parseAddresses } = await import('@qiao/rpc');
      parseAddresses(monitorAddress);
      writeContext({ ...readContext(command), monitorAddress });
      say(`This context calls the monitor at ${monitorAddress}.`);
    });

  operator
    .command('hub <host:port>')
    .description('remember where the hub answers; several replicas, separated by commas')
    .action(async (hubAddress: string, _options: object, command: Command) => {
      const { parseAddresses } = await import('@qiao/rpc');
      parseAddresses(hubAddress);
      writeContext({ ...readContext(command), hubAddress });
      say(`This context calls the hub at ${hubAddress}.`);
    });
}
