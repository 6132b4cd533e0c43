//! New keys for identities that sign in with keys.
//!
//! Decides which of the two keys changes, and that nothing else does: each entry is written only in the
//! version that was read, and read again if somebody was faster.

use super::{
    Authentication, IdentityError, IdentityWrite, Made, Precondition, Registry, RegistryError,
    SymmetricKey,
};
use crate::{ids::IdentityId, ports::StoreError};

/// Which key is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRenewal {
    /// A new first key.
    Primary,
    /// A new second key.
    Secondary,
    /// The two change places.
    Swap,
}

/// How often an entry is read and written before its renewal is given up; ours. Each round that is lost
/// means that another change of the same entry succeeded in between.
const ROUNDS_MAX: usize = 8;

impl Registry {
    /// Renews a key of each identity, at most [`crate::limits::BULK_ITEMS_MAX`] of them and none twice; the
    /// results are in the same order. Connections that the gone key let in are cut. compat: MQTT-30
    ///
    /// # Errors
    /// For one identity: it is absent, has no keys, or was changed by others in each of eight rounds. For
    /// all: the store failed, and an earlier round may have renewed some.
    pub async fn renew_keys(
        &self,
        ids: &[IdentityId],
        renewal: KeyRenewal,
    ) -> Result<Vec<Result<(), RegistryError>>, StoreError> {
        let mut results: Vec<Result<(), RegistryError>> = ids
            .iter()
            .map(|id| Err(IdentityError::EtagMismatch(id.clone()).into()))
            .collect();
        let mut open: Vec<usize> = (0..ids.len()).collect();
        for _ in 0..ROUNDS_MAX {
            let (mut tried, mut writes) = (Vec::new(), Vec::new());
            for at in open.drain(..) {
                match self.key_write(&ids[at], renewal).await? {
                    Ok(write) => {
                        tried.push(at);
                        writes.push(write);
                    }
                    Err(refused) => results[at] = Err(refused),
                }
            }
            if writes.is_empty() {
                break;
            }
            let written = self.write(writes).await?;
            for (at, written) in tried.into_iter().zip(written) {
                match written {
                    Ok(_) => results[at] = Ok(()),
                    Err(IdentityError::EtagMismatch(_)) => open.push(at),
                    Err(error) => results[at] = Err(error.into()),
                }
            }
        }
        Ok(results)
    }

    /// The write that renews a key of the entry as it is now.
    async fn key_write(
        &self,
        id: &IdentityId,
        renewal: KeyRenewal,
    ) -> Result<Result<IdentityWrite, RegistryError>, StoreError> {
        let Some(identity) = self.store.identity_get(id).await? else {
            // Of a module it is told whether it or already its device is missing.
            let device = IdentityId::device(id.device.clone());
            let absent = match self.store.identity_get(&device).await? {
                None => device,
                Some(_) => id.clone(),
            };
            return Ok(Err(IdentityError::Absent(absent).into()));
        };
        let mut settings = identity.settings;
        let Authentication::Sas { primary, secondary } = settings.authentication else {
            return Ok(Err(RegistryError::NoKeys(id.clone())));
        };
        let (primary, secondary) = self.renewed(primary, secondary, renewal);
        settings.authentication = Authentication::Sas { primary, secondary };
        Ok(Ok(IdentityWrite::Put {
            id: identity.id,
            settings,
            made: Made::default(),
            modules: Vec::new(),
            precondition: Precondition::Matches(identity.etag),
            twin: None,
        }))
    }

    fn renewed(
        &self,
        primary: SymmetricKey,
        secondary: SymmetricKey,
        renewal: KeyRenewal,
    ) -> (SymmetricKey, SymmetricKey) {
        match renewal {
            KeyRenewal::Primary => (self.new_key(), secondary),
            KeyRenewal::Secondary => (primary, self.new_key()),
            KeyRenewal::Swap => (secondary, primary),
        }
    }
}
