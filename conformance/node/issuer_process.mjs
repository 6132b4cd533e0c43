// An OpenID provider as a process: `node issuer_process.mjs ADDRESS PORT KEYS_FILE [CERTIFICATE_FILE KEY_FILE]`. Decides
// who its clients are and what its access tokens say. Prints `ready` when it listens, with TLS if it has a certificate,
// and ends with its standard input.
//
// The keys are those of KEYS_FILE, private parts and all, which is written when it is not there: with the same file it
// is the same issuer after a restart. Of the keys for one algorithm the first signs, all are published.

import { generateKeyPairSync, randomUUID } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import Provider from 'oidc-provider';

const [address, port, keysFile, certificateFile, tlsKeyFile] = process.argv.slice(2);
const scheme = certificateFile ? 'https' : 'http';
const TOKEN_SECONDS = 3_600;
/** The one secret of all clients; this issuer has nothing to protect. */
const SECRET = 'client-secret';

/** By client: the roles that its tokens carry, and the algorithm that signs them. */
const CLIENTS = {
  contributor: { roles: ['IoT Hub Data Contributor'], alg: 'RS256' },
  reader: { roles: ['IoT Hub Data Reader'], alg: 'ES256' },
  registry: { roles: ['IoT Hub Registry Contributor'], alg: 'PS256' },
  twins: { roles: ['IoT Hub Twin Contributor'], alg: 'EdDSA' },
  owner: { roles: ['Fanfare Owner'], alg: 'RS256' },
  stranger: { roles: ['Some other role'], alg: 'RS256' },
  nobody: { alg: 'RS256' },
};

/** Fresh keys, one for each algorithm. */
function makeKeys() {
  const key = (alg, type, options) => {
    const { privateKey } = generateKeyPairSync(type, options);
    return { ...privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: `${alg}-${randomUUID()}` };
  };
  return {
    keys: [
      key('RS256', 'rsa', { modulusLength: 2048 }),
      key('PS256', 'rsa', { modulusLength: 2048 }),
      key('ES256', 'ec', { namedCurve: 'P-256' }),
      key('EdDSA', 'ed25519', {}),
    ],
  };
}

if (!fs.existsSync(keysFile)) fs.writeFileSync(keysFile, JSON.stringify(makeKeys()), { mode: 0o600 });

const provider = new Provider(`${scheme}://${address}:${port}`, {
  clients: Object.keys(CLIENTS).map((client_id) => ({
    client_id,
    client_secret: SECRET,
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
  })),
  jwks: JSON.parse(fs.readFileSync(keysFile, 'utf8')),
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      // Whatever resource a client names becomes the audience of its token.
      getResourceServerInfo: (_, resource, client) => ({
        scope: '',
        audience: resource,
        accessTokenFormat: 'jwt',
        accessTokenTTL: TOKEN_SECONDS,
        jwt: { sign: { alg: CLIENTS[client.clientId].alg } },
      }),
    },
  },
  extraTokenClaims: (_, token) => ({ roles: CLIENTS[token.clientId].roles }),
  ttl: { ClientCredentials: TOKEN_SECONDS },
});

const server = certificateFile
  ? https.createServer({ cert: fs.readFileSync(certificateFile), key: fs.readFileSync(tlsKeyFile) }, provider.callback())
  : http.createServer(provider.callback());
server.listen(Number(port), address, () => process.stdout.write('ready\n'));
process.stdin.resume().on('end', () => process.exit(0));
