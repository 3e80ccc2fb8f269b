/**
 * Keeps a guest's own key unreadable while its batch lives: AES-256-GCM, bound to the batch, under a
 * key derived from the secret ENCRYPTION_KEY. It stores nothing; the coordinator keeps the text and
 * wipes it when the batch is final.
 */

/** NIST SP 800-38D, 8.2: 96 random bits for each message. */
const NONCE_BYTES = 12;

const encoder = new TextEncoder();

/** @returns Base64 of nonce and ciphertext. */
export async function sealKey(encryptionKey: string, batchId: string, plain: string): Promise<string> {
  const nonce = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
  const key = await deriveSealingKey(encryptionKey);
  const sealed = await crypto.subtle.encrypt(toAlgorithm(nonce, batchId), key, encoder.encode(plain));
  const bytes = new Uint8Array(NONCE_BYTES + sealed.byteLength);
  bytes.set(nonce);
  bytes.set(new Uint8Array(sealed), NONCE_BYTES);
  return bytes.toBase64();
}

/** @throws DOMException (OperationError) when it was sealed for another batch, under another key, or was changed. */
export async function openSealedKey(encryptionKey: string, batchId: string, sealed: string): Promise<string> {
  const bytes = Uint8Array.fromBase64(sealed);
  const key = await deriveSealingKey(encryptionKey);
  const algorithm = toAlgorithm(bytes.subarray(0, NONCE_BYTES), batchId);
  const plain = await crypto.subtle.decrypt(algorithm, key, bytes.subarray(NONCE_BYTES));
  return new TextDecoder().decode(plain);
}

function toAlgorithm(nonce: Uint8Array, batchId: string) {
  return { name: "AES-GCM", iv: nonce, additionalData: encoder.encode(batchId) };
}

async function deriveSealingKey(encryptionKey: string): Promise<CryptoKey> {
  const secret = await crypto.subtle.importKey("raw", encoder.encode(encryptionKey), "HKDF", false, ["deriveKey"]);
  return crypto.subtle.deriveKey(
    { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info: encoder.encode("nightshift sealed key") },
    secret,
    { name: "AES-GCM", length: 256 },
    false,
    ["encrypt", "decrypt"],
  );
}
