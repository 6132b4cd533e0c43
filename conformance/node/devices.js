// Devices of a test: made through the registry, connected with the device SDK in this process or in one of their
// own, and closed again at the end.
'use strict';

const { fork } = require('node:child_process');
const path = require('node:path');
const { Client } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');
const { gate, nextEvent } = require('./wait');

/** Everything a test file's devices need: the registry that makes them and the list of what must be closed. */
class Devices {
  constructor(registry, address) {
    this.registry = registry;
    this.address = address;
    this.open = new Set();
  }

  /** Makes identities (no connection) and returns their connection strings, in the order asked. */
  async create(...ids) {
    return Promise.all(
      ids.map(async (deviceId) => {
        const { responseBody: device } = await this.registry.create({ deviceId });
        return this.connectionString(device);
      }),
    );
  }

  connectionString(device) {
    return `HostName=${this.address};DeviceId=${device.deviceId};SharedAccessKey=${device.authentication.symmetricKey.primaryKey}`;
  }

  /**
   * Opens an SDK client over MQTT. `methods` maps a method name to `async (request) => [status, payload]`; a
   * handler that returns nothing leaves the call unanswered. `calls` on the client lists every call that arrived.
   */
  async connect(connectionString, { methods = {}, provider } = {}) {
    const client = provider
      ? Client.fromAuthenticationProvider(provider, Mqtt)
      : Client.fromConnectionString(connectionString, Mqtt);
    client.calls = [];
    client.faults = [];
    client.on('error', (error) => client.faults.push(error));
    this.open.add(client);
    await client.open();
    for (const [name, handler] of Object.entries(methods)) {
      client.onDeviceMethod(name, async (request, response) => {
        client.calls.push({ name, payload: request.payload, at: Date.now(), requestId: request.requestId });
        client.emit('called', name);
        const answer = await handler(request);
        if (answer) response.send(answer[0], answer[1] ?? null, (error) => error && client.faults.push(error));
      });
    }
    return client;
  }

  /** Makes one identity and connects it at once. */
  async createConnected(deviceId, options) {
    const [connectionString] = await this.create(deviceId);
    return this.connect(connectionString, options);
  }

  async close(client) {
    this.open.delete(client);
    await client.close();
  }

  async closeAll() {
    await Promise.all([...this.open].map((client) => this.close(client)));
  }
}

/** A device that is a process of its own (`device_process.js`), so that it can be killed like one. */
class DeviceProcess {
  constructor(connectionString) {
    this.connectionString = connectionString;
    this.calls = [];
    this.child = null;
  }

  /** Resolves when the device is connected and has registered its methods. */
  async start() {
    const ready = gate();
    this.child = fork(path.join(__dirname, 'device_process.js'), [this.connectionString], {
      execArgv: ['--no-deprecation'],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    const ended = new Promise((_, reject) => {
      this.child.once('exit', (code) => reject(new Error(`the device process ended with ${code} before it was ready`)));
    });
    this.child.on('message', (message) => {
      if (message.ready) ready.open();
      if (message.called) this.calls.push(message.called);
      this.child.emit('device', message);
    });
    ended.catch(() => {});
    await Promise.race([ready.opened, ended]);
  }

  /** Resolves when the device has heard `count` calls in all its lives. */
  async heard(count) {
    while (this.calls.length < count) await nextEvent(this.child, 'device');
  }

  /** SIGKILL: no DISCONNECT leaves, the socket is closed by the kernel. */
  async kill9() {
    const exit = nextEvent(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exit;
  }
}

module.exports = { DeviceProcess, Devices };
