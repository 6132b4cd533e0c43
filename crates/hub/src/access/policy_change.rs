//! Decides what one change makes of the hub's policies, and which changes may not be.
//!
//! Pure: the store's writer asks [`PolicyChange::apply`] inside its transaction, so that two operators at once
//! cannot pass a limit together that each alone keeps.

use std::sync::Arc;

use super::{Policy, Rights};
use crate::{
    ids::Etag,
    limits::{POLICIES_MAX, POLICIES_SERVICE_CONNECT_MAX},
    registry::{Precondition, SymmetricKey},
};

/// One change of one policy. A key that the change needs and nobody named is made before, since the writer has no
/// chance at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyChange {
    /// Whose.
    pub name: Arc<str>,
    /// What must hold.
    pub precondition: Precondition,
    /// What becomes of it.
    pub edit: PolicyEdit,
}

/// What becomes of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyEdit {
    /// It has these rights, and the keys that are named.
    Put {
        /// The rights.
        rights: Rights,
        /// The first key; without one the policy keeps its own, a new one gets the first of `made`.
        primary: Option<SymmetricKey>,
        /// The second key; without one likewise.
        secondary: Option<SymmetricKey>,
        /// Keys for a policy that has none yet.
        made: [SymmetricKey; 2],
    },
    /// It has another key in one place, or its keys change places.
    Rotate(Rotation),
    /// It is gone.
    Delete,
}

/// Which of a policy's keys gives way. The other one stays as it is, so tokens signed with it go on working.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// A new first key.
    Primary(SymmetricKey),
    /// A new second key.
    Secondary(SymmetricKey),
    /// The keys change places; both go on working.
    Swap,
}

/// Why a change was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyRefused {
    /// It is there already.
    Exists,
    /// It is not there.
    Absent,
    /// It is there in another version.
    EtagMismatch,
    /// There are [`POLICIES_MAX`].
    TooMany,
    /// [`POLICIES_SERVICE_CONNECT_MAX`] have `ServiceConnect`.
    TooManyServiceConnect,
    /// It is the last one with all rights: nobody could manage policies without it.
    LastOwner,
}

impl PolicyChange {
    /// What becomes of the policy when `policies` are there: `None` when it is gone. `etag` is its new version.
    ///
    /// # Errors
    /// [`PolicyRefused`] when it may not be; nothing is changed then.
    pub fn apply(&self, policies: &[Policy], etag: Etag) -> Result<Option<Policy>, PolicyRefused> {
        let before = policies.iter().find(|policy| policy.name == self.name);
        self.check_precondition(before)?;
        let after = match (&self.edit, before) {
            (PolicyEdit::Put { .. }, _) => Some(self.put(before, etag)),
            (PolicyEdit::Rotate(rotation), Some(before)) => Some(rotated(before, rotation, etag)),
            (PolicyEdit::Delete, Some(_)) => None,
            (PolicyEdit::Rotate(_) | PolicyEdit::Delete, None) => {
                return Err(PolicyRefused::Absent);
            }
        };
        check_limits(policies, before, after.as_ref())?;
        Ok(after)
    }

    fn check_precondition(&self, before: Option<&Policy>) -> Result<(), PolicyRefused> {
        let etag = before.map(|before| before.etag);
        match (self.precondition, etag) {
            (Precondition::Absent, Some(_)) => Err(PolicyRefused::Exists),
            (Precondition::Exists | Precondition::Matches(_), None) => Err(PolicyRefused::Absent),
            (Precondition::Matches(known) | Precondition::AbsentOrMatches(known), Some(etag))
                if known != etag =>
            {
                Err(PolicyRefused::EtagMismatch)
            }
            _ => Ok(()),
        }
    }

    fn put(&self, before: Option<&Policy>, etag: Etag) -> Policy {
        let PolicyEdit::Put {
            rights,
            primary,
            secondary,
            made,
        } = &self.edit
        else {
            unreachable!("only a put is put");
        };
        let [made_primary, made_secondary] = made;
        let own = before.map(|before| (&before.primary, &before.secondary));
        let (own_primary, own_secondary) = own.unwrap_or((made_primary, made_secondary));
        Policy {
            name: self.name.clone(),
            rights: *rights,
            primary: primary.as_ref().unwrap_or(own_primary).clone(),
            secondary: secondary.as_ref().unwrap_or(own_secondary).clone(),
            etag,
        }
    }
}

