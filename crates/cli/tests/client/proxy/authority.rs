//! The proxy's own certificate authority: a client that trusts the hub's would refuse the proxy.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Http;

pub(super) struct Authority {
    /// The authority's certificate.
    pub(super) pem: String,
    leaf: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    /// A fresh authority, and a certificate of its for `address`.
    pub(super) fn of(address: IpAddr) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = named("authority of the proxy");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![address.to_string()]).unwrap();
        params.distinguished_name = named("the proxy");
        params.is_ca = IsCa::ExplicitNoCa;
        let leaf = params.signed_by(&key, &issuer).unwrap().der().clone();
        Self { pem, leaf, key }
    }

    /// TLS of a server that offers `http`.
    pub(super) fn server_config(&self, http: Http) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(self.key.serialize_der().into());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.leaf.clone()], key)
            .unwrap();
        if http != Http::One {
            config.alpn_protocols.push(b"h2".to_vec());
        }
        if http != Http::Two {
            config.alpn_protocols.push(b"http/1.1".to_vec());
        }
        Arc::new(config)
    }
}

/// Issuer and subject must differ, or the certificate passes for one that signed itself.
fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}
