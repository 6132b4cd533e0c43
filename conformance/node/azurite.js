// Decides how the storage account of the transfer tests lives: one Azurite process (blobs only, in memory) on the
// address of the hub under test. Whoever starts it stops it, by its own process.
'use strict';

const { spawn } = require('node:child_process');
const { createHmac } = require('node:crypto');
const path = require('node:path');

const PORT = 10_000;
const READY_MS_MAX = 30_000;
// The account that every Azurite has, with its published key.
const ACCOUNT = 'devstoreaccount1';
const KEY = 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==';
const MAIN = path.join(path.dirname(require.resolve('azurite/package.json')), 'dist/src/blob/main.js');

class Azurite {
  /** @param {string} address the loopback address to listen on */
  constructor(address) {
    this.address = address;
    this.child = null;
  }

  /** Resolves when it listens; rejects with its output if it ends first. */
  async start() {
    const flags = ['--blobHost', this.address, '--blobPort', `${PORT}`, '--inMemoryPersistence', '--disableTelemetry', '--disableProductStyleUrl', '--skipApiVersionCheck'];
    const child = spawn(process.execPath, [MAIN, ...flags], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.child = child;
    let output = '';
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`azurite was not ready after ${READY_MS_MAX} ms\n${output}`)), READY_MS_MAX);
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding('utf8');
        stream.on('data', (text) => {
          output += text;
          if (output.includes('successfully listen')) resolve(clearTimeout(timer));
        });
      }
      child.once('exit', (code) => reject(new Error(`azurite ended with ${code}\n${output}`)));
    });
    // The access log goes on; nobody reads it.
    for (const stream of [child.stdout, child.stderr]) stream.removeAllListeners('data').resume();
  }

  /** SIGKILL: what it has is in memory. */
  stop() {
    this.child?.kill('SIGKILL');
  }

  /** The query that opens everything for an hour; `key` may be a wrong one. */
  signature(key = KEY) {
    const expiry = new Date(Date.now() + 3_600_000).toISOString().replace(/\.\d+Z/, 'Z');
    const version = '2019-12-12';
    const text = [ACCOUNT, 'rwdlac', 'b', 'sco', '', expiry, '', 'https,http', version, ''].join('\n');
    const sig = createHmac('sha256', Buffer.from(key, 'base64')).update(text, 'utf8').digest('base64');
    const parts = { sv: version, ss: 'b', srt: 'sco', sp: 'rwdlac', se: expiry, spr: 'https,http', sig };
    return new URLSearchParams(parts).toString();
  }

  /** The URI of a container, with its signature. */
  uri(container, key) {
    return `http://${this.address}:${PORT}/${ACCOUNT}/${container}?${this.signature(key)}`;
  }

  async request(method, container, blob, { query = '', headers = {}, body } = {}) {
    const at = `http://${this.address}:${PORT}/${ACCOUNT}/${container}${blob ? `/${blob}` : ''}?${query}${this.signature()}`;
    const response = await fetch(at, { method, headers: { 'x-ms-version': '2019-12-12', ...headers }, body });
    if (!response.ok) throw new Error(`${method} ${container}/${blob}: ${response.status} ${await response.text()}`);
    return response;
  }

  createContainer(container) {
    return this.request('PUT', container, '', { query: 'restype=container&' });
  }

  put(container, blob, body) {
    return this.request('PUT', container, blob, { headers: { 'x-ms-blob-type': 'BlockBlob' }, body });
  }

  async text(container, blob) {
    return (await this.request('GET', container, blob)).text();
  }

  /** The JSON lines of a blob. */
  async lines(container, blob) {
    const text = await this.text(container, blob);
    return text.split('\n').filter(Boolean).map((line) => JSON.parse(line));
  }
}

module.exports = { Azurite };
