// `qiao completion`: a shell script that completes nouns, verbs and options, made from the command tree itself.

import { QiaoError } from '@qiao/exchange';
import type { Command } from 'commander';
import { say } from './output.ts';

export function registerCompletion(program: Command): void {
  program
    .command('completion <shell>')
    .description('print a completion script for bash or zsh:  source <(qiao completion bash)')
    .action((shell: string) => {
      if (shell !== 'bash' && shell !== 'zsh')
        throw new QiaoError('SHELL_UNKNOWN', `no completion for ${shell}; expected bash or zsh`);
      say(completionScript(program, shell));
    });
}

/** The script: one line per command path with the words that may follow it. */
function completionScript(program: Command, shell: 'bash' | 'zsh'): string {
  const cases = wordsByPath(program, '')
    .map(([path, words]) => `    '${path}') words='${words.join(' ')}' ;;`)
    .join('\n');
  const bash = `_qiao() {
  local word path='' words=''
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in -*) ;; *) path="$path $word" ;; esac
  done
  case "\${path# }" in
${cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _qiao qiao`;
  return shell === 'bash' ? bash : `autoload -U +X bashcompinit && bashcompinit\n${bash}`;
}

function wordsByPath(command: Command, path: string): [string, string[]][] {
  const words = [
    ...command.commands.map((verb) => verb.name()),
    ...command.options.map((option) => option.long ?? option.short ?? ''),
    '--help',
  ].filter((word) => word !== '');
  return [[path, words], ...command.commands.flatMap((verb) => wordsByPath(verb, `${path} ${verb.name()}`.trim()))];
}
