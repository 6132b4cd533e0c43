// Device identities one by one and in bulk, twins with etags, and queries over them, through the SDK's Registry.
'use strict';

const assert = require('node:assert/strict');
const { before, describe, it } = require('node:test');
const { Registry } = require('azure-iothub');
const { hub } = require('../link');
const { called } = require('../wait');

let registry;
before(async () => {
  registry = Registry.fromConnectionString(await hub.connectionString('iothubowner'));
});

const bytesOf = (key) => Buffer.from(key, 'base64').length;

describe('identities', { concurrency: 4 }, () => {
  it('Registry.create, Registry.get, Registry.update, Registry.delete: a device comes, changes and goes', async () => {
    const [created, response] = await called((done) => registry.create({ deviceId: 'one' }, done));
    assert.equal(response.statusCode, 200);
    assert.equal(created.deviceId, 'one');
    assert.equal(created.status, 'enabled');
    assert.equal(created.connectionState, 'Disconnected');
    assert.equal(created.authentication.type, 'sas');
    assert.ok(bytesOf(created.authentication.symmetricKey.primaryKey) >= 16);
    assert.notEqual(created.authentication.symmetricKey.primaryKey, created.authentication.symmetricKey.secondaryKey);
    assert.ok(created.generationId && created.etag);
    assert.equal(created.cloudToDeviceMessageCount, 0);

    const read = (await registry.get('one')).responseBody;
    assert.equal(read.etag, created.etag);
    assert.deepEqual(read.authentication, created.authentication);

    const changed = (await registry.update({ deviceId: 'one', status: 'disabled', statusReason: 'lost', authentication: read.authentication })).responseBody;
    assert.equal(changed.status, 'disabled');
    assert.equal(changed.statusReason, 'lost');
    assert.notEqual(changed.etag, created.etag);
    assert.equal(changed.generationId, created.generationId);
    assert.deepEqual(changed.authentication.symmetricKey, created.authentication.symmetricKey);

    const [, gone] = await called((done) => registry.delete('one', done));
    assert.equal(gone.statusCode, 204);
    await assert.rejects(registry.get('one'), { name: 'DeviceNotFoundError' });
    await assert.rejects(registry.delete('one'), { name: 'DeviceNotFoundError' });
    await assert.rejects(registry.getTwin('one'), { name: 'DeviceNotFoundError' });
  });

  it('Registry.create, Registry.update, Registry.get, Registry.delete, refused: a taken id, a missing id and a bad id have their own errors', async () => {
    await registry.create({ deviceId: 'taken' });
    await assert.rejects(registry.create({ deviceId: 'taken' }), (error) => {
      assert.equal(error.name, 'DeviceAlreadyExistsError');
      assert.match(JSON.parse(error.responseBody).Message, /^ErrorCode:DeviceAlreadyExists;/);
      return true;
    });
    await assert.rejects(registry.update({ deviceId: 'absent' }), { name: 'DeviceNotFoundError' });
    for (const deviceId of ['invalid/name', 'white space', 'x'.repeat(129)]) {
      await assert.rejects(registry.create({ deviceId }), { name: 'ArgumentError' });
    }
  });

  it('every allowed character survives the path', async () => {
    for (const deviceId of ["d#1:.+%_*?!(),=@;$'-", 'x'.repeat(128), 'Case', 'case']) {
      assert.equal((await registry.create({ deviceId })).responseBody.deviceId, deviceId);
      assert.equal((await registry.get(deviceId)).responseBody.deviceId, deviceId);
      assert.equal((await registry.getTwin(deviceId)).responseBody.deviceId, deviceId);
    }
  });

  it('given keys are kept, and delete and create at once make a new generation', async () => {
    const key = (fill) => Buffer.alloc(32, fill).toString('base64');
    const device = { deviceId: 'again', authentication: { symmetricKey: { primaryKey: key(1), secondaryKey: key(2) } } };
    const first = (await registry.create(device)).responseBody;
    assert.equal(first.authentication.symmetricKey.primaryKey, key(1));
    await registry.updateTwin('again', { tags: { old: true } }, '*');
    await registry.delete('again');
    const second = (await registry.create(device)).responseBody;
    assert.notEqual(second.generationId, first.generationId);
    assert.equal((await registry.getTwin('again')).responseBody.tags.old, undefined);
  });

  it('thumbprints make a self-signed device', async () => {
    const primaryThumbprint = 'A'.repeat(40);
    const { responseBody } = await registry.create({ deviceId: 'x509', authentication: { x509Thumbprint: { primaryThumbprint } } });
    assert.equal(responseBody.authentication.type, 'selfSigned');
    assert.equal(responseBody.authentication.x509Thumbprint.primaryThumbprint, primaryThumbprint);
  });

  it('Registry.list: devices are there', async () => {
    await registry.create({ deviceId: 'listed' });
    const { responseBody } = await registry.list();
    assert.ok(responseBody.some((device) => device.deviceId === 'listed'));
  });

  it('Registry.addDevices, Registry.updateDevices, Registry.removeDevices: many at once', async () => {
    const ids = ['bulk-1', 'bulk-2', 'bulk-3'];
    const good = (reply) => {
      assert.equal(reply.isSuccessful, true);
      assert.deepEqual(reply.errors, []);
    };
    good((await registry.addDevices(ids.map((deviceId) => ({ deviceId })))).responseBody);
    assert.ok(bytesOf((await registry.get('bulk-2')).responseBody.authentication.symmetricKey.primaryKey) >= 16);
    const [reply] = await called((done) => registry.updateDevices(ids.map((deviceId) => ({ deviceId, status: 'disabled' })), true, done));
    good(reply);
    assert.equal((await registry.get('bulk-3')).responseBody.status, 'disabled');

    const { etag } = (await registry.get('bulk-1')).responseBody;
    good((await registry.updateDevices([{ deviceId: 'bulk-1', status: 'enabled', etag }], false)).responseBody);
    await assert.rejects(registry.updateDevices([{ deviceId: 'bulk-1', status: 'disabled', etag }], false), { name: 'ArgumentError' });
    assert.equal((await registry.get('bulk-1')).responseBody.status, 'enabled', 'an old etag changes nothing');

    good((await registry.removeDevices(ids.map((deviceId) => ({ deviceId })), true)).responseBody);
    await assert.rejects(registry.get('bulk-1'), { name: 'DeviceNotFoundError' });
  });

  it('Registry.addDevices, Registry.updateDevices, Registry.removeDevices, refused: one bad item is named, the others are done', async () => {
    await registry.create({ deviceId: 'bulk-there' });
    await assert.rejects(registry.addDevices([{ deviceId: 'bulk-there' }, { deviceId: 'bulk-new' }]), (error) => {
      assert.equal(error.name, 'ArgumentError');
      const result = JSON.parse(error.responseBody);
      assert.equal(result.isSuccessful, false);
      assert.equal(result.errors.length, 1);
      assert.equal(result.errors[0].deviceId, 'bulk-there');
      assert.equal(result.errors[0].errorCode, 'DeviceAlreadyExists');
      return true;
    });
    assert.equal((await registry.get('bulk-new')).responseBody.deviceId, 'bulk-new');
  });
});