fn rotated(before: &Policy, rotation: &Rotation, etag: Etag) -> Policy {
    let (primary, secondary) = match rotation {
        Rotation::Primary(key) => (key, &before.secondary),
        Rotation::Secondary(key) => (&before.primary, key),
        Rotation::Swap => (&before.secondary, &before.primary),
    };
    Policy {
        name: before.name.clone(),
        rights: before.rights,
        primary: primary.clone(),
        secondary: secondary.clone(),
        etag,
    }
}

/// A limit refuses what would come over it, not what is over it already: that can still be rotated and lowered.
fn check_limits(
    policies: &[Policy],
    before: Option<&Policy>,
    after: Option<&Policy>,
) -> Result<(), PolicyRefused> {
    let has = |policy: Option<&Policy>, rights: Rights| {
        policy.is_some_and(|policy| policy.rights.include(rights))
    };
    let count = |rights: Rights| {
        let policies = policies.iter();
        policies
            .filter(|policy| policy.rights.include(rights))
            .count()
    };
    if before.is_none() && after.is_some() && policies.len() >= POLICIES_MAX {
        return Err(PolicyRefused::TooMany);
    }
    let service = Rights::SERVICE_CONNECT;
    if !has(before, service)
        && has(after, service)
        && count(service) >= POLICIES_SERVICE_CONNECT_MAX
    {
        return Err(PolicyRefused::TooManyServiceConnect);
    }
    if has(before, Rights::OWNER) && !has(after, Rights::OWNER) && count(Rights::OWNER) == 1 {
        return Err(PolicyRefused::LastOwner);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str, rights: Rights) -> Policy {
        Policy {
            name: name.into(),
            rights,
            primary: SymmetricKey::new("first"),
            secondary: SymmetricKey::new("second"),
            etag: Etag(3),
        }
    }

    fn put(name: &str, rights: Rights) -> PolicyChange {
        PolicyChange {
            name: name.into(),
            precondition: Precondition::Any,
            edit: PolicyEdit::Put {
                rights,
                primary: None,
                secondary: None,
                made: [SymmetricKey::new("made-1"), SymmetricKey::new("made-2")],
            },
        }
    }

    fn change(name: &str, precondition: Precondition, edit: PolicyEdit) -> PolicyChange {
        PolicyChange {
            name: name.into(),
            precondition,
            edit,
        }
    }

    fn keys(policy: Option<Policy>) -> (String, String) {
        let policy = policy.unwrap();
        let text = |key: &SymmetricKey| key.expose().to_owned();
        (text(&policy.primary), text(&policy.secondary))
    }

    #[test]
    fn keys_that_nobody_names_stay_or_are_made() {
        let there = [policy("owner", Rights::OWNER), policy("a", Rights::NONE)];
        let of = |primary: &str, secondary: &str| (primary.to_owned(), secondary.to_owned());
        let made = put("b", Rights::SERVICE_CONNECT).apply(&there, Etag(9));
        assert_eq!(keys(made.unwrap()), of("made-1", "made-2"));
        let kept = put("a", Rights::SERVICE_CONNECT)
            .apply(&there, Etag(9))
            .unwrap();
        assert_eq!(
            kept.as_ref().map(|kept| (kept.etag, kept.rights)),
            Some((Etag(9), Rights::SERVICE_CONNECT))
        );
        assert_eq!(keys(kept), of("first", "second"));
        let mut named = put("a", Rights::NONE);
        if let PolicyEdit::Put { secondary, .. } = &mut named.edit {
            *secondary = Some(SymmetricKey::new("own"));
        }
        assert_eq!(
            keys(named.apply(&there, Etag(9)).unwrap()),
            of("first", "own")
        );
    }

    #[test]
    fn a_rotation_leaves_the_other_key_alone() {
        let there = [policy("a", Rights::OWNER)];
        let new = SymmetricKey::new("new");
        for (rotation, primary, secondary) in [
            (Rotation::Primary(new.clone()), "new", "second"),
            (Rotation::Secondary(new), "first", "new"),
            (Rotation::Swap, "second", "first"),
        ] {
            let edit = PolicyEdit::Rotate(rotation);
            let after = change("a", Precondition::Exists, edit)
                .apply(&there, Etag(4))
                .unwrap();
            assert_eq!(after.as_ref().map(|after| after.etag), Some(Etag(4)));
            assert_eq!(keys(after), (primary.to_owned(), secondary.to_owned()));
        }
    }

    #[test]
    fn preconditions_are_held() {
        use Precondition::*;
        let there = [policy("owner", Rights::OWNER), policy("a", Rights::NONE)];
        let refused = |name: &str, precondition| {
            let mut put = put(name, Rights::NONE);
            put.precondition = precondition;
            put.apply(&there, Etag(9)).err()
        };
        for (precondition, when_there, when_absent) in [
            (Any, None, None),
            (Absent, Some(PolicyRefused::Exists), None),
            (Exists, None, Some(PolicyRefused::Absent)),
            (Matches(Etag(3)), None, Some(PolicyRefused::Absent)),
            (
                Matches(Etag(2)),
                Some(PolicyRefused::EtagMismatch),
                Some(PolicyRefused::Absent),
            ),
            (AbsentOrMatches(Etag(3)), None, None),
            (
                AbsentOrMatches(Etag(2)),
                Some(PolicyRefused::EtagMismatch),
                None,
            ),
        ] {
            assert_eq!(refused("a", precondition), when_there, "{precondition:?}");
            assert_eq!(refused("b", precondition), when_absent, "{precondition:?}");
        }
        for edit in [PolicyEdit::Delete, PolicyEdit::Rotate(Rotation::Swap)] {
            let absent = change("b", Any, edit).apply(&there, Etag(9));
            assert_eq!(absent, Err(PolicyRefused::Absent));
        }
    }

    #[test]
    fn there_are_at_most_sixteen_and_ten_of_them_for_services() {
        let mut there: Vec<_> = (0..POLICIES_MAX)
            .map(|at| {
                let is_service = at < POLICIES_SERVICE_CONNECT_MAX;
                let rights = if is_service {
                    Rights::SERVICE_CONNECT
                } else {
                    Rights::NONE
                };
                policy(&format!("p{at}"), rights)
            })
            .collect();
        let put = |name, rights, there: &[Policy]| put(name, rights).apply(there, Etag(9)).err();
        assert_eq!(
            put("new", Rights::NONE, &there),
            Some(PolicyRefused::TooMany)
        );
        assert_eq!(put("p0", Rights::SERVICE_CONNECT, &there), None);
        let raised = put("p15", Rights::SERVICE_CONNECT, &there);
        assert_eq!(raised, Some(PolicyRefused::TooManyServiceConnect));
        there.pop();
        assert_eq!(put("new", Rights::NONE, &there), None);
        let eleventh = put("new", Rights::SERVICE_CONNECT, &there);
        assert_eq!(eleventh, Some(PolicyRefused::TooManyServiceConnect));
        there.remove(0);
        assert_eq!(put("new", Rights::SERVICE_CONNECT, &there), None);
    }

    #[test]
    fn the_last_owner_stays_one() {
        let one = [policy("owner", Rights::OWNER), policy("a", Rights::NONE)];
        let two = [
            policy("owner", Rights::OWNER),
            policy("other", Rights::OWNER),
        ];
        let lower = put("owner", Rights::SERVICE_CONNECT);
        let delete = change("owner", Precondition::Exists, PolicyEdit::Delete);
        for change in [lower, delete] {
            assert_eq!(change.apply(&one, Etag(9)), Err(PolicyRefused::LastOwner));
            assert!(change.apply(&two, Etag(9)).is_ok());
        }
        let rotate = PolicyEdit::Rotate(Rotation::Primary(SymmetricKey::new("new")));
        assert!(
            change("owner", Precondition::Exists, rotate)
                .apply(&one, Etag(9))
                .is_ok()
        );
        let other = change("a", Precondition::Exists, PolicyEdit::Delete);
        assert_eq!(other.apply(&one, Etag(9)), Ok(None));
    }
}
