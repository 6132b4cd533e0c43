// The process as a script sees it: health, certificates, connection strings, and a second start on the same data.
'use strict';

const assert = require('node:assert/strict');
const { describe, it } = require('node:test');
const tls = require('node:tls');
const { Registry } = require('azure-iothub');
const { hub } = require('../link');
const { parts } = require('../sas');

/** Completes a handshake on `port` and resolves with the protocol agreed on; rejects with the verification error. */
function handshake(port, options) {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ host: hub.address, port, ca: hub.ca(), ...options }, () => {
      resolve(socket.getProtocol());
      socket.destroy();
    });
    socket.on('error', reject);
  });
}

describe('the hub process', () => {
  it('health needs no token', async () => {
    for (const route of ['live', 'ready']) assert.equal((await fetch(`https://${hub.address}/health/${route}`)).status, 200);
  });

  it('speaks TLS 1.2 and 1.3 on both ports and nothing older', async () => {
    for (const port of [443, 8883]) {
      assert.equal(await handshake(port, { maxVersion: 'TLSv1.2' }), 'TLSv1.2');
      assert.equal(await handshake(port, {}), 'TLSv1.3');
      await assert.rejects(handshake(port, { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }));
    }
  });

  it('sends the leaf only, so a stranger cannot verify it', async () => {
    for (const port of [443, 8883]) {
      await assert.rejects(handshake(port, { ca: tls.rootCertificates[0] }), { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' });
    }
  });

  it('prints connection strings of the five policies and of devices', async () => {
    const keys = new Set();
    for (const policy of ['iothubowner', 'service', 'device', 'registryRead', 'registryReadWrite']) {
      const { HostName, SharedAccessKeyName, SharedAccessKey, ...rest } = parts(await hub.connectionString(policy));
      assert.deepEqual([HostName, SharedAccessKeyName, rest], [hub.address, policy, {}]);
      keys.add(SharedAccessKey);
    }
    assert.equal(keys.size, 5);

    const registry = Registry.fromConnectionString(await hub.connectionString('iothubowner'));
    const { responseBody: device } = await registry.create({ deviceId: 'printed' });
    const printed = parts(await hub.deviceConnectionString('printed'));
    assert.deepEqual(printed, { HostName: hub.address, DeviceId: 'printed', SharedAccessKey: device.authentication.symmetricKey.primaryKey });
    await assert.rejects(hub.connectionString('nobody'));
    await assert.rejects(hub.deviceConnectionString('nobody'));
  });

  it('a second process on the same data folder is refused, and says why', { timeout: 30_000 }, async () => {
    const { code, output } = await hub.serveTwice();
    assert.ok(Number.isInteger(code) && code !== 0, `it ended with ${code}`);
    assert.match(output, /data/i);
    assert.equal((await fetch(`https://${hub.address}/health/ready`)).status, 200, 'the first one is unharmed');
  });
});
