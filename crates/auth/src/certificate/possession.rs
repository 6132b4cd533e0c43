//! What a TLS handshake asks of a certificate: that whoever sends it has its key, and that it is not too large.
//!
//! The certificate itself may be anything that has a public key: self-signed ones of every tool are welcome, also
//! those that say they are an authority or have no extensions at all. compat: AUTH-40

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::WebPkiSupportedAlgorithms,
    pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use webpki::RawPublicKeyEntity;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Certificates that a peer may send, its own included. Ours: no chain that a device has is longer.
pub const CHAIN_CERTIFICATES_MAX: usize = 8;
/// Bytes of them together. They stay in memory as long as the connection does. Ours.
pub const CHAIN_BYTES_MAX: usize = 16 * 1024;

/// Asks every peer for a certificate and insists on none. Names no authorities, so that peers send whatever they
/// have.
#[derive(Debug)]
pub struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyCertificate {
    /// With the signatures that *ring* can check.
    pub fn new() -> Self {
        Self {
            algorithms: rustls::crypto::ring::default_provider().signature_verification_algorithms,
        }
    }

    /// Whether the key of `certificate` signed `message` by one of the first `tried` algorithms of the scheme.
    fn check(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
        tried: usize,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = self.algorithms.mapping.iter();
        let mut fitting = known.filter(|(scheme, _)| *scheme == signed.scheme);
        let (_, algorithms) = fitting
            .next()
            .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let key = public_key(certificate).ok_or(CertificateError::BadEncoding)?;
        let key = RawPublicKeyEntity::try_from(&key).map_err(|_| CertificateError::BadEncoding)?;
        let is_good = algorithms.iter().take(tried).any(|algorithm| {
            key.verify_signature(*algorithm, message, signed.signature())
                .is_ok()
        });
        match is_good {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }
}

impl Default for AnyCertificate {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bytes: usize = intermediates.iter().map(|sent| sent.len()).sum();
        if intermediates.len() >= CHAIN_CERTIFICATES_MAX
            || bytes + end_entity.len() > CHAIN_BYTES_MAX
        {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        public_key(end_entity).ok_or(CertificateError::BadEncoding)?;
        Ok(ClientCertVerified::assertion())
    }

    /// In TLS 1.2 a scheme leaves the curve open, so each is tried.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check(message, cert, dss, usize::MAX)
    }

    /// In TLS 1.3 a scheme names one algorithm: the first one, and PKCS#1 signatures are out.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let is_old = matches!(
            dss.scheme,
            SignatureScheme::RSA_PKCS1_SHA256
                | SignatureScheme::RSA_PKCS1_SHA384
                | SignatureScheme::RSA_PKCS1_SHA512
        );
        if is_old {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        self.check(message, cert, dss, 1)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The public key of a certificate, of whatever version, with whatever extensions.
fn public_key<'a>(certificate: &'a CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'a>> {
    let (rest, read) = X509Certificate::from_der(certificate).ok()?;
    rest.is_empty()
        .then(|| SubjectPublicKeyInfoDer::from(read.tbs_certificate.subject_pki.raw))
}
