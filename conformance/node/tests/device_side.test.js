// What an SDK device sees: its twin, desired changes, reported updates, telemetry; and that none of it needs the
// application's help when the connection is cut or the token renewed (conformance lines 1, 2, 3 and 5).
'use strict';

const assert = require('node:assert/strict');
const { after, before, describe, it } = require('node:test');
const { Message, SharedAccessKeyAuthenticationProvider } = require('azure-iot-device');
const { Client, JobClient, Registry } = require('azure-iothub');
const { Devices } = require('../devices');
const { newJobId, onDevices, settledRows, waitForEnd } = require('../jobs');
const { hub } = require('../link');
const { evict } = require('../raw_mqtt');
const { called, gate, nextEvent, until } = require('../wait');

let registry, service, jobClient, devices;

before(async () => {
  const owner = await hub.connectionString('iothubowner');
  registry = Registry.fromConnectionString(owner);
  service = Client.fromConnectionString(owner);
  jobClient = JobClient.fromConnectionString(owner);
  devices = new Devices(registry, hub.address);
});
after(() => devices.closeAll());

const report = (twin, patch) => called((done) => twin.properties.reported.update(patch, done));
const desire = (deviceId, desired) => registry.updateTwin(deviceId, { properties: { desired } }, '*');
const call = async (deviceId, payload) =>
  (await service.invokeDeviceMethod(deviceId, { methodName: 'echo', payload, connectTimeoutInSeconds: 15, responseTimeoutInSeconds: 15 })).result;
const echoing = { methods: { echo: (request) => [200, request.payload] } };

describe('a device', { concurrency: 6 }, () => {
  it('device.Client.getTwin, device.Twin.get: without metadata and tags', async () => {
    const [string] = await devices.create('twin-get');
    await registry.updateTwin('twin-get', { tags: { hidden: 1 }, properties: { desired: { rate: { s: 5 } } } }, '*');
    const twin = await (await devices.connect(string)).getTwin();
    assert.deepEqual(twin.properties.desired, { rate: { s: 5 }, $version: 2 });
    assert.equal(twin.properties.reported.$version, 1);
    assert.equal(twin.properties.reported.$metadata, undefined);
    assert.equal(twin.tags, undefined);
  });

  it('device.Twin.enableTwinDesiredPropertiesUpdates: desired changes are heard, removals included', { timeout: 60_000 }, async () => {
    const client = await devices.createConnected('twin-hear');
    const twin = await client.getTwin();
    const versions = [];
    twin.on('properties.desired', (delta) => versions.push(delta.$version));
    await client.getTwin();
    versions.length = 0;
    const changed = nextEvent(twin, 'properties.desired.a.b');
    await desire('twin-hear', { a: { b: 1, c: 2 }, z: 'z' });
    assert.deepEqual(await changed, [1]);
    await desire('twin-hear', { a: { c: null } });
    await until(() => twin.properties.desired.$version === 3, 'the second patch');
    assert.deepEqual(twin.properties.desired, { a: { b: 1 }, z: 'z', $version: 3 });
    await registry.updateTwin('twin-hear', { properties: { desired: null } }, '*');
    await until(() => twin.properties.desired.$version === 4, 'the clearing patch');
    assert.deepEqual(twin.properties.desired, { $version: 4 });
    assert.deepEqual(versions, [2, 3, 4], 'each version once, in order');
  });

  it('reports, and the service sees it', async () => {
    const client = await devices.createConnected('twin-report');
    const twin = await client.getTwin();
    await report(twin, { fw: '1.2', net: { ssid: 'x', old: 1 }, list: [1, [2]] });
    await report(twin, { net: { old: null } });
    const { reported, desired } = (await registry.getTwin('twin-report')).responseBody.properties;
    assert.deepEqual([reported.fw, reported.net, reported.list], ['1.2', { ssid: 'x' }, [1, [2]]]);
    assert.equal(reported.$version, 3);
    assert.equal(desired.$version, 1);
    assert.ok(reported.$metadata.net.ssid.$lastUpdated);
    const { result } = await registry.createQuery("SELECT * FROM devices WHERE properties.reported.fw = '1.2'").next();
    assert.deepEqual(result.map((found) => found.deviceId), ['twin-report']);
  });

  it('line 5: an illegal report fails with a message and the client lives on', async () => {
    const client = await devices.createConnected('twin-illegal');
    const twin = await client.getTwin();
    for (const patch of [{ 'a.b': 1 }, { $own: 1 }, { 'a b': 1 }, { long: 'x'.repeat(4_097) }]) {
      await assert.rejects(report(twin, patch), (error) => error instanceof Error && error.message.length > 5);
    }
    await report(twin, { fine: true });
    const { reported } = (await registry.getTwin('twin-illegal')).responseBody.properties;
    assert.equal(reported.fine, true);
    assert.equal(reported.$version, 2, 'a refused report moves nothing');
    assert.deepEqual(client.faults, []);
  });

  it('device.Client.sendEvent: telemetry is acknowledged', { timeout: 60_000 }, async () => {
    const client = await devices.createConnected('telemetry');
    const message = new Message(JSON.stringify({ t: 21.5 }));
    message.messageId = 'id 1';
    message.contentType = 'application/json';
    message.contentEncoding = 'utf-8';
    message.properties.add('a b', 'c/d&e');
    for (let n = 0; n < 10; n += 1) await client.sendEvent(message);
    await Promise.all(Array.from({ length: 50 }, (_, n) => client.sendEvent(new Message(`${n}`))));
    await client.sendEvent(new Message(''));
  });

  it('is Connected while it is and Disconnected after', async () => {
    const client = await devices.createConnected('presence');
    assert.equal((await registry.get('presence')).responseBody.connectionState, 'Connected');
    const { etag, connectionState } = (await registry.getTwin('presence')).responseBody;
    assert.equal(connectionState, 'Connected');
    await devices.close(client);
    await until(async () => (await registry.get('presence')).responseBody.connectionState === 'Disconnected', 'Disconnected');
    assert.equal((await registry.getTwin('presence')).responseBody.etag, etag, 'presence moves no etag');
  });
});

