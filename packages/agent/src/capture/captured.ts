/** Which bridges of the snapshot are captured at this node. */
import { BridgeState } from '@qiao/contract/node';
import type { Desired, DesiredBridge } from '../control/desired.ts';

/** The bridge when it is captured here now: its lanes begin at this node, and it runs (a stopped one goes on capturing). */
export function capturedBridge(desired: Desired | undefined, bridgeId: string): DesiredBridge | undefined {
  const bridge = desired?.bridges.get(bridgeId);
  return desired !== undefined && bridge !== undefined && isCaptured(desired, bridge) ? bridge : undefined;
}

export function isCaptured(desired: Desired, bridge: DesiredBridge): boolean {
  const isOn = bridge.state === BridgeState.RUNNING || bridge.state === BridgeState.STOPPED;
  return isOn && isSourceOf(desired, bridge);
}

export function isByLog({ definition }: DesiredBridge): boolean {
  return definition.source.capture === 'log';
}

/** Its rows come from this node. */
export function isSourceOf(desired: Desired, bridge: DesiredBridge): boolean {
  return bridge.lanes.some((lane) => lane.senderId === desired.nodeId);
}
