//! What a token's roles and scopes let its holder do.
//!
//! A role is a name that the issuer put into a claim; the contract's roles are known by name, others count when the
//! settings say what they grant. A name that nobody knows grants nothing. compat: AUTH-24

use fanfare_hub::access::{ActionSet, BuiltInRole};
use serde_json::{Map, Value};

use super::{BearerRefusal, settings::IssuerSettings};

/// Names that are looked at in one token.
const NAMES_MAX: usize = 1_000;

/// The data actions that the token's roles grant, which may be none.
pub(super) fn granted(
    claims: &Map<String, Value>,
    settings: &IssuerSettings,
) -> Result<ActionSet, BearerRefusal> {
    check_scopes(claims, &settings.required_scopes)?;
    let paths = settings.role_claims.iter();
    let names = paths.flat_map(|path| names(claims, path));
    let granted = names.take(NAMES_MAX).filter_map(|name| {
        let built_in = BuiltInRole::named(name).map(BuiltInRole::actions);
        built_in.or_else(|| settings.roles.get(name).copied())
    });
    Ok(granted.fold(ActionSet::NONE, ActionSet::union))
}

/// A token with scopes acts for somebody who agreed to them. One without any acts for an application itself, which its
/// roles alone speak for. compat: AUTH-25
fn check_scopes(claims: &Map<String, Value>, required: &[String]) -> Result<(), BearerRefusal> {
    let claim = ["scp", "scope"]
        .into_iter()
        .find(|name| claims.contains_key(*name));
    let (Some(claim), false) = (claim, required.is_empty()) else {
        return Ok(());
    };
    let mut given = names(claims, claim).into_iter();
    match given.any(|scope| required.iter().any(|known| known == scope)) {
        true => Ok(()),
        false => Err(BearerRefusal::Scope),
    }
}

/// The names in a claim: each text of a list, or a text as a whole and each word of it.
fn names<'a>(claims: &'a Map<String, Value>, path: &str) -> Vec<&'a str> {
    match claim(claims, path) {
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(text)) => match text.contains(' ') {
            true => std::iter::once(&**text).chain(text.split(' ')).collect(),
            false => vec![text],
        },
        _ => Vec::new(),
    }
}

/// The value at a path. A name may have dots of its own, as those of claims that are URLs do: the longest that is there
/// counts.
fn claim<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let dots = path.rmatch_indices('.');
    dots.filter_map(|(at, _)| {
        let inner = claims.get(&path[..at])?.as_object()?;
        claim(inner, &path[at + 1..])
    })
    .next()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings() -> IssuerSettings {
        let mut settings = IssuerSettings::new("https://issuer.test");
        let paths = [
            "roles",
            "realm_access.roles",
            "https://fleet.test/roles",
            "scp",
        ];
        settings.role_claims = paths.map(str::to_owned).to_vec();
        let own = [
            ("fleet-reader", "devices/read"),
            ("Jobs.Run", "jobs/*"),
            ("IoT Hub Twin Contributor", "*"),
        ];
        let own = own.map(|(name, pattern)| (name.to_owned(), ActionSet::parse(pattern).unwrap()));
        settings.roles = own.into();
        settings
    }

    fn of(claims: Value) -> String {
        let granted = granted(claims.as_object().unwrap(), &settings());
        granted.unwrap().to_string()
    }

    #[test]
    fn roles_are_found_where_the_settings_say() {
        for (claims, expected) in [
            (json!({"roles": ["fleet-reader"]}), "devices/read"),
            (json!({"roles": "fleet-reader"}), "devices/read"),
            (
                json!({"roles": "x fleet-reader Jobs.Run"}),
                "devices/read, jobs/read, jobs/write, jobs/delete",
            ),
            (
                json!({"realm_access": {"roles": ["fleet-reader"]}}),
                "devices/read",
            ),
            (
                json!({"realm_access.roles": ["fleet-reader"]}),
                "devices/read",
            ),
            (
                json!({"https://fleet.test/roles": ["fleet-reader"]}),
                "devices/read",
            ),
            (
                json!({"scp": "openid Jobs.Run"}),
                "jobs/read, jobs/write, jobs/delete",
            ),
            (
                json!({"roles": ["IoT Hub Registry Contributor"]}),
                "devices/read, devices/write, devices/delete",
            ),
            (
                json!({"roles": "IoT Hub Registry Contributor"}),
                "devices/read, devices/write, devices/delete",
            ),
            (
                json!({"roles": ["IoT Hub Twin Contributor"]}),
                "twins/read, twins/write",
            ),
        ] {
            assert_eq!(of(claims.clone()), expected, "{claims}");
        }
    }

    #[test]
    fn names_that_nobody_knows_grant_nothing() {
        for claims in [
            json!({}),
            json!({"roles": []}),
            json!({"roles": ["owner", "Fleet-Reader", "fleet-reader "]}),
            json!({"roles": ["x fleet-reader"]}),
            json!({"roles": [["fleet-reader"]]}),
            json!({"roles": {"fleet-reader": true}}),
            json!({"roles": {"0": "fleet-reader"}}),
            json!({"roles": 7}),
            json!({"groups": ["fleet-reader"]}),
            json!({"realm_access": ["fleet-reader"]}),
            json!({"roles": ["devices/read", "*"]}),
        ] {
            assert_eq!(of(claims.clone()), "", "{claims}");
        }
    }

    #[test]
    fn whoever_acts_for_a_user_needs_a_scope() {
        let mut settings = settings();
        settings.required_scopes = vec!["Hub.Access".to_owned(), "Hub.Admin".to_owned()];
        let check = |claims: Value| granted(claims.as_object().unwrap(), &settings).map(|_| ());
        for good in [
            json!({"scp": "Hub.Access"}),
            json!({"scp": "openid Hub.Admin"}),
            json!({"scp": ["Hub.Access"]}),
            json!({"scope": "profile Hub.Access"}),
            json!({"roles": ["fleet-reader"]}),
        ] {
            assert_eq!(check(good.clone()), Ok(()), "{good}");
        }
        for wrong in [
            json!({"scp": ""}),
            json!({"scp": "hub.access"}),
            json!({"scp": "Hub.Accessible"}),
            json!({"scp": "profile", "scope": "Hub.Access"}),
            json!({"scope": "profile"}),
            json!({"scp": 7}),
        ] {
            assert_eq!(check(wrong.clone()), Err(BearerRefusal::Scope), "{wrong}");
        }
    }
}
