// Decides how the issuer of bearer tokens lives, a real OpenID provider as a process of its own (`issuer_process.mjs`),
// and is the credential that the service SDK asks for tokens. Whoever starts it stops it.
'use strict';

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { within } = require('./wait');

const MAIN = path.join(__dirname, 'issuer_process.mjs');
const PORT = 9_000;
const READY_MS_MAX = 60_000;
const SECRET = 'client-secret';
/** What the service SDK asks its credential for, and what a token for a hub is for. */
const SCOPE = 'https://iothubs.azure.net/.default';

class Issuer {
  /** @param {string} address the loopback address to listen on */
  constructor(address) {
    this.address = address;
    this.desk = fs.mkdtempSync(path.join(os.tmpdir(), 'fanfare-issuer-'));
    this.keysFile = path.join(this.desk, 'keys.json');
    this.child = null;
  }

  /** Its name, as in `iss`. */
  get url() {
    return `http://${this.address}:${PORT}`;
  }

  /** Resolves when it listens; rejects with its output if it ends first. The keys are those of the last time. */
  async start() {
    const child = spawn(process.execPath, [MAIN, this.address, `${PORT}`, this.keysFile], { stdio: 'pipe' });
    this.child = child;
    let output = '';
    const ready = new Promise((resolve, reject) => {
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding('utf8');
        stream.on('data', (text) => {
          output += text;
          if (/^ready$/m.test(output)) resolve();
        });
      }
      child.once('exit', (code) => reject(new Error(`the issuer ended with ${code}\n${output}`)));
    });
    await within(ready, 'the issuer to listen', READY_MS_MAX);
  }

  /** Resolves when the process is gone. */
  async stop() {
    const { child } = this;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill();
    await gone;
  }

  /**
   * Gives it new keys to sign with. The old ones are published for as long as somebody may have a token of theirs, as is
   * good custom, or withdrawn at once.
   */
  async rotate({ withdraw = false } = {}) {
    await this.stop();
    const old = this.keys();
    fs.rmSync(this.keysFile);
    await this.start();
    if (withdraw) return;
    await this.stop();
    fs.writeFileSync(this.keysFile, JSON.stringify({ keys: [...this.keys(), ...old] }), { mode: 0o600 });
    await this.start();
  }

  async close() {
    await this.stop();
    fs.rmSync(this.desk, { recursive: true });
  }

  /** Its keys with their private parts; of those for one algorithm the first signs. */
  keys() {
    return JSON.parse(fs.readFileSync(this.keysFile, 'utf8')).keys;
  }

  /** What the token endpoint gives a client for a resource. */
  async token(client, resource) {
    const headers = { authorization: `Basic ${btoa(`${client}:${SECRET}`)}` };
    const body = new URLSearchParams({ grant_type: 'client_credentials', resource });
    const reply = await fetch(`${this.url}/token`, { method: 'POST', headers, body });
    if (!reply.ok) throw new Error(`the issuer gives ${client} no token: ${reply.status} ${await reply.text()}`);
    return reply.json();
  }

  /** A credential as the service SDK wants it, which signs in as this client. */
  credential(client) {
    return {
      getToken: async (scope) => {
        if (scope !== SCOPE) throw new Error(`the SDK asks for ${scope}`);
        const { access_token, expires_in } = await this.token(client, scope.replace('/.default', ''));
        return { token: access_token, expiresOnTimestamp: Date.now() + expires_in * 1_000 };
      },
    };
  }
}

/** A credential that has this one token. */
const fixed = (token) => ({ getToken: async () => ({ token, expiresOnTimestamp: Date.now() + 3_600_000 }) });

module.exports = { Issuer, fixed };
