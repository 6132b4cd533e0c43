// Makes every call of the service SDK's JobClient, Registry, Query, Twin and Client.invokeDeviceMethod once, through
// a proxy that keeps the requests: the client library's test suite (crates/cli/tests/client) makes the matching calls
// and compares. Before each call the proxy hears its name (`POST /record/NAME`), which it does not pass on.
//
//   FANFARE_CONNECTION_STRING   policy with every right; its HostName is where the proxy listens, on port 443
//   NODE_EXTRA_CA_CERTS         the proxy's authority
//   FANFARE_SCENE               JSON: names, ids and documents that both sides use
'use strict';

const assert = require('node:assert/strict');
const https = require('node:https');
const { Client, JobClient, Registry } = require('azure-iothub');
const { surface } = require('./surface');
const { parts, serviceToken } = require('./sas');

const connectionString = process.env.FANFARE_CONNECTION_STRING;
const scene = JSON.parse(process.env.FANFARE_SCENE);
const host = parts(connectionString).HostName;

const jobs = JobClient.fromConnectionString(connectionString);
const registry = Registry.fromConnectionString(connectionString);
const service = Client.fromConnectionString(connectionString);
const recorded = new Set();

/** Tells the proxy that the requests from now on belong to `name`. */
function label(name) {
  return new Promise((resolve, reject) => {
    const options = { host, port: 443, method: 'POST', path: `/record/${encodeURIComponent(name)}`, agent: false };
    https.request(options, (response) => response.resume().on('end', resolve)).on('error', reject).end();
  });
}

/** Makes one call under a name. `NAME: in words` is the same method used in another way. */
async function record(name, call) {
  await label(name);
  recorded.add(name.split(':')[0]);
  try {
    return await call();
  } catch (error) {
    throw new Error(`${name}: ${error.message} ${error.responseBody ?? ''}`);
  }
}

/** Makes a request that is no part of the record: what another call needs to know. */
async function aside(call) {
  await label('');
  return call();
}

/** Drains a paged query. */
async function pages(query, next = 'next') {
  while (query.hasMoreResults) await query[next]();
}

async function jobCalls() {
  const { method, patch, start, window } = scene;
  const none = "deviceId = 'nobody'";
  await record('JobClient.scheduleDeviceMethod', () => jobs.scheduleDeviceMethod('job-m', none, method));
  await record('JobClient.scheduleDeviceMethod: at a time', () =>
    jobs.scheduleDeviceMethod('job-m-late', none, method, new Date(start), window));
  await record('JobClient.scheduleTwinUpdate', () => jobs.scheduleTwinUpdate('job-t', none, patch));
  await record('JobClient.scheduleTwinUpdate: at a time', () =>
    jobs.scheduleTwinUpdate('job-t-late', none, patch, new Date(start), window));
  await record('JobClient.getJob', () => jobs.getJob('job-m'));
  await record('JobClient.cancelJob', () => jobs.cancelJob('job-m-late'));
  await record('JobClient.createQuery', () => pages(jobs.createQuery()));
  await record('JobClient.createQuery: filtered, in pages', () =>
    pages(jobs.createQuery('scheduleUpdateTwin', 'scheduled', 1)));
}

async function deviceCalls() {
  const { id, device, key } = scene;
  await record('Registry.create', () => registry.create({ deviceId: id }));
  await record('Registry.create: with keys', () => registry.create(device));
  await record('Registry.get', () => registry.get(id));
  await record('Registry.update', () => registry.update({ deviceId: id, status: 'disabled', statusReason: 'tested' }));
  await record('Registry.list', () => registry.list());
  const many = ['b-1', 'b-2'].map((deviceId) => ({ deviceId }));
  const made = (await record('Registry.addDevices', () => registry.addDevices(many))).responseBody;
  assert.equal(made.isSuccessful, true);
  const authentication = { type: 'sas', symmetricKey: { primaryKey: key, secondaryKey: key } };
  const keyed = many.map((entry) => ({ ...entry, authentication }));
  await record('Registry.updateDevices', () => registry.updateDevices(keyed, true));
  const entry = (await aside(() => registry.get('b-1'))).responseBody;
  const marked = [{ deviceId: 'b-1', authentication, etag: entry.etag }];
  await record('Registry.updateDevices: with an etag', () => registry.updateDevices(marked, false));
  await record('Registry.removeDevices', () => registry.removeDevices([{ deviceId: 'b-1' }], true));
  const last = (await aside(() => registry.get('b-2'))).responseBody;
  await record('Registry.removeDevices: with an etag', () =>
    registry.removeDevices([{ deviceId: 'b-2', etag: last.etag }], false));
  await record('Registry.delete', () => registry.delete(id));
  await record('Registry.getRegistryStatistics', () => registry.getRegistryStatistics());
}

async function moduleCalls() {
  const deviceId = scene.device.deviceId;
  await record('Registry.addModule', () => registry.addModule({ deviceId, moduleId: 'm#1' }));
  await record('Registry.getModulesOnDevice', () => registry.getModulesOnDevice(deviceId));
  const module = (await record('Registry.getModule', () => registry.getModule(deviceId, 'm#1'))).responseBody;
  const { authentication } = scene.device;
  const changed = { deviceId, moduleId: 'm#1', authentication };
  await record('Registry.updateModule', () => registry.updateModule(changed, true));
  const again = (await aside(() => registry.getModule(deviceId, module.moduleId))).responseBody;
  await record('Registry.updateModule: with an etag', () => registry.updateModule({ ...changed, etag: again.etag }));
  await record('Registry.getModuleTwin', () => registry.getModuleTwin(deviceId, 'm#1'));
  await record('Registry.updateModuleTwin', () => registry.updateModuleTwin(deviceId, 'm#1', scene.patch, '*'));
  await record('Registry.removeModule', () => registry.removeModule(deviceId, 'm#1'));
}

