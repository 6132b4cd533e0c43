//! Which hub a command is for: decides between flags, environment, and the hub that was chosen before.
//!
//! This is the only file of the operator's verbs that reads the environment. A process speaks to one hub, so the
//! first client made here also says, for error messages, who was spoken to ([`addressed`]).

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use clap::Args;
use fanfare_client::{ClientOptions, HubClient, Proxy, RetryPolicy, Secret, Trust};

use super::book::Book;
use super::chosen::{Addressed, Chosen, Source, read_pem};
use super::token::TokenFrom;
use crate::failure::Failure;
use crate::{keys::KeyArgs, time_arg, value_arg};

/// The hub a command is for. Flags come first, then the environment, then the hub of `fanfare hub use`.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Hub")]
pub struct HubArgs {
    /// A hub that was named with `fanfare hub login` [env: FANFARE_HUB].
    #[arg(long, value_name = "NAME", group = "which_hub")]
    hub: Option<String>,
    /// Connection string of a policy, or `-` to read it from standard input; others on this machine can see
    /// arguments [env: IOTHUB_CONNECTION_STRING].
    #[arg(
        long,
        value_name = "STRING",
        group = "which_hub",
        allow_hyphen_values = true
    )]
    connection_string: Option<String>,
    /// A file that holds the connection string.
    #[arg(long, value_name = "FILE", group = "which_hub")]
    connection_string_file: Option<PathBuf>,
    /// Data folder of a hub on this machine: connection string, port and CA come from it.
    #[arg(long, value_name = "DIR", group = "which_hub")]
    data_dir: Option<PathBuf>,
    /// Policy to take from the data folder [default: iothubowner].
    #[arg(long, value_name = "NAME", requires = "data_dir")]
    policy: Option<String>,
    /// Host name of a hub that is called with bearer tokens [env: IOTHUB_HOSTNAME].
    #[arg(long, value_name = "NAME", group = "which_hub")]
    host: Option<String>,
    /// A file with a bearer token of an issuer that the hub trusts, in place of a policy's key; read again when a token
    /// ends [env: FANFARE_ACCESS_TOKEN_FILE, or FANFARE_ACCESS_TOKEN with the token itself].
    #[arg(long, value_name = "FILE")]
    access_token_file: Option<PathBuf>,
    /// Trust the certificates in this file alone, such as the hub's ca.pem.
    #[arg(long, value_name = "PEM")]
    ca_file: Option<PathBuf>,
    /// Port of the service API, where it is not in the connection string [default: 443].
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Longest wait for one reply, such as 30s [default: 100s].
    #[arg(long, value_name = "TIME", value_parser = time_arg::duration)]
    timeout: Option<Duration>,
    /// HTTP proxy, http://[USER:PASSWORD@]HOST:PORT [env: HTTPS_PROXY, NO_PROXY].
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
}

/// Longest wait of `hub status` and `hub login` for one reply.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// The policy of a data folder that may do everything.
const OWNER: &str = "iothubowner";
/// What said the name of a hub: the flag, or the argument of a verb.
pub(super) const BY_FLAG: &str = "--hub";
pub(super) const BY_NAME: &str = "its name";
const ENV_HUB: &str = "FANFARE_HUB";
pub(super) const ENV_CONNECTION_STRING: &str = "IOTHUB_CONNECTION_STRING";
pub(super) const ENV_HOST: &str = "IOTHUB_HOSTNAME";
const ENV_TOKEN: &str = "FANFARE_ACCESS_TOKEN";
const ENV_TOKEN_FILE: &str = "FANFARE_ACCESS_TOKEN_FILE";

static ADDRESSED: OnceLock<Addressed> = OnceLock::new();

/// The hub that this process speaks to, once there is a client.
pub(crate) fn addressed() -> Option<&'static Addressed> {
    ADDRESSED.get()
}

impl HubArgs {
    /// A client of the hub that was chosen. Nothing is sent yet.
    ///
    /// # Errors
    /// [`crate::failure::Exit::Usage`] when no hub was chosen, or what was given cannot be used.
    pub fn client(&self) -> Result<HubClient, Failure> {
        self.client_of(&self.chosen()?)
    }

    /// A client of a hub that was chosen here, where a verb also looks at how.
    pub(crate) fn client_of(&self, chosen: &Chosen) -> Result<HubClient, Failure> {
        let (addressed, options) = self.prepared(chosen)?;
        Self::made(chosen, addressed, options)
    }

    /// A client for a person who wants to know how the hub is: no answer soon is an answer.
    pub(crate) fn probe_of(&self, chosen: &Chosen) -> Result<HubClient, Failure> {
        let (addressed, mut options) = self.prepared(chosen)?;
        options.timeout = self.timeout.unwrap_or(PROBE_TIMEOUT);
        options.retry = RetryPolicy::none();
        Self::made(chosen, addressed, options)
    }

