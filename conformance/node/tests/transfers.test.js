// Import and export jobs through the SDK's Registry, against a storage account that Azurite plays and folders of
// the hub.
'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { after, before, describe, it } = require('node:test');
const { JobClient, Registry } = require('azure-iothub');
const { Azurite } = require('../azurite');
const { Devices } = require('../devices');
const { hub } = require('../link');
const { called, nextEvent, until } = require('../wait');

// Where `file:` URIs are below.
const BLOBS = path.join(process.env.FANFARE_DATA, 'blobs');
const WRONG_KEY = Buffer.from('not the key of this account').toString('base64');

let registry;
let jobClient;
let devices;
const azurite = new Azurite(hub.address);

before(async () => {
  const connectionString = await hub.connectionString('iothubowner');
  registry = Registry.fromConnectionString(connectionString);
  jobClient = JobClient.fromConnectionString(connectionString);
  devices = new Devices(registry, hub.address);
  await azurite.start();
});
after(async () => {
  azurite.stop();
  await devices.closeAll();
});
process.on('exit', () => azurite.stop());

/** The job's document once it has ended. */
function ended(jobId) {
  let last;
  const probe = async () => {
    last = await registry.getJob(jobId);
    return ['completed', 'failed', 'cancelled'].includes(last.status) && last;
  };
  return until(probe, () => `job ${jobId}: ${JSON.stringify(last)}`, 90_000);
}

/** The JSON lines of a file in a folder of the hub. */
function fileLines(name) {
  return fs.readFileSync(path.join(BLOBS, name), 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line));
}

async function exported(container, excludeKeys) {
  const { jobId } = await registry.exportDevicesToBlob(azurite.uri(container), excludeKeys);
  return ended(jobId);
}

/** `count` devices with about 5 KB of tags each, a hundred a call. */
async function addMany(prefix, count) {
  const tags = { a: 'x'.repeat(2_500), b: 'y'.repeat(2_500) };
  for (let first = 0; first < count; first += 100) {
    const devices = Array.from({ length: 100 }, (_, at) => ({ deviceId: `${prefix}-${first + at}`, tags }));
    const { responseBody } = await registry.addDevices(devices);
    assert.equal(responseBody.isSuccessful, true);
  }
}

