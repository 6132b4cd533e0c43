//! Which hub a command is for: decides between flags, environment, and the hub that was chosen before.
//!
//! This is the only file of the operator's verbs that reads the environment. A process speaks to one hub, so the
//! first client made here also says, for error messages, who was spoken to ([`addressed`]).

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use clap::Args;
use fanfare_client::{ClientOptions, HubClient, Proxy, RetryPolicy, Trust};
use fanfare_wire::Secret;
use fanfare_wire::connection_string::ConnectionString;

use super::book::{Book, Entry, Local, Remote};
use crate::failure::Failure;
use crate::{keys::KeyArgs, serve, time_arg, value_arg};

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
const BY_FLAG: &str = "--hub";
const BY_NAME: &str = "its name";
const ENV_HUB: &str = "FANFARE_HUB";
const ENV_CONNECTION_STRING: &str = "IOTHUB_CONNECTION_STRING";

/// A hub with all it takes to call it.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) source: Source,
    pub(crate) connection_string: Secret,
    pub(crate) ca_pem: Option<Vec<u8>>,
    pub(crate) port: Option<u16>,
}

/// How a hub was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Flag,
    Stdin,
    File(PathBuf),
    DataDir(PathBuf),
    Environment,
    /// By name, and what said the name.
    Named(String, &'static str),
}

