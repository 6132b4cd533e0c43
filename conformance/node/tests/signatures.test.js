// Shared access signatures made beforehand, by `fanfare sas` and by the SDK: the guide's jobs with one of
// `registryReadWrite`, what a policy's rotation ends, and devices whose keys change while they are connected.
'use strict';

const assert = require('node:assert/strict');
const { randomBytes } = require('node:crypto');
const { after, before, describe, it } = require('node:test');
const { Client: DeviceClient } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');
const { Client, JobClient, Registry, SharedAccessSignature } = require('azure-iothub');
const { Devices } = require('../devices');
const { newJobId, onDevices, settledRows, waitForEnd } = require('../jobs');
const { hub } = require('../link');
const { connectRaw, disconnect, subscribe } = require('../raw_mqtt');
const { deviceToken, parts } = require('../sas');
const { within } = require('../wait');

const unauthorized = { name: 'UnauthorizedError' };
const POLICIES = `https://${hub.address}/fanfare/v1/policies`;
const call = (payload) => ({ methodName: 'lockDoor', payload, connectTimeoutInSeconds: 15, responseTimeoutInSeconds: 15 });
const freshKey = () => randomBytes(32).toString('base64');
const answering = { methods: { lockDoor: (request) => [200, request.payload] } };

let owner, registry, service, devices;
before(async () => {
  owner = await hub.connectionString('iothubowner');
  registry = Registry.fromConnectionString(owner);
  service = Client.fromConnectionString(owner);
  devices = new Devices(registry, hub.address);
});
after(() => devices.closeAll());

/** A route about policies, as the owner; `POST /service/rotate` and the like. */
async function policies(method, route, body) {
  const headers = { Authorization: await hub.sas('--policy', 'iothubowner'), 'Content-Type': 'application/json' };
  const reply = await fetch(`${POLICIES}${route}`, { method, headers, body: body && JSON.stringify(body) });
  const text = await reply.text();
  assert.ok(reply.ok, `${method} ${route}: ${reply.status} ${text}`);
  return text ? JSON.parse(text) : undefined;
}

/** What the SDK itself makes of a policy's key, for the whole hub, to end some seconds from now. */
function madeBySdk(policy, key, seconds = 3_600) {
  return SharedAccessSignature.create(hub.address, policy, key, Math.floor(Date.now() / 1_000) + seconds).toString();
}

describe('signatures of policies', () => {
  it('JobClient.fromSharedAccessSignature, Registry.fromSharedAccessSignature: the article with registryReadWrite', async () => {
    const device = await devices.createConnected('signed-for', answering);
    const signature = await hub.sas('--policy', 'registryReadWrite', '--ttl', '1h');
    const jobClient = JobClient.fromSharedAccessSignature(signature);
    const own = Registry.fromSharedAccessSignature(signature);
    const [locking, patching] = [newJobId(), newJobId()];
    await jobClient.scheduleDeviceMethod(locking, onDevices('signed-for'), call(null), new Date(), 300);
    const patch = { etag: '*', properties: { desired: { building: '43', floor: 3 } } };
    await jobClient.scheduleTwinUpdate(patching, onDevices('signed-for'), patch, new Date(), 300);
    for (const jobId of [locking, patching]) {
      const job = await waitForEnd(jobClient, jobId);
      assert.equal(job.status, 'completed');
      assert.deepEqual(job.fanfare.createdBy, { policy: 'registryReadWrite' });
      assert.equal((await settledRows(own, job)).get('signed-for').status, 'completed');
    }
    assert.equal(device.calls.length, 1);
    await own.create({ deviceId: 'made-by-signature' });
    assert.equal((await own.get('made-by-signature')).responseBody.deviceId, 'made-by-signature');
    await devices.close(device);
  });

  it('Client.fromSharedAccessSignature: the policy service calls a method', async () => {
    const device = await devices.createConnected('called', answering);
    for (const signature of [await hub.sas('--policy', 'service'), await sdkSignature('service')]) {
      const client = Client.fromSharedAccessSignature(signature);
      assert.equal((await client.invokeDeviceMethod('called', call(7))).result.payload, 7);
    }
    await devices.close(device);
  });

  it('Registry.fromSharedAccessSignature, JobClient.fromSharedAccessSignature, Client.fromSharedAccessSignature, refused: too few rights, ended, another hub, another key', async () => {
    const service = await hub.sas('--policy', 'service');
    await assert.rejects(Registry.fromSharedAccessSignature(service).get('called'), unauthorized);
    const device = await hub.sas('--policy', 'device');
    await assert.rejects(JobClient.fromSharedAccessSignature(device).getJob('j'), unauthorized);
    await assert.rejects(Client.fromSharedAccessSignature(device).invokeDeviceMethod('called', call(1)), unauthorized);
    const key = parts(owner).SharedAccessKey;
    const elsewhere = SharedAccessSignature.create('127.0.0.1', 'iothubowner', key, Math.floor(Date.now() / 1_000) + 60);
    const other = `${elsewhere}`.replace(/sr=[^&]*/, `sr=${hub.address}`);
    const anotherKey = madeBySdk('iothubowner', Buffer.alloc(32, 5).toString('base64'));
    for (const wrong of [madeBySdk('iothubowner', key, -400), other, anotherKey]) {
      await assert.rejects(Registry.fromSharedAccessSignature(wrong).list(), unauthorized);
    }
    await Registry.fromSharedAccessSignature(madeBySdk('iothubowner', key)).list();
  });

  it('a policy changes its keys one after the other, and a client with the other one goes on', async () => {
    const { primaryKey, secondaryKey } = await policies('PUT', '/rotated', { rights: ['RegistryRead'] });
    const [first, second] = [primaryKey, secondaryKey].map((key) =>
      Registry.fromSharedAccessSignature(madeBySdk('rotated', key)));
    await first.list();
    await second.list();
    const rotated = await policies('POST', '/rotated/rotate', { key: 'primary' });
    await assert.rejects(first.list(), unauthorized);
    await second.list();
    await Registry.fromSharedAccessSignature(madeBySdk('rotated', rotated.primaryKey)).list();
    await policies('DELETE', '/rotated');
    await assert.rejects(second.list(), unauthorized);
  });

  async function sdkSignature(policy) {
    return madeBySdk(policy, parts(await hub.connectionString(policy)).SharedAccessKey);
  }
});

