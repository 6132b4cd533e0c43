// Runs the conformance tests: `FANFARE_BIN=target/release/fanfare node conformance/node/run.js [filter ...]`.
// Each file under `tests/` gets a hub of its own on 127.0.0.20 and up (several files at a time); a filter is
// a part of a file name. Exit code 0 only if every test of every chosen file passed.
'use strict';

const { fork } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { Hub } = require('./hub');
const { install } = require('./install');

const TESTS = path.join(__dirname, 'tests');
const FIRST_ADDRESS = 20;
const FILES_AT_A_TIME = Number(process.env.FANFARE_CONFORMANCE_PARALLEL ?? 2);
// `entra` waits a minute for the hub to ask an issuer for keys; a busy machine makes the rest of a file slow.
const FILE_MS_MAX = 300_000;
// Started first, because they wait the longest for deadlines and time-outs.
const SLOW_FIRST = ['entra', 'durability', 'job_window', 'device'];

async function main() {
  const binary = process.env.FANFARE_BIN;
  if (!binary) throw new Error('set FANFARE_BIN to the fanfare binary to judge');
  if (!fs.existsSync(binary)) throw new Error(`FANFARE_BIN names ${binary}, which does not exist`);
  install();

  const all = fs.readdirSync(TESTS).filter((name) => name.endsWith('.test.js')).sort();
  const filters = process.argv.slice(2);
  const chosen = all.filter((name) => filters.length === 0 || filters.some((part) => name.includes(part)));
  if (chosen.length === 0) throw new Error(`no test file matches ${filters.join(' ')}; there are: ${all.join(' ')}`);
  const rank = (name) => (SLOW_FIRST.findIndex((slow) => name.startsWith(slow)) + 1) || SLOW_FIRST.length + 1;
  const queue = [...chosen].sort((a, b) => rank(a) - rank(b));

  const started = Date.now();
  const results = [];
  const worker = async () => {
    for (let name = queue.shift(); name; name = queue.shift()) {
      const address = `127.0.0.${FIRST_ADDRESS + all.indexOf(name)}`;
      const result = await runFile({ binary: path.resolve(binary), name, address });
      results.push(result);
      process.stdout.write(result.text);
    }
  };
  await Promise.all(Array.from({ length: FILES_AT_A_TIME }, worker));
  writeResults(results);
  return summary(results, Date.now() - started);
}

/** Leaves what ran, and what the SDKs offer, where FANFARE_CONFORMANCE_RESULTS says. */
function writeResults(results) {
  const file = process.env.FANFARE_CONFORMANCE_RESULTS;
  if (!file) return;
  const tests = results.flatMap(({ text }) => [...text.matchAll(/^(ok {3}|FAIL )(.*?)(?: \(\d+ ms\))?$/gm)])
    .map(([, verdict, title]) => ({ title, ok: verdict.startsWith('ok') }));
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, JSON.stringify({ surface: require('./surface').surface(), tests }));
}

/** Runs one test file against a fresh hub. Never rejects: a hub that does not start is a failed file. */
async function runFile({ binary, name, address }) {
  const hub = new Hub({ binary, address });
  const started = Date.now();
  let output = '';
  const faults = [];
  try {
    await hub.start();
    const end = await runTests({ hub, name, onText: (text) => (output += text) });
    if (end !== 0) faults.push(`the test process ended with ${end}`);
  } catch (error) {
    faults.push(error.message);
  }
  if (hub.child) await hub.stop().catch((error) => faults.push(error.message));
  else if (hub.unexpectedEnd) faults.push(`the hub ended by itself: ${JSON.stringify(hub.unexpectedEnd)}`);
  const passed = (output.match(/^ok {3}/gm) ?? []).length;
  const failed = (output.match(/^FAIL /gm) ?? []).length;
  if (passed + failed === 0) faults.push('no test ran');
  const good = failed === 0 && faults.length === 0;
  let text = `\n== ${name} on ${address} (${((Date.now() - started) / 1000).toFixed(1)} s)\n${output}`;
  for (const fault of faults) text += `FAULT ${fault}\n`;
  if (!good) text += `--- end of the hub's output ---\n${hub.outputTail()}\n---\n`;
  if (process.env.FANFARE_KEEP_DATA) text += `data folder kept: ${hub.dataDir}\n`;
  else hub.removeData();
  return { name, good, passed, failed, text };
}

/** Resolves with the exit code (or signal) of the test process, which may steer its hub meanwhile. */
function runTests({ hub, name, onText }) {
  return new Promise((resolve) => {
    const child = fork(path.join(TESTS, name), [], {
      execArgv: [
        `--test-reporter=${path.join(__dirname, 'reporter.js')}`,
        '--test-reporter-destination=stdout',
        // A closed SDK client leaves its token timer behind, which would hold the process for an hour.
        '--test-force-exit',
        '--no-deprecation',
      ],
      env: { ...process.env, NODE_EXTRA_CA_CERTS: hub.caFile, FANFARE_HOST: hub.address, FANFARE_DATA: hub.dataDir },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8');
      stream.on('data', onText);
    }
    const timer = setTimeout(() => {
      onText(`FAIL the file did not end within ${FILE_MS_MAX / 1000} s\n`);
      child.kill('SIGKILL');
    }, FILE_MS_MAX);
    child.on('message', async ({ number, verb, argument }) => {
      const reply = await serve(hub, verb, argument);
      if (child.connected) child.send({ number, ...reply });
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve(code ?? signal);
    });
  });
}

const VERBS = new Set(['connectionString', 'sas', 'serveTwice', 'start', 'stop', 'kill9', 'restart']);

async function serve(hub, verb, argument) {
  try {
    if (!VERBS.has(verb)) throw new Error(`unknown verb ${verb}`);
    return { value: await hub[verb](argument) };
  } catch (error) {
    return { error: error.message };
  }
}

function summary(results, tookMs) {
  const sum = (field) => results.reduce((total, result) => total + result[field], 0);
  const bad = results.filter((result) => !result.good);
  console.log(`\nconformance/node: ${sum('passed')} passed, ${sum('failed')} failed in ${results.length} files, ${(tookMs / 1000).toFixed(1)} s`);
  for (const { name } of bad) console.log(`  not good: ${name}`);
  return bad.length === 0;
}

main().then(
  (good) => process.exit(good ? 0 : 1),
  (error) => {
    console.error(`conformance/node: ${error.message}`);
    process.exit(2);
  },
);