describe('twins', { concurrency: 4 }, () => {
  const fresh = async (deviceId) => {
    await registry.create({ deviceId });
    return (await registry.getTwin(deviceId)).responseBody;
  };

  it('Registry.getTwin: a new twin is empty and at version 1', async () => {
    const twin = await fresh('twin-new');
    assert.deepEqual(twin.tags, {});
    assert.equal(twin.properties.desired.$version, 1);
    assert.equal(twin.properties.reported.$version, 1);
    assert.ok(twin.properties.desired.$metadata.$lastUpdated);
    assert.equal(twin.status, 'enabled');
    assert.equal(twin.connectionState, 'Disconnected');
    assert.ok(twin.etag);
  });

  it('Registry.updateTwin: a patch merges, null removes, arrays are replaced, versions move by one', async () => {
    await fresh('twin-merge');
    const patch = async (body) => (await registry.updateTwin('twin-merge', body, '*')).responseBody;
    let twin = await patch({ tags: { site: { floor: 1, door: 'a' } }, properties: { desired: { rate: { a: 1, b: 2 }, list: [1, 2, 3] } } });
    assert.equal(twin.properties.desired.$version, 2);
    twin = await patch({ tags: { site: { door: null } }, properties: { desired: { rate: { a: null, c: 3 }, list: [9] } } });
    assert.deepEqual(twin.tags, { site: { floor: 1 } });
    assert.deepEqual(twin.properties.desired.rate, { b: 2, c: 3 });
    assert.deepEqual(twin.properties.desired.list, [9]);
    assert.equal(twin.properties.desired.$version, 3);
    assert.equal(twin.properties.desired.$metadata.rate.c.$lastUpdatedVersion, 3);
    twin = await patch({ tags: { only: 'tags' } });
    assert.equal(twin.properties.desired.$version, 3);
    twin = await patch({ properties: { desired: { list: [9] } } });
    assert.equal(twin.properties.desired.$version, 4, 'a patch that changes nothing still moves the version');
    twin = await patch({ tags: null, properties: { desired: null } });
    assert.deepEqual(twin.tags, {});
    assert.deepEqual(Object.keys(twin.properties.desired).filter((key) => !key.startsWith('$')), []);
    assert.equal(twin.properties.desired.$version, 5);
  });

  it('Twin.get, Twin.update, Twin.toJSON: the Twin object carries its etag along', async () => {
    const twin = await fresh('twin-etag');
    const [updated] = await called((done) => registry.updateTwin('twin-etag', { tags: { a: 1 } }, twin.etag, done));
    assert.notEqual(updated.etag, twin.etag);
    await assert.rejects(registry.updateTwin('twin-etag', { tags: { a: 2 } }, twin.etag), { name: 'InvalidEtagError' });
    assert.equal((await registry.getTwin('twin-etag')).responseBody.tags.a, 1);
    await updated.update({ tags: { a: 3 } });
    assert.equal(updated.tags.a, 3, 'the Twin object of the SDK carries its etag along');
    await updated.update({ tags: { a: 4 } });
    assert.equal((await updated.get()).result.tags.a, 4);
    assert.equal(JSON.parse(JSON.stringify(updated)).deviceId, 'twin-etag');
  });

  it('Twin.update, Twin.get, Registry.getTwin, refused: an old etag, a bad patch, a device that is gone', async () => {
    await fresh('twin-gone');
    const { responseBody: first } = await registry.getTwin('twin-gone');
    const { responseBody: second } = await registry.getTwin('twin-gone');
    await first.update({ tags: { a: 1 } });
    await assert.rejects(second.update({ tags: { a: 2 } }), { name: 'InvalidEtagError' });
    await assert.rejects(first.update({ tags: { 'a.b': 1 } }), { name: 'ArgumentError' });
    await registry.delete('twin-gone');
    await assert.rejects(first.get(), { name: 'DeviceNotFoundError' });
    await assert.rejects(registry.getTwin('twin-gone'), { name: 'DeviceNotFoundError' });
  });

  it('Registry.updateTwin, refused: limits have a reason, nothing changes', async () => {
    const twin = await fresh('twin-limits');
    const deep = (levels) => (levels === 0 ? 1 : { d: deep(levels - 1) });
    const bad = [
      { tags: { 'a.b': 1 } },
      { tags: { 'a b': 1 } },
      { properties: { desired: { $dollar: 1 } } },
      { properties: { desired: { long: 'x'.repeat(4_097) } } },
      { properties: { desired: deep(12) } },
      { tags: Object.fromEntries([1, 2, 3].map((n) => [`t${n}`, 'x'.repeat(4_000)])) },
      { properties: { desired: { big: 4503599627370496 } } },
    ];
    for (const patch of bad) {
      await assert.rejects(registry.updateTwin('twin-limits', patch, '*'), (error) => {
        assert.equal(error.name, 'ArgumentError', JSON.stringify(patch).slice(0, 60));
        assert.match(JSON.parse(error.responseBody).Message, /^ErrorCode:ArgumentInvalid;.+/);
        return true;
      });
    }
    assert.equal((await registry.getTwin('twin-limits')).responseBody.etag, twin.etag);
    await registry.updateTwin('twin-limits', { properties: { desired: deep(11) } }, '*');
  });
});

