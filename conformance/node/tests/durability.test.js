// `kill -9` and SIGTERM while jobs run over real SDK devices: everything acknowledged is there afterwards, every
// job ends, counts equal rows and no call is delivered twice.
'use strict';

const assert = require('node:assert/strict');
const { after, before, describe, it } = require('node:test');
const { Client, JobClient, Registry } = require('azure-iothub');
const { Devices } = require('../devices');
const { checkCounts, newJobId, onDevices, rows, settledRows, waitForEnd, watch } = require('../jobs');
const { hub } = require('../link');
const { connectRaw, disconnect, receive, subscribe, throwPacket } = require('../raw_mqtt');
const { gate, nextEvent, within } = require('../wait');

const QUICK = Array.from({ length: 6 }, (_, n) => `quick-${n}`);
let registry, service, jobClient, devices;

before(async () => {
  const owner = await hub.connectionString('iothubowner');
  registry = Registry.fromConnectionString(owner);
  service = Client.fromConnectionString(owner);
  jobClient = JobClient.fromConnectionString(owner);
  devices = new Devices(registry, hub.address);
});
after(() => devices.closeAll());

// The hub goes down under them: these run one after the other.
describe('kill -9', { concurrency: 1 }, () => {
  it('a method job in flight goes on and adds up', { timeout: 120_000 }, async () => {
    const held = gate();
    const quick = await Promise.all(QUICK.map((id) => devices.createConnected(id, { methods: { work: () => [200, id] } })));
    const slow = await devices.createConnected('slow', { methods: { work: () => held.opened.then(() => [200, 'after the crash']) } });
    const mute = await devices.createConnected('mute', { methods: { work: () => undefined } });
    const [late] = await devices.create('late');
    const arrivals = [nextEvent(slow, 'called'), nextEvent(mute, 'called')];

    const jobId = newJobId();
    const method = { methodName: 'work', payload: null, responseTimeoutInSeconds: 20 };
    await jobClient.scheduleDeviceMethod(jobId, onDevices(...QUICK, 'slow', 'mute', 'late'), method, new Date(), 120);
    const later = newJobId();
    await jobClient.scheduleTwinUpdate(later, onDevices('late'), { etag: '*', tags: { later: 1 } }, new Date(Date.now() + 8_000), 60);
    const patched = (await registry.updateTwin('late', { tags: { before: 'crash' } }, '*')).responseBody;
    await Promise.all(arrivals);
    const seen = await watch(jobClient, jobId, (job) => job.deviceJobStatistics?.succeededCount === QUICK.length);
    const rowsBefore = await rows(registry, jobId);

    const back = Promise.all([...quick, slow, mute].map((client) => nextEvent(client, 'connect', 60_000)));
    await hub.kill9();
    await hub.start();
    const resumed = (await jobClient.getJob(jobId)).jobStatus;
    checkCounts(resumed, seen.deviceJobStatistics);
    assert.equal(resumed.status, 'running');
    const rowsAfter = await rows(registry, jobId);
    for (const id of QUICK) assert.deepEqual(rowsAfter.get(id), rowsBefore.get(id), `the outcome of ${id}`);
    assert.equal((await registry.getTwin('late')).responseBody.etag, patched.etag);

    await back;
    held.open();
    const newcomer = await devices.connect(late, { methods: { work: () => [200, 'late'] } });
    const job = await waitForEnd(jobClient, jobId, 90_000);
    assert.equal(job.status, 'completed');
    const settled = await settledRows(registry, job);
    assert.deepEqual(settled.get('slow').outcome.deviceMethodResponse, { status: 200, payload: 'after the crash' }, 'an answer after the crash counts');
    assert.deepEqual(settled.get('late').outcome.deviceMethodResponse, { status: 200, payload: 'late' });
    assert.equal(settled.get('mute').status, 'failed');
    assert.equal(settled.get('mute').error.code, 'OutcomeUnknown');
    assert.equal(job.deviceJobStatistics.succeededCount, QUICK.length + 2);
    for (const client of [...quick, slow, mute, newcomer]) assert.equal(client.calls.length, 1, 'no call is delivered twice');

    assert.equal((await waitForEnd(jobClient, later)).deviceJobStatistics.succeededCount, 1, 'a waiting job starts after the crash');
    assert.equal((await registry.getTwin('late')).responseBody.tags.later, 1);
  });

  it('a device that never subscribes again hears its methods', { timeout: 60_000 }, async () => {
    const [string] = await devices.create('silent-return');
    const first = await connectRaw(string);
    await subscribe(first, '$iothub/methods/POST/#', 1);
    await hub.kill9();
    await within(first.closed, 'the connection to die with the hub');
    await hub.start();
    const second = await connectRaw(string);
    assert.equal(second.connack.sessionPresent, true);
    const heard = service.invokeDeviceMethod('silent-return', { methodName: 'ping', connectTimeoutInSeconds: 20 });
    const { topic } = await receive(second, '$iothub/methods/POST/ping/');
    throwPacket(second, `$iothub/methods/res/200/?${topic.split('?')[1]}`, '1', { qos: 1 });
    assert.deepEqual((await heard).result, { status: 200, payload: 1 });
    await disconnect(second);
  });

  it('everything acknowledged just before is there', { timeout: 60_000 }, async () => {
    const accepted = [];
    for (let n = 0; n < 10; n += 1) {
      const jobId = newJobId();
      await jobClient.scheduleTwinUpdate(jobId, onDevices('late'), { etag: '*', properties: { desired: { [`k${n}`]: n } } });
      accepted.push(jobId);
    }
    await devices.create('last-moment');
    await hub.kill9();
    await hub.start();
    assert.equal((await registry.get('last-moment')).responseBody.deviceId, 'last-moment');
    for (const jobId of accepted) {
      const job = await waitForEnd(jobClient, jobId);
      assert.equal(job.deviceJobStatistics.succeededCount, 1);
    }
    const { desired } = (await registry.getTwin('late')).responseBody.properties;
    for (let n = 0; n < 10; n += 1) assert.equal(desired[`k${n}`], n);
    assert.equal(desired.$version, 11, 'each patch exactly once');
  });
});

describe('SIGTERM', () => {
  it('ends within ten seconds and loses nothing', { timeout: 90_000 }, async () => {
    const held = gate();
    const client = await devices.createConnected('draining', { methods: { work: () => held.opened.then(() => [200, 'drained']) } });
    const arrived = nextEvent(client, 'called');
    const jobId = newJobId();
    const method = { methodName: 'work', payload: null, responseTimeoutInSeconds: 40 };
    await jobClient.scheduleDeviceMethod(jobId, onDevices('draining', 'late'), method, new Date(), 120);
    await arrived;
    const restarted = hub.restart();
    held.open();
    const tookMs = await restarted;
    assert.ok(tookMs <= 10_000, `the hub took ${tookMs} ms to end`);
    const job = await waitForEnd(jobClient, jobId, 90_000);
    assert.equal(job.deviceJobStatistics.deviceCount, 2);
    assert.deepEqual((await settledRows(registry, job)).get('draining').outcome.deviceMethodResponse, { status: 200, payload: 'drained' });
    assert.equal(client.calls.length, 1);
  });
});
