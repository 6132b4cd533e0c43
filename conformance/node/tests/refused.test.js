// What the hub refuses and how: taken ids, bad conditions and fields, bad tokens, and what each policy may do.
'use strict';

const assert = require('node:assert/strict');
const { before, describe, it } = require('node:test');
const { Client, JobClient, Registry } = require('azure-iothub');
const { newJobId, waitForEnd } = require('../jobs');
const { hub } = require('../link');
const { parts, serviceToken } = require('../sas');

const NOBODY = "deviceId = 'nobody-here'";
const PATCH = { etag: '*', tags: { a: 1 } };
let owner, client;

before(async () => {
  owner = await hub.connectionString('iothubowner');
  client = JobClient.fromConnectionString(owner);
});

/** Rejected with this SDK error, this HTTP status and this error code in the body and the header. */
function refusedAs(name, status, code) {
  return (error) => {
    const got = `${error.name}, ${error.response?.statusCode}: ${error.responseBody ?? error.stack}`;
    assert.ok(error.name === name && error.response?.statusCode === status, `wanted ${name}, ${status}; got ${got}`);
    const body = JSON.parse(error.responseBody);
    assert.match(body.Message, new RegExp(`^ErrorCode:${code};.+`));
    assert.match(body.ExceptionMessage, /^Tracking ID:.+-TimeStamp:/);
    assert.equal(error.response.headers['iothub-errorcode'], code);
    return true;
  };
}

describe('a taken job id', () => {
  it('the same request again within two minutes answers the current document', async () => {
    const jobId = newJobId();
    await client.scheduleTwinUpdate(jobId, NOBODY, PATCH);
    await waitForEnd(client, jobId);
    const { jobStatus, response } = await client.scheduleTwinUpdate(jobId, NOBODY, PATCH);
    assert.equal(response.statusCode, 200);
    assert.equal(jobStatus.jobId, jobId);
    assert.equal(jobStatus.status, 'completed');
  });

  it('JobClient.scheduleTwinUpdate, JobClient.scheduleDeviceMethod, refused: another request under the id is a conflict', async () => {
    const jobId = newJobId();
    await client.scheduleTwinUpdate(jobId, NOBODY, PATCH);
    const conflict = refusedAs('DeviceAlreadyExistsError', 409, 'JobAlreadyExists');
    await assert.rejects(client.scheduleTwinUpdate(jobId, NOBODY, { etag: '*', tags: { a: 2 } }), conflict);
    await assert.rejects(client.scheduleTwinUpdate(jobId, '*', PATCH), conflict);
    await assert.rejects(client.scheduleDeviceMethod(jobId, NOBODY, { methodName: 'm' }), conflict);
    assert.deepEqual((await waitForEnd(client, jobId)).updateTwin, PATCH, 'the first one is untouched');
  });
});

describe('a bad condition', () => {
  const conditions = [
    'tags.a =',
    "deviceId = 'unfinished",
    'SELECT * FROM devices',
    "deviceId IN ('round')",
    'tags.a = 1 tags.b = 2',
    'NO_SUCH_FUNCTION(tags.a)',
    '(tags.a = 1',
    'tags.a = ~1',
  ];
  for (const condition of conditions) {
    it(`${condition} is refused at PUT`, async () => {
      const jobId = newJobId();
      await assert.rejects(client.scheduleTwinUpdate(jobId, condition, PATCH), refusedAs('ArgumentError', 400, 'ArgumentInvalid'));
      await assert.rejects(client.getJob(jobId), (error) => error.response.statusCode === 404);
    });
  }
});

describe('a bad request', () => {
  it('ids: 64 characters of letters, digits and dashes', async () => {
    const longest = 'j'.repeat(64);
    assert.equal((await client.scheduleTwinUpdate(longest, NOBODY, PATCH)).jobStatus.jobId, longest);
    for (const jobId of ['under_score', 'a b', 'dot.dot', 'ü', 'j'.repeat(65)]) {
      await assert.rejects(client.scheduleTwinUpdate(jobId, NOBODY, PATCH), refusedAs('ArgumentError', 400, 'ArgumentInvalid'));
    }
  });

  it('a negative or broken execution time', async () => {
    for (const seconds of [-1, 1.5]) {
      await assert.rejects(client.scheduleTwinUpdate(newJobId(), NOBODY, PATCH, new Date(), seconds), refusedAs('ArgumentError', 400, 'ArgumentInvalid'));
    }
  });

  it('a twin patch with an etag other than *', async () => {
    const patch = { etag: 'AAAAAAAAAAE=', tags: { a: 1 } };
    await assert.rejects(client.scheduleTwinUpdate(newJobId(), NOBODY, patch), refusedAs('InvalidEtagError', 412, 'PreconditionFailed'));
  });

  it('an unknown job type, a missing condition, a missing version, no token', async () => {
    const put = (body, { version = '?api-version=2021-04-12', token = serviceToken(owner) } = {}) =>
      fetch(`https://${hub.address}/jobs/v2/${newJobId()}${version}`, {
        method: 'PUT',
        headers: { 'Content-Type': 'application/json; charset=utf-8', ...(token && { Authorization: token }) },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      });
    const good = { type: 'scheduleUpdateTwin', updateTwin: PATCH, queryCondition: NOBODY };
    assert.equal((await put(good)).status, 200);
    assert.equal((await put({ ...good, type: 'scheduleDirectRequest' })).status, 400);
    assert.equal((await put({ ...good, queryCondition: '' })).status, 400);
    assert.equal((await put({ ...good, queryCondition: undefined })).status, 400);
    assert.equal((await put({ ...good, jobId: 'another' })).status, 400);
    assert.equal((await put('{"type":')).status, 400);
    const unversioned = await put(good, { version: '' });
    assert.equal(unversioned.status, 400);
    assert.equal(unversioned.headers.get('iothub-errorcode'), 'InvalidProtocolVersion');
    assert.equal((await put(good, { token: '' })).status, 401);
  });

  it('JobClient.getJob, refused: an unknown job is a plain "Not found" with JobNotFound in its body', async () => {
    await assert.rejects(client.getJob('never-scheduled'), refusedAs('Error', 404, 'JobNotFound'));
  });
});

