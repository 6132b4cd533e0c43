//! The keys that an issuer publishes, as far as they can have signed a token.
//!
//! A key says what it is for, and it is used for nothing else: its kind, `use`, `key_ops` and `alg` must all fit the
//! token. compat: AUTH-20

use std::collections::HashSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest;
use serde_json::{Map, Value};

use super::{
    algorithm::{Algorithm, Material},
    json::{self, Bounds},
    token::Token,
};

/// Keys of one issuer. Entra has about ten.
pub(super) const KEYS_MAX: usize = 100;
/// Keys that are tried for one token, so that a token without a key id costs little.
const TRIED_MAX: usize = 4;
const BOUNDS: Bounds = Bounds {
    depth: 5,
    values: 5_000,
};

/// What tells keys apart, whatever they are called: the same id with another key in it is another key.
pub(super) type KeyDigest = [u8; 32];

/// A public key for checking signatures.
#[derive(Debug)]
pub(super) struct Key {
    id: Option<String>,
    algorithm: Option<Algorithm>,
    material: Material,
    pub(super) digest: KeyDigest,
}

/// An issuer's keys at one moment.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    digests: HashSet<KeyDigest>,
}

/// Why a document holds no keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeySetFault {
    #[error("it is no JSON Web Key Set")]
    Form,
    #[error("it has more than {KEYS_MAX} keys")]
    TooMany,
    #[error("none of its keys can check a signature")]
    NoKeys,
}

impl KeySet {
    /// Reads a JSON Web Key Set. Keys for other purposes are left out; one without any other key is refused.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, KeySetFault> {
        let document = json::object(bytes, BOUNDS).ok_or(KeySetFault::Form)?;
        let listed = document.get("keys").and_then(Value::as_array);
        let listed = listed.ok_or(KeySetFault::Form)?;
        if listed.len() > KEYS_MAX {
            return Err(KeySetFault::TooMany);
        }
        let keys: Vec<_> = listed.iter().filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err(KeySetFault::NoKeys);
        }
        let digests = keys.iter().map(|key| key.digest).collect();
        Ok(Self { keys, digests })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether this very key is one of them.
    pub(super) fn has(&self, digest: &KeyDigest) -> bool {
        self.digests.contains(digest)
    }

    /// Whether the keys are the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.digests == other.digests
    }

    /// The keys that may have signed the token: those of its key id, or all of its kind when it names none.
    pub(super) fn candidates(&self, token: &Token<'_>) -> impl Iterator<Item = &Key> {
        let fits = |key: &&Key| {
            let is_named = token.key_id.is_none() || key.id == token.key_id;
            is_named && key.fits(token.algorithm)
        };
        self.keys.iter().filter(fits).take(TRIED_MAX)
    }
}

impl Key {
    /// Whether this key signed the token.
    pub(super) fn signed(&self, token: &Token<'_>) -> bool {
        let message = token.signed.as_bytes();
        self.fits(token.algorithm)
            && self
                .material
                .verifies(token.algorithm, message, &token.signature)
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.algorithm.is_none_or(|own| own == algorithm) && self.material.fits(algorithm)
    }

    fn read(value: &Value) -> Option<Self> {
        let members = value.as_object()?;
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        if members.contains_key("d") {
            tracing::warn!("an issuer publishes a private key, which therefore proves nothing");
            return None;
        }
        if members.contains_key("use") && text("use") != Some("sig") {
            return None;
        }
        if let Some(operations) = members.get("key_ops") {
            let mut operations = operations.as_array()?.iter();
            operations.find(|operation| *operation == "verify")?;
        }
        let algorithm = match members.get("alg") {
            None => None,
            Some(_) => Some(text("alg").and_then(Algorithm::named)?),
        };
        let material = material(members)?;
        let id = text("kid").map(str::to_owned);
        Some(Self {
            digest: digest_of(id.as_deref(), algorithm, &material),
            id,
            algorithm,
            material,
        })
    }
}

