// Bearer tokens of a real OpenID provider, as the service SDK fetches and sends them: what each role may do, whom the
// hub finds on a job, keys that change, an issuer that is away, and a hub that takes no keys of policies any more.
'use strict';

const assert = require('node:assert/strict');
const { after, before, describe, it } = require('node:test');
const { Client, JobClient, Registry } = require('azure-iothub');
const { Devices } = require('../devices');
const { forgeries } = require('../forgeries');
const { Issuer, fixed } = require('../issuer');
const { newJobId, onDevices, settledRows, waitForEnd } = require('../jobs');
const { hub } = require('../link');
const { connectRaw, disconnect } = require('../raw_mqtt');
const { parts, token } = require('../sas');
const { until } = require('../wait');

const RESOURCE = 'https://iothubs.azure.net';
// The hub asks an issuer for keys that a token names at most every 30 s.
const NEW_KEYS_MS_MAX = 120_000;
const unauthorized = { name: 'UnauthorizedError' };
const issuer = new Issuer('127.0.0.115');
const atIssuer = ['--token-issuer', issuer.url];

/** The three clients of the service SDK with one credential. */
const clients = (credential) => ({
  registry: Registry.fromTokenCredential(hub.address, credential),
  jobClient: JobClient.fromTokenCredential(hub.address, credential),
  service: Client.fromTokenCredential(hub.address, credential),
});
const signedIn = (client) => clients(issuer.credential(client));
/** A token that is nothing but fetched. */
const fetched = async (client) => (await issuer.token(client, RESOURCE)).access_token;
const listWith = (text) => Registry.fromTokenCredential(hub.address, fixed(text)).list();
const isTaken = (text) =>
  listWith(text).then(
    () => true,
    (error) => {
      assert.equal(error.name, 'UnauthorizedError', `${error.stack}`);
      return false;
    },
  );

const call = (payload) => ({ methodName: 'lockDoor', payload, connectTimeoutInSeconds: 15, responseTimeoutInSeconds: 15 });
const answering = { methods: { lockDoor: (request) => [200, request.payload] } };

let contributor;
before(async () => {
  await issuer.start();
  await hub.restart(atIssuer);
  contributor = signedIn('contributor');
  const first = await fetched('contributor');
  await until(() => isTaken(first), 'the keys of the issuer', NEW_KEYS_MS_MAX);
});
after(() => issuer.close());

describe('the article with a token credential', () => {
  const devices = new Devices(undefined, hub.address);
  before(() => (devices.registry = contributor.registry));
  after(() => devices.closeAll());

  it('Registry.fromTokenCredential, Client.fromTokenCredential: a device is made, called and patched', async () => {
    const device = await devices.createConnected('signed-in', answering);
    const { registry, service } = contributor;
    assert.equal((await service.invokeDeviceMethod('signed-in', call('now'))).result.payload, 'now');
    assert.equal(device.calls.length, 1);
    const patch = { tags: { building: '43' }, properties: { desired: { floor: 3 } } };
    assert.equal((await registry.updateTwin('signed-in', patch, '*')).responseBody.tags.building, '43');
    const found = (await registry.createQuery("SELECT * FROM devices WHERE tags.building = '43'").next()).result;
    assert.deepEqual(found.map((twin) => twin.deviceId), ['signed-in']);
    await devices.close(device);
  });

  it('JobClient.fromTokenCredential: a method job and a twin job, which say who made them', async () => {
    const device = await devices.createConnected('on-the-job', answering);
    const { registry, jobClient } = contributor;
    const [locking, patching] = [newJobId(), newJobId()];
    const condition = onDevices('on-the-job');
    await jobClient.scheduleDeviceMethod(locking, condition, call('tonight'), new Date(), 300);
    const patch = { etag: '*', properties: { desired: { building: '43', floor: 3 } } };
    await jobClient.scheduleTwinUpdate(patching, condition, patch, new Date(), 300);
    for (const jobId of [locking, patching]) {
      const job = await waitForEnd(jobClient, jobId);
      assert.equal(job.status, 'completed');
      assert.equal((await settledRows(registry, job)).get('on-the-job').status, 'completed');
      const createdBy = { issuer: issuer.url, subject: 'contributor', app: 'contributor' };
      assert.deepEqual(job.fanfare.createdBy, createdBy);
    }
    const listed = (await jobClient.createQuery('scheduleDeviceMethod', 'completed').next()).result;
    assert.deepEqual(listed.map((job) => job.jobId), [locking]);
    assert.equal(device.calls[0].payload, 'tonight');
    assert.equal((await registry.getTwin('on-the-job')).responseBody.properties.desired.floor, 3);
    await devices.close(device);
  });
});

