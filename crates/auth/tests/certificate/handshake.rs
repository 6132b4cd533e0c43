//! What a handshake lets through, and what a resumed one remembers. Both ends are here, without a socket.

use std::sync::Arc;

use fanfare_auth::certificate::{AnyCertificate, CHAIN_BYTES_MAX, CHAIN_CERTIFICATES_MAX};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, ServerConfig,
    ServerConnection, SignatureScheme, SupportedProtocolVersion,
    client::{
        ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use crate::rig::{Made, authority_params, params};

/// This client trusts every server: servers are not what is looked at.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Sends what it is told to, fitting or not; and remembers which authorities it was asked for.
#[derive(Debug)]
struct Sends(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Sends {
    fn resolve(&self, hints: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        assert!(hints.is_empty(), "no authorities are named");
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

fn key(made: &Made) -> PrivateKeyDer<'static> {
    PrivateKeyDer::try_from(made.key.serialize_der()).unwrap()
}

pub(crate) fn server() -> Arc<ServerConfig> {
    let made = Made::alone(params("hub.test", -1..30));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(Arc::new(AnyCertificate::new()))
        .with_single_cert(vec![made.der.clone()], key(&made))
        .unwrap();
    Arc::new(config)
}

fn client(version: &'static SupportedProtocolVersion, sends: Sends) -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
        .with_client_cert_resolver(Arc::new(sends));
    Arc::new(config)
}

/// A client that sends `chain` and signs with `signer`'s key.
pub(crate) fn sender(
    version: &'static SupportedProtocolVersion,
    chain: &[CertificateDer<'static>],
    signer: PrivateKeyDer<'static>,
) -> Arc<ClientConfig> {
    let key = ring::default_provider()
        .key_provider
        .load_private_key(signer)
        .unwrap();
    client(
        version,
        Sends(Some(Arc::new(CertifiedKey::new(chain.to_vec(), key)))),
    )
}

/// Shakes hands to the end; what the server knows of the client then.
pub(crate) fn shake(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
) -> Result<(HandshakeKind, Vec<CertificateDer<'static>>), Error> {
    let mut server = ServerConnection::new(server.clone()).unwrap();
    let name = ServerName::try_from("hub.test").unwrap();
    let mut client = ClientConnection::new(client.clone(), name).unwrap();
    // Also after the handshake: the tickets follow it.
    while server.wants_write() || client.wants_write() || server.is_handshaking() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut sent = wire.as_slice();
        while !sent.is_empty() {
            server.read_tls(&mut sent).unwrap();
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut sent = wire.as_slice();
        while !sent.is_empty() {
            client.read_tls(&mut sent).unwrap();
            client.process_new_packets()?;
        }
    }
    let certificates = server.peer_certificates().unwrap_or_default().to_vec();
    Ok((server.handshake_kind().unwrap(), certificates))
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

#[test]
fn a_certificate_is_asked_for_and_not_insisted_on() {
    let server = server();
    let alone = Made::alone(params("door-1", -1..30));
    let authority = Made::alone(authority_params("door-1", None));
    let expired = Made::alone(params("door-1", -9..-1));
    let below = Made::root("root").below(params("door-1", -1..30));
    for version in VERSIONS {
        let (_, sent) = shake(&server, &client(version, Sends(None))).unwrap();
        assert!(sent.is_empty());
        for made in [&alone, &authority, &expired, &below] {
            let chain = std::slice::from_ref(&made.der);
            let (_, sent) = shake(&server, &sender(version, chain, key(made))).unwrap();
            assert_eq!(sent, chain, "{version:?}");
        }
    }
}

#[test]
fn whoever_has_not_the_key_stays_out() {
    let server = server();
    let (made, thief) = (Made::root("door-1"), Made::root("door-1"));
    for version in VERSIONS {
        let stolen = sender(version, std::slice::from_ref(&made.der), key(&thief));
        assert!(shake(&server, &stolen).is_err(), "{version:?}");
    }
}

#[test]
fn rubbish_and_too_much_stay_out() {
    let server = server();
    let made = Made::root("door-1");
    let whole = made.der.to_vec();
    let many = vec![made.der.clone(); CHAIN_CERTIFICATES_MAX];
    let long = vec![
        made.der.clone(),
        CertificateDer::from(vec![0; CHAIN_BYTES_MAX]),
    ];
    for version in VERSIONS {
        let (_, sent) = shake(&server, &sender(version, &many, key(&made))).unwrap();
        assert_eq!(sent.len(), CHAIN_CERTIFICATES_MAX);
        let one_more = [many.clone(), vec![made.der.clone()]].concat();
        for chain in [
            one_more,
            long.clone(),
            vec![CertificateDer::from(whole[..whole.len() - 1].to_vec())],
            vec![CertificateDer::from(b"rubbish".to_vec())],
            vec![CertificateDer::from(vec![])],
        ] {
            let rubbish = sender(version, &chain, key(&made));
            assert!(shake(&server, &rubbish).is_err(), "{version:?} {chain:?}");
        }
    }
}

/// Three clients come again and again in turns: each resumes its own session, with its own certificate.
#[test]
fn a_resumed_session_has_the_certificate_it_began_with() {
    let (first, second) = (Made::root("door-1"), Made::root("door-2"));
    for version in VERSIONS {
        let server = server();
        let chain = |made: &Made| vec![made.der.clone()];
        let clients = [
            (sender(version, &chain(&first), key(&first)), chain(&first)),
            (
                sender(version, &chain(&second), key(&second)),
                chain(&second),
            ),
            (client(version, Sends(None)), vec![]),
        ];
        for round in 0..4 {
            for (client, chain) in &clients {
                let (kind, sent) = shake(&server, client).unwrap();
                assert_eq!(sent, *chain, "{version:?} round {round}");
                let is_resumed = kind == HandshakeKind::Resumed;
                assert_eq!(is_resumed, round > 0, "{version:?} round {round}");
            }
        }
    }
}
