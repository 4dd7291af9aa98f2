// Owns the one call without a certificate: it hands a stranger's request to identity with the address it came from.

import type { JoinServiceImplementation } from '@qiao/contract/hub';
import { type Attempts, addressOf } from '../identity/attempts.ts';
import type { IdentityPorts } from '../identity/identity.ts';
import { join } from '../identity/join.ts';

export function joinService(ports: IdentityPorts, attempts: Attempts): JoinServiceImplementation {
  return {
    async join(request, context) {
      return await join(ports, attempts, request, addressOf(context.peer));
    },
  };
}
