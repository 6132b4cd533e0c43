// The gateway's rules that no SDK breaks: who may connect, what may be published and subscribed, what a session
// keeps, who wins (conformance line 15 among them).
'use strict';

const assert = require('node:assert/strict');
const { before, describe, it } = require('node:test');
const { Client, Registry } = require('azure-iothub');
const { Devices } = require('../devices');
const { hub } = require('../link');
const { connectRaw, disconnect, receive, subscribe, throwPacket } = require('../raw_mqtt');
const { deviceToken, parts, token } = require('../sas');
const { called, within } = require('../wait');

let registry, service, devices;

before(async () => {
  const owner = await hub.connectionString('iothubowner');
  registry = Registry.fromConnectionString(owner);
  service = Client.fromConnectionString(owner);
  devices = new Devices(registry, hub.address);
});

const create = async (deviceId) => (await devices.create(deviceId))[0];
const closed = (client) => within(client.closed, 'the hub to close the connection', 10_000);
const METHODS = '$iothub/methods/POST/#';
const TWIN_ANSWERS = '$iothub/twin/res/#';
const DESIRED = '$iothub/twin/PATCH/properties/desired/#';

/** Answers the one method call that is to come and resolves with what the service heard. */
async function roundTrip(client, deviceId) {
  const heard = service.invokeDeviceMethod(deviceId, { methodName: 'ping', payload: 'p', connectTimeoutInSeconds: 10, responseTimeoutInSeconds: 10 });
  const { topic, payload } = await receive(client, '$iothub/methods/POST/ping/?$rid=');
  assert.equal(payload, '"p"');
  const rid = topic.slice(topic.indexOf('?$rid=') + 6);
  assert.match(rid, /^[^&=?]+$/);
  throwPacket(client, `$iothub/methods/res/201/?$rid=${rid}`, '"pong"', { qos: 1 });
  assert.deepEqual((await heard).result, { status: 201, payload: 'pong' });
}

describe('CONNECT', { concurrency: 4 }, () => {
  const refused = (connecting, code) => assert.rejects(connecting, (error) => (assert.equal(error.code, code), true));

  it('refuses wrong keys, ended tokens, foreign scopes and unknown devices with 5', async () => {
    const string = await create('refused');
    const { HostName, SharedAccessKey: key } = parts(string);
    const otherKey = Buffer.alloc(32, 9).toString('base64');
    const passwords = [
      deviceToken(string, { key: otherKey }),
      deviceToken(string, { seconds: -400 }),
      token({ resource: encodeURIComponent(`${HostName}/devices/other`), key }),
      token({ resource: encodeURIComponent(`${HostName}/devices/refuse`), key }),
      'no token at all',
    ];
    for (const password of passwords) await refused(connectRaw(string, { password }), 5);
    await refused(connectRaw(string.replace('DeviceId=refused', 'DeviceId=unknown')), 5);
    await refused(connectRaw(string, { clientId: 'other' }), 5);
    await refused(connectRaw(string, { username: 'nonsense' }), 5);
  });

  it('refuses protocol level 3 with 1', async () => {
    await refused(connectRaw(await create('old-level'), { protocolId: 'MQIsdp', protocolVersion: 3 }), 1);
  });

  it('refuses a disabled device with 5', async () => {
    const string = await create('disabled');
    const { responseBody } = await registry.get('disabled');
    await registry.update({ ...responseBody, status: 'disabled' });
    await refused(connectRaw(string), 5);
  });

  it('takes the secondary key, a token within the clock skew, and the device policy', async () => {
    const string = await create('keys');
    const { secondaryKey } = (await registry.get('keys')).responseBody.authentication.symmetricKey;
    const policy = parts(await hub.connectionString('device'));
    const passwords = [
      deviceToken(string, { key: secondaryKey }),
      deviceToken(string, { seconds: -100 }),
      token({ resource: policy.HostName, key: policy.SharedAccessKey, policy: 'device' }),
      token({ resource: encodeURIComponent(`${policy.HostName}/devices`), key: policy.SharedAccessKey, policy: 'device' }),
    ];
    for (const password of passwords) await disconnect(await connectRaw(string, { password }));
    const noConnect = parts(await hub.connectionString('registryRead'));
    const password = token({ resource: noConnect.HostName, key: noConnect.SharedAccessKey, policy: 'registryRead' });
    await refused(connectRaw(string, { password }), 5);
  });

  it('the newest connection of an identity wins', async () => {
    const string = await create('newest');
    const first = await connectRaw(string);
    const second = await connectRaw(string);
    await closed(first);
    await subscribe(second, METHODS);
    await roundTrip(second, 'newest');
    await disconnect(second);
  });
});