fn material(members: &Map<String, Value>) -> Option<Material> {
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    let point = |size: usize| {
        let (x, y) = (bytes("x")?, bytes("y")?);
        let has_size = x.len() == size && y.len() == size;
        has_size.then(|| [vec![4], x, y].concat())
    };
    match (text("kty")?, text("crv")) {
        ("RSA", _) => {
            let number = |name| {
                // Some issuers write a leading zero, as for a signed number.
                let bytes = bytes(name)?;
                let start = bytes.iter().position(|byte| *byte != 0)?;
                Some(bytes[start..].to_vec())
            };
            let (n, e) = (number("n")?, number("e")?);
            ((256..=1024).contains(&n.len()) && e.len() <= 8).then_some(Material::Rsa { n, e })
        }
        ("EC", Some("P-256")) => point(32).map(Material::P256),
        ("EC", Some("P-384")) => point(48).map(Material::P384),
        ("OKP", Some("Ed25519")) => {
            let key = bytes("x")?;
            (key.len() == 32).then_some(Material::Ed25519(key))
        }
        _ => None,
    }
}

fn digest_of(id: Option<&str>, algorithm: Option<Algorithm>, material: &Material) -> KeyDigest {
    let text = format!("{id:?} {algorithm:?} {material:?}");
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    let mut bytes = KeyDigest::default();
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn number(bytes: usize) -> String {
        URL_SAFE_NO_PAD.encode(vec![0xc1; bytes])
    }

    fn rsa() -> Value {
        json!({"kty": "RSA", "kid": "r", "n": number(256), "e": "AQAB"})
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    fn read(key: &Value) -> bool {
        Key::read(key).is_some()
    }

    #[test]
    fn keys_are_for_what_they_say() {
        let point = json!({"kty": "EC", "crv": "P-256", "x": number(32), "y": number(32)});
        let wide = json!({"kty": "EC", "crv": "P-384", "x": number(48), "y": number(48)});
        let twisted = json!({"kty": "OKP", "crv": "Ed25519", "x": number(32)});
        for good in [
            rsa(),
            with(rsa(), "use", json!("sig")),
            with(rsa(), "key_ops", json!(["verify"])),
            with(rsa(), "alg", json!("PS384")),
            with(rsa(), "n", json!(format!("AMHB{}", number(255)))),
            point.clone(),
            wide,
            twisted.clone(),
        ] {
            assert!(read(&good), "{good}");
        }
        for other in [
            with(rsa(), "use", json!("enc")),
            with(rsa(), "use", json!(1)),
            with(rsa(), "key_ops", json!(["encrypt"])),
            with(rsa(), "key_ops", json!("verify")),
            with(rsa(), "alg", json!("RSA-OAEP")),
            with(rsa(), "alg", json!("HS256")),
            with(rsa(), "alg", json!(null)),
            with(rsa(), "d", json!("AQAB")),
            with(rsa(), "n", json!(number(128))),
            with(rsa(), "n", json!(number(1025))),
            with(rsa(), "n", json!("")),
            with(rsa(), "n", json!("not base64!")),
            with(rsa(), "e", json!(number(9))),
            with(rsa(), "kty", json!("oct")),
            with(point.clone(), "crv", json!("P-521")),
            with(point.clone(), "crv", json!("secp256k1")),
            with(point, "x", json!(number(31))),
            with(twisted.clone(), "crv", json!("X25519")),
            with(twisted, "x", json!(number(31))),
            json!({"kty": "oct", "k": number(32), "alg": "HS256"}),
            json!("a key"),
        ] {
            assert!(!read(&other), "{other}");
        }
    }

    #[test]
    fn a_set_needs_a_key_and_has_a_bound() {
        let of =
            |document: Value| KeySet::parse(document.to_string().as_bytes()).map(|set| set.len());
        assert_eq!(of(json!({"keys": [rsa(), {"kty": "oct"}]})), Ok(1));
        assert_eq!(of(json!({"keys": []})), Err(KeySetFault::NoKeys));
        assert_eq!(
            of(json!({"keys": [{"kty": "oct"}]})),
            Err(KeySetFault::NoKeys)
        );
        assert_eq!(of(json!({"keys": {}})), Err(KeySetFault::Form));
        assert_eq!(of(json!([])), Err(KeySetFault::Form));
        let many = vec![rsa(); KEYS_MAX + 1];
        assert_eq!(of(json!({"keys": many})), Err(KeySetFault::TooMany));
        let same = |one: Value, other: Value| {
            let of = |key| KeySet::parse(json!({"keys": [key]}).to_string().as_bytes()).unwrap();
            of(one).is_same(&of(other))
        };
        assert!(same(rsa(), rsa()));
        assert!(!same(rsa(), with(rsa(), "e", json!("Aw"))));
        assert!(!same(rsa(), with(rsa(), "kid", json!("s"))));
    }
}