    fn made(
        chosen: &Chosen,
        addressed: Addressed,
        options: ClientOptions,
    ) -> Result<HubClient, Failure> {
        let _ = ADDRESSED.set(addressed);
        chosen.client(options)
    }

    fn prepared(&self, chosen: &Chosen) -> Result<(Addressed, ClientOptions), Failure> {
        let addressed = chosen.addressed()?;
        let mut options = ClientOptions {
            port: chosen.port,
            user_agent: concat!("fanfare/", env!("CARGO_PKG_VERSION")).to_owned(),
            ..ClientOptions::default()
        };
        if let Some(pem) = &chosen.ca_pem {
            options.trust = Trust::Only(pem.clone());
        }
        if let Some(timeout) = self.timeout {
            options.timeout = timeout;
        }
        options.proxy = match &self.proxy {
            Some(url) => Some(Proxy::new(url)?),
            None => Proxy::from_environment()?,
        };
        Ok((addressed, options))
    }

    /// Decides which hub is meant.
    pub(crate) fn chosen(&self) -> Result<Chosen, Failure> {
        let chosen = match self.given()? {
            Some(chosen) => chosen,
            None => self.remembered()?,
        };
        self.completed(chosen)
    }

    /// The hub of that name in the book.
    pub(crate) fn chosen_as(&self, name: &str) -> Result<Chosen, Failure> {
        self.completed(Chosen::named(name, BY_NAME)?)
    }

    /// With the port, the CA and the token that were given beside it.
    fn completed(&self, mut chosen: Chosen) -> Result<Chosen, Failure> {
        // A token in the environment is no reason to leave the credential that was named for this command.
        let is_named = match &chosen.source {
            Source::Named(_, by) => [BY_FLAG, BY_NAME].contains(by),
            source => !matches!(source, Source::Environment),
        };
        if let Some(from) = self.token_of_flag().or_else(|| match is_named {
            true => None,
            false => token_of_environment(),
        }) {
            chosen = chosen.with_token(from)?;
        }
        if let Some(path) = &self.ca_file {
            chosen.ca_pem = Some(read_pem(path)?);
        }
        chosen.port = self.port.or(chosen.port);
        Ok(chosen)
    }

    /// What the flags say, names of hubs aside.
    pub(crate) fn given(&self) -> Result<Option<Chosen>, Failure> {
        if let Some(text) = &self.connection_string {
            let (source, text) = match text.as_str() {
                "-" => (Source::Stdin, value_arg::read_stdin()?),
                text => (Source::Flag, text.to_owned()),
            };
            return Ok(Some(Chosen::of(source, &text)));
        }
        if let Some(path) = &self.connection_string_file {
            let text = match path.to_str() {
                Some("-") => value_arg::read_stdin()?,
                _ => value_arg::read_file(path)?,
            };
            return Ok(Some(Chosen::of(Source::File(path.clone()), &text)));
        }
        if let Some(host) = &self.host {
            let from = self.token_of_flag().or_else(token_of_environment);
            let from = from.ok_or_else(no_token)?;
            return Ok(Some(Chosen::of_host(Source::Host("--host"), host, from)));
        }
        if let Some(folder) = &self.data_dir {
            return Chosen::of_data_dir(folder, self.policy()).map(Some);
        }
        Ok(None)
    }

    /// What a login saves: anything but a name, which is saved already.
    pub(crate) fn to_keep(&self) -> Result<Chosen, Failure> {
        let given = match (self.given()?, self.of_environment()) {
            (Some(chosen), _) | (None, Some(chosen)) => chosen,
            (None, None) => {
                return Err(Failure::usage("there is nothing to log in with")
                    .try_this(
                        "--connection-string - and paste it, then Ctrl-D; nobody else sees it",
                    )
                    .try_this("--connection-string-file FILE")
                    .try_this("--data-dir DIR for a hub on this machine"));
            }
        };
        self.completed(given)
    }

    fn remembered(&self) -> Result<Chosen, Failure> {
        if let Some(name) = &self.hub {
            return Chosen::named(name, BY_FLAG);
        }
        if let Some(name) = variable(ENV_HUB) {
            return Chosen::named(&name, ENV_HUB);
        }
        if let Some(chosen) = self.of_environment() {
            return Ok(chosen);
        }
        match Book::read()?.current() {
            Some(name) => Chosen::named(name, "fanfare hub use"),
            None => Err(none_chosen()),
        }
    }

    /// The hub that the environment names, by its host where there is a token for it, or by a connection string.
    fn of_environment(&self) -> Option<Chosen> {
        let from = self.token_of_flag().or_else(token_of_environment);
        if let (Some(host), Some(from)) = (variable(ENV_HOST), from) {
            return Some(Chosen::of_host(Source::Host(ENV_HOST), &host, from));
        }
        let text = variable(ENV_CONNECTION_STRING)?;
        Some(Chosen::of(Source::Environment, &text))
    }

    fn token_of_flag(&self) -> Option<TokenFrom> {
        self.access_token_file.clone().map(TokenFrom::File)
    }

