//! The settings about issuers of bearer tokens: one by flags, any number by tables of the file.
//!
//! The flags are for the simple case, in which issuers differ in nothing but their names. A table
//! `[[token-issuers]]` says everything about one issuer and shares nothing with the flags.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use fanfare_auth::bearer::{IssuerSettings, ROLE_CLAIM_DEFAULT, TokenSettings, check_issuer_url};
use fanfare_hub::access::{ActionSet, BUILT_IN_ROLES, BuiltInRole};
use figment::value::{Dict, Value};

use super::Checked;

const STALE_HOURS_DEFAULT: u32 = 24;
const STALE_HOURS_MAX: u32 = 720;
/// Issuers of one hub; each is a loop and some keys in memory.
const ISSUERS_MAX: usize = 32;
const MEMBERS: [&str; 6] = [
    "url",
    "audiences",
    "role-claims",
    "required-scopes",
    "ca-file",
    "roles",
];

impl Checked<'_> {
    pub(super) fn tokens(&mut self) -> TokenSettings {
        let mut issuers = self.plain_issuers();
        issuers.extend(self.issuer_tables());
        let mut names: Vec<_> = issuers.iter().map(|issuer| issuer.url.clone()).collect();
        names.sort_unstable();
        for pair in names.windows(2).filter(|pair| pair[0] == pair[1]) {
            self.fault("token-issuer", &format!("names {:?} twice", pair[0]));
        }
        if issuers.len() > ISSUERS_MAX {
            let problem = format!("and token-issuers name more than {ISSUERS_MAX} issuers");
            self.fault("token-issuer", &problem);
        }
        let hours = self.number("token-stale-hours", 0, STALE_HOURS_MAX, "a number of hours");
        let hours = hours.unwrap_or(STALE_HOURS_DEFAULT);
        TokenSettings {
            issuers,
            stale_for: Duration::from_secs(u64::from(hours) * 3_600),
            ..TokenSettings::default()
        }
    }

    /// The issuers of `token-issuer`, which share what the other flags say.
    fn plain_issuers(&mut self) -> Vec<IssuerSettings> {
        let urls = self.list("token-issuer").unwrap_or_default();
        let audiences = self.list("token-audience").unwrap_or_default();
        let role_claims = self.list("token-role-claim");
        let ca_file = self.text("token-ca-file").map(PathBuf::from);
        for url in &urls {
            self.check_url("token-issuer", url);
        }
        if urls.is_empty() {
            for key in ["token-audience", "token-role-claim", "token-ca-file"] {
                if self.values.contains_key(key) {
                    self.fault(key, "needs token-issuer beside it");
                }
            }
        }
        let role_claims = role_claims.unwrap_or_else(|| vec![ROLE_CLAIM_DEFAULT.to_owned()]);
        let issuer = |url| IssuerSettings {
            audiences: audiences.clone(),
            role_claims: role_claims.clone(),
            ca_file: ca_file.clone(),
            ..IssuerSettings::new(url)
        };
        urls.into_iter().map(issuer).collect()
    }

    fn issuer_tables(&mut self) -> Vec<IssuerSettings> {
        let tables = match self.values.get("token-issuers") {
            None => return Vec::new(),
            Some(Value::Array(_, tables)) => tables.clone(),
            Some(_) => {
                let problem = "must be tables of the file, [[token-issuers]]; \
                               token-issuer names an issuer elsewhere";
                self.fault("token-issuers", problem);
                return Vec::new();
            }
        };
        let mut issuers = Vec::new();
        for (place, table) in tables.iter().enumerate() {
            match table {
                Value::Dict(_, members) => issuers.extend(self.issuer_table(place, members)),
                _ => self.fault("token-issuers", "must be tables, [[token-issuers]]"),
            }
        }
        issuers
    }

    fn issuer_table(&mut self, place: usize, members: &Dict) -> Option<IssuerSettings> {
        let mut table = IssuerTable {
            members,
            faults: Vec::new(),
        };
        let issuer = table.issuer();
        for fault in table.faults {
            let problem = format!("(table {}) {fault}", place + 1);
            self.fault("token-issuers", &problem);
        }
        if let Some(issuer) = &issuer {
            self.check_url("token-issuers", &issuer.url);
        }
        issuer
    }

    fn check_url(&mut self, key: &str, url: &str) {
        if let Err(problem) = check_issuer_url(url) {
            self.fault(key, &format!("{url:?} {problem}"));
        }
    }
}

