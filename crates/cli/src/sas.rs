//! `fanfare sas`: makes a shared access signature and prints it alone, for a variable or another program.
//!
//! Decides whose key signs: that of the connection string in use; of a policy or device in the data folder; or one that
//! the hub shows to whoever may see it. The token is made here and is nothing the hub knows of.

use std::time::Duration;

use clap::Args;
use fanfare_client::{IdentityId, Secret};
use fanfare_wire::connection_string::ConnectionString;
use fanfare_wire::sas::{SasGrant, sign};

use crate::clock::unix_now_s;
use crate::failure::Failure;
use crate::hub::{Chosen, HubArgs, SignIn, keys_of_environment};
use crate::{output, serve, time_arg};

/// Arguments of `fanfare sas`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
// In a data folder and everywhere else: here --policy says who signs, wherever the key comes from.
#[command(mut_arg("policy", |_| signing_policy()))]
pub(crate) struct SasArgs {
    /// How long the token counts, such as 90s, 15m, 8h or 30d.
    #[arg(long, value_name = "TIME", value_parser = time_arg::whole_seconds, default_value = "1h")]
    ttl: Duration,
    /// What it is for, such as HOST or HOST/devices/ID [default: the hub, or the device].
    #[arg(long, value_name = "RESOURCE")]
    uri: Option<String>,
    /// A token for this device, signed with its own primary key unless --policy is given.
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// A token for this module of the device.
    #[arg(long, value_name = "ID", requires = "device")]
    module: Option<String>,
    #[command(flatten)]
    hub: HubArgs,
}

const EXAMPLES: &str = "\
Examples:
  fanfare sas --policy service --ttl 8h
  fanfare sas --device door-1 --ttl 30d
  curl -H \"Authorization: $(fanfare sas)\" https://HOST/devices?api-version=2021-04-12

The token opens the hub to whoever has it, until it ends: give it a short life, and the policy few rights.";

fn signing_policy() -> clap::Arg {
    clap::Arg::new("policy")
        .long("policy")
        .value_name("NAME")
        .help("The policy that signs [default: that of the connection string, or iothubowner in a data folder]")
}

/// Who signs, and for what unless something else is said.
struct Signer {
    host: String,
    identity: Option<IdentityId>,
    policy: Option<String>,
    key: Secret,
}

/// Runs `fanfare sas`.
///
/// # Errors
/// What went wrong, as it is to be told.
pub(crate) async fn run(args: SasArgs) -> Result<(), Failure> {
    let signer = args.signer().await?;
    let resource = match &args.uri {
        Some(uri) => resource(uri)?,
        None => signer.resource(),
    };
    let seconds = i64::try_from(args.ttl.as_secs()).unwrap_or(i64::MAX);
    let token = sign(&SasGrant {
        resource: &resource,
        key: signer.key.expose(),
        policy: signer.policy.as_deref(),
        expiry: unix_now_s().saturating_add(seconds),
    });
    let token = token.map_err(|error| Failure::usage("no token can be made").because(error))?;
    output::line(&token)
}

impl SasArgs {
    async fn signer(&self) -> Result<Signer, Failure> {
        let chosen = self.hub.chosen()?;
        let own = match &chosen.sign_in {
            SignIn::Policy(text) => match ConnectionString::parse(text.expose()) {
                Ok(read) if read.device_id.is_some() => return self.of_device_string(read),
                _ => chosen.connection_string()?.unwrap_or_default(),
            },
            SignIn::Token { host, .. } => ConnectionString {
                host_name: host.clone(),
                ..ConnectionString::default()
            },
        };
        let asked = self.hub.given_policy();
        let (policy, key) = match (asked, &self.device) {
            (Some(asked), _) if own.policy.as_deref() != Some(asked) => {
                let key = self.key_of_policy(&chosen, asked).await?;
                (Some(asked.to_owned()), key)
            }
            (None, Some(device)) => (None, self.key_of_device(&chosen, device).await?),
            _ => (own.policy, own.key.ok_or_else(|| no_key(&chosen))?),
        };
        Ok(Signer {
            host: own.host_name,
            identity: self.identity(),
            policy,
            key,
        })
    }

    /// A device's own string makes tokens for that device alone.
    fn of_device_string(&self, read: ConnectionString) -> Result<Signer, Failure> {
        let identity = IdentityId {
            device_id: read.device_id.unwrap_or_default(),
            module_id: read.module_id,
        };
        let is_other = self.identity().is_some_and(|asked| asked != identity);
        if is_other || self.hub.given_policy().is_some() {
            let title = format!(
                "the connection string is that of {identity}, whose key signs for it alone"
            );
            return Err(Failure::usage(title).try_this("the connection string of a policy"));
        }
        let key = read.key.ok_or_else(|| {
            Failure::usage(format!(
                "the connection string of {identity} has no key to sign with"
            ))
        })?;
        Ok(Signer {
            host: read.host_name,
            identity: Some(identity),
            policy: None,
            key,
        })
    }

