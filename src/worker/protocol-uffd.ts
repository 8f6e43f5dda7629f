/** The userfaultfd part of the control plane (protocol.ts), as types only. */
import type { UffdMsg } from '../mm/fs-userfaultfd.ts';

export type { UffdMsg } from '../mm/fs-userfaultfd.ts';

/** ioctls of a userfaultfd, without their UFFDIO_ prefix. */
export type UffdOp =
  | 'REGISTER'
  | 'UNREGISTER'
  | 'WAKE'
  | 'COPY'
  | 'ZEROPAGE'
  | 'POISON'
  | 'WRITEPROTECT';

/** One ioctl of a userfaultfd. */
export interface UffdRequest {
  readonly op: UffdOp;
  /** First byte of the range, page aligned. */
  readonly start: number;
  /** Bytes, whole pages. */
  readonly length: number;
  /** Mode bits of the ioctl. Default 0. */
  readonly mode?: number;
  /** Where COPY reads. */
  readonly src?: number;
}

/** Result of a read: a message, or EAGAIN or EBADF. */
export interface UffdReadResult {
  readonly errno: number;
  readonly msg: UffdMsg | null;
}

/** The userfaultfd calls of the kernel worker. Numbers below zero are errnos. */
export interface UffdApi {
  /** Opens a userfaultfd for the process; a file descriptor. */
  userfaultfd(pid: number, features: number): number;
  uffdRead(fd: number, nonblock: boolean): Promise<UffdReadResult>;
  /** What the ioctl answers: allowed ioctls for REGISTER, bytes for COPY, ZEROPAGE and POISON. */
  uffdIoctl(fd: number, request: UffdRequest): Promise<number>;
  closeUserfaultfd(fd: number): Promise<number>;
}