async function twinCalls() {
  const { patch, device: { deviceId } } = scene;
  const twin = (await record('Registry.getTwin', () => registry.getTwin(deviceId))).responseBody;
  await record('Registry.updateTwin', () => registry.updateTwin(deviceId, patch, '*'));
  const { etag } = (await aside(() => registry.getTwin(deviceId))).responseBody;
  const changed = await record('Registry.updateTwin: with an etag', () => registry.updateTwin(deviceId, patch, etag));
  await record('Twin.get', () => twin.get());
  await record('Twin.update', () => changed.responseBody.update(patch));
  await record('Registry.createQuery', () => pages(registry.createQuery(scene.query)));
  await record('Registry.createQuery: in pages', () => pages(registry.createQuery(scene.query, 2), 'nextAsTwin'));
}

async function configurationCalls() {
  const { configuration, device: { deviceId } } = scene;
  await record('Registry.addConfiguration', () => registry.addConfiguration({ ...configuration }));
  await record('Registry.getConfiguration', () => registry.getConfiguration(configuration.id));
  await record('Registry.getConfigurations', () => registry.getConfigurations());
  await record('Registry.updateConfiguration', () => registry.updateConfiguration({ ...configuration, priority: 3 }, true));
  const { etag } = (await aside(() => registry.getConfiguration(configuration.id))).responseBody;
  await record('Registry.updateConfiguration: with an etag', () =>
    registry.updateConfiguration({ ...configuration, priority: 4, etag }));
  await record('Registry.removeConfiguration', () => registry.removeConfiguration(configuration.id));
  await record('Registry.applyConfigurationContentOnDevice', () =>
    registry.applyConfigurationContentOnDevice(deviceId, configuration.content));
}

async function transferCalls() {
  const [into, from] = scene.containers;
  const end = async ({ jobId }) => {
    await label('');
    for (;;) {
      const { status } = await registry.getJob(jobId);
      if (['completed', 'failed', 'cancelled'].includes(status)) return jobId;
    }
  };
  const done = await record('Registry.exportDevicesToBlob', () => registry.exportDevicesToBlob(into, true)).then(end);
  await record('Registry.exportDevicesToBlobByIdentity', () => registry.exportDevicesToBlobByIdentity(into, false)).then(end);
  await record('Registry.importDevicesFromBlob', () => registry.importDevicesFromBlob(from, into)).then(end);
  await record('Registry.importDevicesFromBlobByIdentity', () => registry.importDevicesFromBlobByIdentity(from, into)).then(end);
  // An identity of another cloud is refused, which is not this script's affair.
  const id = scene.identity;
  await record('Registry.importDevicesFromBlobByIdentity: of a user', () =>
    registry.importDevicesFromBlobByIdentity(from, into, id).catch(() => {}));
  await record('Registry.exportDevicesToBlobByIdentity: of a user', () =>
    registry.exportDevicesToBlobByIdentity(into, true, id).catch(() => {}));
  await record('Registry.listJobs', () => registry.listJobs());
  await record('Registry.getJob', () => registry.getJob(done));
  // The job has ended: what the hub says to that is not this script's affair.
  await record('Registry.cancelJob', () => registry.cancelJob(done).catch(() => {}));
}

async function methodCalls() {
  const { online } = scene;
  const moduleId = scene.onlineModule;
  await record('Client.invokeDeviceMethod', () => service.invokeDeviceMethod(online, { ...scene.method }));
  await record('Client.invokeDeviceMethod: with time-outs', () =>
    service.invokeDeviceMethod(online, { ...scene.method, responseTimeoutInSeconds: 12, connectTimeoutInSeconds: 7 }));
  // No module is connected: the refusal is the answer.
  await record('Client.invokeDeviceMethod: of a module', () =>
    service.invokeDeviceMethod(online, moduleId, { ...scene.method }).catch(() => {}));
}

async function otherWaysIn() {
  const token = serviceToken(connectionString);
  await record('JobClient.fromConnectionString', () => JobClient.fromConnectionString(connectionString).getJob('job-m'));
  await record('JobClient.fromSharedAccessSignature', () => JobClient.fromSharedAccessSignature(token).getJob('job-m'));
  await record('Registry.fromConnectionString', () => Registry.fromConnectionString(connectionString).list());
  await record('Registry.fromSharedAccessSignature', () => Registry.fromSharedAccessSignature(token).list());
  const credential = { getToken: async () => ({ token: scene.bearer, expiresOnTimestamp: Date.now() + 3_600_000 }) };
  // Whether the hub believes the token is not this script's affair.
  await record('JobClient.fromTokenCredential', () =>
    JobClient.fromTokenCredential(host, credential).getJob('job-m').catch(() => {}));
  await record('Registry.fromTokenCredential', () => Registry.fromTokenCredential(host, credential).list().catch(() => {}));
}

/** Every public method was called: a new version of the SDK that brings another fails here. */
function assertNoneMissing() {
  const offered = surface()['azure-iothub'];
  const wanted = ['JobClient', 'Registry'].flatMap((type) => offered[type].map((method) => `${type}.${method}`));
  const missing = wanted.filter((name) => !recorded.has(name));
  assert.deepEqual(missing, [], `not recorded: ${missing.join(' ')}`);
}

async function main() {
  await jobCalls();
  await deviceCalls();
  await moduleCalls();
  await twinCalls();
  await configurationCalls();
  await transferCalls();
  await methodCalls();
  await otherWaysIn();
  assertNoneMissing();
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error.stack);
    process.exit(1);
  },
);