describe('a device that loses its right', { concurrency: 4 }, () => {
  const changes = {
    disabled: (device) => registry.update({ ...device, status: 'disabled' }),
    deleted: (device) => registry.delete(device.deviceId),
    'given other keys': (device) => {
      const symmetricKey = { primaryKey: Buffer.alloc(32, 1).toString('base64'), secondaryKey: Buffer.alloc(32, 2).toString('base64') };
      return registry.update({ ...device, authentication: { type: 'sas', symmetricKey } });
    },
  };
  for (const [what, change] of Object.entries(changes)) {
    it(`is cut when it is ${what}`, async () => {
      const deviceId = `cut-${what.replaceAll(' ', '-')}`;
      const client = await connectRaw(await create(deviceId));
      await change((await registry.get(deviceId)).responseBody);
      await closed(client);
    });
  }
});

describe('illegal publishes close the connection', { concurrency: 4 }, () => {
  const publishes = {
    'QoS 2': ['devices/ID/messages/events/', 'x', { qos: 2 }],
    'telemetry of another device': ['devices/other/messages/events/', 'x', { qos: 1 }],
    'a topic of no meaning': ['foo/bar', 'x', { qos: 0 }],
    'an unknown hub topic': ['$iothub/nothing/?$rid=1', 'x', { qos: 1 }],
    'a payload over 256 KB': ['devices/ID/messages/events/', Buffer.alloc(300 * 1024), { qos: 1 }],
    'a property bag that cannot be decoded': ['devices/ID/messages/events/a=%zz', 'x', { qos: 1 }],
  };
  for (const [index, [what, [topic, payload, options]]] of Object.entries(publishes).entries()) {
    it(`line 15: ${what} closes the connection`, async () => {
      const deviceId = `illegal-${index}`;
      const client = await connectRaw(await create(deviceId));
      throwPacket(client, topic.replace('ID', deviceId), payload, options);
      await closed(client);
    });
  }

  it('line 15: a subscription to another device closes the connection', async () => {
    const client = await connectRaw(await create('illegal-subscribe'));
    client.subscribe('devices/other/messages/devicebound/#', { qos: 1 }, () => {});
    await closed(client);
  });
});