describe('import and export jobs', () => {
  it('Registry.exportDevicesToBlob, Registry.getJob, Registry.listJobs: everyone is in the blob', async () => {
    await azurite.createContainer('output');
    await registry.addDevices([{ deviceId: 'one' }, { deviceId: 'two', tags: { site: 'b4' } }]);
    await registry.addModule({ deviceId: 'one', moduleId: 'm' });
    const [accepted] = await called((done) => registry.exportDevicesToBlob(azurite.uri('output'), false, done));
    assert.equal(accepted.type, 'export');
    assert.ok(accepted.jobId);
    const job = await ended(accepted.jobId);
    assert.equal(job.status, 'completed', JSON.stringify(job));
    assert.equal(job.progress, 100);
    assert.match(job.outputBlobContainerUri, /sig=\*\*\*/);
    const lines = await azurite.lines('output', 'devices.txt');
    assert.deepEqual(lines.map(({ id, moduleId }) => [id, moduleId]), [['one', undefined], ['one', 'm'], ['two', undefined]]);
    const { primaryKey } = (await registry.get('one')).responseBody.authentication.symmetricKey;
    assert.equal(lines[0].authentication.symmetricKey.primaryKey, primaryKey);
    assert.deepEqual(lines[2].tags, { site: 'b4' });

    const { responseBody: listed } = await registry.listJobs();
    assert.deepEqual(listed.map(({ jobId }) => jobId), [accepted.jobId]);
    const seen = (await jobClient.getJob(accepted.jobId)).jobStatus;
    assert.deepEqual(seen, { jobId: accepted.jobId, type: 'unknown', status: 'unknown' });

    assert.equal((await exported('output', true)).excludeKeysInExport, true);
    assert.ok(!(await azurite.text('output', 'devices.txt')).includes(primaryKey));
  });

  it('Registry.importDevicesFromBlob: lines are done, bad ones are in importErrors.log', async () => {
    await azurite.createContainer('input');
    const lines = [
      { id: 'imported', importMode: 'create', tags: { ring: 1 } },
      { id: 'imported', moduleId: 'm' },
      { id: 'two', importMode: 'create' },
      { id: 'one', importMode: 'delete' },
    ];
    await azurite.put('input', 'devices.txt', `${lines.map((line) => JSON.stringify(line)).join('\n')}\nnonsense\n`);
    const [accepted] = await called((done) => registry.importDevicesFromBlob(azurite.uri('input'), azurite.uri('input'), done));
    const job = await ended(accepted.jobId);
    assert.equal(job.status, 'completed', JSON.stringify(job));
    const errors = await azurite.lines('input', 'importErrors.log');
    assert.deepEqual(errors.map(({ errorCode }) => errorCode), [409001, 400012]);
    assert.deepEqual((await registry.getTwin('imported')).responseBody.tags, { ring: 1 });
    assert.equal((await registry.getModule('imported', 'm')).responseBody.moduleId, 'm');
    await assert.rejects(registry.get('one'), { name: 'DeviceNotFoundError' });
  });

  it('Registry.importDevicesFromBlob, Registry.getJob: a connected device hears at once of its desired properties', async () => {
    const client = await devices.createConnected('listener');
    await registry.updateTwin('listener', { properties: { desired: { kept: 1 } } }, '*');
    const twin = await client.getTwin();
    const heard = [];
    twin.on('properties.desired', (delta) => heard.push(delta));
    await client.getTwin();
    heard.length = 0;
    const changed = nextEvent(twin, 'properties.desired.floor');
    fs.mkdirSync(path.join(BLOBS, 'lines'), { recursive: true });
    const { primaryKey, secondaryKey } = (await registry.get('listener')).responseBody.authentication.symmetricKey;
    const line = { id: 'listener', authentication: { symmetricKey: { primaryKey, secondaryKey } }, properties: { desired: { floor: 3 } } };
    fs.writeFileSync(path.join(BLOBS, 'lines/devices.txt'), JSON.stringify(line));
    const { jobId } = await registry.importDevicesFromBlob('file:lines', 'file:lines');
    assert.equal((await ended(jobId)).status, 'completed');
    await changed;
    // The patch alone: a device that was left behind would get the whole section later.
    assert.deepEqual(heard, [{ floor: 3, $version: 3 }]);
    await devices.close(client);
  });

  it('Registry.exportDevicesToBlobByIdentity, Registry.importDevicesFromBlobByIdentity: folders of the hub need nothing but its own rights', async () => {
    const before = (await registry.get('imported')).responseBody;
    const [accepted] = await called((done) => registry.exportDevicesToBlobByIdentity('file:own', false, done));
    assert.equal(accepted.storageAuthenticationType, 'identityBased');
    const out = await ended(accepted.jobId);
    assert.equal(out.status, 'completed', JSON.stringify(out));
    assert.deepEqual(fileLines('own/devices.txt').filter(({ id }) => id === 'imported').map(({ moduleId }) => moduleId), [undefined, 'm']);

    await registry.delete('imported');
    const back = await registry.importDevicesFromBlobByIdentity('file:own', 'file:own-log');
    const done = await ended(back.jobId);
    assert.equal(done.status, 'completed', JSON.stringify(done));
    assert.equal(done.storageAuthenticationType, 'identityBased');
    assert.deepEqual(fileLines('own-log/importErrors.log'), []);
    const after = (await registry.get('imported')).responseBody;
    assert.notEqual(after.generationId, before.generationId);
    assert.deepEqual(after.authentication, before.authentication);
    assert.equal((await registry.getModule('imported', 'm')).responseBody.moduleId, 'm');
  });

  it('Registry.exportDevicesToBlobByIdentity, Registry.importDevicesFromBlobByIdentity, refused: the hub has no identity in another cloud', async () => {
    const jobs = (await registry.listJobs()).responseBody.length;
    const [bare] = azurite.uri('output').split('?');
    const unsigned = { name: 'ArgumentError', message: /no signature/ };
    await assert.rejects(registry.exportDevicesToBlobByIdentity(bare, false), unsigned);
    await assert.rejects(registry.importDevicesFromBlobByIdentity(bare, 'file:own-log'), unsigned);
    const foreign = { name: 'ArgumentError', message: /userAssignedIdentity/ };
    await assert.rejects(registry.exportDevicesToBlobByIdentity('file:own', false, '/identities/me'), foreign);
    await assert.rejects(registry.importDevicesFromBlobByIdentity('file:own', 'file:own-log', '/identities/me'), foreign);
    assert.equal((await registry.listJobs()).responseBody.length, jobs);
  });

  it('blobs of many parts go out and come in, also through a kill', async () => {
    await azurite.createContainer('large');
    await addMany('many', 2_000);
    const accepted = await registry.exportDevicesToBlob(azurite.uri('large'), false);
    await hub.kill9();
    await hub.start();
    const job = await ended(accepted.jobId);
    assert.equal(job.status, 'completed', JSON.stringify(job));
    const text = await azurite.text('large', 'devices.txt');
    assert.ok(text.length > 8 * 1024 * 1024, `${text.length} bytes are one part`);
    const many = text.split('\n').filter((line) => line.startsWith('{"id":"many-'));
    assert.equal(many.length, 2_000);

    await registry.removeDevices(Array.from({ length: 100 }, (_, at) => ({ deviceId: `many-${at}` })), true);
    const back = await registry.importDevicesFromBlob(azurite.uri('large'), azurite.uri('large'));
    assert.equal((await ended(back.jobId)).status, 'completed');
    assert.equal(await azurite.text('large', 'importErrors.log'), '');
    assert.equal((await registry.getTwin('many-7')).responseBody.tags.a.length, 2_500);
  });

  it('Registry.cancelJob: a job that waits for its storage account ends at once', async () => {
    const silent = net.createServer();
    const connected = nextEvent(silent, 'connection');
    await new Promise((resolve) => silent.listen(0, hub.address, resolve));
    const uri = `http://${hub.address}:${silent.address().port}/account/container?sig=x`;
    const { jobId } = await registry.exportDevicesToBlob(uri, false);
    const [socket] = await connected;
    assert.equal((await registry.getJob(jobId)).status, 'running');
    await assert.rejects(registry.exportDevicesToBlob(azurite.uri('output'), false), { name: 'TooManyDevicesError', message: /active/ });
    await registry.cancelJob(jobId);
    assert.equal((await registry.getJob(jobId)).status, 'cancelled');
    socket.destroy();
    silent.close();
  });

  it('Registry.exportDevicesToBlob, Registry.importDevicesFromBlob, Registry.getJob, Registry.cancelJob, refused: each says why', async () => {
    const forged = azurite.uri('output', WRONG_KEY);
    const { jobId } = await registry.exportDevicesToBlob(forged, false);
    const job = await ended(jobId);
    assert.equal(job.status, 'failed');
    assert.match(job.failureReason, /devices\.txt in http:/);
    const signature = new URL(forged).searchParams.get('sig');
    for (const spelled of [signature, encodeURIComponent(signature)]) assert.ok(!JSON.stringify(job).includes(spelled), JSON.stringify(job));

    const absent = await registry.importDevicesFromBlob(azurite.uri('nowhere'), azurite.uri('output'));
    assert.match((await ended(absent.jobId)).failureReason, /does not exist/);
    await assert.rejects(registry.exportDevicesToBlob('https://example.com/a/b', false), { name: 'ArgumentError' });
    await assert.rejects(registry.importDevicesFromBlob('ftp://x', azurite.uri('output')), { name: 'ArgumentError' });
    await assert.rejects(registry.getJob('nothing'), /Not found/);
    await assert.rejects(registry.cancelJob('nothing'), /Not found/);
    await assert.rejects(registry.cancelJob(job.jobId), /has ended/);
  });
});