describe('a cut connection', { concurrency: 6 }, () => {
  it('line 1: a method before and after, with no action of the application', { timeout: 60_000 }, async () => {
    const [string] = await devices.create('cut-method');
    const client = await devices.connect(string, echoing);
    assert.deepEqual(await call('cut-method', 'one'), { status: 200, payload: 'one' });
    await evict(string);
    assert.deepEqual(await call('cut-method', 'two'), { status: 200, payload: 'two' });
    assert.equal(client.calls.length, 2);
  });

  it('line 2: twin reads and desired changes go on, though nothing is subscribed again', { timeout: 60_000 }, async () => {
    const [string] = await devices.create('cut-twin');
    const client = await devices.connect(string);
    const twin = await client.getTwin();
    twin.on('properties.desired.step', () => {});
    await client.getTwin();
    await evict(string);
    const heard = nextEvent(twin, 'properties.desired.step');
    await desire('cut-twin', { step: 1 });
    assert.deepEqual(await heard, [1]);
    await client.getTwin();
    assert.equal(twin.properties.desired.step, 1);
    await report(twin, { done: true });
  });

  it('a job reaches the device after the cut', { timeout: 60_000 }, async () => {
    const [string] = await devices.create('cut-job');
    await devices.connect(string, echoing);
    await evict(string);
    const jobId = newJobId();
    await jobClient.scheduleDeviceMethod(jobId, onDevices('cut-job'), { methodName: 'echo', payload: 5 }, new Date(), 60);
    const job = await waitForEnd(jobClient, jobId);
    assert.equal(job.deviceJobStatistics.succeededCount, 1);
  });

  it('an answer counts on whichever connection it arrives', { timeout: 60_000 }, async () => {
    const held = gate();
    const [string] = await devices.create('cut-answer');
    const client = await devices.connect(string, { methods: { echo: () => held.opened.then(() => [200, 'still here']) } });
    const arrived = nextEvent(client, 'called');
    const answer = call('cut-answer', null);
    await arrived;
    await evict(string);
    held.open();
    assert.deepEqual(await answer, { status: 200, payload: 'still here' });
    assert.equal(client.calls.length, 1, 'the call is not delivered again');
  });
});

describe('token renewal', () => {
  it('line 3, device.Client.fromAuthenticationProvider: two renewals, one with a call in flight, methods and twin go on', { timeout: 90_000 }, async () => {
    const [string] = await devices.create('renews');
    // Tokens live 8 s and are renewed 5 s before their end: a new connection every 3 s.
    const provider = SharedAccessKeyAuthenticationProvider.fromConnectionString(string, 8, 5);
    const held = gate();
    const client = await devices.connect(string, {
      provider,
      methods: { ...echoing.methods, hold: () => held.opened.then(() => [200, 'renewed']) },
    });
    const twin = await client.getTwin();
    twin.on('properties.desired.n', () => {});
    await client.getTwin();

    const jobId = newJobId();
    const arrived = nextEvent(client, 'called');
    await jobClient.scheduleDeviceMethod(jobId, onDevices('renews'), { methodName: 'hold', responseTimeoutInSeconds: 30 }, new Date(), 60);
    await arrived;
    for (let renewal = 0; renewal < 2; renewal += 1) {
      await nextEvent(provider, 'newTokenAvailable');
      // The client queues this until its new connection stands, so its acknowledgement says that it does.
      await client.sendEvent(new Message('renewed'));
    }
    held.open();
    const job = await waitForEnd(jobClient, jobId);
    assert.deepEqual((await settledRows(registry, job)).get('renews').outcome.deviceMethodResponse, { status: 200, payload: 'renewed' });
    assert.deepEqual(await call('renews', 'after'), { status: 200, payload: 'after' });
    const heard = nextEvent(twin, 'properties.desired.n');
    await desire('renews', { n: 1 });
    assert.deepEqual(await heard, [1]);
    assert.equal(client.calls.length, 2);
  });
});