describe('queries', { concurrency: 4 }, () => {
  before(async () => {
    for (let n = 1; n <= 7; n += 1) {
      await registry.create({ deviceId: `q-${n}` });
      const tags = n === 7 ? { set: 'q' } : { set: 'q', n, odd: n % 2 === 1 };
      await registry.updateTwin(`q-${n}`, { tags, properties: { desired: { level: n / 2 } } }, '*');
    }
  });

  const idsOf = async (condition) => {
    const query = registry.createQuery(`SELECT * FROM devices WHERE tags.set = 'q' AND (${condition})`, 1_000);
    return (await query.next()).result.map((twin) => twin.deviceId).sort();
  };

  it('Registry.createQuery, Query.nextAsTwin: pages through, promise and callback', async () => {
    const text = "SELECT * FROM devices WHERE tags.set = 'q'";
    const all = Array.from({ length: 7 }, (_, n) => `q-${n + 1}`);
    const byPromise = registry.createQuery(text, 3);
    const seen = [];
    while (byPromise.hasMoreResults) {
      const { result, message } = await byPromise.nextAsTwin();
      assert.equal(message.headers['x-ms-item-type'], 'Twin');
      assert.ok(result.length <= 3);
      seen.push(...result);
    }
    assert.deepEqual(seen.map((twin) => twin.deviceId).sort(), all);
    await seen[0].update({ tags: { seen: true } });

    const byCallback = registry.createQuery(text, 2);
    const ids = [];
    while (byCallback.hasMoreResults) {
      const [twins] = await called((done) => byCallback.nextAsTwin(done));
      ids.push(...twins.map((twin) => twin.deviceId));
    }
    assert.deepEqual(ids.sort(), all);
  });

  it('conditions select what they say', async () => {
    assert.deepEqual(await idsOf('tags.n > 4'), ['q-5', 'q-6']);
    assert.deepEqual(await idsOf('tags.odd = true AND tags.n != 3'), ['q-1', 'q-5']);
    assert.deepEqual(await idsOf('NOT IS_DEFINED(tags.n)'), ['q-7']);
    assert.deepEqual(await idsOf('tags.n != 1'), ['q-2', 'q-3', 'q-4', 'q-5', 'q-6'], 'a missing value is not unequal');
    assert.deepEqual(await idsOf("DeviceId in ['q-1','q-2'] or properties.desired.level >= 3"), ['q-1', 'q-2', 'q-6', 'q-7']);
    assert.deepEqual(await idsOf("tags.n NIN [1,2,3,4,5]"), ['q-6']);
    assert.deepEqual(await idsOf("STARTSWITH(deviceId, 'q-') AND tags.n * 2 = 8"), ['q-4']);
    assert.deepEqual(await idsOf("tags.n = '1'"), [], 'types are not converted');
  });

  it('projections and counts are raw', async () => {
    const projected = await registry.createQuery("SELECT DeviceId, tags.n AS number FROM devices WHERE tags.n = 2").next();
    assert.equal(projected.message.headers['x-ms-item-type'], 'Raw');
    assert.deepEqual(projected.result, [{ deviceId: 'q-2', number: 2 }]);
    const counted = await registry.createQuery("SELECT COUNT() AS total FROM devices WHERE tags.set = 'q'").next();
    assert.deepEqual(counted.result, [{ total: 7 }]);
  });

  it('a write is seen by the next query', async () => {
    await registry.create({ deviceId: 'just-now' });
    for (let n = 0; n < 5; n += 1) {
      await registry.updateTwin('just-now', { tags: { beat: n } }, '*');
      const { result } = await registry.createQuery(`SELECT * FROM devices WHERE tags.beat = ${n}`).next();
      assert.equal(result.length, 1);
    }
    await registry.delete('just-now');
    assert.deepEqual((await registry.createQuery("SELECT * FROM devices WHERE deviceId = 'just-now'").next()).result, []);
  });

  it('Registry.createQuery, Query.next, Query.nextAsTwin, refused: a bad query and a foreign token are ArgumentErrors', async () => {
    await assert.rejects(registry.createQuery('SELECT * FROM nowhere').next(), { name: 'ArgumentError' });
    await assert.rejects(registry.createQuery('SELECT FROM devices').next(), { name: 'ArgumentError' });
    const first = await registry.createQuery("SELECT * FROM devices WHERE tags.set = 'q'", 2).next();
    const token = first.message.headers['x-ms-continuation'];
    await assert.rejects(registry.createQuery("SELECT * FROM devices WHERE tags.set = 'z'", 2).next(token), { name: 'ArgumentError' });
  });
});
