export { backupMonitor, restoreMonitor } from './backup.ts';
export { type MonitorConfig, monitorConfigSchema, readMonitorConfig } from './config.ts';
export { type JoinMonitorOptions, joinMonitor } from './join.ts';
export { type RunningMonitor, type StartMonitorOptions, startMonitor } from './monitor.ts';
