// Devices with certificates, as `openssl` makes them: by thumbprint, below an authority that somebody proved to have,
// and what becomes of them when their certificate is renewed or their authority goes.
'use strict';

const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const { X509Certificate } = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { after, before, describe, it } = require('node:test');
const { Client, ModuleClient, X509AuthenticationProvider } = require('azure-iot-device');
const { Mqtt } = require('azure-iot-device-mqtt');
const { Client: ServiceClient, JobClient, Registry } = require('azure-iothub');
const { newJobId, waitForEnd } = require('../jobs');
const { hub } = require('../link');
const { serviceToken } = require('../sas');
const { until } = require('../wait');

const AUTHORITIES = `https://${hub.address}/fanfare/v1/authorities`;
const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
const desk = fs.mkdtempSync(path.join(os.tmpdir(), 'fanfare-x509-'));
const open = new Set();
let owner, registry, service, jobClient;

before(async () => {
  owner = await hub.connectionString('iothubowner');
  registry = Registry.fromConnectionString(owner);
  service = ServiceClient.fromConnectionString(owner);
  jobClient = JobClient.fromConnectionString(owner);
});
after(async () => {
  await Promise.all([...open].map((client) => client.close()));
  fs.rmSync(desk, { recursive: true });
});

const openssl = (...words) => execFileSync('openssl', words, { cwd: desk, stdio: ['ignore', 'ignore', 'pipe'] });
const read = (name) => fs.readFileSync(path.join(desk, name), 'utf8');
const both = (name) => ({ cert: read(`${name}.pem`), key: read(`${name}.key`) });
const thumbprint = (name, hash = 'fingerprint') => new X509Certificate(read(`${name}.pem`))[hash].replaceAll(':', '');

/** A certificate that signs itself; `subject` such as `/CN=door-1`. */
function selfSigned(name, subject) {
  openssl('req', '-x509', ...KEY, '-keyout', `${name}.key`, '-out', `${name}.pem`, '-days', '30', '-subj', subject);
}