/// One table while it is being checked.
struct IssuerTable<'a> {
    members: &'a Dict,
    faults: Vec<String>,
}

impl IssuerTable<'_> {
    fn issuer(&mut self) -> Option<IssuerSettings> {
        let unknown = self
            .members
            .keys()
            .filter(|key| !MEMBERS.contains(&key.as_str()));
        let known = MEMBERS.join(", ");
        let unknown =
            unknown.map(|key| format!("has {key}, which is no member; known are {known}"));
        self.faults.extend(unknown);
        let url = self.text("url");
        if !self.members.contains_key("url") {
            self.faults.push("has no url".to_owned());
        }
        let audiences = self.texts("audiences").unwrap_or_default();
        let role_claims = self.texts("role-claims");
        let required_scopes = self.texts("required-scopes").unwrap_or_default();
        let ca_file = self.text("ca-file").map(PathBuf::from);
        let roles = self.roles();
        Some(IssuerSettings {
            url: url?,
            audiences,
            role_claims: role_claims.unwrap_or_else(|| vec![ROLE_CLAIM_DEFAULT.to_owned()]),
            required_scopes,
            ca_file,
            roles,
        })
    }

    fn text(&mut self, key: &str) -> Option<String> {
        let text = self
            .members
            .get(key)?
            .as_str()
            .filter(|text| !text.is_empty());
        if text.is_none() {
            self.faults.push(format!("has {key}, which must be text"));
        }
        text.map(str::to_owned)
    }

    fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        let texts = texts_of(self.members.get(key)?);
        if texts.is_none() {
            let fault = format!("has {key}, which must be texts that are not empty");
            self.faults.push(fault);
        }
        texts
    }

    fn roles(&mut self) -> BTreeMap<String, ActionSet> {
        let given = match self.members.get("roles") {
            None => return BTreeMap::new(),
            Some(Value::Dict(_, given)) => given,
            Some(_) => {
                let fault = "has roles, which must be a table of names and what they grant";
                self.faults.push(fault.to_owned());
                return BTreeMap::new();
            }
        };
        let mut roles = BTreeMap::new();
        for (name, value) in given {
            if BuiltInRole::named(name).is_some() {
                let fault = format!("gives the role {name:?} a meaning, which it has already");
                self.faults.push(fault);
                continue;
            }
            let Some(words) = texts_of(value).filter(|words| !words.is_empty()) else {
                let fault = format!("gives the role {name:?} nothing that it could grant");
                self.faults.push(fault);
                continue;
            };
            let mut all = ActionSet::NONE;
            for word in &words {
                match actions_of(word) {
                    Ok(actions) => all = all | actions,
                    Err(problem) => {
                        let fault = format!("gives the role {name:?} what {problem}");
                        self.faults.push(fault);
                    }
                }
            }
            roles.insert(name.clone(), all);
        }
        roles
    }
}

/// What a role of the settings may be made of: roles that are known by name, and data actions.
fn actions_of(word: &str) -> Result<ActionSet, String> {
    if let Some(role) = BuiltInRole::named(word) {
        return Ok(role.actions());
    }
    ActionSet::parse(word).map_err(|error| {
        let known = BUILT_IN_ROLES.map(|role| role.name).join(", ");
        format!("is neither data action nor role: {error}; the roles are {known}")
    })
}

fn texts_of(value: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| {
        let text = value.as_str().filter(|text| !text.is_empty());
        text.map(str::to_owned)
    };
    match value {
        Value::Array(_, values) => values.iter().map(text).collect(),
        value => text(value).map(|text| vec![text]),
    }
}

#[cfg(test)]
mod tests {
    use fanfare_hub::access::DataAction;

    use super::*;
    use crate::config::{Config, Flags};

