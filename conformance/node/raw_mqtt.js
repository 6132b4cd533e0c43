// A plain MQTT client for what no SDK does: breaking rules, silent reconnects, a second connection of one identity.
'use strict';

const mqtt = require('mqtt');
const { called, nextEvent, within } = require('./wait');
const { deviceToken, parts } = require('./sas');

/**
 * Connects as the device of `connectionString` and resolves after CONNACK; rejects when the hub refuses (the error
 * has the CONNACK `code`). It never reconnects. `options` override mqtt.js options, for example `clean` or `password`.
 */
async function connectRaw(connectionString, options = {}) {
  const { HostName, DeviceId } = parts(connectionString);
  const client = mqtt.connect(`mqtts://${HostName}:8883`, {
    protocolVersion: 4,
    clean: false,
    clientId: DeviceId,
    username: `${HostName}/${DeviceId}/?api-version=2021-04-12`,
    password: deviceToken(connectionString),
    reconnectPeriod: 0,
    connectTimeout: 10_000,
    ...options,
  });
  // A socket error is followed by 'close', which is what tests watch; without a listener it would end the process.
  client.on('error', () => {});
  client.received = [];
  client.on('message', (topic, payload) => {
    client.received.push({ topic, payload: payload.toString() });
    client.emit('received');
  });
  client.closed = new Promise((resolve) => client.once('close', resolve));
  const refused = new Promise((_, reject) => client.once('error', reject));
  const dropped = client.closed.then(() => {
    throw new Error('the hub closed the connection without a CONNACK');
  });
  try {
    [client.connack] = await Promise.race([nextEvent(client, 'connect'), refused, dropped]);
  } catch (error) {
    client.end(true);
    throw error;
  }
  return client;
}

/** Publishes without waiting for any acknowledgement. */
function throwPacket(client, topic, payload, options) {
  client.publish(topic, payload, options, () => {});
}

/** Resolves with the granted QoS values, 128 for a refusal. */
async function subscribe(client, filter, qos = 0) {
  const [granted] = await called((done) => client.subscribe(filter, { qos }, done));
  return granted.map((grant) => grant.qos);
}

/** Resolves with the first message whose topic starts with `prefix`, received already or to come. */
async function receive(client, prefix, withinMs = 20_000) {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const index = client.received.findIndex(({ topic }) => topic.startsWith(prefix));
    if (index >= 0) return client.received.splice(index, 1)[0];
    await nextEvent(client, 'received', Math.max(1, deadline - Date.now()));
  }
}

/** Sends DISCONNECT and resolves when the socket is closed. */
function disconnect(client) {
  return called((done) => client.end(false, {}, done));
}

/**
 * Cuts the TCP connection of the device's live SDK client from the hub's side: a newer connection of the same
 * identity always wins. Resolves when the SDK client has come back, which in turn evicted this one.
 */
async function evict(connectionString) {
  const intruder = await connectRaw(connectionString);
  await within(intruder.closed, 'the SDK client to come back');
}

module.exports = { connectRaw, disconnect, evict, receive, subscribe, throwPacket };
