/** What `--log-level` takes, as in the `log.level` of an agent.yaml. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'];
