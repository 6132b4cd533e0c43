//! A certificate chain with its key: what must be true of them before a handshake may use them.
//!
//! What clients would refuse for sure is an error here; what only some of them would, or what may become right by
//! itself (dates), is a doubt that is told and otherwise left to the operator.

use std::{fmt, ops::Range, sync::Arc};

use fanfare_hub::time::Timestamp;
use rustls::{
    Error, InconsistentKeys,
    client::verify_server_name,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use x509_parser::prelude::X509Certificate;

/// A chain with the key of its first certificate.
pub(crate) struct Pair {
    pub(super) certified: Arc<CertifiedKey>,
    /// When every certificate of the chain counts.
    pub(super) validity: Range<Timestamp>,
    is_authority: bool,
}

/// Why a chain and a key are of no use together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PairFault {
    /// Something is wrong with the chain.
    Chain(String),
    /// Something is wrong with the key, or it is not this chain's.
    Key(String),
}

impl Pair {
    /// Checks that they can be used.
    ///
    /// # Errors
    /// What is wrong, and with which of the two.
    pub(super) fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, PairFault> {
        let read = read_all(&chain)?;
        check_order(&read)?;
        let is_authority = read[0].is_ca();
        let begins = read.iter().map(|one| one.validity().not_before.timestamp());
        let ends = read.iter().map(|one| one.validity().not_after.timestamp());
        let validity = moment(begins.max())..moment(ends.min());
        drop(read);
        let key = provider().key_provider.load_private_key(key).map_err(|_| {
            PairFault::Key(
                "holds no key that TLS can use here: RSA of 2048 to 8192 bits, or a key on the \
                 curve P-256, P-384 or Ed25519"
                    .to_owned(),
            )
        })?;
        let certified = CertifiedKey::new(chain, key);
        check_key(&certified)?;
        Ok(Self {
            certified: Arc::new(certified),
            validity,
            is_authority,
        })
    }

    /// What clients may stumble over, in sentences. `names` are what they call the hub.
    fn doubts(&self, names: &[String], now: Timestamp) -> Vec<String> {
        let mut doubts = Vec::new();
        let (begins, ends) = (self.validity.start, self.validity.end);
        if now < begins {
            doubts.push(format!(
                "clients refuse it until it begins to count, {begins}"
            ));
        } else if now >= ends {
            doubts.push(format!("clients refuse it: it ended {ends}"));
        }
        let missing: Vec<_> = names.iter().filter(|name| !self.is_for(name)).collect();
        if !missing.is_empty() {
            doubts.push(format!(
                "clients refuse it for names that it does not carry: {missing:?}"
            ));
        }
        if self.is_authority {
            doubts.push(
                "it says that it is an authority (CA:TRUE), which clients over rustls, such as \
                 fanfare's own commands, refuse in a server's certificate"
                    .to_owned(),
            );
        }
        doubts
    }

    /// The same in the log, for whoever chose the certificate.
    pub(super) fn tell_doubts(&self, names: &[String], now: Timestamp) {
        for doubt in self.doubts(names, now) {
            tracing::warn!("the hub's certificate: {doubt}");
        }
    }

    fn is_for(&self, name: &str) -> bool {
        let Some(leaf) = self.certified.cert.first() else {
            return false;
        };
        let (Ok(leaf), Ok(name)) = (
            ParsedCertificate::try_from(leaf),
            ServerName::try_from(name),
        ) else {
            return false;
        };
        verify_server_name(&leaf, &name).is_ok()
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair")
            .field("certificates", &self.certified.cert.len())
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

/// The cryptography, named, because a process may hold more than one provider.
pub(super) fn provider() -> rustls::crypto::CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// Seconds since 1970 as a moment; certificates know years that moments do not.
pub(super) fn moment(seconds: Option<i64>) -> Timestamp {
    let micros = seconds.unwrap_or(0).saturating_mul(1_000_000);
    Timestamp(micros).clamp(Timestamp::NEVER, Timestamp::FAR_FUTURE)
}

fn read_all<'a>(chain: &'a [CertificateDer<'_>]) -> Result<Vec<X509Certificate<'a>>, PairFault> {
    if chain.is_empty() {
        return Err(PairFault::Chain("holds no certificate".to_owned()));
    }
    let read = |(place, der): (usize, &'a CertificateDer<'_>)| {
        let unreadable = |problem: &dyn fmt::Display| {
            let place = place + 1;
            PairFault::Chain(format!(
                "holds a certificate, number {place}, that cannot be read: {problem}"
            ))
        };
        let (rest, certificate) =
            x509_parser::parse_x509_certificate(der).map_err(|error| unreadable(&error))?;
        match rest {
            [] => Ok(certificate),
            _ => Err(unreadable(&"there is more than one in its place")),
        }
    };
    chain.iter().enumerate().map(read).collect()
}

/// Each certificate after the first is there because it issued one before it; alternatives are allowed.
fn check_order(chain: &[X509Certificate<'_>]) -> Result<(), PairFault> {
    for (place, issuer) in chain.iter().enumerate().skip(1) {
        let has_issued =
            |one: &X509Certificate<'_>| one.issuer().as_raw() == issuer.subject().as_raw();
        if !chain[..place].iter().any(has_issued) {
            return Err(PairFault::Chain(format!(
                "is out of order: certificate {} ({}) has issued none before it; the hub's own \
                 comes first, then its issuer, then the issuer of that",
                place + 1,
                issuer.subject(),
            )));
        }
    }
    Ok(())
}

fn check_key(certified: &CertifiedKey) -> Result<(), PairFault> {
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(()),
        Err(Error::InconsistentKeys(_)) => {
            let others = certified.cert.iter().enumerate().skip(1);
            let owner = others
                .map(|(place, der)| (place, std::slice::from_ref(der)))
                .find(|(_, der)| {
                    CertifiedKey::new(der.to_vec(), certified.key.clone())
                        .keys_match()
                        .is_ok()
                });
            Err(PairFault::Key(match owner {
                Some((place, _)) => format!(
                    "holds the key of certificate {}, which must come first",
                    place + 1
                ),
                None => "holds the key of another certificate".to_owned(),
            }))
        }
        Err(error) => Err(PairFault::Chain(format!(
            "holds a certificate that TLS cannot use: {error}"
        ))),
    }
}

#[cfg(test)]
#[path = "pair_tests.rs"]
mod tests;
