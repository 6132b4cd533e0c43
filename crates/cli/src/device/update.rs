//! `fanfare device update`.

use clap::{Args, ValueEnum};
use fanfare_client::{
    Authentication, Capabilities, Device, Error, Etag, IdentityId, IdentityStatus, KeyRenewal,
    Module, RegistryClient,
};

use super::credentials::CredentialArgs;
use super::ids::checked;
use super::show::{Shown, device_document, module_document};
use crate::failure::Failure;
use crate::hub::HubArgs;
use crate::output::OutputArgs;

/// Arguments of `fanfare device update`.
#[derive(Debug, Args)]
pub(super) struct UpdateArgs {
    /// Which device.
    #[arg(value_name = "ID")]
    id: String,
    /// Change this module of it instead.
    #[arg(long, value_name = "ID")]
    module: Option<String>,
    /// Whether it may connect; disabling cuts its connection.
    #[arg(long, value_enum, conflicts_with = "module")]
    status: Option<Status>,
    /// Why it has its status, at most 128 characters.
    #[arg(long, value_name = "TEXT", conflicts_with = "module")]
    status_reason: Option<String>,
    /// Whether it is an edge gateway.
    #[arg(long, value_name = "BOOL", conflicts_with = "module")]
    edge: Option<bool>,
    /// Scope of the gateway it is below; empty text takes it out of one.
    #[arg(long, value_name = "SCOPE", conflicts_with = "module")]
    device_scope: Option<String>,
    /// Who looks after the module.
    #[arg(long, value_name = "WHO", requires = "module")]
    managed_by: Option<String>,
    /// Have the hub make a key anew, or let the two change places.
    #[arg(long, value_enum, value_name = "WHICH", conflicts_with_all = ["auth", "key", "secondary_key", "thumbprint", "etag"])]
    renew_key: Option<Renew>,
    /// Only if this is its version still [default: the version that was read just before].
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    /// Print keys and the connection string too.
    #[arg(long)]
    show_keys: bool,
    #[command(flatten)]
    credentials: CredentialArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Status {
    /// It may connect.
    Enabled,
    /// It may not.
    Disabled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Renew {
    /// The primary key.
    Primary,
    /// The secondary key.
    Secondary,
    /// Both, one after the other.
    Both,
    /// The two change places.
    Swap,
}

/// Runs `fanfare device update`.
pub(super) async fn run(args: UpdateArgs) -> Result<(), Failure> {
    checked(&args.id)?;
    args.module.as_deref().map(checked).transpose()?;
    let authentication = args.credentials.read()?;
    let changes_identity = authentication.is_some()
        || args.status.is_some()
        || args.status_reason.is_some()
        || args.edge.is_some()
        || args.device_scope.is_some()
        || args.managed_by.is_some();
    if !changes_identity && args.renew_key.is_none() {
        return Err(Failure::usage("there is nothing to change")
            .try_this("--status, --status-reason, --auth, --key, --renew-key, ... (see --help)"));
    }
    let registry = args.hub.client()?.registry();
    let mut document = None;
    if changes_identity {
        document = Some(match &args.module {
            None => device_document(&device(&args, &registry, authentication).await?)?,
            Some(id) => module_document(&module(&args, id, &registry, authentication).await?)?,
        });
    }
    if let Some(which) = args.renew_key {
        renew(&args, &registry, which).await?;
        document = None;
    }
    let document = match (document, &args.module) {
        (Some(document), _) => document,
        (None, None) => device_document(&registry.get_device(&args.id).await?)?,
        (None, Some(id)) => module_document(&registry.get_module(&args.id, id).await?)?,
    };
    let shown = Shown {
        document,
        modules: None,
        with_keys: args.show_keys,
    };
    shown.print(&args.output)
}

async fn device(
    args: &UpdateArgs,
    registry: &RegistryClient,
    authentication: Option<Authentication>,
) -> Result<Device, Failure> {
    let mut device = registry.get_device(&args.id).await?;
    match args.status {
        Some(Status::Enabled) => {
            device.status = IdentityStatus::Enabled;
            // The reason it was disabled for is none for being enabled.
            device.status_reason = None;
        }
        Some(Status::Disabled) => device.status = IdentityStatus::Disabled,
        None => {}
    }
    if args.status_reason.is_some() {
        device.status_reason.clone_from(&args.status_reason);
    }
    match args.edge {
        Some(true) => device.capabilities = Capabilities::edge(),
        Some(false) => device.capabilities = Capabilities::default(),
        None => {}
    }
    if args.device_scope.is_some() {
        device.device_scope.clone_from(&args.device_scope);
    }
    if let Some(authentication) = authentication {
        device.authentication = Some(changed(device.authentication, authentication));
    }
    let etag = etag(args, &device.etag);
    let updated = registry.update_device(&device, etag).await;
    updated.map_err(|error| refused(args, error))
}

async fn module(
    args: &UpdateArgs,
    id: &str,
    registry: &RegistryClient,
    authentication: Option<Authentication>,
) -> Result<Module, Failure> {
    let mut module = registry.get_module(&args.id, id).await?;
    if args.managed_by.is_some() {
        module.managed_by.clone_from(&args.managed_by);
    }
    if let Some(authentication) = authentication {
        module.authentication = Some(changed(module.authentication, authentication));
    }
    let etag = etag(args, &module.etag);
    let updated = registry.update_module(&module, etag).await;
    updated.map_err(|error| refused(args, error))
}

/// The new credentials. A key that was not named stays as it is, for the device uses it.
fn changed(old: Option<Authentication>, mut new: Authentication) -> Authentication {
    if let Some(old) = old.filter(|old| old.kind == new.kind) {
        let keys = &mut new.symmetric_key;
        for (key, kept) in [
            (&mut keys.primary_key, old.symmetric_key.primary_key),
            (&mut keys.secondary_key, old.symmetric_key.secondary_key),
        ] {
            if key.as_ref().is_some_and(fanfare_client::Secret::is_empty) && kept.is_some() {
                *key = kept;
            }
        }
    }
    new
}

/// Nobody's change in between is undone, unless it is asked for with `--etag '*'`.
fn etag(args: &UpdateArgs, read: &Etag) -> Option<Etag> {
    match &args.etag {
        Some(etag) => Some(Etag::from(etag.as_str())),
        None => Some(read.clone()).filter(|etag| !etag.is_empty()),
    }
}

fn refused(args: &UpdateArgs, error: Error) -> Failure {
    let is_changed = error.status() == Some(412);
    let failure = Failure::from(error);
    match (is_changed, &args.etag) {
        (true, None) => failure.try_this("somebody changed it meanwhile: run the command again"),
        (true, Some(_)) => failure.try_this("`fanfare device show` says which version it has now"),
        (false, _) => failure,
    }
}

async fn renew(args: &UpdateArgs, registry: &RegistryClient, which: Renew) -> Result<(), Failure> {
    let id = IdentityId {
        device_id: args.id.clone(),
        module_id: args.module.clone(),
    };
    let renewals: &[KeyRenewal] = match which {
        Renew::Primary => &[KeyRenewal::Primary],
        Renew::Secondary => &[KeyRenewal::Secondary],
        Renew::Both => &[KeyRenewal::Primary, KeyRenewal::Secondary],
        Renew::Swap => &[KeyRenewal::Swap],
    };
    for renewal in renewals {
        let outcome = registry
            .regenerate_keys(std::slice::from_ref(&id), *renewal)
            .await
            .map_err(Error::from)?;
        if let Some(refused) = outcome.refused.first() {
            return Err(Failure::refused(refused.to_string()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_not_named_stays() {
        let old = || Some(Authentication::keys("cA==", "cw=="));
        let keys = changed(old(), Authentication::keys("bg==", "")).symmetric_key;
        assert_eq!(keys.primary_key.unwrap().expose(), "bg==");
        assert_eq!(keys.secondary_key.unwrap().expose(), "cw==");
        let other = changed(old(), Authentication::certificate_authority());
        assert_eq!(other.symmetric_key.primary_key, None);
    }
}