describe('a bad token', () => {
  const unauthorized = refusedAs('UnauthorizedError', 401, 'IotHubUnauthorizedAccess');
  const list = (token) => JobClient.fromSharedAccessSignature(token).createQuery().next();
  const otherKey = Buffer.alloc(32, 7).toString('base64');

  it('a good one passes, also one that ended within the clock skew', async () => {
    await list(serviceToken(owner));
    await list(serviceToken(owner, { seconds: -100 }));
  });
  it('a signature with another key', () => assert.rejects(list(serviceToken(owner, { key: otherKey })), unauthorized));
  it('an expired one', () => assert.rejects(list(serviceToken(owner, { seconds: -400 })), unauthorized));
  it('an unknown policy', () => assert.rejects(list(serviceToken(owner, { policy: 'nobody' })), unauthorized));
  it('the key of another policy', async () => {
    const { SharedAccessKey: key } = parts(await hub.connectionString('device'));
    await assert.rejects(list(serviceToken(owner, { key })), unauthorized);
  });
  it('text that is no token', () => assert.rejects(list(`${serviceToken(owner).replace(/sig=[^&]*/, 'sig=%zz')}`), unauthorized));
});

describe('what each policy may do', () => {
  const jobs = ['schedule', 'cancel'];
  const reading = ['get job', 'list jobs', 'job rows'];
  const ALLOWED = {
    iothubowner: [...jobs, ...reading, 'read device', 'write device', 'read twin', 'write twin', 'query twins', 'call method'],
    service: [...jobs, ...reading, 'read twin', 'write twin', 'query twins', 'call method'],
    registryReadWrite: [...jobs, ...reading, 'read device', 'write device'],
    registryRead: [...reading, 'read device'],
    device: [],
  };
  const OPERATIONS = {
    schedule: ({ jobClient }) => jobClient.scheduleTwinUpdate(newJobId(), NOBODY, PATCH),
    cancel: async ({ jobClient }) => {
      const jobId = newJobId();
      await client.scheduleTwinUpdate(jobId, NOBODY, PATCH, new Date(Date.now() + 3_600_000), 60);
      await jobClient.cancelJob(jobId);
    },
    'get job': ({ jobClient }) => jobClient.getJob('policy-witness'),
    'list jobs': ({ jobClient }) => jobClient.createQuery().next(),
    'job rows': ({ registry }) => registry.createQuery('SELECT * FROM devices.jobs').next(),
    'read device': ({ registry }) => registry.get('policy-witness'),
    'write device': ({ registry }) => registry.update({ deviceId: 'policy-witness' }),
    'read twin': ({ registry }) => registry.getTwin('policy-witness'),
    'write twin': ({ registry }) => registry.updateTwin('policy-witness', { tags: { a: 1 } }, '*'),
    'query twins': ({ registry }) => registry.createQuery('SELECT * FROM devices').next(),
    // The device is offline: who may call it hears 404, who may not hears 401.
    'call method': ({ service }) =>
      service.invokeDeviceMethod('policy-witness', { methodName: 'm' }).catch((error) => {
        if (error.response?.statusCode !== 404) throw error;
      }),
  };

  before(async () => {
    await Registry.fromConnectionString(owner).create({ deviceId: 'policy-witness' });
    await client.scheduleTwinUpdate('policy-witness', NOBODY, PATCH);
  });

  for (const [policy, allowed] of Object.entries(ALLOWED)) {
    it(policy, { timeout: 60_000 }, async () => {
      const text = await hub.connectionString(policy);
      const clients = {
        jobClient: JobClient.fromConnectionString(text),
        registry: Registry.fromConnectionString(text),
        service: Client.fromConnectionString(text),
      };
      const unauthorized = refusedAs('UnauthorizedError', 401, 'IotHubUnauthorizedAccess');
      for (const [name, operation] of Object.entries(OPERATIONS)) {
        if (allowed.includes(name)) await operation(clients);
        else await assert.rejects(operation(clients), unauthorized, `${policy} may ${name}`);
      }
    });
  }
});