describe('legal packets', { concurrency: 4 }, () => {
  it('QoS 2 is granted as 1, unknown filters are refused with 128', async () => {
    const client = await connectRaw(await create('granted'));
    assert.deepEqual(await subscribe(client, METHODS, 2), [1]);
    assert.deepEqual(await subscribe(client, TWIN_ANSWERS, 0), [0]);
    assert.deepEqual(await subscribe(client, 'some/other/filter', 1), [128]);
    await disconnect(client);
  });

  it('every QoS 1 publish gets its PUBACK', async () => {
    const client = await connectRaw(await create('puback'));
    const publish = (topic, payload) => called((done) => client.publish(topic, payload, { qos: 1 }, done));
    await subscribe(client, TWIN_ANSWERS, 1);
    for (const bag of ['', '%24.mid=id%201&%24.ct=application%2Fjson&a%20b=c%2Fd%26e', 'key&empty=']) {
      await publish(`devices/puback/messages/events/${bag}`, 'x');
    }
    await publish('devices/puback/messages/events', 'x');
    await publish('$iothub/twin/GET/?$rid=get-1', ' ');
    await publish('$iothub/methods/res/200/?$rid=nobody-asked', 'null');
    await publish('$iothub/twin/PATCH/properties/reported/?$rid=patch-1', '{"a":1}');
    const body = JSON.parse((await receive(client, '$iothub/twin/res/200/?$rid=get-1')).payload);
    assert.deepEqual(Object.keys(body).sort(), ['desired', 'reported']);
    assert.deepEqual(body.desired, { $version: 1 });
    const { topic, payload } = await receive(client, '$iothub/twin/res/204/?$rid=patch-1');
    assert.equal(topic, '$iothub/twin/res/204/?$rid=patch-1&$version=2');
    assert.equal(payload, '');
    await disconnect(client);
  });

  it('a failed twin request has a JSON body', async () => {
    const client = await connectRaw(await create('twin-errors'));
    await subscribe(client, TWIN_ANSWERS);
    for (const [rid, patch] of Object.entries({ 1: '{broken', 2: '{"$version":7}', 3: '[1]' })) {
      throwPacket(client, `$iothub/twin/PATCH/properties/reported/?$rid=${rid}`, patch, { qos: 0 });
      const { topic, payload } = await receive(client, '$iothub/twin/res/');
      assert.equal(topic, `$iothub/twin/res/400/?$rid=${rid}`);
      const failure = JSON.parse(payload);
      assert.equal(Math.floor(failure.errorCode / 1_000), 400);
      assert.ok(failure.message);
    }
    await disconnect(client);
  });

  it('a method answer that is no JSON is 502 for the service', async () => {
    const client = await connectRaw(await create('garbage'));
    await subscribe(client, METHODS);
    const heard = service.invokeDeviceMethod('garbage', { methodName: 'm', connectTimeoutInSeconds: 10 });
    const { topic } = await receive(client, '$iothub/methods/POST/m/');
    throwPacket(client, `$iothub/methods/res/200/?${topic.split('?')[1]}`, '{nonsense', { qos: 0 });
    await assert.rejects(heard, { name: 'BadDeviceResponseError' });
    await disconnect(client);
  });
});

describe('sessions', { concurrency: 4 }, () => {
  it('keep every subscription for a client that never subscribes again', async () => {
    const string = await create('kept');
    const first = await connectRaw(string);
    assert.equal(first.connack.sessionPresent, false);
    for (const filter of [METHODS, TWIN_ANSWERS, DESIRED]) await subscribe(first, filter, 1);
    await disconnect(first);

    const second = await connectRaw(string);
    assert.equal(second.connack.sessionPresent, true);
    await roundTrip(second, 'kept');
    throwPacket(second, '$iothub/twin/GET/?$rid=7', ' ', { qos: 1 });
    await receive(second, '$iothub/twin/res/200/?$rid=7');
    await registry.updateTwin('kept', { properties: { desired: { x: 1 } } }, '*');
    const { topic, payload } = await receive(second, '$iothub/twin/PATCH/properties/desired/');
    assert.equal(topic, '$iothub/twin/PATCH/properties/desired/?$version=2');
    assert.deepEqual(JSON.parse(payload), { x: 1, $version: 2 });
    await disconnect(second);
  });

  it('a clean one forgets, and so does unsubscribing', async () => {
    const string = await create('clean');
    const first = await connectRaw(string);
    await subscribe(first, METHODS);
    await disconnect(first);
    const clean = await connectRaw(string, { clean: true });
    assert.equal(clean.connack.sessionPresent, false);
    const unheard = service.invokeDeviceMethod('clean', { methodName: 'ping', connectTimeoutInSeconds: 0 });
    await assert.rejects(unheard, (error) => error.response.statusCode === 404);
    await disconnect(clean);

    const third = await connectRaw(string);
    assert.equal(third.connack.sessionPresent, false);
    await subscribe(third, METHODS);
    await called((done) => third.unsubscribe(METHODS, done));
    await assert.rejects(service.invokeDeviceMethod('clean', { methodName: 'ping' }), (error) => error.response.statusCode === 404);
    await disconnect(third);
  });

  it('a deleted identity takes its session along', async () => {
    const string = await create('reborn');
    const client = await connectRaw(string);
    await subscribe(client, METHODS);
    const { responseBody } = await registry.get('reborn');
    await registry.delete('reborn');
    const { deviceId, authentication } = responseBody;
    await registry.create({ deviceId, authentication });
    const again = await connectRaw(string);
    assert.equal(again.connack.sessionPresent, false);
    await closed(client);
    await disconnect(again);
  });
});
