// Installs the pinned packages beside this file if they are missing or belong to another lock file:
// `node conformance/node/install.js`, or `require('./install').install()`.
'use strict';

const { spawnSync } = require('node:child_process');
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');

function install() {
  const wanted = require('./package.json').engines.node.replace('>=', '');
  if (wanted.localeCompare(process.versions.node, 'en', { numeric: true }) > 0) {
    throw new Error(`Node ${wanted} or later is needed, this is ${process.version}`);
  }
  const lock = ['package.json', 'package-lock.json'].map((name) => fs.readFileSync(path.join(__dirname, name)));
  const hash = createHash('sha256').update(Buffer.concat(lock)).digest('hex');
  const stamp = path.join(__dirname, 'node_modules', '.fanfare-lock-hash');
  if (fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === hash) return;
  const npm = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--ignore-scripts'], { cwd: __dirname, stdio: 'inherit' });
  if (npm.status !== 0) throw new Error('npm ci failed');
  fs.writeFileSync(stamp, hash);
}

module.exports = { install };
if (require.main === module) install();
