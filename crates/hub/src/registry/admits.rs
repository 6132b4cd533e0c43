//! Whether what let a connection in would let it in again, after its identity's credentials changed.

use super::Authentication;
use crate::presence::{Admission, KeyMark};

impl Authentication {
    /// Whether a connection that was let in by `admission` may stay now that the identity proves who it is
    /// in this way. What policies and authorities there are is not the identity's matter. compat: MQTT-30
    pub fn admits(&self, admission: &Admission) -> bool {
        match (admission, self) {
            (Admission::OwnKey { key }, Self::Sas { primary, secondary }) => {
                *key == KeyMark::of(primary.expose()) || *key == KeyMark::of(secondary.expose())
            }
            (Admission::Thumbprint(seen), Self::SelfSigned { primary, secondary }) => {
                let mut named = [primary, secondary].into_iter().flatten();
                named.any(|named| seen.include(named))
            }
            (Admission::Policy { .. }, _)
            | (Admission::Authority { .. }, Self::CertificateAuthority) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{presence::Thumbprints, registry::SymmetricKey};

    fn key(text: &str) -> SymmetricKey {
        SymmetricKey::new(text)
    }

    fn sas(primary: &str, secondary: &str) -> Authentication {
        Authentication::Sas {
            primary: key(primary),
            secondary: key(secondary),
        }
    }

    fn self_signed(primary: Option<&str>, secondary: Option<&str>) -> Authentication {
        Authentication::SelfSigned {
            primary: primary.map(str::to_owned),
            secondary: secondary.map(str::to_owned),
        }
    }

    #[test]
    fn a_connection_outlives_every_change_but_the_loss_of_what_let_it_in() {
        let own = Admission::OwnKey {
            key: KeyMark::of("a"),
        };
        let policy = Admission::Policy {
            name: "device".into(),
            key: KeyMark::of("a"),
        };
        let seen = Admission::Thumbprint(Thumbprints {
            sha1: [0xab; 20],
            sha256: [0x0c; 32],
        });
        let below = Admission::Authority {
            thumbprint: [1; 32],
        };
        let (sha1, sha256) = ("aB".repeat(20), "0C".repeat(32));
        let table = [
            (sas("a", "b"), [true, true, false, false]),
            (sas("b", "a"), [true, true, false, false]),
            (sas("b", "c"), [false, true, false, false]),
            (self_signed(Some(&sha1), None), [false, true, true, false]),
            (self_signed(None, Some(&sha256)), [false, true, true, false]),
            (
                self_signed(Some(&"0".repeat(40)), None),
                [false, true, false, false],
            ),
            (self_signed(None, None), [false, true, false, false]),
            (
                Authentication::CertificateAuthority,
                [false, true, false, true],
            ),
            (Authentication::None, [false, true, false, false]),
        ];
        for (authentication, expected) in table {
            let fits = [&own, &policy, &seen, &below].map(|one| authentication.admits(one));
            assert_eq!(fits, expected, "{authentication:?}");
        }
    }
}
