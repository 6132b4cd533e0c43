// A test's view of its hub: where it is, how to get credentials, and how to stop, kill or restart it. The hub
// belongs to `run.js`; every verb is one request over the process channel, answered when it is done.
'use strict';

const fs = require('node:fs');

const address = process.env.FANFARE_HOST;
if (!address || !process.send) {
  throw new Error('run this through `node conformance/node/run.js [file filter]`: a test needs its hub');
}

const pending = new Map();
let lastNumber = 0;

process.on('message', ({ number, error, value }) => {
  const call = pending.get(number);
  pending.delete(number);
  if (pending.size === 0) process.channel.unref();
  if (error !== undefined) call.reject(new Error(error));
  else call.resolve(value);
});
// Listening keeps a process alive; only an open request should.
process.channel.unref();

function ask(verb, argument) {
  return new Promise((resolve, reject) => {
    const number = ++lastNumber;
    pending.set(number, { resolve, reject });
    process.channel.ref();
    process.send({ number, verb, argument });
  });
}

const hub = {
  address,
  /** PEM text of the hub's CA; NODE_EXTRA_CA_CERTS of this process already trusts it. */
  ca: () => fs.readFileSync(`${process.env.FANFARE_DATA}/ca.pem`, 'utf8'),
  connectionString: (policy) => ask('connectionString', { policy }),
  deviceConnectionString: (device) => ask('connectionString', { device }),
  /** The token that `fanfare sas` prints for these flags. */
  sas: (...flags) => ask('sas', flags),
  serveTwice: () => ask('serveTwice'),
  /** Like `restart`, with these flags besides the usual ones, or those of the last time. */
  start: (flags) => ask('start', flags),
  stop: () => ask('stop'),
  kill9: () => ask('kill9'),
  restart: (flags) => ask('restart', flags),
};

module.exports = { hub };
