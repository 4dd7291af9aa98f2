import type { CapturePorts, CaptureService } from './ports.ts';

export function createCaptureParts(ports: CapturePorts): CaptureService {
  throw new Error(String(ports));
}