/** A certificate below another, without extensions unless some are given. */
function below(authority, name, subject, extensions) {
  openssl('req', ...KEY, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', subject);
  const with_extensions = [];
  if (extensions) {
    fs.writeFileSync(path.join(desk, `${name}.ext`), extensions);
    with_extensions.push('-extfile', `${name}.ext`);
  }
  openssl('x509', '-req', '-in', `${name}.csr`, '-CA', `${authority}.pem`, '-CAkey', `${authority}.key`,
    '-CAcreateserial', '-days', '30', '-out', `${name}.pem`, ...with_extensions);
}

async function rest(method, route, body) {
  const headers = { Authorization: serviceToken(owner), 'Content-Type': 'application/json' };
  const reply = await fetch(`${AUTHORITIES}${route}`, { method, headers, body: body && JSON.stringify(body) });
  const text = await reply.text();
  assert.ok(reply.ok, `${method} ${route}: ${reply.status} ${text}`);
  return text ? JSON.parse(text) : undefined;
}

/** Uploads an authority and proves that we have its key. */
async function prove(name) {
  const uploaded = await rest('PUT', `/${name}`, { certificate: read(`${name}.pem`) });
  assert.equal(uploaded.isVerified, false);
  assert.equal(uploaded.thumbprint, thumbprint(name));
  const { verificationCode } = await rest('POST', `/${name}/code`);
  below(name, `${name}-proof`, `/CN=${verificationCode}`);
  const verified = await rest('POST', `/${name}/verify`, { certificate: read(`${name}-proof.pem`) });
  assert.equal(verified.isVerified, true);
}

/** A device that answers `echo`, with what `both` gives. */
async function connect(deviceId, x509) {
  const client = Client.fromConnectionString(`HostName=${hub.address};DeviceId=${deviceId};x509=true`, Mqtt);
  client.setRetryPolicy({ shouldRetry: () => false, nextRetryTimeout: () => 0 });
  client.on('error', () => {});
  await client.setOptions(x509);
  await client.open();
  open.add(client);
  client.onDeviceMethod('echo', (request, response) => response.send(200, request.payload, () => {}));
  return client;
}

const echo = async (deviceId, payload) => {
  const params = { methodName: 'echo', payload, connectTimeoutInSeconds: 15, responseTimeoutInSeconds: 15 };
  return (await service.invokeDeviceMethod(deviceId, params)).result.payload;
};
const byThumbprint = (primaryThumbprint, secondaryThumbprint) => ({
  authentication: { type: 'selfSigned', x509Thumbprint: { primaryThumbprint, secondaryThumbprint } },
});
const byAuthority = { authentication: { type: 'certificateAuthority' } };
const refused = { name: 'UnauthorizedError' };
const isConnected = async (deviceId) => (await registry.get(deviceId)).responseBody.connectionState === 'Connected';

describe('devices with certificates', () => {
  it('device.Client.setOptions, device.Client.fromConnectionString: a self-signed certificate lets its device in, by either hash', async () => {
    selfSigned('self', '/CN=whoever');
    await registry.create({ deviceId: 'by-sha1', ...byThumbprint(thumbprint('self').toLowerCase()) });
    await registry.create({ deviceId: 'by-sha256', ...byThumbprint(null, thumbprint('self', 'fingerprint256')) });
    for (const deviceId of ['by-sha1', 'by-sha256']) {
      await connect(deviceId, both('self'));
      assert.deepEqual(await echo(deviceId, { deviceId }), { deviceId });
    }
  });

  it('device.Client.open, refused: another certificate, none of its kind, none at all', async () => {
    selfSigned('right', '/CN=strict');
    selfSigned('wrong', '/CN=strict');
    await registry.create({ deviceId: 'strict', ...byThumbprint(thumbprint('right')) });
    await registry.create({ deviceId: 'with-keys' });
    await assert.rejects(connect('strict', both('wrong')), refused);
    await assert.rejects(connect('with-keys', both('right')), refused);
    await assert.rejects(connect('nobody', both('right')), refused);
    await connect('strict', both('right'));
  });

  it('JobClient.scheduleDeviceMethod: a job reaches devices below an authority, one of them over another', async () => {
    selfSigned('acme', '/CN=Acme devices');
    await prove('acme');
    below('acme', 'plant', '/CN=Acme plant', 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n');
    below('acme', 'ca-1', '/CN=ca-1');
    below('plant', 'ca-2', '/CN=ca-2', 'basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n');
    await registry.create({ deviceId: 'ca-1', ...byAuthority });
    await registry.create({ deviceId: 'ca-2', ...byAuthority });
    await assert.rejects(connect('ca-2', both('ca-1')), refused);
    await assert.rejects(connect('ca-2', both('ca-2')), refused, 'nobody knows the plant');
    const one = await connect('ca-1', both('ca-1'));
    const chain = { ...both('ca-2'), cert: read('ca-2.pem') + read('plant.pem') };
    await connect('ca-2', chain);

    const jobId = newJobId();
    const call = { methodName: 'echo', payload: 'hello', responseTimeoutInSeconds: 15, connectTimeoutInSeconds: 15 };
    await jobClient.scheduleDeviceMethod(jobId, "deviceId IN ['ca-1', 'ca-2']", call, new Date(), 60);
    const job = await waitForEnd(jobClient, jobId);
    assert.equal(job.status, 'completed');
    assert.equal(job.deviceJobStatistics.succeededCount, 2);

    // Without the authority nobody is left, and nobody comes.
    await rest('DELETE', '/acme');
    await until(async () => !(await isConnected('ca-1')), 'the connection of ca-1 to end', 15_000);
    await one.close();
    await assert.rejects(connect('ca-1', both('ca-1')), refused);
  });

  it('Registry.update: a certificate is renewed while its device is connected', async () => {
    selfSigned('old', '/CN=renewed');
    selfSigned('new', '/CN=renewed');
    await registry.create({ deviceId: 'renewed', ...byThumbprint(thumbprint('old')) });
    const client = await connect('renewed', both('old'));
    const update = (...thumbprints) => registry.update({ deviceId: 'renewed', ...byThumbprint(...thumbprints) });
    await update(thumbprint('old'), thumbprint('new'));
    assert.equal(await echo('renewed', 'still there'), 'still there');
    await client.close();
    await connect('renewed', both('new'));
    await update(thumbprint('new'));
    assert.equal(await echo('renewed', 'and now'), 'and now');
    await assert.rejects(connect('renewed', both('old')), refused);
  });

  it('device.ModuleClient.fromAuthenticationProvider: a module with a certificate of its own', async () => {
    selfSigned('module', '/CN=host-x509');
    await registry.create({ deviceId: 'host-x509' });
    await registry.addModule({ deviceId: 'host-x509', moduleId: 'pump', ...byThumbprint(thumbprint('module')) });
    const credentials = { host: hub.address, deviceId: 'host-x509', moduleId: 'pump', x509: both('module') };
    const client = ModuleClient.fromAuthenticationProvider(new X509AuthenticationProvider(credentials), Mqtt);
    client.on('error', () => {});
    open.add(client);
    await client.open();
    client.onMethod('echo', (request, response) => response.send(200, request.payload, () => {}));
    const params = { methodName: 'echo', payload: 7, connectTimeoutInSeconds: 15, responseTimeoutInSeconds: 15 };
    const { result } = await service.invokeDeviceMethod('host-x509', 'pump', params);
    assert.deepEqual([result.status, result.payload], [200, 7]);
  });
});
