//! The stored shape of who made something: part of the records of jobs, and of import and export jobs.

use fanfare_hub::access::Actor;
use serde::{Deserialize, Serialize};

/// In postcard, inside other records. Never change it: a new shape is a new version of those.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum ActorRecord {
    Policy(String),
    Token {
        issuer: String,
        subject: String,
        app: Option<String>,
    },
}

impl ActorRecord {
    pub(super) fn new(actor: &Actor) -> Self {
        match actor {
            Actor::Policy(name) => Self::Policy(name.to_string()),
            Actor::Token {
                issuer,
                subject,
                app,
            } => Self::Token {
                issuer: issuer.to_string(),
                subject: subject.to_string(),
                app: app.as_deref().map(str::to_owned),
            },
        }
    }

    pub(super) fn into_actor(self) -> Actor {
        match self {
            Self::Policy(name) => Actor::Policy(name.into()),
            Self::Token {
                issuer,
                subject,
                app,
            } => Actor::Token {
                issuer: issuer.into(),
                subject: subject.into(),
                app: app.map(Into::into),
            },
        }
    }
}
