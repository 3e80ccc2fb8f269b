/** What a file is, and what may be done with files of each purpose. No I/O. */

/** Purposes a client may upload with. */
export const UPLOAD_PURPOSES = ["assistants", "batch", "evals", "fine-tune", "user_data", "vision"] as const;

export type UploadPurpose = (typeof UPLOAD_PURPOSES)[number];
export type FilePurpose = UploadPurpose | "batch_output";

/** Purposes whose bytes may be downloaded again. */
export const DOWNLOADABLE_PURPOSES: readonly FilePurpose[] = ["batch", "batch_output"];

export interface FileRecord {
  readonly id: string;
  readonly tenant: string;
  readonly purpose: FilePurpose;
  readonly filename: string;
  readonly bytes: number;
  readonly createdAt: Date;
  /** Null: kept until it is deleted. */
  readonly expiresAt: Date | null;
}

/** Bytes of a file, or of another object, that follow each other. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}
