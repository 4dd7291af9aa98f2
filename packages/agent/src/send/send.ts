import type { SendPorts, SendService } from './ports.ts';

export function createSendParts(ports: SendPorts): SendService {
  throw new Error(String(ports));
}
