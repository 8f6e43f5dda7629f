/**
 * Linux errno values with the sign baked in. TypeScript widens `-EFAULT` to `number`, so C's
 * `return -EFAULT` would lose the literal type; `errno.EFAULT` keeps it.
 */
export const errno = {
  EPERM: -1,
  ENOENT: -2,
  ESRCH: -3,
  EINTR: -4,
  EIO: -5,
  ENXIO: -6,
  EBADF: -9,
  EAGAIN: -11,
  ENOMEM: -12,
  EACCES: -13,
  EFAULT: -14,
  EBUSY: -16,
  EEXIST: -17,
  ENODEV: -19,
  EINVAL: -22,
  EFBIG: -27,
  EOVERFLOW: -75,
  EOPNOTSUPP: -95,
  EHWPOISON: -133,
} as const;

/** The name of an errno, "EFAULT". */
export type ErrnoName = keyof typeof errno;

/** A negative errno, as kernel functions return it. */
export type Errno = (typeof errno)[ErrnoName];

const nameByValue: ReadonlyMap<number, ErrnoName> = new Map(
  (Object.keys(errno) as ErrnoName[]).map((name) => [errno[name], name]),
);

/** The name of a negative errno ("EFAULT" for -14), or the number as text when it has none. */
export function errnoName(value: number): string {
  return nameByValue.get(value) ?? String(value);
}

/** True for the error half of a kernel style result (`>= 0` is success). */
export function isErr(value: number): boolean {
  return value < 0;
}
