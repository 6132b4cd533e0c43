// Modules: identities beside a device, their twins and methods through the service SDK, and the device SDK's
// ModuleClient over MQTT with keys of its own.
'use strict';

const assert = require('node:assert/strict');
const { after, before, describe, it } = require('node:test');
const { Message, ModuleClient } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');
const { Client, JobClient, Registry } = require('azure-iothub');
const { newJobId, waitForEnd } = require('../jobs');
const { hub } = require('../link');
const { moduleToken } = require('../sas');
const { called, gate, until, within } = require('../wait');

let registry, service, jobClient;
const open = new Set();

before(async () => {
  const owner = await hub.connectionString('iothubowner');
  registry = Registry.fromConnectionString(owner);
  service = Client.fromConnectionString(owner);
  jobClient = JobClient.fromConnectionString(owner);
});
after(() => Promise.all([...open].map((client) => client.close())));

/** Makes a device with one module and returns the module's entry. */
async function create(deviceId, moduleId) {
  await registry.create({ deviceId });
  return (await registry.addModule({ deviceId, moduleId })).responseBody;
}

/** Opens an SDK module client that answers `echo`. */
async function connect(module, key = module.authentication.symmetricKey.primaryKey) {
  const text = `HostName=${hub.address};DeviceId=${module.deviceId};ModuleId=${module.moduleId};SharedAccessKey=${key}`;
  const client = ModuleClient.fromConnectionString(text, Mqtt);
  client.on('error', () => {});
  open.add(client);
  await client.open();
  client.onMethod('echo', (request, response) => response.send(200, request.payload, () => {}));
  return client;
}

const failsWith = (status, code) => (error) => {
  assert.equal(error.response.statusCode, status);
  assert.match(error.responseBody, new RegExp(`ErrorCode:${code};`));
  return true;
};
const echo = async (deviceId, moduleId, payload) => {
  const params = { methodName: 'echo', payload, connectTimeoutInSeconds: 15, responseTimeoutInSeconds: 15 };
  return (await service.invokeDeviceMethod(deviceId, moduleId, params)).result;
};

describe('identities of modules', { concurrency: 4 }, () => {
  it('Registry.addModule, Registry.getModule, Registry.updateModule, Registry.removeModule: a module comes, changes and goes', async () => {
    const made = await create('host', 'pump');
    assert.equal(made.deviceId, 'host');
    assert.equal(made.moduleId, 'pump');
    assert.ok(made.generationId && made.etag);
    assert.notEqual(made.authentication.symmetricKey.primaryKey, made.authentication.symmetricKey.secondaryKey);
    assert.equal(made.connectionState, 'Disconnected');

    const read = (await registry.getModule('host', 'pump')).responseBody;
    assert.deepEqual(read.authentication, made.authentication);
    const changed = (await registry.updateModule({ ...read, managedBy: 'us' }, true)).responseBody;
    assert.equal(changed.managedBy, 'us');
    assert.notEqual(changed.etag, read.etag);
    const [again] = await called((done) => registry.updateModule({ ...changed, managedBy: 'them' }, done));
    assert.equal(again.managedBy, 'them');

    await registry.removeModule('host', 'pump');
    await assert.rejects(registry.getModule('host', 'pump'), failsWith(404, 'ModuleNotFound'));
  });

  it('Registry.addModule, Registry.getModule, Registry.updateModule, Registry.removeModule, refused: taken, missing, another etag', async () => {
    const made = await create('host-2', 'pump');
    await assert.rejects(registry.addModule({ deviceId: 'host-2', moduleId: 'pump' }), failsWith(409, 'ModuleAlreadyExistsOnDevice'));
    await assert.rejects(registry.addModule({ deviceId: 'nobody', moduleId: 'pump' }), failsWith(404, 'DeviceNotFound'));
    await assert.rejects(registry.addModule({ deviceId: 'host-2', moduleId: 'white space' }), { name: 'ArgumentError' });
    await registry.updateModule({ ...made, managedBy: 'us' }, true);
    await assert.rejects(registry.updateModule({ ...made, managedBy: 'them' }, false), { name: 'InvalidEtagError' });
    await assert.rejects(registry.updateModule({ ...made, moduleId: 'absent' }, true), failsWith(404, 'ModuleNotFound'));
    await assert.rejects(registry.removeModule('host-2', 'absent'), failsWith(404, 'ModuleNotFound'));
    // Only the callback form takes a module with its etag.
    await assert.rejects(called((done) => registry.removeModule(made, done)), { name: 'InvalidEtagError' });
    assert.equal((await registry.getModule('host-2', 'pump')).responseBody.managedBy, 'us');
  });

  it('Registry.getModulesOnDevice: all of one device', async () => {
    await create('many', 'a');
    await registry.addModule({ deviceId: 'many', moduleId: 'b' });
    const { responseBody } = await registry.getModulesOnDevice('many');
    assert.deepEqual(responseBody.map((module) => module.moduleId).sort(), ['a', 'b']);
    await registry.delete('many');
    await assert.rejects(registry.getModule('many', 'a'), (error) => error.response.statusCode === 404);
  });

  it('an edge device has its two agents', async () => {
    await registry.create({ deviceId: 'edge', capabilities: { iotEdge: true } });
    const { responseBody } = await registry.getModulesOnDevice('edge');
    assert.deepEqual(responseBody.map((module) => module.moduleId).sort(), ['$edgeAgent', '$edgeHub']);
  });
});

