// SAS tokens written out by hand, for what the SDKs do not make: expired ones, wrong ones, policy tokens of devices.
'use strict';

const { createHmac } = require('node:crypto');

/** The members of a connection string, by name. */
function parts(connectionString) {
  return Object.fromEntries(
    connectionString.split(';').map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]),
  );
}

/** A token over `resource` that ends `seconds` from now (negative: it has ended). */
function token({ resource, key, policy, seconds = 3600 }) {
  const expiry = Math.floor(Date.now() / 1000) + seconds;
  const signature = createHmac('sha256', Buffer.from(key, 'base64')).update(`${resource}\n${expiry}`).digest('base64');
  const named = policy ? `&skn=${encodeURIComponent(policy)}` : '';
  return `SharedAccessSignature sr=${resource}&sig=${encodeURIComponent(signature)}&se=${expiry}${named}`;
}

/** A service token of the policy a connection string names, over the whole hub. */
function serviceToken(connectionString, { seconds, key, policy } = {}) {
  const { HostName, SharedAccessKeyName, SharedAccessKey } = parts(connectionString);
  return token({ resource: HostName, key: key ?? SharedAccessKey, policy: policy ?? SharedAccessKeyName, seconds });
}

/** A device's own token, from its connection string. */
function deviceToken(connectionString, { seconds, key } = {}) {
  const { HostName, DeviceId, SharedAccessKey } = parts(connectionString);
  return token({ resource: encodeURIComponent(`${HostName}/devices/${DeviceId}`), key: key ?? SharedAccessKey, seconds });
}

/** A module's own token, from its registry entry. */
function moduleToken(host, { deviceId, moduleId, authentication }, seconds) {
  const resource = encodeURIComponent(`${host}/devices/${deviceId}/modules/${moduleId}`);
  return token({ resource, key: authentication.symmetricKey.primaryKey, seconds });
}

module.exports = { deviceToken, moduleToken, parts, serviceToken, token };
