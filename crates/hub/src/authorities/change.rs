//! Decides what one change makes of the hub's authorities, and which changes may not be.
//!
//! Pure: the store's writer asks [`AuthorityChange::apply`] inside its transaction, so that two operators at once
//! cannot pass a limit together that each alone keeps.

use std::sync::Arc;

use super::{Authority, AuthorityName};
use crate::{ids::Etag, limits::AUTHORITIES_MAX, registry::Precondition, time::Timestamp};

/// One change of one authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityChange {
    /// Whose.
    pub name: AuthorityName,
    /// What must hold.
    pub precondition: Precondition,
    /// What becomes of it.
    pub edit: AuthorityEdit,
}

/// What becomes of an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorityEdit {
    /// It has this certificate (DER). Another one than before has to be proven anew.
    Put(Arc<[u8]>),
    /// Whoever has its key proves that with this code.
    Code(Arc<str>),
    /// Somebody did.
    Verify,
    /// It is gone.
    Delete,
}

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorityRefused {
    /// It is there already.
    Exists,
    /// It is not there.
    Absent,
    /// It is there in another version.
    EtagMismatch,
    /// There are [`AUTHORITIES_MAX`].
    TooMany,
    /// Another one has this certificate.
    Twice(AuthorityName),
}

impl AuthorityChange {
    /// What becomes of the authority when `authorities` are there: `None` when it is gone. `etag` is its new
    /// version.
    ///
    /// # Errors
    /// [`AuthorityRefused`] when it may not be; nothing is changed then.
    pub fn apply(
        &self,
        authorities: &[Authority],
        etag: Etag,
        at: Timestamp,
    ) -> Result<Option<Authority>, AuthorityRefused> {
        let before = authorities
            .iter()
            .find(|authority| authority.name == self.name);
        self.check_precondition(before)?;
        if let AuthorityEdit::Put(certificate) = &self.edit {
            return self
                .put(certificate, authorities, before, etag, at)
                .map(Some);
        }
        let before = before.ok_or(AuthorityRefused::Absent)?.clone();
        let moved = Authority {
            etag,
            updated: at,
            ..before
        };
        Ok(match &self.edit {
            AuthorityEdit::Code(code) => Some(Authority {
                code: Some(code.clone()),
                ..moved
            }),
            AuthorityEdit::Verify => Some(Authority {
                is_verified: true,
                code: None,
                ..moved
            }),
            AuthorityEdit::Delete | AuthorityEdit::Put(_) => None,
        })
    }

    fn check_precondition(&self, before: Option<&Authority>) -> Result<(), AuthorityRefused> {
        let etag = before.map(|before| before.etag);
        match (self.precondition, etag) {
            (Precondition::Absent, Some(_)) => Err(AuthorityRefused::Exists),
            (Precondition::Exists | Precondition::Matches(_), None) => {
                Err(AuthorityRefused::Absent)
            }
            (Precondition::Matches(known) | Precondition::AbsentOrMatches(known), Some(etag))
                if known != etag =>
            {
                Err(AuthorityRefused::EtagMismatch)
            }
            _ => Ok(()),
        }
    }

