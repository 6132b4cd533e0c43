//! Bearer tokens for hubs that are called without a shared access policy: where one is, and what is wrong with it.
//!
//! Whoever issues tokens writes them to a file, again and again; so the file is read anew whenever the client needs a
//! token: at the first call, before the old one ends, and after a 401. Nothing here trusts what a token says; its end
//! is read to tell a person that it is over.

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanfare_client::{AccessToken, BoxFuture, CredentialError, Secret, Timestamp, TokenCredential};
use serde_json::Value;

use crate::clock::unix_now_s;
use crate::job::figures;

/// Where bearer tokens come from.
#[derive(Debug, Clone)]
pub(crate) enum TokenFrom {
    /// A file that holds one and nothing else.
    File(PathBuf),
    /// An environment variable, by its name, and what was in it.
    Variable(&'static str, Secret),
}

/// A token that does not say when it ends is asked for again after this long, seconds.
const UNKNOWN_LIFE_S: i64 = 3_600;
/// A token is over when it ended this long ago, seconds: clocks may disagree, and the hub decides.
const SKEW_S: i64 = 300;
/// Longest file that may be a token, bytes. Requests with more in their head are refused everywhere.
const TOKEN_BYTES_MAX: usize = 32 * 1024;

impl TokenFrom {
    /// For messages: the file, or the variable.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Variable(name, _) => (*name).to_owned(),
        }
    }

    fn read(&self) -> Result<AccessToken, CredentialError> {
        let text = match self {
            Self::File(path) => Secret::new(read(path)?),
            Self::Variable(_, text) => text.clone(),
        };
        let token = text.expose().trim();
        let token = token.strip_prefix("Bearer ").unwrap_or(token);
        let refused = |what: &str| CredentialError::new(format!("{} {what}", self.words()));
        if token.is_empty() {
            return Err(refused("holds no token, it is empty"));
        }
        if token.starts_with('{') {
            return Err(refused(
                "holds JSON, not a token: put its member access_token or accessToken there alone",
            ));
        }
        if token.len() > TOKEN_BYTES_MAX || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refused("holds no token: that is one word of ASCII"));
        }
        let now = unix_now_s();
        let ends = ends(token);
        if let Some(ends) = ends.filter(|ends| ends.saturating_add(SKEW_S) < now) {
            let at = figures::moment(Timestamp::from_micros(ends.saturating_mul(1_000_000)));
            return Err(refused(&format!("holds a token that ended at {at}")));
        }
        let until = ends.unwrap_or(now + UNKNOWN_LIFE_S).max(0);
        let until = UNIX_EPOCH.checked_add(Duration::from_secs(until.unsigned_abs()));
        let until = until.ok_or_else(|| refused("holds a token that never ends"))?;
        Ok(AccessToken::new(token, until))
    }
}

fn read(path: &Path) -> Result<String, CredentialError> {
    std::fs::read_to_string(path).map_err(|error| {
        let text = format!("{} cannot be read", path.display());
        CredentialError::new(text).with_source(error)
    })
}

impl TokenCredential for TokenFrom {
    fn token<'a>(
        &'a self,
        _scopes: &'a [&'a str],
    ) -> BoxFuture<'a, Result<AccessToken, CredentialError>> {
        Box::pin(async move { self.read() })
    }
}

/// When a JSON web token says that it ends, seconds since 1970; `None` for other tokens.
fn ends(token: &str) -> Option<i64> {
    let payload = token.split('.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    let ends = claims.get("exp")?;
    ends.as_i64().or_else(|| ends.as_f64().map(|at| at as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2ln", part(r#"{"alg":"RS256"}"#), part(claims))
    }

    fn held(text: &str) -> Result<AccessToken, String> {
        let from = TokenFrom::Variable("T", Secret::new(text));
        from.read().map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_is_read_with_its_end() {
        let token = jwt(r#"{"exp":4102444800}"#);
        for text in [
            token.clone(),
            format!("{token}\n"),
            format!("Bearer {token}"),
        ] {
            let read = held(&text).unwrap();
            assert_eq!(read.token.expose(), token);
            let until = read.expires_on.duration_since(UNIX_EPOCH).unwrap();
            assert_eq!(until.as_secs(), 4_102_444_800);
        }
        // One that says nothing is worth a try.
        assert!(held("opaque").is_ok());
    }

    #[test]
    fn what_is_no_token_is_told_without_it() {
        for (text, want) in [
            ("", "it is empty"),
            (r#"{"accessToken":"c2VjcmV0"}"#, "JSON"),
            ("c2VjcmV0 c2VjcmV0", "one word"),
            (&*jwt(r#"{"exp":1000}"#), "ended at 1970-01-01"),
        ] {
            let said = held(text).unwrap_err();
            assert!(said.contains(want) && !said.contains("c2VjcmV0"), "{said}");
        }
    }

    #[test]
    fn a_file_is_read_again_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let from = TokenFrom::File(path.clone());
        assert!(
            from.read()
                .unwrap_err()
                .to_string()
                .contains("cannot be read")
        );
        for token in ["one", "two"] {
            std::fs::write(&path, token).unwrap();
            assert_eq!(from.read().unwrap().token.expose(), token);
        }
    }
}
