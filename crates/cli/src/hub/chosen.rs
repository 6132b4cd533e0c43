//! A hub that was chosen, with all it takes to call it, and how it is named in messages.
//!
//! What is wrong with a connection string is told here, before anything is sent.

use std::path::{Path, PathBuf};

use fanfare_client::{ClientOptions, HubClient};
use fanfare_wire::Secret;
use fanfare_wire::connection_string::ConnectionString;

use super::args::{BY_FLAG, BY_NAME, ENV_CONNECTION_STRING, keys_of_environment};
use super::book::{Book, Entry, Local, Remote, WithToken};
use super::token::TokenFrom;
use crate::failure::Failure;
use crate::serve;

/// A hub with all it takes to call it.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) source: Source,
    pub(crate) sign_in: SignIn,
    pub(crate) ca_pem: Option<Vec<u8>>,
    pub(crate) port: Option<u16>,
    /// The data folder it was read from, where all keys are.
    pub(crate) data_dir: Option<PathBuf>,
}

/// Who calls the hub, and where that is.
#[derive(Debug, Clone)]
pub(crate) enum SignIn {
    /// The connection string of a policy.
    Policy(Secret),
    /// Bearer tokens, for the hub `HOST[:PORT]`.
    Token { host: String, from: TokenFrom },
}

/// How a hub was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Flag,
    Stdin,
    File(PathBuf),
    DataDir(PathBuf),
    Environment,
    /// By its host name, and what said it.
    Host(&'static str),
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
    /// Where its bearer tokens come from, in words.
    pub(crate) token: Option<String>,
    /// Whether a CA was given, in place of the system's.
    pub(crate) has_ca: bool,
}

impl Chosen {
    pub(super) fn of(source: Source, text: &str) -> Self {
        Self {
            source,
            sign_in: SignIn::Policy(Secret::new(text.trim())),
            ca_pem: None,
            port: None,
            data_dir: None,
        }
    }

    pub(crate) fn of_data_dir(folder: &Path, policy: &str) -> Result<Self, Failure> {
        let text = serve::policy_connection_string(folder, &keys_of_environment(), policy)
            .map_err(|error| {
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
        let ca_file =
            serve::trusted_ca(folder).map_err(|error| Failure::usage(error.to_string()))?;
        let ca_pem = ca_file.as_deref().map(read_pem).transpose()?;
        let source = Source::DataDir(folder.to_owned());
        Ok(Self {
            ca_pem,
            data_dir: Some(folder.to_owned()),
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
            Entry::WithToken(kept) => Ok(Self {
                source,
                ..Self::of_kept(kept)
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

    pub(crate) fn of_kept(kept: &WithToken) -> Self {
        Self {
            ca_pem: kept.ca_pem.clone().map(String::into_bytes),
            port: kept.port,
            ..Self::of_host(
                Source::Host(BY_NAME),
                &kept.host,
                TokenFrom::File(kept.access_token_file.clone()),
            )
        }
    }

    /// The hub `host` with bearer tokens.
    pub(super) fn of_host(source: Source, host: &str, from: TokenFrom) -> Self {
        let host = host.trim().trim_start_matches("https://");
        Self {
            source,
            sign_in: SignIn::Token {
                host: host.trim_end_matches('/').to_owned(),
                from,
            },
            ca_pem: None,
            port: None,
            data_dir: None,
        }
    }

    /// The same hub, called with bearer tokens.
    pub(super) fn with_token(self, from: TokenFrom) -> Result<Self, Failure> {
        let host = match &self.sign_in {
            SignIn::Policy(text) => self.host_name(text.expose())?,
            SignIn::Token { host, .. } => host.clone(),
        };
        let sign_in = SignIn::Token { host, from };
        Ok(Self { sign_in, ..self })
    }

    /// A connection string needs no more than its host where tokens sign in.
    fn host_name(&self, text: &str) -> Result<String, Failure> {
        let read = ConnectionString::parse(text).map_err(|error| {
            let title = format!("{} is not a connection string", self.source.words());
            advice(Failure::usage(title).because(error), text)
        })?;
        Ok(read.host_name)
    }

    /// The connection string that was chosen, taken apart; `None` where tokens sign in.
    pub(crate) fn connection_string(&self) -> Result<Option<ConnectionString>, Failure> {
        match &self.sign_in {
            SignIn::Policy(text) => self.parsed(text.expose()).map(Some),
            SignIn::Token { .. } => Ok(None),
        }
    }

    /// The client that calls it.
    pub(super) fn client(&self, options: ClientOptions) -> Result<HubClient, Failure> {
        Ok(match &self.sign_in {
            SignIn::Policy(text) => HubClient::from_connection_string(text.expose(), options)?,
            SignIn::Token { host, from } => {
                HubClient::from_token_credential(host, from.clone(), options)?
            }
        })
    }

    pub(crate) fn of_local(local: &Local) -> Result<Self, Failure> {
        Self::of_data_dir(&local.data_dir, &local.policy)
    }

    fn parsed(&self, text: &str) -> Result<ConnectionString, Failure> {
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
        let (host, policy, token) = match &self.sign_in {
            SignIn::Policy(text) => {
                let read = self.parsed(text.expose())?;
                (read.host_name, read.policy, None)
            }
            SignIn::Token { host, from } => (host.clone(), None, Some(from.words())),
        };
        let endpoint = match (self.port, host.rsplit_once(':')) {
            (None, _) => format!("https://{host}"),
            (Some(port), Some((host, digits))) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                format!("https://{host}:{port}")
            }
            (Some(port), _) => format!("https://{host}:{port}"),
        };
        Ok(Addressed {
            source: self.source.clone(),
            endpoint,
            policy,
            token,
            has_ca: self.ca_pem.is_some(),
        })
    }
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
            Self::Host(by) => (*by).to_owned(),
            Self::Named(name, by) => format!("hub '{name}' ({by})"),
        }
    }
}

/// Reads certificates; what is in the file is looked at when the client is made.
pub(super) fn read_pem(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| {
        Failure::usage(format!("{} cannot be read", path.display()))
            .because(error)
            .try_this("--ca-file with the file ca.pem of the hub's data folder")
    })
}