    fn put(
        &self,
        certificate: &Arc<[u8]>,
        authorities: &[Authority],
        before: Option<&Authority>,
        etag: Etag,
        at: Timestamp,
    ) -> Result<Authority, AuthorityRefused> {
        let mut others = authorities
            .iter()
            .filter(|authority| authority.name != self.name);
        if let Some(other) = others.find(|other| other.certificate == *certificate) {
            return Err(AuthorityRefused::Twice(other.name.clone()));
        }
        if before.is_none() && authorities.len() >= AUTHORITIES_MAX {
            return Err(AuthorityRefused::TooMany);
        }
        let same = before.filter(|before| before.certificate == *certificate);
        Ok(Authority {
            name: self.name.clone(),
            certificate: certificate.clone(),
            is_verified: same.is_some_and(|same| same.is_verified),
            code: same.and_then(|same| same.code.clone()),
            created: before.map_or(at, |before| before.created),
            updated: at,
            etag,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEN: Timestamp = Timestamp(1_000_000);
    const NOW: Timestamp = Timestamp(2_000_000);

    fn name(text: &str) -> AuthorityName {
        AuthorityName::parse(text).expect("tests use valid names")
    }

    fn authority(text: &str, certificate: &[u8], is_verified: bool) -> Authority {
        Authority {
            name: name(text),
            certificate: certificate.into(),
            is_verified,
            code: Some("C0DE".into()),
            created: THEN,
            updated: THEN,
            etag: Etag(1),
        }
    }

    fn change(text: &str, precondition: Precondition, edit: AuthorityEdit) -> AuthorityChange {
        AuthorityChange {
            name: name(text),
            precondition,
            edit,
        }
    }

    #[test]
    fn another_certificate_has_to_be_proven_anew_and_the_same_has_not() {
        let there = [authority("root", b"one", true)];
        for (certificate, is_verified, code) in [
            (&b"one"[..], true, Some(Arc::from("C0DE"))),
            (b"two", false, None),
        ] {
            let put = change(
                "root",
                Precondition::Any,
                AuthorityEdit::Put(certificate.into()),
            );
            let expected = Authority {
                certificate: certificate.into(),
                is_verified,
                code,
                updated: NOW,
                etag: Etag(2),
                ..there[0].clone()
            };
            assert_eq!(put.apply(&there, Etag(2), NOW), Ok(Some(expected)));
        }
    }

    #[test]
    fn a_proof_uses_the_code_up() {
        let there = [authority("root", b"one", false)];
        let verify = change(
            "root",
            Precondition::Matches(Etag(1)),
            AuthorityEdit::Verify,
        );
        let verified = verify.apply(&there, Etag(2), NOW).unwrap().unwrap();
        assert!(verified.is_verified && verified.code.is_none());
        let code = change(
            "root",
            Precondition::Any,
            AuthorityEdit::Code("NEXT".into()),
        );
        let again = code.apply(&[verified], Etag(3), NOW).unwrap().unwrap();
        assert!(again.is_verified, "asking for a code takes nothing away");
        assert_eq!(again.code.as_deref(), Some("NEXT"));
    }

    #[test]
    fn what_may_not_be_is_refused() {
        use AuthorityRefused::{Absent, EtagMismatch, Exists, TooMany, Twice};
        let full: Vec<_> = (0..AUTHORITIES_MAX)
            .map(|n| authority(&format!("a{n}"), &[n as u8], true))
            .collect();
        let put = |bytes: &[u8]| AuthorityEdit::Put(bytes.into());
        let table = [
            (change("a0", Precondition::Absent, put(b"x")), Exists),
            (change("new", Precondition::Exists, put(b"x")), Absent),
            (
                change("a0", Precondition::Matches(Etag(7)), put(b"x")),
                EtagMismatch,
            ),
            (
                change("a0", Precondition::Matches(Etag(7)), AuthorityEdit::Delete),
                EtagMismatch,
            ),
            (change("new", Precondition::Any, put(b"x")), TooMany),
            (
                change("a0", Precondition::Any, put(&[1])),
                Twice(name("a1")),
            ),
            (
                change("new", Precondition::Any, AuthorityEdit::Delete),
                Absent,
            ),
            (
                change("new", Precondition::Any, AuthorityEdit::Verify),
                Absent,
            ),
        ];
        for (change, refused) in table {
            assert_eq!(
                change.apply(&full, Etag(9), NOW),
                Err(refused),
                "{change:?}"
            );
        }
        let delete = change("a0", Precondition::Matches(Etag(1)), AuthorityEdit::Delete);
        assert_eq!(delete.apply(&full, Etag(9), NOW), Ok(None));
    }
}
