// What the hub does not do yet, tried: each call of `known-gaps.toml` that can be made at all must still fail,
// so that a gap which closes is noticed and leaves the list.
'use strict';

const assert = require('node:assert/strict');
const { before, describe, it } = require('node:test');
const { Client, DigitalTwinClient, IoTHubTokenCredentials } = require('azure-iothub');
const { hub } = require('../link');

let owner;
before(async () => {
  owner = await hub.connectionString('iothubowner');
});

describe('still refused', { concurrency: 4 }, () => {
  it('the AMQP connection of the service client', { timeout: 60_000 }, async () => {
    const client = Client.fromConnectionString(owner);
    client.setRetryPolicy({ shouldRetry: () => false, nextRetryTimeout: () => 0 });
    await assert.rejects(client.open());
  });

  it('digital twins', async () => {
    const client = new DigitalTwinClient(new IoTHubTokenCredentials(owner));
    await assert.rejects(client.getDigitalTwin('nobody'));
  });
});
