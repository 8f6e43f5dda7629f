/*
 * Why an engine could not be opened, as plain data: it crosses worker boundaries unchanged and a
 * page can show it as it is.
 */

/** A refused `createWebGpuEngine`. */
export interface EngineOpenError {
  /** ENODEV: no WebGPU or no adapter; ENOMEM: not enough memory; EIO: the driver failed. */
  readonly errno: number;
  /** What is wrong, one sentence. */
  readonly cause: string;
  /** What the user can do about it, one sentence. */
  readonly remedy: string;
}

/** Tells an error from what was asked for. */
export function isEngineOpenError(value: object): value is EngineOpenError {
  return 'errno' in value && 'remedy' in value;
}
