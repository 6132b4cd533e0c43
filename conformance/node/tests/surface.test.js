// The calls that no other file makes: other ways to a client, statistics, and what the device SDK offers beside
// methods and twins. The titles say which method they prove; `cargo xtask surface` checks that none is missing.
'use strict';

const assert = require('node:assert/strict');
const { after, before, describe, it } = require('node:test');
const { Client: DeviceClient, Message } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');
const { Client, JobClient, NoRetry, Registry } = require('azure-iothub');
const { Devices } = require('../devices');
const { newJobId, waitForEnd } = require('../jobs');
const { hub } = require('../link');
const { deviceToken, serviceToken } = require('../sas');
const { called } = require('../wait');

let owner, registry, devices;
before(async () => {
  owner = await hub.connectionString('iothubowner');
  registry = Registry.fromConnectionString(owner);
  devices = new Devices(registry, hub.address);
});
after(() => devices.closeAll());

const echoing = { methods: { echo: (request) => [200, request.payload] } };
const params = (payload) => ({ methodName: 'echo', payload, connectTimeoutInSeconds: 15, responseTimeoutInSeconds: 15 });

describe('the service side', { concurrency: 4 }, () => {
  it('Registry.fromConnectionString, Registry.fromSharedAccessSignature: both lead to the same registry', async () => {
    await registry.create({ deviceId: 'seen-by-both' });
    const bySignature = Registry.fromSharedAccessSignature(serviceToken(owner));
    assert.equal((await bySignature.get('seen-by-both')).responseBody.deviceId, 'seen-by-both');
  });

  it('JobClient.fromConnectionString: the client of a policy that may run jobs', async () => {
    const client = JobClient.fromConnectionString(await hub.connectionString('registryReadWrite'));
    const jobId = newJobId();
    await client.scheduleTwinUpdate(jobId, "deviceId = 'nobody'", { etag: '*', tags: { a: 1 } });
    assert.equal((await waitForEnd(client, jobId)).status, 'completed');
  });

  it('Client.fromConnectionString, Client.fromSharedAccessSignature, Client.setRetryPolicy: methods go out by each', { timeout: 60_000 }, async () => {
    await devices.createConnected('both-ways', echoing);
    const byString = Client.fromConnectionString(owner);
    const bySignature = Client.fromSharedAccessSignature(serviceToken(owner));
    if (NoRetry) byString.setRetryPolicy(new NoRetry());
    else byString.setRetryPolicy({ shouldRetry: () => false, nextRetryTimeout: () => 0 });
    for (const client of [byString, bySignature]) {
      assert.equal((await client.invokeDeviceMethod('both-ways', params(1))).result.payload, 1);
    }
  });

  it('Registry.getRegistryStatistics: devices in numbers', async () => {
    const before = (await registry.getRegistryStatistics()).responseBody;
    await registry.create({ deviceId: 'counted', status: 'disabled' });
    const { responseBody } = await registry.getRegistryStatistics();
    assert.ok(responseBody.disabledDeviceCount > before.disabledDeviceCount);
    assert.equal(responseBody.totalDeviceCount, responseBody.enabledDeviceCount + responseBody.disabledDeviceCount);
  });

  it('groups, averages, order and distinct values come back as rows', async () => {
    for (const [deviceId, ring, level] of [['g-1', 1, 10], ['g-2', 1, 20], ['g-3', 2, 40]]) {
      await registry.create({ deviceId });
      await registry.updateTwin(deviceId, { tags: { set: 'groups', ring }, properties: { desired: { level } } }, '*');
    }
    const rows = async (text) => (await registry.createQuery(text, 100).next()).result;
    const where = "WHERE tags.set = 'groups'";
    const groups = await rows(`SELECT tags.ring AS ring, COUNT() AS n, AVG(properties.desired.level) AS mean FROM devices ${where} GROUP BY tags.ring`);
    assert.deepEqual(groups.sort((a, b) => a.ring - b.ring), [{ ring: 1, n: 2, mean: 15 }, { ring: 2, n: 1, mean: 40 }]);
    const ordered = await rows(`SELECT deviceId FROM devices ${where} ORDER BY properties.desired.level DESC`);
    assert.deepEqual(ordered.map((row) => row.deviceId), ['g-3', 'g-2', 'g-1']);
    const [extremes] = await rows(`SELECT MIN(properties.desired.level) AS least, MAX(properties.desired.level) AS most, SUM(properties.desired.level) AS sum FROM devices ${where}`);
    assert.deepEqual(extremes, { least: 10, most: 40, sum: 70 });
    const rings = await rows(`SELECT DISTINCT tags.ring FROM devices ${where}`);
    assert.deepEqual(rings.map((row) => row.ring).sort(), [1, 2]);
  });
});

describe('the device side', { concurrency: 4 }, () => {
  it('device.Client.fromConnectionString, device.Client.open, device.Client.onDeviceMethod, device.Client.close: a device comes, answers and goes', { timeout: 60_000 }, async () => {
    const [text] = await devices.create('plain');
    const client = DeviceClient.fromConnectionString(text, Mqtt);
    await client.open();
    client.onDeviceMethod('echo', (request, response) => response.send(200, request.payload, () => {}));
    assert.equal((await Client.fromConnectionString(owner).invokeDeviceMethod('plain', params('x'))).result.payload, 'x');
    await client.close();
  });

  it('device.Client.open, refused: a wrong key, an ended token', async () => {
    const [text] = await devices.create('refused');
    const wrong = text.replace(/SharedAccessKey=.*/, `SharedAccessKey=${Buffer.alloc(32, 9).toString('base64')}`);
    await assert.rejects(DeviceClient.fromConnectionString(wrong, Mqtt).open(), { name: 'UnauthorizedError' });
    const ended = DeviceClient.fromSharedAccessSignature(deviceToken(text, { seconds: -4_000 }), Mqtt);
    await assert.rejects(ended.open());
  });

  it('device.Client.fromSharedAccessSignature, device.Client.updateSharedAccessSignature: a token made beforehand, renewed', { timeout: 60_000 }, async () => {
    const [text] = await devices.create('signed');
    const client = DeviceClient.fromSharedAccessSignature(deviceToken(text), Mqtt);
    await client.open();
    client.onDeviceMethod('echo', (request, response) => response.send(200, request.payload, () => {}));
    const service = Client.fromConnectionString(owner);
    assert.equal((await service.invokeDeviceMethod('signed', params(1))).result.payload, 1);
    await called((done) => client.updateSharedAccessSignature(deviceToken(text, { seconds: 7_200 }), done));
    assert.equal((await service.invokeDeviceMethod('signed', params(2))).result.payload, 2);
    await client.close();
  });

  it('device.Client.setOptions, device.Client.setTransportOptions, device.Client.setRetryPolicy, device.Twin.setRetryPolicy: a CA by option, a short keep-alive, no retries', { timeout: 60_000 }, async () => {
    const [text] = await devices.create('options');
    const client = DeviceClient.fromConnectionString(text, Mqtt);
    const never = { shouldRetry: () => false, nextRetryTimeout: () => 0 };
    await client.setOptions({ ca: hub.ca(), keepalive: 30 });
    await client.setTransportOptions({ keepalive: 20 });
    client.setRetryPolicy(never);
    await client.open();
    const twin = await client.getTwin();
    twin.setRetryPolicy(never);
    assert.equal(twin.properties.desired.$version, 1);
    await client.sendEvent(new Message('x'));
    await client.close();
  });
});