    fn load(toml: &str, variables: &[(&str, &str)]) -> Result<TokenSettings, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hub.toml");
        std::fs::write(&file, toml).unwrap();
        let flags = Flags {
            config: Some(file),
            ..Flags::default()
        };
        let variables = variables
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        Config::from_layers(flags, variables)
            .map(|config| config.tokens)
            .map_err(|error| error.faults)
    }

    #[test]
    fn the_simple_case_needs_no_file() {
        assert_eq!(load("", &[]).unwrap(), TokenSettings::default());
        let settings = load(
            "",
            &[
                ("FANFARE_TOKEN_ISSUER", "https://a.test/x, https://b.test/"),
                ("FANFARE_TOKEN_AUDIENCE", "api://fleet"),
                ("FANFARE_TOKEN_ROLE_CLAIM", "roles,realm_access.roles"),
                ("FANFARE_TOKEN_CA_FILE", "own.pem"),
                ("FANFARE_TOKEN_STALE_HOURS", "2"),
            ],
        )
        .unwrap();
        let issuer = |url: &str| IssuerSettings {
            audiences: vec!["api://fleet".to_owned()],
            role_claims: vec!["roles".to_owned(), "realm_access.roles".to_owned()],
            ca_file: Some("own.pem".into()),
            ..IssuerSettings::new(url)
        };
        let both = [issuer("https://a.test/x"), issuer("https://b.test/")];
        assert_eq!(settings.issuers, both);
        assert_eq!(settings.stale_for, Duration::from_secs(7_200));
    }

    #[test]
    fn a_table_says_everything_of_an_issuer() {
        let toml = r#"
            token-issuer = "https://a.test"

            [[token-issuers]]
            url = "https://b.test"
            audiences = "api://fleet"
            role-claims = ["realm_access.roles"]
            required-scopes = ["Hub.Access"]
            ca-file = "b.pem"
            roles."Fleet reader" = ["IoT Hub Data Reader"]
            roles.runner = ["jobs/*", "twins/read"]

            [[token-issuers]]
            url = "http://127.0.0.1:9000"
        "#;
        let issuers = load(toml, &[]).unwrap().issuers;
        let urls: Vec<_> = issuers.iter().map(|issuer| &*issuer.url).collect();
        let expected = ["https://a.test", "https://b.test", "http://127.0.0.1:9000"];
        assert_eq!(urls, expected);
        assert_eq!(issuers[2], IssuerSettings::new("http://127.0.0.1:9000"));
        let b = &issuers[1];
        assert_eq!(b.audiences, ["api://fleet"]);
        assert_eq!(b.role_claims, ["realm_access.roles"]);
        assert_eq!(b.required_scopes, ["Hub.Access"]);
        assert_eq!(b.ca_file, Some("b.pem".into()));
        let reader = BuiltInRole::named("IoT Hub Data Reader").unwrap();
        assert_eq!(b.roles["Fleet reader"], reader.actions());
        assert!(b.roles["runner"].contains(DataAction::JobsDelete));
        assert!(b.roles["runner"].contains(DataAction::TwinsRead));
        assert!(!b.roles["runner"].contains(DataAction::TwinsWrite));
    }

    #[test]
    fn every_fault_is_told() {
        let toml = r#"
            token-issuer = ["http://a.test", "https://twice.test"]
            token-stale-hours = 1000

            [[token-issuers]]
            uri = "https://b.test"
            audiences = [1]
            roles.x = ["devices/reed"]
            roles.y = []
            roles."IoT Hub Data Reader" = "*"

            [[token-issuers]]
            url = "https://c.test/{tenantid}"
            roles = "x"

            [[token-issuers]]
            url = "https://twice.test"
        "#;
        let faults = load(toml, &[]).unwrap_err();
        for part in [
            "token-issuer \"http://a.test\" must be https",
            "token-issuer names \"https://twice.test\" twice",
            "token-stale-hours must be a number of hours, 0 to 720",
            "(table 1) has uri, which is no member",
            "(table 1) has no url",
            "(table 1) has audiences, which must be texts",
            "(table 1) gives the role \"x\" what is neither data action nor role",
            "(table 1) gives the role \"y\" nothing",
            "(table 1) gives the role \"IoT Hub Data Reader\" a meaning",
            "token-issuers \"https://c.test/{tenantid}\" has a placeholder",
            "(table 2) has roles, which must be a table",
        ] {
            let found = faults.iter().filter(|fault| fault.contains(part)).count();
            assert_eq!(found, 1, "{part} in {faults:#?}");
        }
        assert_eq!(faults.len(), 11, "{faults:#?}");
    }

    #[test]
    fn flags_without_an_issuer_mean_nothing() {
        let faults = load("token-audience = \"api://fleet\"", &[]).unwrap_err();
        assert!(faults[0].starts_with("token-audience needs token-issuer"));
        let faults = load("", &[("FANFARE_TOKEN_ISSUERS", "https://a.test")]).unwrap_err();
        assert!(faults[0].starts_with("token-issuers must be tables"));
    }

    #[test]
    fn policies_may_be_switched_off_where_an_issuer_is() {
        let toml = "disable-local-auth = true\ntoken-issuer = \"https://a.test\"";
        assert!(load(toml, &[]).is_ok());
        assert!(load("disable-local-auth = true", &[]).is_err());
    }
}
