//! A token taken apart: header, claims and signature, before anything about it is believed.
//!
//! Bounded in every direction. What a header says about where its key is (`jwk`, `jku`, `x5u`, `x5c`) is not looked
//! at: keys come from the issuer alone.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{
    BearerRefusal,
    algorithm::Algorithm,
    json::{self, Bounds},
};

/// Bytes of a token. Entra's longest, with 200 groups in it, have about 10,000.
pub(super) const TOKEN_BYTES_MAX: usize = 16 * 1024;
const HEADER_BYTES_MAX: usize = 8 * 1024;
/// An RSA key of 8,192 bits signs with this many bytes.
const SIGNATURE_BYTES_MAX: usize = 1024;
const KEY_ID_BYTES_MAX: usize = 512;
const HEADER: Bounds = Bounds {
    depth: 4,
    values: 64,
};
const CLAIMS: Bounds = Bounds {
    depth: 8,
    values: 1_024,
};

/// A token that has the form of one.
#[derive(Debug)]
pub(super) struct Token<'a> {
    /// What is signed: header and claims as they were sent.
    pub(super) signed: &'a str,
    /// What was signed with, if the header says the truth.
    pub(super) algorithm: Algorithm,
    /// Which key it says signed.
    pub(super) key_id: Option<String>,
    /// What it says.
    pub(super) claims: Map<String, Value>,
    /// The signature, unchecked.
    pub(super) signature: Vec<u8>,
}

impl<'a> Token<'a> {
    /// Reads the compact form: three parts of base64url without padding, between dots.
    pub(super) fn parse(text: &'a str) -> Result<Self, BearerRefusal> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(BearerRefusal::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(BearerRefusal::NoToken)?;
        // A second dot inside the claims is no base64url, so three parts are all there can be.
        let (header, claims) = signed.split_once('.').ok_or(BearerRefusal::NoToken)?;
        let signature = decoded(signature, SIGNATURE_BYTES_MAX)?;
        let header = decoded(header, HEADER_BYTES_MAX)?;
        let header = json::object(&header, HEADER).ok_or(BearerRefusal::NoToken)?;
        let algorithm = algorithm(&header)?;
        let key_id = key_id(&header)?;
        check_type(&header)?;
        let claims = decoded(claims, TOKEN_BYTES_MAX)?;
        let claims = json::object(&claims, CLAIMS).ok_or(BearerRefusal::NoToken)?;
        Ok(Self {
            signed,
            algorithm,
            key_id,
            claims,
            signature,
        })
    }
}

fn decoded(text: &str, bytes_max: usize) -> Result<Vec<u8>, BearerRefusal> {
    let bytes = URL_SAFE_NO_PAD.decode(text);
    let bytes = bytes.map_err(|_| BearerRefusal::NoToken)?;
    if bytes.is_empty() || bytes.len() > bytes_max {
        return Err(BearerRefusal::NoToken);
    }
    Ok(bytes)
}

fn algorithm(header: &Map<String, Value>) -> Result<Algorithm, BearerRefusal> {
    // Whatever must be understood is not: there is no extension that this hub knows.
    if header.contains_key("crit") {
        return Err(BearerRefusal::Critical);
    }
    let name = header.get("alg").and_then(Value::as_str);
    name.and_then(Algorithm::named)
        .ok_or(BearerRefusal::Algorithm)
}

fn key_id(header: &Map<String, Value>) -> Result<Option<String>, BearerRefusal> {
    match header.get("kid") {
        None => Ok(None),
        Some(Value::String(id)) if id.len() <= KEY_ID_BYTES_MAX => Ok(Some(id.clone())),
        Some(_) => Err(BearerRefusal::NoToken),
    }
}

/// Tokens that say they are something else, a proof of possession or a logout, are not access tokens, whoever signed
/// them. compat: AUTH-21
fn check_type(header: &Map<String, Value>) -> Result<(), BearerRefusal> {
    let Some(kind) = header.get("typ") else {
        return Ok(());
    };
    let kind = kind.as_str().ok_or(BearerRefusal::NoToken)?;
    let kind = kind.to_ascii_lowercase();
    match kind.strip_prefix("application/").unwrap_or(&kind) {
        "jwt" | "at+jwt" => Ok(()),
        _ => Err(BearerRefusal::Kind),
    }
}
