/*
 * What `using` and `await using` become in engines that do not have them: the compiler
 * (typescript-hooks.mjs) notes each resource with `u` or `a`, the block's error in `e`, and calls
 * `d` at the end. Resources go in reverse order; an error of one hides none that came before.
 */
const disposeSymbol = Symbol.dispose ?? Symbol.for('Symbol.dispose');
const asyncDisposeSymbol = Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose');

export default function usingContext() {
  const none = new Error('none');
  const resources = [];

  function add(isAsync, resource) {
    if (resource === null || resource === undefined) {
      if (isAsync) resources.push({ isAsync });
      return resource;
    }
    if (Object(resource) !== resource) throw new TypeError('using needs an object');
    const dispose = (isAsync ? resource[asyncDisposeSymbol] : undefined) ?? resource[disposeSymbol];
    if (typeof dispose !== 'function') throw new TypeError('the object can not be disposed of');
    resources.push({ isAsync, resource, dispose });
    return resource;
  }

  return {
    e: none,
    u: (resource) => add(false, resource),
    a: (resource) => add(true, resource),
    d() {
      let failure = this.e;
      const note = (error) => {
        failure = failure === none ? error : combine(error, failure);
      };
      const next = () => {
        while (resources.length > 0) {
          const { isAsync, resource, dispose } = resources.pop();
          try {
            const done = dispose?.call(resource);
            if (isAsync) return Promise.resolve(done).then(next, (error) => (note(error), next()));
          } catch (error) {
            note(error);
          }
        }
        if (failure !== none) throw failure;
        return undefined;
      };
      return next();
    },
  };
}

function combine(error, suppressed) {
  if (typeof SuppressedError === 'function') return new SuppressedError(error, suppressed);
  const both = new Error('an error came while another was on its way');
  return Object.assign(both, { name: 'SuppressedError', error, suppressed });
}