    /// Data folder and policy, when they were given.
    pub(crate) fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }

    pub(crate) fn policy(&self) -> &str {
        self.given_policy().unwrap_or(OWNER)
    }

    /// The policy that was named.
    pub(crate) fn given_policy(&self) -> Option<&str> {
        self.policy.as_deref()
    }

    /// The options, each behind a blank, that make another command mean the same hub; for people to paste. A key
    /// never stands in it: what was given on the command line is asked for instead, from standard input.
    pub(crate) fn spelled(&self) -> String {
        let path = |path: &PathBuf| path.display().to_string();
        let string = self.connection_string.as_ref().map(|_| "-".to_owned());
        let proxy = self.proxy.as_ref().filter(|url| !url.contains('@'));
        let timeout = self.timeout.map(time_arg::shown);
        let options = [
            ("--hub", self.hub.clone()),
            ("--connection-string", string),
            (
                "--connection-string-file",
                self.connection_string_file.as_ref().map(path),
            ),
            ("--data-dir", self.data_dir.as_ref().map(path)),
            ("--policy", self.policy.clone()),
            ("--host", self.host.clone()),
            (
                "--access-token-file",
                self.access_token_file.as_ref().map(path),
            ),
            ("--ca-file", self.ca_file.as_ref().map(path)),
            ("--port", self.port.map(|port| port.to_string())),
            ("--timeout", timeout.map(|text| text.replace(' ', ""))),
            ("--proxy", proxy.cloned()),
        ];
        let given = options.into_iter().filter_map(|(flag, value)| {
            let value = value?;
            Some(format!(" {flag} {}", pasted(&value)))
        });
        given.collect()
    }

    /// The name given with `--hub`.
    pub(crate) fn name(&self) -> Option<&str> {
        self.hub.as_deref()
    }
}

/// Where the master key of a data folder is: the settings that its hub has in the environment.
pub(crate) fn keys_of_environment() -> KeyArgs {
    let path = |name: &str| variable(name).map(PathBuf::from);
    KeyArgs::new(path("FANFARE_KEY_FILE"), path("FANFARE_PASSPHRASE_FILE"))
}

/// The token that the environment has, or names a file of.
fn token_of_environment() -> Option<TokenFrom> {
    let text = variable(ENV_TOKEN).map(Secret::new);
    text.map(|text| TokenFrom::Variable(ENV_TOKEN, text))
        .or_else(|| variable(ENV_TOKEN_FILE).map(|path| TokenFrom::File(PathBuf::from(path))))
}

fn no_token() -> Failure {
    Failure::usage("--host says where the hub is, and nothing says who calls it")
        .try_this("--access-token-file FILE, with a bearer token of an issuer that the hub trusts")
        .try_this(format!("export {ENV_TOKEN_FILE}=FILE, for this shell"))
        .try_this("--connection-string -, with the connection string of a policy")
}

/// A word as a shell takes it.
fn pasted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn none_chosen() -> Failure {
    Failure::usage("no hub is chosen")
        .try_this(
            "fanfare hub login NAME --connection-string -      once, for all commands that follow",
        )
        .try_this(format!(
            "export {ENV_CONNECTION_STRING}='HostName=..'     for this shell"
        ))
        .try_this("--connection-string-file FILE                     for this command")
        .try_this("--data-dir DIR                                    for a hub on this machine")
}

/// An environment variable; empty is absent.
#[allow(
    clippy::disallowed_methods,
    reason = "the operator's verbs have a configuration of their own"
)]
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn spelled(arguments: &[&str]) -> String {
        let command = HubArgs::augment_args(Command::new("verb"));
        let matches = command.get_matches_from([&["verb"], arguments].concat());
        HubArgs::from_arg_matches(&matches).unwrap().spelled()
    }

    #[test]
    fn a_command_to_paste_means_the_same_hub() {
        for arguments in [
            &["--hub", "lab", "--port", "8443", "--timeout", "1m30s"][..],
            &["--connection-string-file", "a.txt", "--ca-file", "ca.pem"],
            &[
                "--data-dir",
                "d",
                "--policy",
                "service",
                "--proxy",
                "http://p:1",
            ],
        ] {
            assert_eq!(spelled(arguments), format!(" {}", arguments.join(" ")));
        }
        assert_eq!(spelled(&[]), "");
        assert_eq!(spelled(&["--data-dir", "my hub"]), " --data-dir 'my hub'");
        assert_eq!(
            spelled(&["--data-dir", "o'hara"]),
            r" --data-dir 'o'\''hara'"
        );
    }

    #[test]
    fn no_secret_is_spelled() {
        let text = spelled(&["--connection-string", "HostName=h;SharedAccessKey=c2VjcmV0"]);
        assert_eq!(text, " --connection-string -");
        assert_eq!(spelled(&["--proxy", "http://me:secret@p:1"]), "");
    }
}
