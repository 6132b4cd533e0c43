//! How a device is to prove who it is, as arguments; and how it is told to whoever sets up the device.

use std::path::Path;

use clap::{Args, ValueEnum};
use fanfare_client::{Authentication, IdentityId, Secret};

use super::check::{is_thumbprint, key_problem};
use crate::failure::Failure;
use crate::hub::addressed;
use crate::value_arg::{ValueArg, read_file, read_stdin};

/// Kind and parts of a credential.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Credentials")]
pub(super) struct CredentialArgs {
    /// How the device proves who it is [default: sas, or x509-thumbprint with --thumbprint].
    #[arg(long, value_enum, value_name = "KIND")]
    auth: Option<Kind>,
    /// Primary key, base64 of 16 to 64 bytes: @FILE, or `-` for standard input. Without it the hub makes one.
    #[arg(long, value_name = "@FILE", allow_hyphen_values = true)]
    key: Option<ValueArg>,
    /// Secondary key, likewise; the second line when both come from standard input.
    #[arg(long, value_name = "@FILE", allow_hyphen_values = true)]
    secondary_key: Option<ValueArg>,
    /// SHA-1 or SHA-256 thumbprint of the device's certificate, hexadecimal.
    #[arg(long, value_name = "HEX")]
    thumbprint: Option<String>,
    /// Thumbprint of its next certificate.
    #[arg(long, value_name = "HEX", requires = "thumbprint")]
    secondary_thumbprint: Option<String>,
}

/// The kinds of credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Two symmetric keys.
    Sas,
    /// A certificate known by its thumbprint.
    X509Thumbprint,
    /// A certificate of an authority that the hub knows.
    X509Ca,
    /// None: it cannot connect.
    None,
}

impl CredentialArgs {
    /// The credentials asked for; `None` when none of the arguments was given.
    ///
    /// # Errors
    /// When they do not fit together, or a key or thumbprint cannot be one.
    pub(super) fn read(&self) -> Result<Option<Authentication>, Failure> {
        let kind = match (self.auth, &self.thumbprint, &self.key, &self.secondary_key) {
            (Some(kind), ..) => kind,
            (None, Some(_), ..) => Kind::X509Thumbprint,
            (None, None, None, None) => return Ok(None),
            (None, None, ..) => Kind::Sas,
        };
        let has_keys = self.key.is_some() || self.secondary_key.is_some();
        if has_keys && kind != Kind::Sas {
            let flag = if self.key.is_some() {
                "--key"
            } else {
                "--secondary-key"
            };
            return Err(Failure::usage(format!("{flag} goes with --auth sas alone")));
        }
        if self.thumbprint.is_some() && kind != Kind::X509Thumbprint {
            let title = "--thumbprint goes with --auth x509-thumbprint alone";
            return Err(Failure::usage(title));
        }
        Ok(Some(match kind {
            Kind::Sas => {
                let (primary, secondary) = self.keys()?;
                Authentication::keys(primary, secondary)
            }
            Kind::X509Thumbprint => {
                let Some(primary) = &self.thumbprint else {
                    return Err(Failure::usage("--auth x509-thumbprint needs --thumbprint"));
                };
                checked_thumbprint("--thumbprint", primary)?;
                if let Some(secondary) = &self.secondary_thumbprint {
                    checked_thumbprint("--secondary-thumbprint", secondary)?;
                }
                Authentication::self_signed(primary, self.secondary_thumbprint.as_deref())
            }
            Kind::X509Ca => Authentication::certificate_authority(),
            Kind::None => Authentication::none(),
        }))
    }

    /// Whether they can only be those of one device.
    pub(super) fn are_of_one_device(&self) -> bool {
        self.key.is_some() || self.secondary_key.is_some() || self.thumbprint.is_some()
    }

    /// Both keys; an empty one is made by the hub. compat: REG-1
    fn keys(&self) -> Result<(Secret, Secret), Failure> {
        let mut input = Input::default();
        let primary = read_key("--key", self.key.as_ref(), &mut input)?;
        let secondary = read_key("--secondary-key", self.secondary_key.as_ref(), &mut input)?;
        Ok((primary, secondary))
    }
}

/// Standard input, whose lines may be two keys.
#[derive(Default)]
struct Input(Option<std::vec::IntoIter<String>>);

impl Input {
    fn line(&mut self) -> Result<String, Failure> {
        if self.0.is_none() {
            let text = read_stdin()?;
            let lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
            self.0 = Some(lines.into_iter());
        }
        let lines = self.0.as_mut().expect("it was read above");
        Ok(lines.next().unwrap_or_default())
    }
}

