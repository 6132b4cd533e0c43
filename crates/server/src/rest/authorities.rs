//! Certificate authorities for devices: list, show, upload, prove, delete. For whoever owns the hub alone.
//!
//! A certificate is public, so everything about it may be shown and said; only whose key it is has to be proven.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use fanfare_auth::certificate::{AuthorityCertificate, AuthorityRefusal};
use fanfare_hub::{
    authorities::{Authority, AuthorityError, AuthorityName},
    registry::Precondition,
};
use fanfare_wire::{
    authorities::{AuthorityDocument, AuthorityRequest},
    error::ErrorCode,
    etag::identity_etag,
};

use super::{Rest, call::Call, error::Refusal, job_document::time, policies::precondition, reply};

/// `GET /fanfare/v1/authorities`: all of them in order of their names, without the certificates.
pub(super) async fn list(State(rest): State<Arc<Rest>>, _: Call) -> Result<Response, Refusal> {
    let authorities = rest.hub.authorities.list().await?;
    let documents: Result<Vec<_>, _> = authorities.iter().map(listed).collect();
    Ok(reply::json(&documents?))
}

/// `GET /fanfare/v1/authorities/{authority}`, with its certificate.
pub(super) async fn show(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let authority = rest.hub.authorities.get(&known(&call)?).await?;
    Ok(reply::json(&document(&authority)?))
}

/// `PUT /fanfare/v1/authorities/{authority}`: uploads a certificate. compat: AUTH-51
pub(super) async fn put(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let name = AuthorityName::parse(call.part("authority"))
        .map_err(|error| Refusal::invalid(error.to_string()))?;
    let request = request(&call)?;
    let pem = request.certificate.as_bytes();
    let certificate = AuthorityCertificate::from_pem(pem, rest.hub.clock.now())?;
    call.note(|noted| noted.detail("thumbprint", certificate.thumbprints.sha256_hex()));
    let precondition = precondition(&call, Precondition::Any)?;
    let authorities = &rest.hub.authorities;
    let put = authorities.put(name, certificate.der, precondition).await?;
    Ok(reply::json(&document(&put)?))
}

/// `DELETE /fanfare/v1/authorities/{authority}`; the connections it vouched for end. compat: AUTH-54
pub(super) async fn delete(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let precondition = precondition(&call, Precondition::Exists)?;
    let name = known(&call)?;
    rest.hub.authorities.delete(name, precondition).await?;
    Ok(reply::nothing())
}

/// `POST /fanfare/v1/authorities/{authority}/code`: a new verification code. compat: AUTH-53
pub(super) async fn make_code(
    State(rest): State<Arc<Rest>>,
    call: Call,
) -> Result<Response, Refusal> {
    let precondition = precondition(&call, Precondition::Exists)?;
    let authorities = &rest.hub.authorities;
    let authority = authorities.make_code(known(&call)?, precondition).await?;
    let verification_code = authority.code.as_deref().map(str::to_owned);
    Ok(reply::json(&AuthorityDocument {
        verification_code,
        ..document(&authority)?
    }))
}

/// `POST /fanfare/v1/authorities/{authority}/verify`: takes a proof. compat: AUTH-53
pub(super) async fn verify(State(rest): State<Arc<Rest>>, call: Call) -> Result<Response, Refusal> {
    let proof = request(&call)?;
    let authorities = &rest.hub.authorities;
    let authority = authorities.get(&known(&call)?).await?;
    if let Precondition::Matches(etag) = precondition(&call, Precondition::Exists)?
        && etag != authority.etag
    {
        return Err(AuthorityError::EtagMismatch(authority.name).into());
    }
    let Some(code) = &authority.code else {
        let text = "there is no verification code to prove the key with; POST .../code makes one";
        return Err(Refusal::new(ErrorCode::InvalidOperation, text));
    };
    let certificate = AuthorityCertificate::read(&authority.certificate)?;
    let pem = proof.certificate.as_bytes();
    let checked = certificate.check_proof(pem, code, rest.hub.clock.now());
    checked.map_err(|refusal| Refusal::invalid(format!("certificate {refusal}")))?;
    call.note(|noted| noted.detail("thumbprint", certificate.thumbprints.sha256_hex()));
    let verified = authorities.verify(&authority).await?;
    Ok(reply::json(&document(&verified)?))
}

fn request(call: &Call) -> Result<AuthorityRequest, Refusal> {
    let request: AuthorityRequest = call.decode()?;
    let path = call.part("authority");
    match request.name.as_deref().filter(|other| *other != path) {
        Some(other) => Err(Refusal::invalid(format!(
            "name is {other} but the path names {path}"
        ))),
        None => Ok(request),
    }
}

/// A name that no authority can have is simply not there.
fn known(call: &Call) -> Result<AuthorityName, Refusal> {
    let text = call.part("authority");
    AuthorityName::parse(text).map_err(|_| {
        let text = format!("authority {text} does not exist");
        Refusal::new(ErrorCode::AuthorityNotFound, text)
    })
}

fn listed(authority: &Authority) -> Result<AuthorityDocument, Refusal> {
    let read = AuthorityCertificate::read(&authority.certificate)?;
    Ok(AuthorityDocument {
        name: authority.name.to_string(),
        subject: read.subject,
        thumbprint: read.thumbprints.sha1_hex(),
        thumbprint_sha256: read.thumbprints.sha256_hex(),
        expiry: time(read.validity.to),
        is_verified: authority.is_verified,
        created: time(authority.created),
        updated: time(authority.updated),
        etag: identity_etag(authority.etag.0),
        certificate: None,
        verification_code: None,
    })
}

fn document(authority: &Authority) -> Result<AuthorityDocument, Refusal> {
    Ok(AuthorityDocument {
        certificate: Some(pem(&authority.certificate)),
        ..listed(authority)?
    })
}

/// Characters of a line of PEM.
const LINE: usize = 64;

fn pem(der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in base64.as_bytes().chunks(LINE) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

impl From<AuthorityRefusal> for Refusal {
    fn from(refusal: AuthorityRefusal) -> Self {
        Self::invalid(format!("certificate {refusal}"))
    }
}

impl From<AuthorityError> for Refusal {
    fn from(error: AuthorityError) -> Self {
        use AuthorityError as E;
        let code = match &error {
            E::Exists(_) | E::Twice(_) => ErrorCode::AuthorityAlreadyExists,
            E::Absent(_) => ErrorCode::AuthorityNotFound,
            E::EtagMismatch(_) => ErrorCode::PreconditionFailed,
            E::TooMany => ErrorCode::IotHubQuotaExceeded,
            E::Store(source) => return source.clone().into(),
        };
        Self::new(code, error.to_string())
    }
}
