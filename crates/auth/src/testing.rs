//! For tests: keys that sign tokens, and an issuer that serves what it is told, lies included.
//!
//! Not compiled without the feature `testing`, which no program asks for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{
        self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaEncoding, RsaKeyPair,
    },
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use crate::bearer::AUDIENCE;

/// A moment that tokens of tests outlive, in seconds.
pub const FAR_EXPIRY: i64 = 4_000_000_000;
const FRESH: &str = "a generated key can be read again";
const SIGNED: &str = "a good key signs";

/// A private key with an id.
pub struct SigningKey {
    id: String,
    pair: Pair,
}

enum Pair {
    Ecdsa(&'static str, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(&'static str, &'static dyn RsaEncoding, Box<RsaKeyPair>),
}

impl SigningKey {
    /// A new key for `ES256`.
    pub fn es256(id: &str) -> Self {
        Self::ecdsa(id, "ES256", &ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    /// A new key for `ES384`.
    pub fn es384(id: &str) -> Self {
        Self::ecdsa(id, "ES384", &ECDSA_P384_SHA384_FIXED_SIGNING)
    }

    fn ecdsa(id: &str, algorithm: &'static str, rule: &'static EcdsaSigningAlgorithm) -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(rule, &random).expect(FRESH);
        let pair = EcdsaKeyPair::from_pkcs8(rule, document.as_ref(), &random).expect(FRESH);
        Self {
            id: id.to_owned(),
            pair: Pair::Ecdsa(algorithm, pair),
        }
    }

    /// A new key for `EdDSA`.
    pub fn ed25519(id: &str) -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect(FRESH);
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect(FRESH);
        Self {
            id: id.to_owned(),
            pair: Pair::Ed25519(pair),
        }
    }

    /// An RSA key from the PEM of `openssl genpkey`, for `algorithm`, such as `RS256` or `PS512`.
    ///
    /// # Panics
    /// When it is no such key, or no such algorithm.
    pub fn rsa(id: &str, algorithm: &'static str, pem: &str) -> Self {
        let document = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).expect("it is PEM");
        let pair = RsaKeyPair::from_pkcs8(document.secret_pkcs8_der()).expect("it is an RSA key");
        let encoding: &dyn RsaEncoding = match algorithm {
            "RS256" => &signature::RSA_PKCS1_SHA256,
            "RS384" => &signature::RSA_PKCS1_SHA384,
            "RS512" => &signature::RSA_PKCS1_SHA512,
            "PS256" => &signature::RSA_PSS_SHA256,
            "PS384" => &signature::RSA_PSS_SHA384,
            "PS512" => &signature::RSA_PSS_SHA512,
            other => panic!("{other} is no algorithm of RSA"),
        };
        Self {
            id: id.to_owned(),
            pair: Pair::Rsa(algorithm, encoding, Box::new(pair)),
        }
    }

    /// The public key as a JSON Web Key for signatures.
    pub fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match &self.pair {
            Pair::Ecdsa(algorithm, pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(match *algorithm {
                    "ES256" => 32,
                    _ => 48,
                });
                let curve = match *algorithm {
                    "ES256" => "P-256",
                    _ => "P-384",
                };
                json!({"kty": "EC", "crv": curve, "x": text(x), "y": text(y)})
            }
            Pair::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref())})
            }
            Pair::Rsa(_, _, pair) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "n": text(&public.n), "e": text(&public.e)})
            }
        };
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk
    }

    /// A token with these claims, and a header as most issuers write it.
    pub fn mint(&self, claims: &Value) -> String {
        self.mint_with(&json!({"typ": "JWT", "kid": self.id}), claims)
    }

    /// A token with these claims, and a header of this and `alg`, unless it has one.
    pub fn mint_with(&self, header: &Value, claims: &Value) -> String {
        let mut header = header.clone();
        if header.get("alg").is_none() {
            header["alg"] = json!(self.algorithm());
        }
        self.sign(&header.to_string(), &claims.to_string())
    }

    /// A token of texts, which may be anything.
    pub fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encoded(header), encoded(claims));
        let signature = self.signature(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// What it signs with.
    pub fn algorithm(&self) -> &'static str {
        match &self.pair {
            Pair::Ecdsa(algorithm, _) | Pair::Rsa(algorithm, _, _) => algorithm,
            Pair::Ed25519(_) => "EdDSA",
        }
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ecdsa(_, pair) => {
                let signature = pair.sign(&random, message).expect(SIGNED);
                signature.as_ref().to_vec()
            }
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(_, encoding, pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature)
                    .expect(SIGNED);
                signature
            }
        }
    }
}