describe('what each role may do', { concurrency: 4 }, () => {
  const NOBODY = "deviceId = 'nobody'";
  const PATCH = { etag: '*', tags: { a: 1 } };
  const READING = ['read device', 'read twin', 'query twins', 'job rows', 'get job'];
  const WRITING = ['write device', 'write twin', 'schedule', 'call method'];
  const ALLOWED = {
    owner: [...READING, ...WRITING, 'read policies'],
    contributor: [...READING, ...WRITING],
    reader: READING,
    registry: ['read device', 'write device'],
    twins: ['read twin', 'write twin', 'query twins'],
    stranger: [],
    nobody: [],
  };
  const OPERATIONS = {
    'read device': ({ registry }) => registry.get('witness'),
    'write device': ({ registry }) => registry.update({ deviceId: 'witness' }),
    'read twin': ({ registry }) => registry.getTwin('witness'),
    'write twin': ({ registry }) => registry.updateTwin('witness', { tags: { a: 1 } }, '*'),
    'query twins': ({ registry }) => registry.createQuery('SELECT * FROM devices').next(),
    'job rows': ({ registry }) => registry.createQuery('SELECT * FROM devices.jobs').next(),
    'get job': ({ jobClient }) => jobClient.getJob('witness'),
    schedule: ({ jobClient }) => jobClient.scheduleTwinUpdate(newJobId(), NOBODY, PATCH),
    // The device is offline: who may call it hears 404, who may not hears 401.
    'call method': ({ service }) =>
      service.invokeDeviceMethod('witness', { methodName: 'm' }).catch((error) => {
        if (error.response?.statusCode !== 404) throw error;
      }),
    'read policies': async (_, client) => {
      const headers = { Authorization: `Bearer ${await fetched(client)}` };
      const reply = await fetch(`https://${hub.address}/fanfare/v1/policies`, { headers });
      if (reply.status === 401) throw Object.assign(new Error('refused'), unauthorized);
      assert.equal(reply.status, 200);
    },
  };

  before(async () => {
    await contributor.registry.create({ deviceId: 'witness' });
    await contributor.jobClient.scheduleTwinUpdate('witness', NOBODY, PATCH);
  });

  for (const [client, allowed] of Object.entries(ALLOWED)) {
    const names = 'Registry.fromTokenCredential, JobClient.fromTokenCredential, Client.fromTokenCredential';
    it(`${names}${allowed.length ? '' : ', refused'}: what ${client} may`, async () => {
      const own = signedIn(client);
      for (const [name, operation] of Object.entries(OPERATIONS)) {
        if (allowed.includes(name)) await operation(own, client);
        else await assert.rejects(operation(own, client), unauthorized, `${client} may ${name}`);
      }
    });
  }
});

describe('tokens that do not hold', () => {
  it('one for another resource, of the same issuer', async () => {
    const { access_token } = await issuer.token('owner', 'https://elsewhere.test');
    await assert.rejects(listWith(access_token), unauthorized);
    await listWith(await fetched('owner'));
  });

  const { honest, forged } = forgeries(issuer, RESOURCE);
  it('one that is made as the forged ones are, but honestly, is taken', async () => {
    for (const make of Object.values(honest)) await listWith(make());
  });
  for (const [name, make] of Object.entries(forged)) {
    it(`one that ${name}`, () => assert.rejects(listWith(make()), unauthorized));
  }
});

