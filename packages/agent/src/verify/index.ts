export { createVerifyService } from './jobs.ts';
export { type KeyOpener, type VerifyPorts, type VerifyService, type WantedJob } from './ports.ts';
