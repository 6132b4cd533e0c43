// One device as a process: connects, answers `answer` at once and never answers `hang`, reports both to its parent.
'use strict';

const { Client } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');

async function main() {
  const client = Client.fromConnectionString(process.argv[2], Mqtt);
  await client.open();
  client.onDeviceMethod('answer', (request, response) => {
    process.send({ called: { name: 'answer', payload: request.payload } });
    response.send(200, { pid: process.pid }, () => {});
  });
  client.onDeviceMethod('hang', (request) => {
    process.send({ called: { name: 'hang', payload: request.payload } });
  });
  // The subscription has no callback; a twin read travels behind it on the same connection.
  await client.getTwin();
  process.send({ ready: true });
  process.on('disconnect', () => process.exit(0));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