describe('an issuer over time', () => {
  it('changes its keys while the hub runs: tokens of the new ones count, and of the old ones while they are published', async () => {
    const before = await fetched('contributor');
    await issuer.rotate();
    const next = await fetched('contributor');
    await until(() => isTaken(next), 'the new keys', NEW_KEYS_MS_MAX);
    assert.ok(await isTaken(before), 'of the old keys');
    await contributor.registry.get('witness');

    await issuer.rotate({ withdraw: true });
    const last = await fetched('contributor');
    await until(() => isTaken(last), 'the last keys', NEW_KEYS_MS_MAX);
    for (const text of [before, next]) assert.ok(!(await isTaken(text)), 'of keys that are withdrawn');
    // This SDK keeps its token for as long as the token says, whatever it hears.
    await assert.rejects(contributor.registry.get('witness'), unauthorized);
    contributor = signedIn('contributor');
    await contributor.registry.get('witness');
  });

  it('is away: its tokens go on counting, those that the hub knows and others', async () => {
    const known = await fetched('contributor');
    const unknown = await fetched('reader');
    assert.ok(await isTaken(known));
    await issuer.stop();
    assert.ok(await isTaken(known));
    assert.ok(await isTaken(unknown));
    await contributor.registry.get('witness');
  });

  it('is away when the hub starts: the hub serves, and takes its tokens once it is back', async () => {
    const [text, owner] = [await fetchedWhileAway(), await hub.connectionString('iothubowner')];
    await hub.restart();
    assert.ok(!(await isTaken(text)), 'nobody has told the hub the keys');
    await Registry.fromConnectionString(owner).get('witness');
    await issuer.start();
    await until(() => isTaken(text), 'the keys of an issuer that is back', NEW_KEYS_MS_MAX);
    await contributor.registry.get('witness');
  });

  /** A token of an issuer that is away as soon as this returns. */
  async function fetchedWhileAway() {
    await issuer.start();
    const text = await fetched('contributor');
    await issuer.stop();
    return text;
  }
});

describe('a hub without local keys', () => {
  it('takes no connection strings and no tokens of policies; tokens of the issuer, and devices with their own keys', async () => {
    const owner = await hub.connectionString('iothubowner');
    const devicePolicy = parts(await hub.connectionString('device'));
    await hub.restart([...atIssuer, '--disable-local-auth']);
    const first = await fetched('contributor');
    await until(() => isTaken(first), 'the keys of the issuer', NEW_KEYS_MS_MAX);
    await assert.rejects(Registry.fromConnectionString(owner).get('witness'), unauthorized);
    await assert.rejects(JobClient.fromConnectionString(owner).getJob('witness'), unauthorized);

    const devices = new Devices(contributor.registry, hub.address);
    const device = await devices.createConnected('own-key', answering);
    assert.equal((await contributor.service.invokeDeviceMethod('own-key', call('x'))).result.payload, 'x');
    await devices.close(device);

    const [string] = await devices.create('of-a-policy');
    const password = token({ resource: devicePolicy.HostName, key: devicePolicy.SharedAccessKey, policy: 'device' });
    await assert.rejects(connectRaw(string, { password }), { code: 5 });
    await disconnect(await connectRaw(string));
  });
});

describe('a hub that knows no issuer', () => {
  it('Registry.fromTokenCredential, JobClient.fromTokenCredential, refused: no token is any good there', async () => {
    await hub.restart([]);
    for (const client of ['owner', 'contributor']) {
      const { registry, jobClient } = signedIn(client);
      await assert.rejects(registry.get('witness'), unauthorized);
      await assert.rejects(jobClient.getJob('witness'), unauthorized);
    }
    await Registry.fromConnectionString(await hub.connectionString('iothubowner')).get('witness');
  });
});
