//! Bearer tokens: who issued them, whether they hold, and which data actions they grant.
//!
//! A token is taken apart ([`token`]), must say that it is from an issuer in the settings, for this hub and holds now
//! ([`claims`]), must be signed by a key that the issuer publishes ([`keys`], [`issuer`]), and grants what its roles say
//! ([`roles`]). Devices have no part in this: the contract knows tokens of issuers on the service side alone.
//!
//! A refusal says what was wrong for the log; callers never hear it.

mod algorithm;
mod claims;
mod issuer;
mod json;
mod keys;
mod pace;
mod provider;
mod remembered;
mod roles;
mod settings;
mod token;

use std::{path::PathBuf, sync::Arc};

use fanfare_hub::{
    access::{Actor, Grants, Principal},
    measures::Count,
    ports::{Clock, Entropy},
    time::Timestamp,
};
use tokio::{sync::watch, task::JoinSet};

pub use self::settings::{
    AUDIENCE, IssuerSettings, ROLE_CLAIM_DEFAULT, TokenSettings, check_issuer_url,
};
use self::{
    claims::Expected,
    issuer::Issuer,
    provider::Provider,
    remembered::{Entry, REMEMBERED_MAX, Remembered},
    token::Token,
};

/// Verifies tokens of the issuers in its settings.
pub struct Bearer {
    issuers: Vec<Arc<Issuer>>,
    remembered: Remembered,
    counts: TokenCounts,
}

/// What became of tokens since the start.
#[derive(Debug, Default)]
pub struct TokenCounts {
    /// Those whose signature was checked and held.
    pub verified: Count,
    /// Those that had been verified before.
    pub remembered: Count,
    /// Those that did not hold.
    pub refused: Count,
}

/// Where an issuer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerStanding {
    /// Its name, as in `iss`.
    pub issuer: Arc<str>,
    /// Fetches that brought keys.
    pub fetched: u64,
    /// Fetches that brought none.
    pub failed: u64,
    /// Keys that may be used now.
    pub keys: usize,
    /// When they were fetched; `None` while there are none.
    pub keys_since: Option<Timestamp>,
}

/// Fetches keys; whoever has it runs it.
pub struct IssuerLoops(Vec<Arc<Issuer>>);

/// Why tokens cannot be verified at all.
#[derive(Debug, thiserror::Error)]
pub enum TokenStartError {
    /// The issuer's name is no URL.
    #[error("the issuer {0:?} is no URL")]
    Issuer(String),
    /// The authorities for its servers.
    #[error("the authorities for an issuer of tokens in {} cannot be used: {reason}", file.display())]
    CaFile {
        /// The file in the settings.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The HTTP client.
    #[error("the client of issuers cannot be set up: {0}")]
    Client(String),
}

/// Why a token does not count, for the log alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BearerRefusal {
    /// Longer than any token of an issuer.
    #[error("the token is too long")]
    TooLong,
    /// Not a signed web token in compact form, or one that two readers may understand differently.
    #[error("it is no signed web token")]
    NoToken,
    /// Its header asks for extensions.
    #[error("the token's header has critical extensions")]
    Critical,
    /// Unsigned, signed with a shared secret, or something unheard of.
    #[error("the token's algorithm is none that issuers may use")]
    Algorithm,
    /// A signed web token that is no access token.
    #[error("the token's type is another one than an access token's")]
    Kind,
    /// Somebody else's, whatever its signature is worth.
    #[error("the token's issuer is none of those configured")]
    Issuer,
    /// For somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// Without an end.
    #[error("the token never expires")]
    NoExpiry,
    /// Over.
    #[error("the token has expired")]
    Expired,
    /// Not begun.
    #[error("the token does not count yet")]
    NotYet,
    /// `exp`, `nbf` or `iat` is no moment.
    #[error("a moment in the token is none")]
    Moment,
    /// Its holder should prove that they have a key.
    #[error("the token is bound to a key of its holder")]
    Bound,
    /// Neither `sub` nor `oid`.
    #[error("the token names nobody")]
    NoSubject,
    /// Subject or application is empty, overlong or no plain text.
    #[error("a name in the token is unusable")]
    Name,
    /// The issuer's keys were never fetched, or so long ago that they count no more.
    #[error("the issuer's keys are not there")]
    NoKeys,
    /// The issuer publishes no such key, as far as is known.
    #[error("the issuer has no key that could have signed the token")]
    UnknownKey,
    /// Somebody else signed it, or changed it afterwards.
    #[error("the token's signature is wrong")]
    Signature,
    /// It acts for a user who has not agreed to it.
    #[error("the token has none of the required scopes")]
    Scope,
}