/// Part of a token.
pub fn encoded(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// Claims of a good token with some roles.
pub fn claims(issuer: &str, roles: &[&str]) -> Value {
    json!({
        "iss": issuer, "aud": AUDIENCE, "sub": "somebody", "azp": "tool", "exp": FAR_EXPIRY,
        "iat": 1_700_000_000, "roles": roles,
    })
}

/// An issuer on a port of its own. Ends when it is dropped.
pub struct TestIssuer {
    url: String,
    state: Arc<Mutex<State>>,
    requests: watch::Sender<u64>,
    // Aborted when it is dropped.
    _listener: JoinSet<()>,
}

type Rule = Box<dyn Fn(&str) -> Reply + Send>;

#[derive(Default)]
struct State {
    keys: Vec<Value>,
    rule: Option<Rule>,
}

/// What it sends.
pub enum Reply {
    /// What an honest issuer would.
    Honest,
    /// These bytes, whatever they are, and then an end.
    Bytes(Vec<u8>),
    /// Nothing, ever.
    Silence,
}

impl Reply {
    /// An answer of HTTP.
    pub fn http(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}");
        Self::Bytes(format!("{head}connection: close\r\n\r\n{body}").into_bytes())
    }
}

impl TestIssuer {
    /// An honest issuer without keys, at `address` (`IP:PORT`, port 0 for any).
    ///
    /// # Panics
    /// When there is no such address.
    pub async fn start(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.expect("it is free");
        let address = listener.local_addr().expect("it listens");
        let issuer = Self {
            url: format!("http://{address}/fleet"),
            state: Arc::default(),
            requests: watch::Sender::new(0),
            _listener: JoinSet::new(),
        };
        issuer.listening(listener)
    }

    fn listening(mut self, listener: TcpListener) -> Self {
        let (url, state) = (self.url.clone(), self.state.clone());
        let requests = self.requests.clone();
        self._listener.spawn(async move {
            let mut served = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (url, state) = (url.clone(), state.clone());
                let requests = requests.clone();
                // A client that went away is no business of an issuer's.
                served.spawn(async move { drop(serve(stream, &url, &state, &requests).await) });
                while served.try_join_next().is_some() {}
            }
        });
        self
    }

    /// Its name.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Serves these keys from now on, and no others.
    pub fn publish(&self, keys: &[&SigningKey]) {
        self.publish_all(keys.iter().map(|key| key.jwk()).collect());
    }

    /// Serves these JSON Web Keys from now on, whatever they are.
    pub fn publish_all(&self, keys: Vec<Value>) {
        lock(&self.state).keys = keys;
    }

    /// Answers every path as the rule says from now on.
    pub fn answer(&self, rule: impl Fn(&str) -> Reply + Send + 'static) {
        lock(&self.state).rule = Some(Box::new(rule));
    }

    /// Answers honestly from now on.
    pub fn be_honest(&self) {
        lock(&self.state).rule = None;
    }

    /// How many requests came, and word of each that does.
    pub fn requests(&self) -> watch::Receiver<u64> {
        self.requests.subscribe()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request, one answer.
async fn serve(
    mut stream: TcpStream,
    url: &str,
    state: &Mutex<State>,
    requests: &watch::Sender<u64>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(error) => return Err(error),
        }
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let reply = answer_to(&path, url, &lock(state));
    requests.send_modify(|requests| *requests += 1);
    match reply {
        Some(bytes) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await
        }
        None => std::future::pending().await,
    }
}

fn answer_to(path: &str, url: &str, state: &State) -> Option<Vec<u8>> {
    let reply = match &state.rule {
        Some(rule) => rule(path),
        None => Reply::Honest,
    };
    let reply = match reply {
        Reply::Honest => honest(path, url, state),
        reply => reply,
    };
    match reply {
        Reply::Bytes(bytes) => Some(bytes),
        Reply::Honest | Reply::Silence => None,
    }
}

fn honest(path: &str, url: &str, state: &State) -> Reply {
    let body = match path {
        "/fleet/.well-known/openid-configuration" => {
            json!({"issuer": url, "jwks_uri": format!("{url}/keys")})
        }
        "/fleet/keys" => json!({"keys": state.keys}),
        _ => return Reply::http("404 Not Found", "", ""),
    };
    Reply::http(
        "200 OK",
        "content-type: application/json\r\n",
        &body.to_string(),
    )
}
