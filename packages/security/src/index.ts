export { Authority, type IssueOptions } from './authority.ts';
export {
  type BackupContents,
  listBackup,
  RESTORED_MARKER,
  readFromBackup,
  restoreBackup,
  writeBackup,
} from './backup/archive.ts';
export {
  type BackupOpener,
  type BackupRecipient,
  createBackupKey,
  readBackupKeyFile,
  readBackupRecipient,
  requirePassphrase,
} from './backup/backupKey.ts';
export { filesIn } from './backup/filesIn.ts';
export {
  type CertificateFacts,
  certifiedKey,
  fingerprintOf,
  hostsOfCertificate,
  type Identity,
  isSameAuthority,
  keysFingerprint,
  lifeOf,
  type Role,
  readCertificate,
  sameKey,
  verifyIssued,
} from './certificate.ts';
export { COMPARISON_KEY_BYTES, ComparisonKey, type ComparisonSide } from './comparisonKey.ts';
export { type CryptoSuite, type KeyPair, p256Sha256, suiteNamed } from './cryptoSuite.ts';
export { hasIdentity, type NodeIdentity, readIdentity, writeIdentity } from './identityFiles.ts';
export { type JoiningOptions, joinPlatform } from './joining.ts';
export { createMaskHasher, type MaskHasher } from './maskHasher.ts';
export { fromPem, type PemLabel, toPem } from './pem.ts';
export { makePrivateDirectory, requirePrivate, writeFileAtomically, writeNewFile } from './privateFiles.ts';
export { isRenewalDue, renewalRequest, renewedAuthority, takeRenewal } from './renewal.ts';
export { createCsr, createKeyAndCsr } from './request.ts';
export { createRowBox, type RowBox } from './rowBox.ts';
export {
  labelledContext,
  rowContext,
  type Sealed,
  type Sealing,
  type SealingKeys,
  sealing,
  sealingContext,
} from './sealing.ts';
export { decryptSecret, encryptSecret, type HostKey, isEncryptedSecret, openHostKey } from './secretBox.ts';
export { type Context, keyIdOf, SIGNED_MAX_BYTES, Signer, Verifier } from './signed.ts';
export { type JoinToken, makeToken, newSecret, readToken, secretHash } from './token.ts';
export { twinOf } from './twin.ts';
