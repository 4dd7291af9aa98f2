export { createCaptureParts } from './capture.ts';
export { type CaptureLimits, type CapturePorts, type CaptureService, DEFAULT_CAPTURE_LIMITS } from './ports.ts';