describe('twins of modules', { concurrency: 4 }, () => {
  it('Registry.getModuleTwin, Registry.updateModuleTwin: merge and guard', async () => {
    await create('twin-host', 'm');
    const twin = (await registry.getModuleTwin('twin-host', 'm')).responseBody;
    assert.equal(twin.moduleId, 'm');
    assert.equal(twin.properties.desired.$version, 1);
    const updated = (await registry.updateModuleTwin('twin-host', 'm', { tags: { a: 1 }, properties: { desired: { b: 2 } } }, twin.etag)).responseBody;
    assert.equal(updated.properties.desired.b, 2);
    await updated.update({ tags: { a: 3 } });
    assert.equal((await registry.getModuleTwin('twin-host', 'm')).responseBody.tags.a, 3);
    assert.equal((await registry.getTwin('twin-host')).responseBody.tags.a, undefined, 'the device has a twin of its own');
    const { result } = await registry.createQuery("SELECT * FROM devices.modules WHERE deviceId = 'twin-host'").next();
    assert.deepEqual(result.map((row) => [row.deviceId, row.moduleId]), [['twin-host', 'm']]);
  });

  it('Registry.getModuleTwin, Registry.updateModuleTwin, refused: missing, an old etag, a bad patch', async () => {
    await create('twin-host-2', 'm');
    const { etag } = (await registry.getModuleTwin('twin-host-2', 'm')).responseBody;
    await registry.updateModuleTwin('twin-host-2', 'm', { tags: { a: 1 } }, '*');
    await assert.rejects(registry.updateModuleTwin('twin-host-2', 'm', { tags: { a: 2 } }, etag), { name: 'InvalidEtagError' });
    await assert.rejects(registry.updateModuleTwin('twin-host-2', 'm', { tags: { 'a.b': 2 } }, '*'), { name: 'ArgumentError' });
    await assert.rejects(registry.getModuleTwin('twin-host-2', 'absent'), failsWith(404, 'ModuleNotFound'));
  });
});

