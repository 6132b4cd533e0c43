// What a job's window means for devices: offline throughout, online inside it, restarted in the middle, silent,
// refusing, deleted; and what a start time in the past or future does.
'use strict';

const assert = require('node:assert/strict');
const { after, before, describe, it } = require('node:test');
const { JobClient, Registry } = require('azure-iothub');
const { DeviceProcess, Devices } = require('../devices');
const { newJobId, onDevices, rows, settledRows, waitForEnd, watch } = require('../jobs');
const { hub } = require('../link');
const { until } = require('../wait');

let client, registry, devices;

before(async () => {
  const owner = await hub.connectionString('iothubowner');
  registry = Registry.fromConnectionString(owner);
  client = JobClient.fromConnectionString(await hub.connectionString('registryReadWrite'));
  devices = new Devices(registry, hub.address);
});
after(() => devices.closeAll());

const METHOD = { methodName: 'answer', payload: { n: 1 }, responseTimeoutInSeconds: 10 };
const answering = { methods: { answer: (request) => [200, { heard: request.payload }] } };

/** Schedules `method` on `ids` at once, for `seconds`; resolves with the job id. */
async function start(ids, { method = METHOD, seconds = 60, startTime = new Date() } = {}) {
  const jobId = newJobId();
  await client.scheduleDeviceMethod(jobId, onDevices(...ids), method, startTime, seconds);
  return jobId;
}

const running = (jobId, pendingCount) =>
  watch(client, jobId, (job) => job.status === 'running' && job.deviceJobStatistics.pendingCount === pendingCount);