/// Who was spoken to, for messages.
#[derive(Debug, Clone)]
pub(crate) struct Addressed {
    pub(crate) source: Source,
    /// `https://HOST[:PORT]`.
    pub(crate) endpoint: String,
    pub(crate) policy: Option<String>,
    /// Whether a CA was given, in place of the system's.
    pub(crate) has_ca: bool,
}

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
        let chosen = self.chosen()?;
        let (addressed, options) = self.prepared(&chosen)?;
        Self::made(&chosen, addressed, options)
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
        let text = chosen.connection_string.expose();
        Ok(HubClient::from_connection_string(text, options)?)
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

    /// With the port and the CA that were given beside it.
    fn completed(&self, mut chosen: Chosen) -> Result<Chosen, Failure> {
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
        if let Some(folder) = &self.data_dir {
            return Chosen::of_data_dir(folder, self.policy()).map(Some);
        }
        Ok(None)
    }

    /// What a login saves: anything but a name, which is saved already.
    pub(crate) fn to_keep(&self) -> Result<Chosen, Failure> {
        let given = match (self.given()?, variable(ENV_CONNECTION_STRING)) {
            (Some(chosen), _) => chosen,
            (None, Some(text)) => Chosen::of(Source::Environment, &text),
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
        if let Some(text) = variable(ENV_CONNECTION_STRING) {
            return Ok(Chosen::of(Source::Environment, &text));
        }
        match Book::read()?.current() {
            Some(name) => Chosen::named(name, "fanfare hub use"),
            None => Err(none_chosen()),
        }
    }

    /// Data folder and policy, when they were given.
    pub(crate) fn data_dir(&self) -> Option<&Path> {
        self.data_dir.as_deref()
    }

    pub(crate) fn policy(&self) -> &str {
        self.policy.as_deref().unwrap_or(OWNER)
    }

    pub(crate) fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
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
fn keys_of_environment() -> KeyArgs {
    let path = |name: &str| variable(name).map(PathBuf::from);
    KeyArgs::new(path("FANFARE_KEY_FILE"), path("FANFARE_PASSPHRASE_FILE"))
}

impl Chosen {
    fn of(source: Source, text: &str) -> Self {
        Self {
            source,
            connection_string: Secret::new(text.trim()),
            ca_pem: None,
            port: None,
        }
    }

    fn of_data_dir(folder: &Path, policy: &str) -> Result<Self, Failure> {
        let text = serve::policy_connection_string(folder, &keys_of_environment(), policy).map_err(|error| {
            let title = format!(
                "{} is not a hub's data folder that can be read",
                folder.display()
            );
            let mut failure = Failure::usage(title);
            for cause in error.chain() {
                failure = failure.because(cause);
            }
            failure.try_this("--data-dir with the folder that `fanfare serve` was started with")
        })?;
        let ca_pem = read_pem(&folder.join("ca.pem"))?;
        let source = Source::DataDir(folder.to_owned());
        Ok(Self {
            ca_pem: Some(ca_pem),
            ..Self::of(source, &text)
        })
    }

    /// The hub of that name in the book; `by` is what said the name.
    pub(crate) fn named(name: &str, by: &'static str) -> Result<Self, Failure> {
        let book = Book::read()?;
        let Some(entry) = book.entry(name) else {
            let is_typed = [BY_FLAG, BY_NAME].contains(&by);
            return Err(book.unknown(name, (!is_typed).then_some(by)));
        };
        let source = Source::Named(name.to_owned(), by);
        match entry {
            Entry::Remote(remote) => Ok(Self {
                source,
                ..Self::of_remote(remote)
            }),
            Entry::Local(local) => Ok(Self {
                source,
                ..Self::of_local(local)?
            }),
        }
    }

    pub(crate) fn of_remote(remote: &Remote) -> Self {
        Self {
            ca_pem: remote.ca_pem.clone().map(String::into_bytes),
            port: remote.port,
            ..Self::of(Source::Flag, remote.connection_string.expose())
        }
    }

    pub(crate) fn of_local(local: &Local) -> Result<Self, Failure> {
        Self::of_data_dir(&local.data_dir, &local.policy)
    }

    fn parsed(&self) -> Result<ConnectionString, Failure> {
        let text = self.connection_string.expose();
        let failure = match ConnectionString::parse(text) {
            Ok(read) if read.device_id.is_some() => Failure::usage(format!(
                "{} is the connection string of a device, which may not do this",
                self.source.words()
            ))
            .try_this("the string of a policy: it has SharedAccessKeyName in place of DeviceId"),
            Ok(read) if read.policy.is_none() && read.signature.is_none() => {
                let title = format!("{} names no policy", self.source.words());
                advice(Failure::usage(title), text)
            }
            Ok(read) => return Ok(read),
            Err(error) => {
                let failure = Failure::usage(format!(
                    "{} is not a connection string",
                    self.source.words()
                ));
                advice(failure.because(error), text)
            }
        };
        Err(failure)
    }

    pub(crate) fn addressed(&self) -> Result<Addressed, Failure> {
        let read = self.parsed()?;
        let endpoint = match (self.port, read.host_name.rsplit_once(':')) {
            (None, _) => format!("https://{}", read.host_name),
            (Some(port), Some((host, digits))) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                format!("https://{host}:{port}")
            }
            (Some(port), _) => format!("https://{}:{port}", read.host_name),
        };
        Ok(Addressed {
            source: self.source.clone(),
            endpoint,
            policy: read.policy,
            has_ca: self.ca_pem.is_some(),
        })
    }
}

/// A word as a shell takes it.
fn pasted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// What is mostly wrong with a connection string.
fn advice(failure: Failure, text: &str) -> Failure {
    if text.starts_with("HostName=") && !text.contains(';') {
        return failure.try_this(
            "quotes around it: without them the shell ends the argument at the first ';'",
        );
    }
    failure.try_this(
        "HostName=..;SharedAccessKeyName=..;SharedAccessKey=.. as `fanfare connection-string` prints it",
    )
}

impl Source {
    /// As the subject of a sentence about a connection string.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Flag => "--connection-string".to_owned(),
            Self::Stdin => "standard input".to_owned(),
            Self::File(path) => path.display().to_string(),
            Self::DataDir(path) => format!("data folder {}", path.display()),
            Self::Environment => ENV_CONNECTION_STRING.to_owned(),
            Self::Named(name, by) => format!("hub '{name}' ({by})"),
        }
    }
}

/// Reads certificates; what is in the file is looked at when the client is made.
pub(crate) fn read_pem(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| {
        Failure::usage(format!("{} cannot be read", path.display()))
            .because(error)
            .try_this("--ca-file with the file ca.pem of the hub's data folder")
    })
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
