// `qiao node`: invite, list, show, revoke.

import { type Node, NodeStatus } from '@qiao/contract/hub';
import { NodeRole } from '@qiao/contract/node';
import { QiaoError } from '@qiao/exchange';
import type { Command } from 'commander';
import { withHub } from './context.ts';
import { wantsJson } from './json.ts';
import { moment, printFacts, printJson, printTable, remark, say } from './output.ts';

const ROLES = { agent: NodeRole.AGENT, monitor: NodeRole.MONITOR, operator: NodeRole.OPERATOR } as const;

export function registerNode(program: Command): void {
  const node = program.command('node').description('exchange nodes (交换节点): invite, list, show, revoke');

  node
    .command('invite <code>')
    .description('make a one-time token for a new node, monitor or operator')
    .option('--title <text>', 'title of the node')
    .option('--department <code>', 'code of its department; required for agents')
    .option('--department-title <text>', 'title of the department')
    .option('--role <role>', 'agent, monitor or operator', 'agent')
    .option('--expires <hours>', 'hours the token lives, 1 to 168', '24')
    .action(async (code: string, options: InviteOptions, command: Command) => {
      const role = ROLES[options.role as keyof typeof ROLES];
      if (role === undefined) {
        throw new QiaoError('ROLE_UNKNOWN', `--role is ${options.role}; expected agent, monitor or operator`);
      }
      const hours = Number(options.expires);
      if (!Number.isInteger(hours) || hours < 1 || hours > 168) {
        throw new QiaoError('EXPIRES_INVALID', `--expires is ${options.expires}; expected whole hours from 1 to 168`);
      }
      const invitation = await withHub(command, (client) =>
        client.invite({
          nodeCode: code,
          nodeTitle: options.title ?? options.departmentTitle ?? code,
          departmentCode: options.department ?? '',
          departmentTitle: options.departmentTitle ?? options.department ?? '',
          role,
          expiresInS: hours * 3600,
        }),
      );
      if (wantsJson(command)) return printJson(invitation);
      say(invitation.token);
      remark(`\nHand this token over by a safe way. It works once, until ${moment(invitation.expiresAtMs)}.`);
      if (invitation.openings.length > 0) {
        remark('\nNetwork openings that the department must apply for (网络策略开通申请):');
        printOpenings(invitation.openings);
      }
      const join = {
        agent: 'qiao agent join --config agent.yaml',
        monitor: 'qiao monitor join --dir DIR',
        operator: 'qiao operator join',
      };
      remark(`\nNext, on that machine:  ${join[options.role as keyof typeof ROLES]} --token TOKEN`);
    });

  node
    .command('list')
    .description('every node with its state')
    .action(async (_options: object, command: Command) => {
      const { nodes } = await withHub(command, (client) => client.listNodes({}));
      if (wantsJson(command)) return printJson(nodes);
      printTable(
        ['node', 'department', 'role', 'state', 'last seen', 'certificate ends', 'version'],
        nodes.map((one) => [
          one.code,
          one.departmentTitle,
          word(one.role),
          word(one.status),
          moment(one.lastSeenAtMs),
          moment(one.certificateEndsAtMs),
          one.version,
        ]),
        'no node yet; make one with `qiao node invite CODE`',
      );
    });

  node
    .command('show <code>')
    .description('one node, with what it could not run')
    .action(async (code: string, _options: object, command: Command) => {
      const one = await withHub(command, (client) => client.getNode({ code }));
      if (wantsJson(command)) return printJson(one);
      printNode(one);
    });

  node
    .command('revoke <code>')
    .description("end a node's rights and cut its connection")
    .requiredOption('--reason <text>', 'why; kept in the audit')
    .action(async (code: string, options: { reason: string }, command: Command) => {
      const one = await withHub(command, (client) => client.revokeNode({ code, reason: options.reason }));
      if (wantsJson(command)) return printJson(one);
      say(`${one.code} is revoked.`);
    });
}

interface InviteOptions {
  readonly title?: string;
  readonly department?: string;
  readonly departmentTitle?: string;
  readonly role: string;
  readonly expires: string;
}

function printOpenings(
  openings: readonly { from: string; toHost: string; toPort: number; protocol: string; purpose: string }[],
): void {
  for (const { from, toHost, toPort, protocol, purpose } of openings) {
    remark(`  ${from} → ${toHost}:${toPort} ${protocol}  ${purpose}`);
  }
}

function printNode(node: Node): void {
  printFacts({
    node: node.code,
    title: node.title,
    department: `${node.departmentCode} ${node.departmentTitle}`,
    role: word(node.role),
    state: word(node.status),
    joined: moment(node.joinedAtMs),
    'last seen': moment(node.lastSeenAtMs),
    'certificate ends': moment(node.certificateEndsAtMs),
    fingerprint: node.fingerprint,
    'fencing token': node.fencingToken,
    version: node.version,
  });
  for (const problem of node.problems) {
    say(`\nproblem ${problem.code}: ${problem.message}${problem.hint === '' ? '' : `\n  → ${problem.hint}`}`);
  }
}

/** NODE_STATUS_JOINED → joined. */
function word(value: string): string {
  if (value === NodeStatus.UNRECOGNIZED) return 'unknown';
  return value.replace(/^NODE_(STATUS|ROLE)_/, '').toLowerCase();
}
