// The guide's back end, call by call: a device-method job, then a twin-update job over a query, each monitored to
// its end, from a connection string of `registryReadWrite`. compat: JOB, METHOD and TWIN pages under docs/compat.
'use strict';

const assert = require('node:assert/strict');
const { after, before, describe, it } = require('node:test');
const { JobClient, Registry } = require('azure-iothub');
const { Devices } = require('../devices');
const { newJobId, settledRows } = require('../jobs');
const { hub } = require('../link');
const { nextEvent, until } = require('../wait');

const MONITOR_MS = 200;
const MAX_EXECUTION_SECONDS = 300;

describe('the article', () => {
  const ids = ['myDeviceId', 'door-2', 'door-3'];
  let devices, owner, connectionString;
  const doors = [];

  before(async () => {
    owner = Registry.fromConnectionString(await hub.connectionString('iothubowner'));
    connectionString = await hub.connectionString('registryReadWrite');
    devices = new Devices(owner, hub.address);
    const strings = await devices.create(...ids);
    for (const string of strings) {
      // The guide's device answers in the callback form, without a payload.
      doors.push(await devices.connect(string, { methods: { lockDoor: () => [200] } }));
    }
  });
  after(() => devices.closeAll());

  it('JobClient.scheduleDeviceMethod, JobClient.getJob: on one device, to the end', async () => {
    const { accepted, ended } = await scheduleLockDoor(connectionString, "deviceId = 'myDeviceId'");
    assert.equal(accepted.status, 'queued');
    assert.equal(ended.status, 'completed');
    assert.equal(ended.type, 'scheduleDeviceMethod');
    assert.deepEqual(doors.map((door) => door.calls.length), [1, 0, 0]);
    assert.equal(doors[0].calls[0].payload, null, 'the handler sees null');
  });

  it('a method job on many devices completes and every device has its row', async () => {
    const condition = "deviceId IN ['myDeviceId','door-2','door-3']";
    const { ended } = await scheduleLockDoor(connectionString, condition);
    assert.equal(ended.status, 'completed');
    assert.equal(ended.queryCondition, condition);
    assert.equal(ended.maxExecutionTimeInSeconds, MAX_EXECUTION_SECONDS);
    assert.equal(ended.cloudToDeviceMethod.methodName, 'lockDoor');
    assert.equal(ended.cloudToDeviceMethod.payload, null);
    assert.equal(ended.cloudToDeviceMethod.responseTimeoutInSeconds, 15);
    assert.deepEqual(ended.deviceJobStatistics, {
      deviceCount: 3, failedCount: 0, succeededCount: 3, runningCount: 0, pendingCount: 0,
    });
    const rows = await settledRows(Registry.fromConnectionString(connectionString), ended);
    assert.deepEqual([...rows.keys()].sort(), [...ids].sort());
    for (const row of rows.values()) {
      assert.equal(row.status, 'completed');
      assert.equal(row.jobType, 'scheduleDeviceMethod');
      assert.equal(row.outcome.deviceMethodResponse.status, 200);
      assert.equal(row.error, undefined);
    }
  });

  it('JobClient.scheduleTwinUpdate: every device is patched, connected ones are told', async () => {
    const twins = await Promise.all(doors.map((door) => door.getTwin()));
    const told = twins.map((twin) => {
      // Listening subscribes; the event of a change carries the new value.
      const event = nextEvent(twin, 'properties.desired.building');
      return event.then(([building]) => building);
    });
    // The subscription reports nothing to the application: the twin read travels behind it.
    await Promise.all(doors.map((door) => door.getTwin()));

    const twinPatch = { etag: '*', properties: { desired: { building: '43', floor: 3 } } };
    const { accepted, ended } = await scheduleTwinPatch(connectionString, "deviceId IN ['myDeviceId','door-2','door-3']", twinPatch);
    assert.equal(accepted.status, 'queued');
    assert.equal(ended.status, 'completed');
    assert.equal(ended.type, 'scheduleUpdateTwin');
    assert.equal(ended.updateTwin.etag, '*');
    assert.deepEqual(ended.updateTwin.properties, twinPatch.properties);
    assert.equal(ended.deviceJobStatistics.succeededCount, 3);
    const rows = await settledRows(Registry.fromConnectionString(connectionString), ended);
    for (const row of rows.values()) assert.deepEqual(row.outcome, {});

    assert.deepEqual(await Promise.all(told), ['43', '43', '43']);
    for (const deviceId of ids) {
      const { desired } = (await owner.getTwin(deviceId)).responseBody.properties;
      assert.equal(desired.building, '43');
      assert.equal(desired.floor, 3);
      assert.equal(desired.$version, 2, 'one patch, one version');
    }
    await until(() => twins.every((twin) => twin.properties.desired.floor === 3), 'the patch in every device twin');
  });

  it('registryReadWrite runs jobs and reads their rows, but no twins', async () => {
    const query = Registry.fromConnectionString(connectionString).createQuery('SELECT * FROM devices');
    await assert.rejects(query.next(), { name: 'UnauthorizedError' });
  });

  /** Schedules `lockDoor` the way the guide does and monitors the job until it ends. */
  function scheduleLockDoor(policy, queryCondition) {
    const jobClient = JobClient.fromConnectionString(policy);
    const methodJobId = newJobId();
    const methodParams = { methodName: 'lockDoor', payload: null, responseTimeoutInSeconds: 15 };
    return new Promise((resolve, reject) => {
      jobClient.scheduleDeviceMethod(methodJobId, queryCondition, methodParams, new Date(), MAX_EXECUTION_SECONDS, (error, accepted) => {
        if (error) return reject(error);
        monitorJob(jobClient, methodJobId, (failure, ended) => (failure ? reject(failure) : resolve({ accepted, ended })));
      });
    });
  }

  function scheduleTwinPatch(policy, queryCondition, twinPatch) {
    const jobClient = JobClient.fromConnectionString(policy);
    const twinJobId = newJobId();
    return new Promise((resolve, reject) => {
      jobClient.scheduleTwinUpdate(twinJobId, queryCondition, twinPatch, new Date(), MAX_EXECUTION_SECONDS, (error, accepted) => {
        if (error) return reject(error);
        monitorJob(jobClient, twinJobId, (failure, ended) => (failure ? reject(failure) : resolve({ accepted, ended })));
      });
    });
  }

  function monitorJob(jobClient, jobId, callback) {
    const timer = setInterval(() => {
      jobClient.getJob(jobId, (error, job) => {
        if (error) {
          clearInterval(timer);
          callback(error);
        } else if (['completed', 'failed', 'cancelled'].includes(job.status)) {
          clearInterval(timer);
          callback(null, job);
        }
      });
    }, MONITOR_MS);
  }
});
