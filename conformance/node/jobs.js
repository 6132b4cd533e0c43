// Watching a job from a back end's chair, and what must hold whenever one looks.
'use strict';

const assert = require('node:assert/strict');
const { randomUUID } = require('node:crypto');
const { until } = require('./wait');

const ENDED = new Set(['completed', 'failed', 'cancelled']);

const newJobId = () => randomUUID();

/** Polls a job until it ends and returns its last document; every document seen on the way is checked. */
async function waitForEnd(jobClient, jobId, withinMs = 60_000) {
  return watch(jobClient, jobId, (job) => ENDED.has(job.status), withinMs);
}

/** Polls a job until `condition(document)` holds; counts must add up at every read and never go back. */
async function watch(jobClient, jobId, condition, withinMs = 30_000) {
  let last = {};
  return until(
    async () => {
      const job = (await jobClient.getJob(jobId)).jobStatus;
      checkCounts(job, last.deviceJobStatistics);
      assert.ok(!ENDED.has(last.status) || last.status === job.status, `job ${jobId} left its end: ${last.status} -> ${job.status}`);
      last = job;
      return condition(job) && job;
    },
    () => `job ${jobId}, last seen as ${JSON.stringify(last)}`,
    withinMs,
  );
}

/** deviceCount is the sum of the others, and devices that have ended stay ended. */
function checkCounts(job, before) {
  const now = job.deviceJobStatistics;
  if (!now) {
    assert.equal(before, undefined, `the statistics of ${job.jobId} went away`);
    return;
  }
  const sum = now.succeededCount + now.failedCount + now.runningCount + now.pendingCount + (now.canceledCount ?? 0);
  assert.equal(sum, now.deviceCount, `counts of ${job.jobId} do not add up: ${JSON.stringify(now)}`);
  if (!before) return;
  assert.equal(now.deviceCount, before.deviceCount, 'the number of devices of a job is fixed');
  for (const field of ['succeededCount', 'failedCount', 'canceledCount']) {
    assert.ok((now[field] ?? 0) >= (before[field] ?? 0), `${field} of ${job.jobId} went back: ${before[field]} -> ${now[field]}`);
  }
}

/** All rows of a job, read page by page, by device id; no device may come twice. `where` narrows further. */
async function rows(registry, jobId, { pageSize, where } = {}) {
  const narrowed = where ? ` AND ${where}` : '';
  const query = registry.createQuery(`SELECT * FROM devices.jobs WHERE devices.jobs.jobId = '${jobId}'${narrowed}`, pageSize);
  const byDevice = new Map();
  let continuation;
  do {
    const { result, message } = await query.next(continuation);
    assert.ok(Array.isArray(result), `a page of rows is an array, not ${JSON.stringify(result)}`);
    for (const row of result) {
      assert.ok(!byDevice.has(row.deviceId), `the row of ${row.deviceId} came twice`);
      assert.equal(row.jobId, jobId);
      byDevice.set(row.deviceId, row);
    }
    continuation = message.headers['x-ms-continuation'];
  } while (continuation !== undefined);
  return byDevice;
}

/** The rows of an ended job, checked against its counts. */
async function settledRows(registry, job) {
  const byDevice = await rows(registry, job.jobId);
  const counted = { completed: 0, failed: 0, canceled: 0 };
  for (const row of byDevice.values()) counted[row.status] = (counted[row.status] ?? 0) + 1;
  const { deviceCount, succeededCount, failedCount, canceledCount } = job.deviceJobStatistics;
  assert.deepEqual(counted, { completed: succeededCount, failed: failedCount, canceled: canceledCount ?? 0 }, 'rows equal counts');
  assert.equal(byDevice.size, deviceCount);
  return byDevice;
}

/** The condition that selects exactly these devices. */
const onDevices = (...ids) => `deviceId IN [${ids.map((id) => `'${id}'`).join(',')}]`;

module.exports = { checkCounts, newJobId, onDevices, rows, settledRows, waitForEnd, watch };