fn read_key(flag: &str, from: Option<&ValueArg>, input: &mut Input) -> Result<Secret, Failure> {
    let text = match from {
        None => return Ok(Secret::default()),
        Some(ValueArg::Text(_)) => {
            return Err(Failure::usage(format!(
                "{flag} takes no key itself: others on this machine can see arguments"
            ))
            .try_this(format!(
                "{flag} @FILE, or {flag} - to read it from standard input"
            )));
        }
        Some(ValueArg::File(path)) => first_line(path)?,
        Some(ValueArg::Stdin) => input.line()?,
    };
    match key_problem(&text) {
        _ if text.is_empty() => Err(Failure::usage(format!("{flag}: there is no key"))),
        Some(problem) => Err(Failure::usage(format!("{flag}: the key {problem}"))),
        None => Ok(Secret::new(text)),
    }
}

fn first_line(path: &Path) -> Result<String, Failure> {
    let text = read_file(path)?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

fn checked_thumbprint(flag: &str, text: &str) -> Result<(), Failure> {
    if is_thumbprint(text) {
        return Ok(());
    }
    let title = format!("{flag} must have 40 (SHA-1) or 64 (SHA-256) hexadecimal digits");
    let length = text.chars().count();
    Err(Failure::usage(title).because(format!("{text:?} has {length} characters")))
}

/// The connection string of a device or module that has a key, or a certificate.
pub(super) fn connection_string(
    id: &IdentityId,
    authentication: &Authentication,
) -> Option<String> {
    use fanfare_client::AuthenticationType::{CertificateAuthority, Sas, SelfSigned};
    let endpoint = &addressed()?.endpoint;
    let authority = endpoint.strip_prefix("https://").unwrap_or(endpoint);
    // A port is no part of a device's connection string: it knows its own.
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let mut text = format!("HostName={host};DeviceId={}", id.device_id);
    if let Some(module) = &id.module_id {
        text.push_str(&format!(";ModuleId={module}"));
    }
    match &authentication.kind {
        Sas => {
            let key = authentication.symmetric_key.primary_key.as_ref()?;
            text.push_str(&format!(";SharedAccessKey={}", key.expose()));
        }
        SelfSigned | CertificateAuthority => text.push_str(";x509=true"),
        _ => return None,
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use fanfare_client::AuthenticationType;

    use super::*;

    const PRINT: &str = "0123456789ABCDEF0123456789ABCDEF01234567";

    fn key_file(text: &str) -> (tempfile::TempDir, ValueArg) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, text).unwrap();
        (folder, ValueArg::File(path))
    }

    #[test]
    fn the_kind_follows_from_what_is_given() {
        assert!(CredentialArgs::default().read().unwrap().is_none());
        let by_print = CredentialArgs {
            thumbprint: Some(PRINT.to_owned()),
            ..CredentialArgs::default()
        };
        let read = by_print.read().unwrap().unwrap();
        assert_eq!(read.kind, AuthenticationType::SelfSigned);
        let (_folder, key) = key_file("MDEyMzQ1Njc4OWFiY2RlZg==\n");
        let by_key = CredentialArgs {
            key: Some(key),
            ..CredentialArgs::default()
        };
        let read = by_key.read().unwrap().unwrap().symmetric_key;
        assert_eq!(
            read.primary_key.unwrap().expose(),
            "MDEyMzQ1Njc4OWFiY2RlZg=="
        );
        assert_eq!(read.secondary_key.unwrap().expose(), "");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let (_folder, no_key) = key_file("no key!");
        for (args, want) in [
            (
                CredentialArgs {
                    key: Some(ValueArg::Text("c2VjcmV0".to_owned())),
                    ..CredentialArgs::default()
                },
                "--key takes no key itself",
            ),
            (
                CredentialArgs {
                    key: Some(no_key),
                    ..CredentialArgs::default()
                },
                "the key is not base64",
            ),
            (
                CredentialArgs {
                    auth: Some(Kind::X509Thumbprint),
                    ..CredentialArgs::default()
                },
                "needs --thumbprint",
            ),
            (
                CredentialArgs {
                    auth: Some(Kind::X509Ca),
                    thumbprint: Some(PRINT.to_owned()),
                    ..CredentialArgs::default()
                },
                "--thumbprint goes with",
            ),
            (
                CredentialArgs {
                    thumbprint: Some("AB:CD".to_owned()),
                    ..CredentialArgs::default()
                },
                "must have 40",
            ),
        ] {
            let refused = args.read().unwrap_err().to_string();
            assert!(refused.contains(want), "{refused}");
        }
    }
}