describe('signatures of devices', () => {
  it('device.Client.fromSharedAccessSignature, device.Client.open: what `fanfare sas` makes, of the own key and of a policy', async () => {
    const [string] = await devices.create('signed-in');
    const resource = `${hub.address}/devices/signed-in`;
    const own = await hub.sas('--device', 'signed-in', '--ttl', '1h');
    const ofPolicy = await hub.sas('--policy', 'device', '--uri', resource);
    for (const signature of [own, ofPolicy]) {
      const client = DeviceClient.fromSharedAccessSignature(signature, Mqtt);
      await client.open();
      client.onDeviceMethod('lockDoor', (request, response) => response.send(200, request.payload, () => {}));
      assert.equal((await service.invokeDeviceMethod('signed-in', call(1))).result.payload, 1);
      await client.close();
    }
    const without = await hub.sas('--policy', 'service', '--uri', resource);
    await assert.rejects(connectRaw(string, { password: without }), { code: 5 });
    const other = await hub.sas('--device', 'signed-for');
    await assert.rejects(connectRaw(string, { password: other }), { code: 5 });
  });

  it('device.Client.fromConnectionString, Registry.update: keys change while the device is connected, one after the other', async () => {
    const [string] = await devices.create('rekeyed');
    const { responseBody: made } = await registry.get('rekeyed');
    const { secondaryKey } = made.authentication.symmetricKey;
    const bySecondary = string.replace(/SharedAccessKey=.*/, `SharedAccessKey=${secondaryKey}`);
    const change = (symmetricKey) => registry.update({ deviceId: 'rekeyed', authentication: { type: 'sas', symmetricKey } });

    // The device works with its secondary key: a new primary one is none of its business.
    const device = await devices.connect(bySecondary, answering);
    const primaryKey = freshKey();
    await change({ primaryKey, secondaryKey });
    assert.equal((await service.invokeDeviceMethod('rekeyed', call(1))).result.payload, 1);
    await assert.rejects(connectRaw(string), { code: 5 });
    await devices.close(device);

    // Then it comes with the new one, and the secondary goes.
    const byPrimary = string.replace(/SharedAccessKey=.*/, `SharedAccessKey=${primaryKey}`);
    const again = await devices.connect(byPrimary, answering);
    await change({ primaryKey, secondaryKey: freshKey() });
    assert.equal((await service.invokeDeviceMethod('rekeyed', call(2))).result.payload, 2);
    await assert.rejects(connectRaw(bySecondary), { code: 5 });
    await devices.close(again);
  });

  it('a key that goes takes its connection with it, a device\'s or a policy\'s; those of the other key stay', async () => {
    const [gone, kept, ofPolicy] = await devices.create('cut-gone', 'cut-kept', 'cut-policy');
    await policies('PUT', '/gate', { rights: ['DeviceConnect'] });
    const { secondaryKey } = (await registry.get('cut-kept')).responseBody.authentication.symmetricKey;
    const password = await hub.sas('--policy', 'gate', '--uri', `${hub.address}/devices/cut-policy`);
    const byPrimary = await connectRaw(gone);
    const bySecondary = await connectRaw(kept, { password: deviceToken(kept, { key: secondaryKey }) });
    const byPolicy = await connectRaw(ofPolicy, { password });
    const closed = (client) => within(client.closed, 'the end of a connection', 60_000);

    for (const [deviceId, other] of [['cut-gone', freshKey()], ['cut-kept', secondaryKey]]) {
      const symmetricKey = { primaryKey: freshKey(), secondaryKey: other };
      await registry.update({ deviceId, authentication: { type: 'sas', symmetricKey } });
    }
    await closed(byPrimary);
    await policies('POST', '/gate/rotate', { key: 'secondary' });
    assert.deepEqual(await subscribe(byPolicy, '$iothub/methods/POST/#'), [0], 'signed with the other key');
    await policies('POST', '/gate/rotate', { key: 'primary' });
    await closed(byPolicy);
    await assert.rejects(connectRaw(ofPolicy, { password }), { code: 5 });
    assert.deepEqual(await subscribe(bySecondary, '$iothub/methods/POST/#'), [0], 'signed with the other key');
    await disconnect(bySecondary);
  });
});