describe('the window of a job', { concurrency: 8 }, () => {
  it('a device that is offline throughout fails, the others do not', { timeout: 60_000 }, async () => {
    await devices.createConnected('throughout-on', answering);
    await devices.create('throughout-off');
    const jobId = await start(['throughout-on', 'throughout-off'], { seconds: 5 });
    const seen = await watch(client, jobId, (job) => job.deviceJobStatistics?.succeededCount === 1);
    assert.equal(seen.status, 'running');
    const waiting = (await rows(registry, jobId)).get('throughout-off');
    assert.ok(['pending', 'scheduled'].includes(waiting.status), waiting.status);

    const job = await waitForEnd(client, jobId);
    assert.equal(job.status, 'completed', 'a failed device does not fail the job');
    assert.equal(job.deviceJobStatistics.failedCount, 1);
    const settled = await settledRows(registry, job);
    const row = settled.get('throughout-off');
    assert.equal(row.status, 'failed');
    assert.equal(row.error.code, 'JobRunPreconditionFailed');
    assert.ok(row.error.description.length > 0);
    assert.deepEqual(row.outcome, {});
    assert.equal(row.jobType, 'scheduleDeviceMethod');
    const times = ['startTimeUtc', 'endTimeUtc', 'createdDateTimeUtc', 'lastUpdatedDateTimeUtc'].map((field) => Date.parse(row[field]));
    const [startMs, deadlineMs, createdMs, updatedMs] = times;
    assert.equal(deadlineMs - startMs, 5_000, 'endTimeUtc is the deadline');
    assert.ok(createdMs >= startMs && updatedMs >= deadlineMs, JSON.stringify(row));
    assert.deepEqual(settled.get('throughout-on').outcome, { deviceMethodResponse: { status: 200, payload: { heard: { n: 1 } } } });

    const failed = await rows(registry, jobId, { where: "devices.jobs.status = 'failed'" });
    assert.deepEqual([...failed.keys()], ['throughout-off']);
    const one = await rows(registry, jobId, { where: "devices.jobs.deviceId = 'throughout-on'" });
    assert.deepEqual([...one.keys()], ['throughout-on']);
  });

  it('a device that comes online inside the window is called', { timeout: 60_000 }, async () => {
    const [late] = await devices.create('comes-online');
    const jobId = await start(['comes-online']);
    await running(jobId, 1);
    const door = await devices.connect(late, answering);
    const job = await waitForEnd(client, jobId);
    assert.equal(job.deviceJobStatistics.succeededCount, 1);
    assert.equal(door.calls.length, 1);
  });

  it('a device process killed with a call in flight gets no second one, and serves later jobs', { timeout: 90_000 }, async () => {
    const [string] = await devices.create('restarted');
    const device = new DeviceProcess(string);
    await device.start();
    const hanging = { methodName: 'hang', payload: null, responseTimeoutInSeconds: 6 };
    const first = await start(['restarted'], { method: hanging });
    await device.heard(1);
    await device.kill9();
    await until(async () => (await registry.get('restarted')).responseBody.connectionState === 'Disconnected', 'the loss of the device');

    const second = await start(['restarted']);
    // At most four calls are in flight per device, and this one must wait for a connection.
    await watch(client, second, (job) => job.status === 'running');
    await device.start();
    const job = await waitForEnd(client, second);
    assert.equal(job.deviceJobStatistics.succeededCount, 1);

    const lost = await waitForEnd(client, first);
    const row = (await settledRows(registry, lost)).get('restarted');
    assert.equal(row.status, 'failed');
    assert.equal(row.error.code, 'GatewayTimeout');
    assert.deepEqual(device.calls.map(({ name }) => name), ['hang', 'answer'], 'a call is never delivered twice');
    await device.kill9();
  });

  it('a job waits for its start time and takes its devices then', { timeout: 60_000 }, async () => {
    const door = await devices.createConnected('future-old', answering);
    const startTime = new Date(Date.now() + 4_000);
    const jobId = newJobId();
    await client.scheduleDeviceMethod(jobId, "STARTSWITH(deviceId, 'future-')", METHOD, startTime, 60);
    const waiting = (await client.getJob(jobId)).jobStatus;
    assert.ok(['queued', 'scheduled'].includes(waiting.status), waiting.status);
    assert.equal(waiting.deviceJobStatistics, undefined);
    assert.equal((await rows(registry, jobId)).size, 0, 'a job that has not started has no rows');

    const [string] = await devices.create('future-new');
    await watch(client, jobId, (job) => job.status === 'scheduled');
    const added = await devices.connect(string, answering);
    const job = await waitForEnd(client, jobId);
    assert.equal(job.deviceJobStatistics.succeededCount, 2);
    for (const device of [door, added]) {
      assert.equal(device.calls.length, 1);
      assert.ok(device.calls[0].at >= startTime.getTime(), 'nothing leaves before the start time');
    }
  });

  it('a start time in the past means at once', { timeout: 60_000 }, async () => {
    await devices.createConnected('past', answering);
    const jobId = await start(['past'], { startTime: new Date(Date.now() - 86_400_000), seconds: 172_800 });
    assert.equal((await waitForEnd(client, jobId)).deviceJobStatistics.succeededCount, 1);
  });

  it('any answer of a device is a completed row with the status of the device', { timeout: 60_000 }, async () => {
    await devices.createConnected('refuses', { methods: { answer: () => [404, 'no such door'] } });
    await devices.createConnected('breaks', { methods: { answer: () => [500, { code: [1, 2] }] } });
    const job = await waitForEnd(client, await start(['refuses', 'breaks']));
    assert.equal(job.deviceJobStatistics.succeededCount, 2);
    const settled = await settledRows(registry, job);
    assert.deepEqual(settled.get('refuses').outcome.deviceMethodResponse, { status: 404, payload: 'no such door' });
    assert.deepEqual(settled.get('breaks').outcome.deviceMethodResponse, { status: 500, payload: { code: [1, 2] } });
  });

  it('a device that never answers fails after its time-out', { timeout: 60_000 }, async () => {
    const silent = await devices.createConnected('silent', { methods: { answer: () => undefined } });
    const job = await waitForEnd(client, await start(['silent'], { method: { ...METHOD, responseTimeoutInSeconds: 5 } }));
    assert.equal(job.status, 'completed');
    const row = (await settledRows(registry, job)).get('silent');
    assert.equal(row.error.code, 'GatewayTimeout');
    assert.equal(silent.calls.length, 1);
  });

  it('a device deleted while it waits fails, and the job goes on', { timeout: 60_000 }, async () => {
    await devices.create('deleted');
    const jobId = await start(['deleted']);
    await running(jobId, 1);
    await registry.delete('deleted');
    const job = await waitForEnd(client, jobId);
    assert.equal(job.status, 'completed');
    assert.equal((await settledRows(registry, job)).get('deleted').error.code, 'DeviceNotFound');
  });

  it('a twin job applies to devices that are offline or disabled', { timeout: 60_000 }, async () => {
    await devices.create('twin-offline', 'twin-disabled');
    await registry.update({ deviceId: 'twin-disabled', status: 'disabled' });
    const jobId = newJobId();
    await client.scheduleTwinUpdate(jobId, onDevices('twin-offline', 'twin-disabled'), { etag: '*', tags: { floor: 7 } });
    const job = await waitForEnd(client, jobId);
    assert.equal(job.deviceJobStatistics.succeededCount, 2);
    for (const deviceId of ['twin-offline', 'twin-disabled']) {
      const twin = (await registry.getTwin(deviceId)).responseBody;
      assert.equal(twin.tags.floor, 7);
      assert.equal(twin.properties.desired.$version, 1, 'tags alone leave the desired version');
    }
  });

  it('a twin that would break a limit fails alone', { timeout: 60_000 }, async () => {
    await devices.create('limit-full', 'limit-free');
    const full = Object.fromEntries([1, 2, 3, 4, 5, 6, 7, 8].map((n) => [`p${n}`, 'x'.repeat(3_900)]));
    await registry.updateTwin('limit-full', { properties: { desired: full } }, '*');
    const jobId = newJobId();
    await client.scheduleTwinUpdate(jobId, onDevices('limit-full', 'limit-free'), { etag: '*', properties: { desired: { more: 'y'.repeat(3_000) } } });
    const job = await waitForEnd(client, jobId);
    assert.equal(job.status, 'completed');
    const settled = await settledRows(registry, job);
    assert.equal(settled.get('limit-full').error.code, 'ArgumentInvalid');
    assert.equal(settled.get('limit-free').status, 'completed');
    assert.equal((await registry.getTwin('limit-full')).responseBody.properties.desired.more, undefined);
  });

  it('rows page through a job of many devices, each once', { timeout: 60_000 }, async () => {
    const ids = Array.from({ length: 45 }, (_, n) => `many-${String(n).padStart(2, '0')}`);
    await registry.addDevices(ids.map((deviceId) => ({ deviceId })));
    const jobId = newJobId();
    await client.scheduleTwinUpdate(jobId, "STARTSWITH(deviceId, 'many-')", { etag: '*', properties: { desired: { n: 1 } } });
    // Read while it may still run: a row may change its status between pages, never its place.
    await watch(client, jobId, (job) => job.deviceJobStatistics !== undefined);
    assert.deepEqual([...(await rows(registry, jobId, { pageSize: 4 })).keys()].sort(), ids);
    const job = await waitForEnd(client, jobId);
    assert.equal(job.deviceJobStatistics.succeededCount, 45);
    assert.deepEqual([...(await rows(registry, jobId, { pageSize: 7 })).keys()].sort(), ids);
  });
});
