/**
 * How far past the fencing token that the hub gave one that somebody names may be. A hub that was restored is behind its nodes; one word
 * must neither use the numbers up nor shut a node out.
 */
export const MOST_TOKENS_AHEAD = 1n << 20n;
