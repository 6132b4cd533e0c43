// Decides how a hub under test lives: one `fanfare serve` process on a loopback address of its own, standard
// ports, a data folder of its own. Knows nothing of tests; `run.js` owns the hubs, tests reach theirs over
// the channel in `link.js`.
'use strict';

const { spawn, execFile } = require('node:child_process');
const fs = require('node:fs');
const https = require('node:https');
const os = require('node:os');
const path = require('node:path');

const READY_MS_MAX = 30_000;
const READY_POLL_MS = 50;
// The hub promises to be gone 10 s after SIGTERM; one more second is the process table's.
const STOP_MS_MAX = 11_000;
const OUTPUT_BYTES_MAX = 64 * 1024;

/** One hub node as a child process. Every method rejects with an Error that carries the end of the hub's output. */
class Hub {
  /** @param {{binary: string, address: string}} options the `fanfare` binary and the loopback address to bind */
  constructor({ binary, address }) {
    this.binary = binary;
    this.address = address;
    this.root = fs.mkdtempSync(path.join(os.tmpdir(), `fanfare-conformance-${address}-`));
    // Not there yet: the first start makes its own data folder.
    this.dataDir = path.join(this.root, 'data');
    // Flags of `fanfare serve` besides those that every hub has.
    this.flags = [];
    this.output = '';
    this.child = null;
    this.exited = null;
    this.unexpectedEnd = null;
  }

  get caFile() {
    return path.join(this.dataDir, 'ca.pem');
  }

  /**
   * Starts the process and resolves when `GET /health/ready` says 200; rejects if it ends first or takes 30 s.
   * The flags are those of the last time unless others are given.
   */
  async start(flags = this.flags) {
    this.flags = flags;
    if (this.child) throw new Error('the hub is already running');
    const child = spawn(
      this.binary,
      ['serve', '--data-dir', this.dataDir, '--bind', this.address, '--host-name', this.address, ...flags],
      { env: hubEnvironment(), stdio: ['ignore', 'pipe', 'pipe'] },
    );
    this.child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8');
      stream.on('data', (text) => {
        this.output = (this.output + text).slice(-OUTPUT_BYTES_MAX);
      });
    }
    this.exited = new Promise((resolve) => {
      child.once('error', (error) => resolve({ code: null, signal: null, error }));
      child.once('exit', (code, signal) => resolve({ code, signal }));
    });
    this.exited.then((end) => {
      if (this.child !== child) return;
      this.child = null;
      this.unexpectedEnd = end;
    });
    const deadline = Date.now() + READY_MS_MAX;
    while (!(await this.isReady())) {
      if (this.unexpectedEnd) throw this.failure(`the hub ended before it was ready: ${JSON.stringify(this.unexpectedEnd)}`);
      if (Date.now() > deadline) throw this.failure(`the hub was not ready after ${READY_MS_MAX} ms`);
      await new Promise((resolve) => setTimeout(resolve, READY_POLL_MS));
    }
  }

  /** One probe of the readiness route, trusting only this hub's own CA. */
  async isReady() {
    let ca;
    try {
      ca = fs.readFileSync(this.caFile);
    } catch {
      return false;
    }
    return new Promise((resolve) => {
      const request = https.get(
        { host: this.address, port: 443, path: '/health/ready', ca, agent: false, timeout: 2_000 },
        (response) => {
          response.resume();
          resolve(response.statusCode === 200);
        },
      );
      request.on('timeout', () => request.destroy(new Error('no answer')));
      request.on('error', () => resolve(false));
    });
  }

  /** SIGTERM. Resolves with the milliseconds it took; rejects if the exit code is not 0 or it took too long. */
  async stop() {
    const { child, exited } = this.release('SIGTERM');
    const started = Date.now();
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX);
    const end = await exited;
    clearTimeout(timer);
    if (end.code !== 0) throw this.failure(`after SIGTERM the hub ended with ${JSON.stringify(end)}, not with code 0`);
    return Date.now() - started;
  }

  /** SIGKILL; resolves when the process is gone. */
  async kill9() {
    await this.release('SIGKILL').exited;
  }

  async restart(flags) {
    const tookMs = await this.stop();
    await this.start(flags);
    return tookMs;
  }

  release(signal) {
    const { child, exited } = this;
    if (!child) throw this.failure(`the hub is not running: ${JSON.stringify(this.unexpectedEnd)}`);
    this.child = null;
    child.kill(signal);
    return { child, exited };
  }

  /** What `fanfare connection-string` prints for a policy (`{policy}`) or a device (`{device}`). */
  connectionString({ policy, device }) {
    const who = policy ? ['--policy', policy] : ['--device', device];
    return this.printed(['connection-string', ...who]);
  }

  /** What `fanfare sas` prints for these flags: a token. */
  sas(flags) {
    return this.printed(['sas', ...flags]);
  }

  /** What a verb prints that works on the data folder. */
  printed(words) {
    return new Promise((resolve, reject) => {
      execFile(
        this.binary,
        [...words, '--data-dir', this.dataDir],
        { env: hubEnvironment(), timeout: 60_000 },
        (error, stdout, stderr) => {
          if (error) reject(new Error(`fanfare ${words.join(' ')} failed: ${error.message}\n${stderr}`));
          else resolve(stdout.trim());
        },
      );
    });
  }

  /** Runs a second `fanfare serve` on this hub's data folder and returns how it ended: `{code, output}`. */
  serveTwice() {
    return new Promise((resolve) => {
      execFile(
        this.binary,
        ['serve', '--data-dir', this.dataDir, '--bind', this.address, '--host-name', this.address],
        { env: hubEnvironment(), timeout: 15_000, killSignal: 'SIGKILL' },
        (error, stdout, stderr) => resolve({ code: error ? error.code : 0, output: stdout + stderr }),
      );
    });
  }

  failure(text) {
    return new Error(`${text}\n--- hub output ---\n${this.outputTail()}`);
  }

  outputTail() {
    return this.output.split('\n').slice(-40).join('\n');
  }

  removeData() {
    fs.rmSync(this.root, { recursive: true, force: true });
  }
}

/** The hub reads every FANFARE_ variable as a setting and refuses unknown ones, so ours must not reach it. */
function hubEnvironment() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('FANFARE_')));
}

module.exports = { Hub };
