/**
 * Puts a result file into R2: as one object, or in parts where it is too long for one put. What its bytes are,
 * and where they come from, is the caller's business; none of them is copied here.
 */
import { fileKey, resultMetadata } from "./object-keys.ts";

export interface ResultObject {
  readonly fileId: string;
  readonly batchId: string;
}

/** The whole of a file, or a part of it. */
export interface ResultPiece {
  readonly bytes: number;
  /** Writes exactly this number of bytes, and closes the stream. */
  readonly writeTo: (target: WritableStream) => Promise<void>;
}

/** The object exists once this has returned. */
export async function putResult(bucket: R2Bucket, object: ResultObject, whole: ResultPiece): Promise<void> {
  await sendPiece(whole, (body) => bucket.put(fileKey(object.fileId), body, optionsOf(object)));
}

/** The same, one piece after the other. Nothing is left of it when it fails. */
export async function putResultInParts(
  bucket: R2Bucket,
  object: ResultObject,
  pieces: Iterable<ResultPiece>,
): Promise<void> {
  const multipart = await bucket.createMultipartUpload(fileKey(object.fileId), optionsOf(object));
  try {
    const parts: R2UploadedPart[] = [];
    for (const piece of pieces) {
      await sendPiece(piece, async (body) => parts.push(await multipart.uploadPart(parts.length + 1, body)));
    }
    await multipart.complete(parts);
  } catch (error) {
    await multipart.abort().catch(() => {});
    throw error;
  }
}

function optionsOf({ batchId }: ResultObject): Pick<R2PutOptions, "customMetadata"> {
  return { customMetadata: resultMetadata(batchId) };
}

async function sendPiece(
  { bytes, writeTo }: ResultPiece,
  send: (body: ReadableStream) => Promise<unknown>,
): Promise<void> {
  const { readable, writable } = new FixedLengthStream(bytes);
  const sending = send(readable);
  // A put that fails may leave its stream unread, and the writer would wait for it for ever.
  sending.catch((error: unknown) => readable.cancel(error).catch(() => {}));
  await Promise.all([sending, writeTo(writable)]);
}
