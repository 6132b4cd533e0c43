// Configurations: kept and echoed as sent, applied to the twins they target, and given up when they go.
'use strict';

const assert = require('node:assert/strict');
const { before, describe, it } = require('node:test');
const { Registry } = require('azure-iothub');
const { hub } = require('../link');
const { called, until } = require('../wait');

let registry;
before(async () => {
  registry = Registry.fromConnectionString(await hub.connectionString('iothubowner'));
});

const deviceContent = (floor) => ({ 'properties.desired.place': { floor, rooms: [1, 2] } });
const configuration = (id, more = {}) => ({
  id,
  schemaVersion: '1.0',
  labels: { made: 'here' },
  content: { deviceContent: deviceContent(3) },
  targetCondition: `tags.group='${id}'`,
  priority: 10,
  metrics: { queries: { all: 'SELECT deviceId FROM devices' } },
  ...more,
});
const failsWith = (status, code) => (error) => {
  assert.equal(error.response.statusCode, status);
  assert.match(error.responseBody, new RegExp(`ErrorCode:${code};`));
  return true;
};
const desired = async (deviceId) => (await registry.getTwin(deviceId)).responseBody.properties.desired;
async function createIn(group, deviceId) {
  await registry.create({ deviceId });
  await registry.updateTwin(deviceId, { tags: { group } }, '*');
}

describe('one configuration', { concurrency: 4 }, () => {
  it('Registry.addConfiguration, Registry.getConfiguration, Registry.updateConfiguration, Registry.removeConfiguration: it comes, changes and goes', async () => {
    const sent = configuration('kept');
    const [made] = await called((done) => registry.addConfiguration(sent, done));
    assert.ok(made.etag && made.createdTimeUtc && made.lastUpdatedTimeUtc);
    const read = (await registry.getConfiguration('kept')).responseBody;
    assert.deepEqual(read.content.deviceContent, sent.content.deviceContent);
    assert.deepEqual([read.id, read.labels, read.priority, read.targetCondition], [sent.id, sent.labels, sent.priority, sent.targetCondition]);
    assert.deepEqual(read.metrics.queries, sent.metrics.queries);

    const changed = (await registry.updateConfiguration({ ...read, priority: 20 })).responseBody;
    assert.equal(changed.priority, 20);
    assert.notEqual(changed.etag, read.etag);
    assert.equal((await registry.updateConfiguration({ ...read, priority: 30 }, true)).responseBody.priority, 30);
    await registry.removeConfiguration('kept');
    await assert.rejects(registry.getConfiguration('kept'), failsWith(404, 'ConfigurationNotFound'));
  });

  it('Registry.addConfiguration, Registry.getConfiguration, Registry.updateConfiguration, Registry.removeConfiguration, refused: taken, missing, malformed, another etag', async () => {
    const first = (await registry.addConfiguration(configuration('guarded'))).responseBody;
    await assert.rejects(registry.addConfiguration(configuration('guarded')), failsWith(409, 'ConfigurationAlreadyExists'));
    await registry.updateConfiguration({ ...first, priority: 11 });
    await assert.rejects(registry.updateConfiguration({ ...first, priority: 12 }), { name: 'InvalidEtagError' });
    await assert.rejects(registry.updateConfiguration(configuration('absent'), true), failsWith(404, 'ConfigurationNotFound'));
    await assert.rejects(registry.removeConfiguration('absent'), failsWith(404, 'ConfigurationNotFound'));
    await assert.rejects(registry.addConfiguration(configuration('bad-target', { targetCondition: 'tags.a =' })), { name: 'ArgumentError' });
    await assert.rejects(registry.addConfiguration(configuration('Bad Id')), { name: 'ArgumentError' });
    assert.equal((await registry.getConfiguration('guarded')).responseBody.priority, 11);
  });

  it('Registry.getConfigurations: all of them', async () => {
    await registry.addConfiguration(configuration('listed', { targetCondition: '' }));
    const { responseBody } = await registry.getConfigurations();
    assert.ok(responseBody.some((found) => found.id === 'listed'));
  });
});

describe('applied', { concurrency: 4 }, () => {
  it('to every device that matches, by priority, and given up when it goes', { timeout: 90_000 }, async () => {
    await createIn('low', 'target-1');
    await registry.addConfiguration(configuration('low'));
    await until(async () => (await desired('target-1')).place?.floor === 3, 'the configuration on a device that was there');
    await createIn('low', 'target-2');
    await until(async () => (await desired('target-2')).place?.floor === 3, 'the configuration on a device that came later');

    await registry.addConfiguration(configuration('high', { targetCondition: "tags.group='low'", priority: 99, content: { deviceContent: deviceContent(7) } }));
    await until(async () => (await desired('target-1')).place?.floor === 7, 'the higher priority');
    await until(async () => {
      const { systemMetrics } = (await registry.getConfiguration('high')).responseBody;
      return systemMetrics.results.targetedCount === 2 && systemMetrics.results.appliedCount === 2;
    }, 'the counts of the configuration');
    await registry.removeConfiguration('high');
    await until(async () => (await desired('target-1')).place?.floor === 3, 'the lower priority again');
    await registry.removeConfiguration('low');
    await until(async () => (await desired('target-1')).place === undefined, 'nothing any more');
  });

  it('Registry.applyConfigurationContentOnDevice: modules of an edge device get theirs at once', async () => {
    await registry.create({ deviceId: 'edge-apply', capabilities: { iotEdge: true } });
    const modulesContent = {
      $edgeAgent: { 'properties.desired': { schemaVersion: '1.0', modules: {} } },
      $edgeHub: { 'properties.desired': { routes: {} } },
    };
    const { httpResponse } = await registry.applyConfigurationContentOnDevice('edge-apply', { modulesContent });
    assert.equal(httpResponse.statusCode, 204);
    const twin = (await registry.getModuleTwin('edge-apply', '$edgeAgent')).responseBody;
    assert.equal(twin.properties.desired.schemaVersion, '1.0');
  });

  it('Registry.applyConfigurationContentOnDevice, refused: an unknown device, content of no meaning', async () => {
    const content = { modulesContent: { $edgeAgent: { 'properties.desired': { a: 1 } } } };
    await assert.rejects(registry.applyConfigurationContentOnDevice('nobody', content), { name: 'DeviceNotFoundError' });
    await registry.create({ deviceId: 'edge-refused', capabilities: { iotEdge: true } });
    await assert.rejects(registry.applyConfigurationContentOnDevice('edge-refused', { modulesContent: 'text' }), { name: 'ArgumentError' });
  });
});
