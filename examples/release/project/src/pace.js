/** Calls `fn` once there have been no calls for `ms`, with the arguments of the last one. */
export function debounce(fn, ms) {
  let timer;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(fn, ms, ...args);
  };
}

/** Calls `fn` at once, then at most every `ms`; the last call that was held back is made up for. */
export function throttle(fn, ms) {
  let held = null;
  let timer;
  const release = () => {
    timer = undefined;
    if (held === null) return;
    const args = held;
    held = null;
    call(args);
  };
  const call = (args) => {
    timer = setTimeout(release, ms);
    fn(...args);
  };
  return (...args) => {
    if (timer === undefined) call(args);
    else held = args;
  };
}