impl Bearer {
    /// Verifies tokens as `settings` say. Keys come once the loops run; the start does not wait for them.
    ///
    /// # Errors
    /// What can never work: an issuer that is no URL, a file of authorities that is none.
    pub fn start(
        settings: TokenSettings,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> Result<(Self, IssuerLoops), TokenStartError> {
        let issuers = settings.issuers.into_iter().map(|issuer| {
            let provider = Provider::new(&issuer, settings.fetch_within)?;
            let (clock, entropy) = (clock.clone(), entropy.clone());
            let issuer = Issuer::new(issuer, provider, settings.stale_for, clock, entropy);
            Ok(Arc::new(issuer))
        });
        let issuers: Vec<_> = issuers.collect::<Result<_, _>>()?;
        let bearer = Self {
            issuers: issuers.clone(),
            remembered: Remembered::new(REMEMBERED_MAX),
            counts: TokenCounts::default(),
        };
        Ok((bearer, IssuerLoops(issuers)))
    }

    /// Whom a token names, and what it grants, which may be nothing. May wait some seconds for an issuer's keys.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Principal, BearerRefusal> {
        let digest = remembered::digest_of(token);
        if let Some(principal) = self.recall(&digest, now) {
            self.counts.remembered.add(1);
            return Ok(principal);
        }
        let verified = self.verify_anew(token, now).await;
        match verified {
            Ok(entry) => {
                self.counts.verified.add(1);
                let principal = entry.principal.clone();
                self.remembered.put(digest, entry);
                Ok(principal)
            }
            Err(refusal) => {
                self.counts.refused.add(1);
                Err(refusal)
            }
        }
    }

    /// What became of tokens.
    pub fn counts(&self) -> &TokenCounts {
        &self.counts
    }

    /// Where each issuer stands.
    pub fn standings(&self, now: Timestamp) -> Vec<IssuerStanding> {
        let standing = |issuer: &Arc<Issuer>| {
            let held = issuer.held(now);
            IssuerStanding {
                issuer: issuer.name.clone(),
                fetched: issuer.counts.good.get(),
                failed: issuer.counts.failed.get(),
                keys: held.as_ref().map_or(0, |held| held.keys.len()),
                keys_since: held.map(|held| held.fetched),
            }
        };
        self.issuers.iter().map(standing).collect()
    }

    /// How many fetches from an issuer have ended, and word of each that does.
    pub fn watch_fetches(&self, issuer: &str) -> Option<watch::Receiver<u64>> {
        let found = self.issuers.iter().find(|known| &*known.name == issuer);
        found.map(|issuer| issuer.rounds.subscribe())
    }

    /// What a token proved before, if it still does: it has not ended, and its key is still the issuer's.
    fn recall(&self, digest: &[u8; 32], now: Timestamp) -> Option<Principal> {
        let entry = self.remembered.get(digest)?;
        let held = self.issuers.get(entry.issuer)?.held(now)?;
        let holds = claims::counts(entry.principal.until, now) && held.keys.has(&entry.key);
        holds.then_some(entry.principal)
    }

    async fn verify_anew(&self, token: &str, now: Timestamp) -> Result<Entry, BearerRefusal> {
        let token = Token::parse(token)?;
        // Only to know whose keys to look at; until one of them signed it, nothing in it is believed.
        let name = claims::issuer(&token.claims).ok_or(BearerRefusal::Issuer)?;
        let mut issuers = self.issuers.iter().enumerate();
        let found = issuers.find(|(_, issuer)| &*issuer.name == name);
        let (place, issuer) = found.ok_or(BearerRefusal::Issuer)?;
        // Before the signature: it costs less, and a token that is over asks no issuer for keys.
        let expected = Expected {
            issuer: &issuer.name,
            audiences: &issuer.settings.audiences,
            now,
        };
        let claimed = claims::check(&token.claims, &expected)?;
        let key = issuer.signer(&token, now).await?;
        let granted = roles::granted(&token.claims, &issuer.settings)?;
        Ok(Entry {
            principal: Principal {
                until: claimed.until(),
                actor: Actor::Token {
                    issuer: issuer.name.clone(),
                    subject: claimed.subject,
                    app: claimed.app,
                },
                grants: Grants::Actions(granted),
            },
            issuer: place,
            key,
        })
    }
}

#[cfg(feature = "testing")]
impl Bearer {
    /// As if the first issuer had just served this key set. Whether it can be used; what cannot be is forgotten.
    pub fn hand_keys(&self, key_set: &[u8]) -> bool {
        let Ok(keys) = keys::KeySet::parse(key_set) else {
            return false;
        };
        let answer = provider::Answer {
            keys,
            max_age: None,
        };
        self.issuers[0].settle(Ok(answer));
        true
    }
}

impl IssuerLoops {
    /// Keeps every issuer's keys fresh until `stop` says true.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let mut loops = JoinSet::new();
        for issuer in self.0 {
            loops.spawn(issuer.run(stop.clone()));
        }
        if loops.is_empty() {
            // Without issuers there is nothing to do until then.
            let mut stop = stop;
            // An error is a sender that went away, which is an end as well.
            let _ = stop.wait_for(|stop| *stop).await;
        }
        while let Some(ended) = loops.join_next().await {
            if let Err(error) = ended {
                // Whoever runs this hears of it as of any part that ends unasked.
                tracing::error!(%error, "the keys of an issuer of tokens are no longer fetched");
                return;
            }
        }
    }
}

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.issuers.iter().map(|issuer| &issuer.name);
        f.debug_tuple("Bearer")
            .field(&names.collect::<Vec<_>>())
            .finish()
    }
}