    fn identity(&self) -> Option<IdentityId> {
        self.device.as_ref().map(|device| IdentityId {
            device_id: device.clone(),
            module_id: self.module.clone(),
        })
    }

    async fn key_of_policy(&self, chosen: &Chosen, policy: &str) -> Result<Secret, Failure> {
        if let Some(folder) = &chosen.data_dir {
            let own = Chosen::of_data_dir(folder, policy)?;
            let key = own.connection_string()?.and_then(|own| own.key);
            return key.ok_or_else(|| no_key(&own));
        }
        let policies = self.hub.client_of(chosen)?.policies();
        let shown = policies.get(policy).await.map_err(|error| {
            let is_absent = error.code() == Some("PolicyNotFound");
            let failure = Failure::from(error).while_doing(format!(
                "the hub does not show the key of policy '{policy}'"
            ));
            match is_absent {
                true => failure.try_this("fanfare policy list shows the policies there are"),
                false => failure.try_this("--data-dir DIR, on the machine of the hub"),
            }
        })?;
        let key = shown.primary_key.filter(|key| !key.is_empty());
        key.ok_or_else(|| Failure::refused(format!("policy '{policy}' has no key to sign with")))
    }

    async fn key_of_device(&self, chosen: &Chosen, device: &str) -> Result<Secret, Failure> {
        // A data folder can be read while its hub stands still.
        if let Some(folder) = &chosen.data_dir {
            let (keys, module) = (keys_of_environment(), self.module.as_deref());
            let text = serve::device_connection_string(folder, &keys, device, module)?;
            let read = ConnectionString::parse(&text).map_err(anyhow::Error::from)?;
            return read.key.ok_or_else(|| signs_with_none(device));
        }
        let registry = self.hub.client_of(chosen)?.registry();
        let key = match &self.module {
            None => registry.get_device(device).await?.primary_key().cloned(),
            Some(module) => {
                let module = registry.get_module(device, module).await?;
                module.primary_key().cloned()
            }
        };
        key.ok_or_else(|| signs_with_none(device))
    }
}

impl Signer {
    fn resource(&self) -> String {
        // Tokens are for a host, on whichever port.
        let host = match self.host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => &*self.host,
        };
        match &self.identity {
            None => host.to_owned(),
            Some(id) => match &id.module_id {
                None => format!("{host}/devices/{}", id.device_id),
                Some(module) => format!("{host}/devices/{}/modules/{module}", id.device_id),
            },
        }
    }
}

/// A resource has no scheme and does not end with a slash.
fn resource(uri: &str) -> Result<String, Failure> {
    let bare = uri.strip_prefix("https://").unwrap_or(uri);
    let bare = bare.trim_end_matches('/');
    if bare.is_empty() || bare.starts_with('/') || bare.contains(char::is_whitespace) {
        return Err(Failure::usage(format!("--uri '{uri}' names no host"))
            .try_this("--uri HOST, or --uri HOST/devices/ID"));
    }
    Ok(bare.to_owned())
}

fn signs_with_none(device: &str) -> Failure {
    Failure::usage(format!("{device} does not sign in with a key"))
        .try_this("--policy NAME with a policy that has device-connect")
}

fn no_key(chosen: &Chosen) -> Failure {
    Failure::usage(format!("{} has no key to sign with", chosen.source.words()))
        .try_this("--policy NAME, for a policy whose key the hub may show you")
        .try_this("the connection string of a policy, with SharedAccessKey")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_a_host_and_a_path() {
        assert_eq!(resource("https://h/devices/d/").unwrap(), "h/devices/d");
        assert_eq!(resource("h:8443").unwrap(), "h:8443");
        for uri in ["", "https://", "/devices/d", "h /d"] {
            assert!(resource(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn tokens_are_for_no_port() {
        for (host, want) in [
            ("h:8443", "h/devices/d"),
            ("[::1]:1", "[::1]/devices/d"),
            ("h", "h/devices/d"),
        ] {
            let signer = Signer {
                host: host.to_owned(),
                identity: Some(IdentityId::device("d")),
                policy: None,
                key: Secret::default(),
            };
            assert_eq!(signer.resource(), want);
        }
    }
}
