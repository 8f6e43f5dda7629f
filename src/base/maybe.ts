/**
 * The suspension rule in one place: a function that can wait returns `MaybePromise<T>` and is
 * synchronous when nothing has to wait. `then` chains on such a value without making a promise
 * when there is none, so that the common path stays free of the microtask queue.
 */
export type MaybePromise<T> = T | Promise<T>;

/** True when the value has still to be waited for. */
export function isPending<T>(value: MaybePromise<T>): value is Promise<T> {
  return value instanceof Promise;
}

/** Calls `next` with the value, now if it is there, later if it is pending. */
export function andThen<T, U>(
  value: MaybePromise<T>,
  next: (value: T) => MaybePromise<U>,
): MaybePromise<U> {
  return isPending(value) ? value.then(next) : next(value);
}
