// Every call of the SDK's JobClient in both forms, promise and callback, with and without its optional arguments.
'use strict';

const assert = require('node:assert/strict');
const { before, describe, it } = require('node:test');
const { JobClient, Registry } = require('azure-iothub');
const { newJobId, waitForEnd } = require('../jobs');
const { hub } = require('../link');
const { serviceToken } = require('../sas');
const { called } = require('../wait');

const NOBODY = "tags.nobody = 'has this'";
const METHOD = { methodName: 'blink', payload: { n: 3 }, responseTimeoutInSeconds: 20 };
const PATCH = { etag: '*', tags: { ring: 2 }, properties: { desired: { rate: { unit: 's', value: 5 } } } };

let client;
before(async () => {
  client = JobClient.fromConnectionString(await hub.connectionString('service'));
});

const inAnHour = () => new Date(Date.now() + 3_600_000);

/** The call forms: `arguments` come after the operation; `expected` is what the document must then say. */
const FORMS = [
  { name: 'promise, no time', arguments: () => [], callback: false, seconds: 3600 },
  { name: 'promise, start time', arguments: (start) => [start], callback: false, seconds: 3600, scheduled: true },
  { name: 'promise, start and limit', arguments: (start) => [start, 77], callback: false, seconds: 77, scheduled: true },
  { name: 'callback, no time', arguments: () => [], callback: true, seconds: 3600 },
  { name: 'callback, start time', arguments: (start) => [start], callback: true, seconds: 3600, scheduled: true },
  { name: 'callback, start and limit', arguments: (start) => [start, 78], callback: true, seconds: 78, scheduled: true },
];

const OPERATIONS = [
  { call: 'scheduleDeviceMethod', operation: METHOD, type: 'scheduleDeviceMethod' },
  { call: 'scheduleTwinUpdate', operation: PATCH, type: 'scheduleUpdateTwin' },
];

describe('schedule', { concurrency: 4 }, () => {
  for (const { call, operation, type } of OPERATIONS) {
    for (const form of FORMS) {
      it(`${call}: ${form.name}`, { timeout: 60_000 }, () => schedulesAs({ call, operation, type, form }));
    }
  }
});

async function schedulesAs({ call, operation, type, form }) {
  const jobId = newJobId();
  const start = inAnHour();
  const before = Date.now();
  const sent = [jobId, NOBODY, operation, ...form.arguments(start)];
  let accepted, response;
  if (form.callback) [accepted, response] = await called((done) => client[call](...sent, done));
  else ({ jobStatus: accepted, response } = await client[call](...sent));
  assert.equal(response.statusCode, 200);
  assert.equal(accepted.jobId, jobId);
  assert.equal(accepted.type, type);
  assert.equal(accepted.status, 'queued');

  const job = form.scheduled ? (await client.getJob(jobId)).jobStatus : await waitForEnd(client, jobId);
  assert.equal(job.jobId, jobId);
  assert.equal(job.type, type);
  assert.equal(job.queryCondition, NOBODY);
  assert.equal(job.maxExecutionTimeInSeconds, form.seconds);
  assert.ok(Math.abs(Date.parse(job.createdTime) - before) < 60_000, `createdTime ${job.createdTime}`);
  if (form.scheduled) {
    assert.ok(['queued', 'scheduled'].includes(job.status), job.status);
    assert.equal(Date.parse(job.startTime), start.getTime());
    assert.equal(job.deviceJobStatistics, undefined, 'a job that has not started has no statistics');
    assert.equal(job.endTime, undefined);
  } else {
    assert.equal(job.status, 'completed');
    assert.ok(Math.abs(Date.parse(job.startTime) - before) < 60_000, `startTime ${job.startTime}`);
    assert.ok(Date.parse(job.endTime) >= Date.parse(job.startTime));
    assert.equal(job.deviceJobStatistics.deviceCount, 0);
  }
  if (type === 'scheduleDeviceMethod') {
    assert.equal(job.cloudToDeviceMethod.methodName, 'blink');
    assert.deepEqual(job.cloudToDeviceMethod.payload, { n: 3 });
    assert.equal(job.cloudToDeviceMethod.responseTimeoutInSeconds, 20);
  } else {
    assert.deepEqual(job.updateTwin, PATCH);
  }
}

describe('one job', () => {
  it('JobClient.getJob, JobClient.cancelJob: both forms agree', async () => {
    const jobId = newJobId();
    await client.scheduleTwinUpdate(jobId, '*', PATCH, inAnHour(), 60);
    const [fromCallback] = await called((done) => client.getJob(jobId, done));
    assert.deepEqual((await client.getJob(jobId)).jobStatus, fromCallback);

    const [cancelled] = await called((done) => client.cancelJob(jobId, done));
    assert.equal(cancelled.jobId, jobId);
    assert.equal(cancelled.status, 'cancelled');

    const other = newJobId();
    await client.scheduleTwinUpdate(other, '*', PATCH, inAnHour(), 60);
    assert.equal((await client.cancelJob(other)).jobStatus.status, 'cancelled');
  });

  it('a numeric id arrives as a number and comes back as text', async () => {
    const id = Date.now();
    const { jobStatus } = await client.scheduleTwinUpdate(id, NOBODY, PATCH);
    assert.equal(jobStatus.jobId, String(id));
    assert.equal((await waitForEnd(client, id)).jobId, String(id));
  });

  it('falsy payloads become null, methods without a time-out get 30 s', async () => {
    const jobId = newJobId();
    await client.scheduleDeviceMethod(jobId, NOBODY, { methodName: 'blink', payload: 0 });
    const job = await waitForEnd(client, jobId);
    assert.equal(job.cloudToDeviceMethod.payload, null);
    assert.equal(job.cloudToDeviceMethod.responseTimeoutInSeconds, 30);
  });

  it('a patch without etag is taken as a forced one', async () => {
    const jobId = newJobId();
    await client.scheduleTwinUpdate(jobId, NOBODY, { properties: { desired: { a: 1 }, reported: {} } });
    assert.equal((await waitForEnd(client, jobId)).status, 'completed');
  });

  it('JobClient.fromSharedAccessSignature: a token made beforehand works as well as a connection string', async () => {
    const text = await hub.connectionString('registryReadWrite');
    const bySignature = JobClient.fromSharedAccessSignature(serviceToken(text));
    const jobId = newJobId();
    await bySignature.scheduleTwinUpdate(jobId, NOBODY, PATCH);
    assert.equal((await waitForEnd(bySignature, jobId)).status, 'completed');
  });
});

