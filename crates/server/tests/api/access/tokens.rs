//! Bearer tokens of an issuer that runs beside the hub.

use fanfare_auth::testing::{SigningKey, TestIssuer, claims, encoded};
use fanfare_server::Flags;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    credentials::{Credential, Proves, nothing},
    table::ROLES,
};
use crate::harness::{ADDRESS, Hub, PATIENCE};

/// An issuer with one key.
pub(crate) struct Issuer {
    pub(crate) server: TestIssuer,
    pub(crate) key: SigningKey,
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        let server = TestIssuer::start(&format!("{ADDRESS}:0")).await;
        let key = SigningKey::es256("first");
        server.publish(&[&key]);
        Self { server, key }
    }

    /// An `Authorization` value of somebody with these roles.
    pub(crate) fn bearer(&self, roles: &[&str]) -> String {
        let claims = claims(self.server.url(), roles);
        format!("Bearer {}", self.key.mint(&claims))
    }

    /// The same of an owner with one claim set.
    fn spoiled(&self, name: &str, value: Value) -> String {
        let mut claims = claims(self.server.url(), &["Fanfare Owner"]);
        claims[name] = value;
        format!("Bearer {}", self.key.mint(&claims))
    }

    /// A hub that has the issuer's keys, and looks at every request, however many of them fail.
    pub(crate) async fn hub(&self, change: impl FnOnce(&mut Flags)) -> Hub {
        self.hub_on(tempfile::tempdir().unwrap(), change).await
    }

    /// The same on a folder that may have been used before.
    pub(crate) async fn hub_on(&self, folder: TempDir, change: impl FnOnce(&mut Flags)) -> Hub {
        let hub = Hub::with(folder, |flags| {
            flags.failures_per_minute = Some(1_000_000);
            flags.token_issuer = vec![self.server.url().to_owned()];
            change(flags);
        });
        let hub = hub.await;
        let authorization = self.bearer(&["IoT Hub Data Reader"]);
        // Each look is a whole request.
        let known =
            async { while hub.show(&authorization, "/fanfare/v1/profile").await.status != 200 {} };
        let known = tokio::time::timeout(PATIENCE, known).await;
        known.expect("the hub fetches the issuer's keys");
        hub
    }
}

/// Every role by a token of its own, and tokens with one thing wrong.
pub(super) fn all(issuer: &Issuer) -> Vec<Credential> {
    let with_roles = |name: &str, roles: &[&str], letters: &'static str| Credential {
        name: name.to_owned(),
        authorization: Some(issuer.bearer(roles)),
        proves: Proves::Roles(letters),
    };
    let letters = ["C", "R", "G", "T", "O"];
    let mut all: Vec<_> = ROLES
        .iter()
        .zip(letters)
        .map(|((letter, role), letters)| {
            assert_eq!(letters.chars().collect::<Vec<_>>(), [*letter]);
            with_roles(&format!("a token of the {role}"), &[*role], letters)
        })
        .collect();
    let both = [ROLES[1].1, ROLES[3].1];
    all.extend([
        with_roles("a token of two roles", &both, "RT"),
        with_roles("a token without roles", &[], ""),
        with_roles("a token of an unknown role", &["owner", "*", "Owner"], ""),
        Credential {
            name: "a token in another spelling of the scheme".to_owned(),
            authorization: Some(issuer.bearer(&[ROLES[0].1]).replacen("Bearer", "bEARER", 1)),
            proves: Proves::Roles("C"),
        },
    ]);
    all.extend(spoiled(issuer));
    all
}

fn spoiled(issuer: &Issuer) -> Vec<Credential> {
    let url = issuer.server.url();
    let owner = claims(url, &["Fanfare Owner"]);
    let good = issuer.bearer(&["Fanfare Owner"]);
    let jwt = good.strip_prefix("Bearer ").unwrap();
    let header = encoded(r#"{"alg":"none","typ":"JWT","kid":"first"}"#);
    let body = encoded(&owner.to_string());
    let strange = SigningKey::es256("first").mint(&owner);
    let unknown = SigningKey::es256("second").mint(&owner);
    let wrong =
        |name: &str, claim: &str, value: Value| nothing(name, &issuer.spoiled(claim, value));
    vec![
        wrong("an expired bearer token", "exp", json!(1_000_000_000)),
        wrong("a bearer token that never expires", "exp", Value::Null),
        wrong(
            "a bearer token of next century",
            "nbf",
            json!(3_900_000_000_i64),
        ),
        wrong(
            "another audience's token",
            "aud",
            json!("https://vault.azure.net"),
        ),
        wrong(
            "another issuer's token",
            "iss",
            json!("https://issuer.test"),
        ),
        wrong(
            "a token of an issuer with a slash",
            "iss",
            json!(format!("{url}/")),
        ),
        wrong("a token that is bound to a key", "cnf", json!({"jkt": "x"})),
        nothing(
            "a bearer token that nobody signed",
            &format!("Bearer {header}.{body}."),
        ),
        nothing("a stranger's token", &format!("Bearer {strange}")),
        nothing(
            "a stranger's token with an id of their own",
            &format!("Bearer {unknown}"),
        ),
        nothing("a bearer token with more behind it", &format!("{good} x")),
        nothing("a bearer token without its scheme", jwt),
        nothing(
            "a bearer token in another scheme",
            &format!("SharedAccessSignature {jwt}"),
        ),
        nothing("a scheme and no bearer token", "Bearer "),
    ]
}
