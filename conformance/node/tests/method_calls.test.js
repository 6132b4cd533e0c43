// Direct methods from service to device and back, in every shape of payload, and each way they fail.
'use strict';

const assert = require('node:assert/strict');
const { after, before, describe, it } = require('node:test');
const { Client, Registry } = require('azure-iothub');
const { Devices } = require('../devices');
const { hub } = require('../link');
const { called } = require('../wait');

let service, devices, echo;

before(async () => {
  const owner = await hub.connectionString('iothubowner');
  service = Client.fromConnectionString(await hub.connectionString('service'));
  devices = new Devices(Registry.fromConnectionString(owner), hub.address);
  echo = await devices.createConnected('echo', {
    methods: {
      echo: (request) => [200, request.payload],
      status: (request) => [request.payload, 'as asked'],
      silent: () => undefined,
    },
  });
  // The promise form of the SDK with no payload puts an empty body on the wire.
  echo.onDeviceMethod('bare', (request, response) => response.send(204));
  await devices.create('offline');
  await service.invokeDeviceMethod('echo', { methodName: 'echo', connectTimeoutInSeconds: 10 });
});
after(() => devices.closeAll());

const invoke = async (deviceId, params) => (await service.invokeDeviceMethod(deviceId, params)).result;

/** The failure document of methods is JSON inside the `Message` member. */
function nested(error, status, code) {
  assert.equal(error.response.statusCode, status);
  const inner = JSON.parse(JSON.parse(error.responseBody).Message);
  assert.equal(inner.errorCode, code);
  assert.ok(inner.message && inner.trackingId && inner.timestampUtc);
  return inner;
}

describe('a direct method', { concurrency: 6 }, () => {
  it('Client.invokeDeviceMethod: round trip in both forms of the call', async () => {
    const [fromCallback, response] = await called((done) => service.invokeDeviceMethod('echo', { methodName: 'echo', payload: { a: [1, 'é'] } }, done));
    assert.equal(response.statusCode, 200);
    assert.deepEqual(fromCallback, { status: 200, payload: { a: [1, 'é'] } });
    assert.deepEqual(await invoke('echo', { methodName: 'echo', payload: { a: [1, 'é'] } }), fromCallback);
  });

  for (const payload of [0, '', false, 'text', 1.5, [], {}, [null], { deep: { deeper: [1, { x: null }] } }]) {
    it(`payload ${JSON.stringify(payload)} comes back as it went`, async () => {
      assert.deepEqual(await invoke('echo', { methodName: 'echo', payload }), { status: 200, payload });
    });
  }

  it('line 4: without a payload the handler sees null, not an automatic 400', async () => {
    const own = await devices.createConnected('no-payload', { methods: { look: () => [200, 'seen'] } });
    const params = { methodName: 'look', connectTimeoutInSeconds: 10 };
    assert.deepEqual(await invoke('no-payload', params), { status: 200, payload: 'seen' });
    assert.equal(own.calls[0].payload, null);
  });

  it('an answer without a body has payload null', async () => {
    assert.deepEqual(await invoke('echo', { methodName: 'bare' }), { status: 204, payload: null });
  });

  it('the status of the device is the result, the HTTP status stays 200', async () => {
    // The SDK refuses to send 0.
    for (const status of [1, 404, 500, 1234567]) {
      assert.deepEqual(await invoke('echo', { methodName: 'status', payload: status }), { status, payload: 'as asked' });
    }
  });

  it('100 KB go both ways', async () => {
    const payload = 'k'.repeat(100 * 1024);
    assert.deepEqual(await invoke('echo', { methodName: 'echo', payload }), { status: 200, payload });
  });

  it('many at once, each gets its own answer', async () => {
    const numbers = Array.from({ length: 20 }, (_, n) => n);
    const results = await Promise.all(numbers.map((n) => invoke('echo', { methodName: 'echo', payload: n })));
    assert.deepEqual(results.map(({ payload }) => payload), numbers);
  });

  it('an offline device is 404 with number 404103', async () => {
    await assert.rejects(invoke('offline', { methodName: 'echo' }), (error) => {
      assert.equal(error.message, 'Not found');
      assert.equal(nested(error, 404, 404103).info.timeout, '00:00:00');
      return true;
    });
  });

  it('a connect time-out waits that long before it gives up', { timeout: 30_000 }, async () => {
    const started = Date.now();
    await assert.rejects(invoke('offline', { methodName: 'echo', connectTimeoutInSeconds: 2 }), (error) => {
      assert.equal(nested(error, 404, 404103).info.timeout, '00:00:02');
      return true;
    });
    assert.ok(Date.now() - started >= 1_900);
  });

  it('a device that connects within the connect time-out is called', { timeout: 30_000 }, async () => {
    const [string] = await devices.create('comes');
    const answer = invoke('comes', { methodName: 'echo', payload: 'hi', connectTimeoutInSeconds: 20 });
    await devices.connect(string, { methods: { echo: (request) => [200, request.payload] } });
    assert.deepEqual(await answer, { status: 200, payload: 'hi' });
  });

  it('no answer in time is GatewayTimeoutError with number 504101', { timeout: 30_000 }, async () => {
    const started = Date.now();
    await assert.rejects(invoke('echo', { methodName: 'silent', responseTimeoutInSeconds: 5 }), (error) => {
      assert.equal(error.name, 'GatewayTimeoutError');
      nested(error, 504, 504101);
      return true;
    });
    assert.ok(Date.now() - started >= 4_900);
    assert.equal(echo.calls.filter(({ name }) => name === 'silent').length, 1, 'nobody asks twice');
  });

  it('Client.invokeDeviceMethod, refused: an unknown device is DeviceNotFoundError', async () => {
    await assert.rejects(invoke('nobody', { methodName: 'echo' }), { name: 'DeviceNotFoundError' });
  });

  it('time-outs outside 5 to 300 s are refused', async () => {
    for (const params of [{ responseTimeoutInSeconds: 4 }, { responseTimeoutInSeconds: 301 }, { connectTimeoutInSeconds: 301 }]) {
      await assert.rejects(invoke('echo', { methodName: 'echo', ...params }), { name: 'ArgumentError' });
    }
  });
});