describe('a connected module', { concurrency: 4 }, () => {
  it('line 14, device.ModuleClient.open, device.ModuleClient.onMethod, device.ModuleClient.fromConnectionString: it signs in as device/module and answers', { timeout: 60_000 }, async () => {
    const module = await create('gateway', 'filter');
    const client = await connect(module);
    assert.deepEqual(await echo('gateway', 'filter', { n: 1 }), { status: 200, payload: { n: 1 } });
    assert.equal((await registry.getModule('gateway', 'filter')).responseBody.connectionState, 'Connected');
    assert.equal((await registry.get('gateway')).responseBody.connectionState, 'Disconnected');
    await client.close();
    open.delete(client);
    await until(async () => (await registry.getModule('gateway', 'filter')).responseBody.connectionState === 'Disconnected', 'Disconnected');
  });

  it('line 14, device.ModuleClient.sendEvent, device.ModuleClient.sendOutputEvent: events and outputs are acknowledged', { timeout: 60_000 }, async () => {
    const client = await connect(await create('output-host', 'm'));
    await client.sendEvent(new Message('{"t":1}'));
    const message = new Message('{"t":2}');
    message.properties.add('a b', 'c/d');
    await client.sendOutputEvent('out 1', message);
    await client.sendOutputEvent('out1', new Message(''));
  });

  it('device.ModuleClient.getTwin: desired changes are heard, reports are kept', { timeout: 60_000 }, async () => {
    const client = await connect(await create('twin-device', 'm'));
    const twin = await client.getTwin();
    const heard = gate();
    twin.on('properties.desired', (patch) => patch.rate === 5 && heard.open());
    await registry.updateModuleTwin('twin-device', 'm', { properties: { desired: { rate: 5 } } }, '*');
    await within(heard.opened, 'the desired change');
    await called((done) => twin.properties.reported.update({ rate: 5 }, done));
    assert.equal((await registry.getModuleTwin('twin-device', 'm')).responseBody.properties.reported.rate, 5);
  });

  it('device.ModuleClient.open, refused: neither another key nor the key of its device opens it', async () => {
    const module = await create('locked', 'm');
    const device = (await registry.get('locked')).responseBody;
    for (const key of [Buffer.alloc(32, 7).toString('base64'), device.authentication.symmetricKey.primaryKey]) {
      await assert.rejects(connect(module, key), { name: 'UnauthorizedError' });
    }
  });

  it('device.ModuleClient.fromSharedAccessSignature, device.ModuleClient.updateSharedAccessSignature, device.ModuleClient.close: a token made beforehand, renewed', { timeout: 60_000 }, async () => {
    const module = await create('signed', 'm');
    const client = ModuleClient.fromSharedAccessSignature(moduleToken(hub.address, module), Mqtt);
    open.add(client);
    await client.open();
    client.onMethod('echo', (request, response) => response.send(200, request.payload, () => {}));
    assert.equal((await echo('signed', 'm', 1)).payload, 1);
    await called((done) => client.updateSharedAccessSignature(moduleToken(hub.address, module, 7_200), done));
    assert.equal((await echo('signed', 'm', 2)).payload, 2);
    await client.close();
    open.delete(client);
  });

  it('device.ModuleClient.setOptions, device.ModuleClient.setTransportOptions, device.ModuleClient.setRetryPolicy: a CA by option, a short keep-alive, no retries', { timeout: 60_000 }, async () => {
    const { authentication } = await create('options-host', 'm');
    const text = `HostName=${hub.address};DeviceId=options-host;ModuleId=m;SharedAccessKey=${authentication.symmetricKey.primaryKey}`;
    const client = ModuleClient.fromConnectionString(text, Mqtt);
    await client.setOptions({ ca: hub.ca(), keepalive: 30 });
    await client.setTransportOptions({ keepalive: 20 });
    client.setRetryPolicy({ shouldRetry: () => false, nextRetryTimeout: () => 0 });
    await client.open();
    await client.sendEvent(new Message('x'));
    await client.close();
  });

  it('jobs reach modules: methods and twins, rows name the module', { timeout: 60_000 }, async () => {
    const client = await connect(await create('job-host', 'm'));
    await registry.addModule({ deviceId: 'job-host', moduleId: 'other' });
    await registry.updateModuleTwin('job-host', 'm', { tags: { set: 'jobs' } }, '*');
    assert.equal((await echo('job-host', 'm', 0)).status, 200);
    const condition = "FROM devices.modules WHERE tags.set = 'jobs'";
    const jobId = newJobId();
    await jobClient.scheduleDeviceMethod(jobId, condition, { methodName: 'echo', payload: { n: 2 }, responseTimeoutInSeconds: 15 }, new Date(), 60);
    const job = await waitForEnd(jobClient, jobId);
    assert.equal(job.status, 'completed');
    assert.deepEqual([job.deviceJobStatistics.deviceCount, job.deviceJobStatistics.succeededCount], [1, 1]);
    const { result: rows } = await registry.createQuery(`SELECT * FROM devices.jobs WHERE devices.jobs.jobId = '${jobId}'`).next();
    assert.deepEqual(rows.map((row) => [row.deviceId, row.moduleId, row.status]), [['job-host', 'm', 'completed']]);
    assert.deepEqual(rows[0].outcome.deviceMethodResponse, { status: 200, payload: { n: 2 } });

    const twinJob = newJobId();
    await jobClient.scheduleTwinUpdate(twinJob, condition, { etag: '*', properties: { desired: { floor: 3 } } });
    assert.equal((await waitForEnd(jobClient, twinJob)).deviceJobStatistics.succeededCount, 1);
    assert.equal((await registry.getModuleTwin('job-host', 'm')).responseBody.properties.desired.floor, 3);
    await client.close();
    open.delete(client);
  });
});
