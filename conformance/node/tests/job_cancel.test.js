// Cancelling in every state: before the start, while running with and without calls in flight, after the end.
'use strict';

const assert = require('node:assert/strict');
const { after, before, describe, it } = require('node:test');
const { Client, JobClient, Registry } = require('azure-iothub');
const { Devices } = require('../devices');
const { newJobId, onDevices, rows, settledRows, waitForEnd, watch } = require('../jobs');
const { hub } = require('../link');
const { called, gate, nextEvent } = require('../wait');

const METHOD = { methodName: 'answer', payload: null, responseTimeoutInSeconds: 30 };
let client, registry, devices;

before(async () => {
  registry = Registry.fromConnectionString(await hub.connectionString('iothubowner'));
  client = JobClient.fromConnectionString(await hub.connectionString('registryReadWrite'));
  devices = new Devices(registry, hub.address);
});
after(() => devices.closeAll());

/** Cancelling an ended job: 405 with the classic body, which the SDK shows as a plain Error with the text. */
async function assertCancelRefused(jobId) {
  await assert.rejects(client.cancelJob(jobId), (error) => {
    assert.equal(error.response.statusCode, 405);
    assert.equal(error.name, 'Error');
    assert.match(error.responseBody, /OperationNotAllowedInCurrentState/);
    assert.ok(error.message.length > 10);
    return true;
  });
}

describe('cancel', { concurrency: 4 }, () => {
  it('before the start: cancelled at once, nothing is sent', { timeout: 60_000 }, async () => {
    const door = await devices.createConnected('before-start', { methods: { answer: () => [200] } });
    const jobId = newJobId();
    const startTime = new Date(Date.now() + 2_000);
    await client.scheduleDeviceMethod(jobId, onDevices('before-start'), METHOD, startTime, 60);
    const [reply] = await called((done) => client.cancelJob(jobId, done));
    assert.equal(reply.jobId, jobId);
    assert.equal(reply.status, 'cancelled');
    const { jobStatus } = await client.getJob(jobId);
    assert.equal(jobStatus.status, 'cancelled');
    assert.ok(jobStatus.endTime);
    await assertCancelRefused(jobId);

    // A second job with the same start time shows that the moment has passed.
    const witness = newJobId();
    await client.scheduleTwinUpdate(witness, onDevices('before-start'), { etag: '*', tags: { a: 1 } }, startTime, 60);
    await waitForEnd(client, witness);
    assert.equal(door.calls.length, 0);
    assert.equal((await client.getJob(jobId)).jobStatus.status, 'cancelled');
    assert.equal((await rows(registry, jobId)).size, 0);
  });

  it('while running with nothing in flight: the waiting devices are canceled', { timeout: 60_000 }, async () => {
    const strings = await devices.create('waiting-1', 'waiting-2');
    const jobId = newJobId();
    await client.scheduleDeviceMethod(jobId, onDevices('waiting-1', 'waiting-2'), METHOD, new Date(), 300);
    await watch(client, jobId, (job) => job.deviceJobStatistics?.pendingCount === 2);
    const { jobStatus: reply, response } = await client.cancelJob(jobId);
    assert.equal(response.statusCode, 200);
    assert.ok(['running', 'cancelled'].includes(reply.status), reply.status);
    const job = await waitForEnd(client, jobId);
    assert.equal(job.status, 'cancelled');
    assert.ok(job.endTime);
    assert.equal(job.deviceJobStatistics.canceledCount, 2);
    const settled = await settledRows(registry, job);
    assert.deepEqual([...settled.values()].map((row) => row.status), ['canceled', 'canceled']);
    assert.equal((await rows(registry, jobId, { where: "devices.jobs.status = 'cancelled'" })).size, 2, 'both spellings are equal in filters');

    const door = await devices.connect(strings[0], { methods: { answer: () => [200], ping: () => [200] } });
    await pinged('waiting-1');
    assert.equal(door.calls.filter(({ name }) => name === 'answer').length, 0, 'a cancelled job sends nothing');
    assert.deepEqual((await client.getJob(jobId)).jobStatus, job, 'an ended job never changes');
  });

  it('while running with a call in flight: it settles first, nothing new starts', { timeout: 60_000 }, async () => {
    const held = gate();
    const door = await devices.createConnected('in-flight', { methods: { answer: () => held.opened.then(() => [200, 'late']) } });
    const [waiting] = await devices.create('not-yet');
    const jobId = newJobId();
    const arrived = nextEvent(door, 'called');
    await client.scheduleDeviceMethod(jobId, onDevices('in-flight', 'not-yet'), METHOD, new Date(), 300);
    await arrived;
    await watch(client, jobId, (job) => job.deviceJobStatistics?.runningCount === 1);

    const { jobStatus: reply } = await client.cancelJob(jobId);
    assert.equal(reply.status, 'running');
    assert.match(reply.statusMessage, /cancelling/i);
    const again = await client.cancelJob(jobId);
    assert.equal(again.response.statusCode, 200, 'cancelling again while it drains is fine');
    const newcomer = await devices.connect(waiting, { methods: { answer: () => [200], ping: () => [200] } });
    await pinged('not-yet');
    const draining = (await client.getJob(jobId)).jobStatus;
    assert.equal(draining.status, 'running');
    assert.equal(draining.endTime, undefined);

    held.open();
    const job = await waitForEnd(client, jobId);
    assert.equal(job.status, 'cancelled');
    assert.equal(job.deviceJobStatistics.succeededCount, 1);
    assert.equal(job.deviceJobStatistics.canceledCount, 1);
    const settled = await settledRows(registry, job);
    assert.deepEqual(settled.get('in-flight').outcome.deviceMethodResponse, { status: 200, payload: 'late' });
    assert.equal(settled.get('not-yet').status, 'canceled');
    assert.equal(newcomer.calls.filter(({ name }) => name === 'answer').length, 0);
    await assertCancelRefused(jobId);
  });

  it('JobClient.cancelJob, refused: after the end', { timeout: 60_000 }, async () => {
    const jobId = newJobId();
    await client.scheduleTwinUpdate(jobId, onDevices('nobody-here'), { etag: '*', tags: { a: 1 } });
    const job = await waitForEnd(client, jobId);
    await assertCancelRefused(jobId);
    assert.deepEqual((await client.getJob(jobId)).jobStatus, job);
  });

  it('an unknown job: not found', async () => {
    await assert.rejects(client.cancelJob('never-scheduled'), (error) => {
      assert.equal(error.response.statusCode, 404);
      assert.match(error.responseBody, /JobNotFound/);
      return true;
    });
  });
});

/** Resolves when a direct method has gone to the device and back: it is connected and ready for methods. */
async function pinged(deviceId) {
  const service = Client.fromConnectionString(await hub.connectionString('service'));
  await service.invokeDeviceMethod(deviceId, { methodName: 'ping', connectTimeoutInSeconds: 10, responseTimeoutInSeconds: 10 });
}
