export { createCaptureParts } from './capture.ts';
export { type CaptureLimits, type CapturePorts, type CaptureService } from './ports.ts';
