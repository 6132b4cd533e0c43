// Tokens that a lying issuer, or somebody in its place, might send: signed by hand with what the issuer has, or with
// what anybody can know of it.
'use strict';

const { createHmac, createPrivateKey, createPublicKey, generateKeyPairSync, sign } = require('node:crypto');

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A token in compact form; `signer` makes the signature of a text. */
function compact(header, claims, signer) {
  const text = `${part(header)}.${part(claims)}`;
  return `${text}.${signer(text).toString('base64url')}`;
}

const rs256 = (jwk) => (text) => sign('sha256', Buffer.from(text), createPrivateKey({ key: jwk, format: 'jwk' }));
const es256 = (jwk) => (text) =>
  sign('sha256', Buffer.from(text), { key: createPrivateKey({ key: jwk, format: 'jwk' }), dsaEncoding: 'ieee-p1363' });
const hs256 = (secret) => (text) => createHmac('sha256', secret).update(text).digest();

/** Tokens by what is wrong with them, and honest ones made the same way; each is a function, since tokens end. */
function forgeries(issuer, resource) {
  const now = () => Math.floor(Date.now() / 1_000);
  const claims = (changed = {}) => ({
    iss: issuer.url, aud: resource, sub: 'somebody', iat: now(), exp: now() + 600, roles: ['Fanfare Owner'], ...changed,
  });
  const key = (alg) => issuer.keys().find((key) => key.alg === alg);
  const header = (changed = {}) => ({ alg: 'RS256', kid: key('RS256').kid, ...changed });
  const own = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const jwk = own.privateKey.export({ format: 'jwk' });
  const publicJwk = own.publicKey.export({ format: 'jwk' });
  const publicPem = () => createPublicKey({ key: key('RS256'), format: 'jwk' }).export({ type: 'spki', format: 'pem' });
  /** Signed by the issuer's key, with other claims or another header. */
  const signed = (changed, head) => compact(header(head), claims(changed), rs256(key('RS256')));
  return {
    honest: {
      'is signed with RSA': () => signed(),
      'is signed with ECDSA': () => compact({ alg: 'ES256', kid: key('ES256').kid }, claims(), es256(key('ES256'))),
      'names no key': () => signed({}, { kid: undefined }),
      'ended within the clock skew': () => signed({ exp: now() - 100 }),
      'is for several resources': () => signed({ aud: ['https://elsewhere.test', resource] }),
    },
    forged: {
      'is not signed': () => compact(header({ alg: 'none' }), claims(), () => Buffer.alloc(0)),
      'says that it is not signed, and is': () => signed({}, { alg: 'none' }),
      'is signed with the public key as a secret': () => compact(header({ alg: 'HS256' }), claims(), hs256(publicPem())),
      'is signed with the modulus as a secret': () =>
        compact(header({ alg: 'HS256' }), claims(), hs256(Buffer.from(key('RS256').n, 'base64url'))),
      'is signed with another key under a known name': () => compact(header(), claims(), rs256(jwk)),
      'brings its own key': () => compact(header({ kid: undefined, jwk: publicJwk }), claims(), rs256(jwk)),
      'names the key of another algorithm': () => signed({}, { kid: key('ES256').kid }),
      'names another algorithm of the same key': () => signed({}, { alg: 'RS512' }),
      'has critical extensions': () => signed({}, { crit: ['b64'], b64: false }),
      'has ended': () => signed({ exp: now() - 400 }),
      'never ends': () => signed({ exp: undefined }),
      'has not begun': () => signed({ nbf: now() + 400 }),
      'is of another issuer': () => signed({ iss: 'https://issuer.test' }),
      'names nobody': () => signed({ sub: undefined }),
      'is for nobody': () => signed({ aud: undefined }),
      'is bound to a key of its holder': () => signed({ cnf: { jkt: 'x' } }),
      'was changed afterwards': () => {
        const [head, , signature] = signed({ roles: [] }).split('.');
        return `${head}.${part(claims())}.${signature}`;
      },
      'names a key that nobody knows': () => compact(header({ kid: 'nobody' }), claims(), rs256(jwk)),
    },
  };
}

module.exports = { forgeries };
