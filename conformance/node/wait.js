// Waiting for what has no event of its own: the back end's way of watching a hub is to poll it.
'use strict';

const POLL_MS = 200;

/**
 * Calls `probe` every 200 ms until it returns something truthy, and resolves with that. Rejects after `withinMs`
 * with `what` and the last value seen, so that a failure says how far things got.
 */
async function until(probe, what, withinMs = 30_000) {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`after ${withinMs} ms still waiting: ${typeof what === 'function' ? what() : what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Resolves with the arguments of the next `event`; rejects after `withinMs`. An 'error' event does not end it. */
function nextEvent(emitter, event, withinMs = 20_000) {
  return within(new Promise((resolve) => emitter.once(event, (...values) => resolve(values))), `event '${event}'`, withinMs);
}

/** Settles as `promise` does, but rejects with `what` after `withinMs`. */
function within(promise, what, withinMs = 20_000) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`after ${withinMs} ms still waiting: ${what}`)), withinMs);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** A promise with its `resolve` outside: what a test holds to let a device answer. */
function gate() {
  const made = {};
  made.opened = new Promise((resolve) => (made.open = resolve));
  return made;
}

/** `call((error, ...values) => ...)` as a promise of the values: for the callback form of an SDK call. */
function called(call) {
  return new Promise((resolve, reject) => {
    call((error, ...values) => (error ? reject(error) : resolve(values)));
  });
}

module.exports = { called, gate, nextEvent, until, within };
