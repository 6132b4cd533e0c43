//! Who somebody proved to be, and what that lets them do.

use std::{fmt, sync::Arc};

use super::{Action, ActionSet, Rights};
use crate::time::Timestamp;

/// Who acts. Goes into logs and job documents, so it holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Actor {
    /// Whoever holds a key of this shared access policy.
    Policy(Arc<str>),
    /// Somebody an issuer vouches for.
    Token {
        /// The issuer, as in `iss`.
        issuer: Arc<str>,
        /// Whom it names, as in `sub`.
        subject: Arc<str>,
        /// The application that acts for itself or for a user, when the token says.
        app: Option<Arc<str>>,
    },
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(name) => write!(f, "policy {name}"),
            Self::Token {
                subject,
                app: Some(app),
                ..
            } => write!(f, "token {subject} (app {app})"),
            Self::Token { subject, .. } => write!(f, "token {subject}"),
        }
    }
}

/// What somebody's proof lets them do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grants {
    /// The rights of a policy.
    Rights(Rights),
    /// The data actions of a token's roles.
    Actions(ActionSet),
}

/// Somebody who proved to be somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Who.
    pub actor: Actor,
    /// What they may do.
    pub grants: Grants,
    /// Until when the proof holds.
    pub until: Timestamp,
}

impl Principal {
    /// Whether they may do it. compat: AUTH-12, AUTH-14
    pub fn may(&self, action: Action) -> bool {
        match self.grants {
            Grants::Rights(rights) => action.is_allowed(rights),
            Grants::Actions(granted) => {
                let mut needed = action.data_actions().iter();
                needed.all(|needed| granted.contains(*needed))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::BuiltInRole, *};

    fn token_of(role: &str) -> Principal {
        Principal {
            actor: Actor::Token {
                issuer: "https://issuer.test".into(),
                subject: "somebody".into(),
                app: None,
            },
            grants: Grants::Actions(BuiltInRole::named(role).unwrap().actions()),
            until: Timestamp::FAR_FUTURE,
        }
    }

    #[test]
    fn each_built_in_role_may_do_what_the_contract_says() {
        use Action::*;
        let ours = [
            PoliciesRead,
            PoliciesWrite,
            AuthoritiesRead,
            AuthoritiesWrite,
        ];
        let all = Action::all().to_vec();
        let contract = all.iter().copied().filter(|action| !ours.contains(action));
        let table: [(&str, Vec<Action>); 5] = [
            ("IoT Hub Data Contributor", contract.collect()),
            (
                "IoT Hub Data Reader",
                vec![
                    DevicesRead,
                    DeviceStatistics,
                    ServiceStatistics,
                    TwinsRead,
                    JobsRead,
                    TransfersRead,
                    ConfigurationsRead,
                    Query,
                    MetricsRead,
                ],
            ),
            (
                "IoT Hub Registry Contributor",
                vec![DevicesRead, DevicesWrite, DevicesDelete, DevicesChangeMany],
            ),
            (
                "IoT Hub Twin Contributor",
                vec![TwinsRead, TwinsWrite, Query],
            ),
            ("Fanfare Owner", all),
        ];
        for (role, allowed) in table {
            let principal = token_of(role);
            for action in Action::all() {
                let expected = allowed.contains(action);
                assert_eq!(principal.may(*action), expected, "{role} {action:?}");
            }
        }
    }

    #[test]
    fn an_actor_says_who_they_are() {
        let token = |app: Option<&str>| Actor::Token {
            issuer: "https://issuer.test".into(),
            subject: "somebody".into(),
            app: app.map(Into::into),
        };
        for (actor, text) in [
            (Actor::Policy("service".into()), "policy service"),
            (token(None), "token somebody"),
            (token(Some("tool")), "token somebody (app tool)"),
        ] {
            assert_eq!(actor.to_string(), text);
        }
    }
}