describe('createQuery', () => {
  const mine = { completedTwin: [], scheduledMethod: [], cancelledTwin: [] };

  before(async () => {
    for (let count = 0; count < 5; count += 1) mine.completedTwin.push(newJobId());
    for (let count = 0; count < 3; count += 1) mine.scheduledMethod.push(newJobId());
    mine.cancelledTwin.push(newJobId());
    for (const jobId of mine.completedTwin) await client.scheduleTwinUpdate(jobId, NOBODY, PATCH);
    for (const jobId of mine.scheduledMethod) await client.scheduleDeviceMethod(jobId, '*', METHOD, inAnHour(), 60);
    for (const jobId of mine.cancelledTwin) {
      await client.scheduleTwinUpdate(jobId, '*', PATCH, inAnHour(), 60);
      await client.cancelJob(jobId);
    }
    for (const jobId of mine.completedTwin) await waitForEnd(client, jobId);
  });

  it('JobClient.createQuery, Query.next: pages by type and status in callback form, each job once', async () => {
    const query = client.createQuery('scheduleUpdateTwin', 'completed', 2);
    const seen = [];
    while (query.hasMoreResults) {
      const [page, response] = await called((done) => query.next(done));
      assert.ok(page.length <= 2, `a page of ${page.length}`);
      assert.equal(response.headers['x-ms-item-type'], 'JobResponse');
      for (const job of page) {
        assert.equal(job.type, 'scheduleUpdateTwin');
        assert.equal(job.status, 'completed');
        seen.push(job.jobId);
      }
      assert.ok(seen.length < 1_000, 'paging must end');
    }
    assert.equal(new Set(seen).size, seen.length, 'no job twice');
    assert.deepEqual(mine.completedTwin.filter((jobId) => !seen.includes(jobId)), []);
  });

  it('pages in promise form when the token is handed over', async () => {
    const query = client.createQuery('scheduleDeviceMethod', undefined, 2);
    const seen = [];
    let token;
    do {
      const { result, message } = await query.next(token);
      seen.push(...result.map((job) => job.jobId));
      token = message.headers['x-ms-continuation'];
      assert.ok(seen.length < 1_000, 'paging must end');
    } while (token !== undefined);
    assert.equal(query.hasMoreResults, false);
    assert.equal(new Set(seen).size, seen.length);
    assert.deepEqual(mine.scheduledMethod.filter((jobId) => !seen.includes(jobId)), []);
  });

  it('one page when everything fits, so the promise loop without a token ends', async () => {
    const query = client.createQuery(undefined, 'cancelled', 1_000);
    const seen = [];
    let pages = 0;
    while (query.hasMoreResults) {
      assert.ok((pages += 1) < 3, 'a last page must carry no token');
      seen.push(...(await query.next()).result);
    }
    assert.ok(seen.some((job) => job.jobId === mine.cancelledTwin[0]));
    assert.ok(seen.every((job) => job.status === 'cancelled'));
  });

  it('no filter lists everything, newest first', async () => {
    const { result } = await client.createQuery(undefined, undefined, 1_000).next();
    const ids = result.map((job) => job.jobId);
    for (const jobId of Object.values(mine).flat()) assert.ok(ids.includes(jobId), `job ${jobId} is not listed`);
    const times = result.map((job) => Date.parse(job.createdTime));
    assert.deepEqual(times, [...times].sort((a, b) => b - a));
  });

  it('filters ignore case and know the other spellings', async () => {
    const idsOf = async (...filters) => (await client.createQuery(...filters, 1_000).next()).result.map((job) => job.jobId).sort();
    assert.deepEqual(await idsOf('ScheduleUpdateTwin', 'Completed'), await idsOf('scheduleUpdateTwin', 'finished'));
    assert.deepEqual(await idsOf(undefined, 'canceled'), await idsOf(undefined, 'cancelled'));
  });

  it('JobClient.createQuery, Query.next, refused: an unknown filter value is an ArgumentError', async () => {
    await assert.rejects(client.createQuery(undefined, 'sleeping').next(), { name: 'ArgumentError' });
    await assert.rejects(client.createQuery('scheduleNothing').next(), { name: 'ArgumentError' });
  });

  it('Registry.listJobs: a hub without import or export jobs lists none', async () => {
    const registry = Registry.fromConnectionString(await hub.connectionString('iothubowner'));
    assert.deepEqual((await registry.listJobs()).responseBody, []);
  });
});
