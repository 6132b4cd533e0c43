//! Many changes of identities and twins in one call: in the order given, each failing alone.
//!
//! Neighbouring changes of the registry are one commit, or a few where many modules go; neighbouring
//! changes of different twins are under way together, so that the store can group them. A change always sees
//! what those before it did. Connected devices and modules hear of desired properties as soon as a run of
//! neighbours is durable.

use std::collections::HashSet;

use futures_util::future::join_all;

use crate::{
    Hub,
    ids::{Etag, IdentityId},
    ports::{StoreError, store::TwinWriteError},
    registry::{DesiredPatch, IdentityError, IdentityWritten, RegistryChange, RegistryError},
    twin::{PatchText, document::TwinPatch},
};

/// One change of many.
#[derive(Debug, Clone, PartialEq)]
pub enum BulkChange {
    /// Of an identity, perhaps with the first content of its twin.
    Registry(Box<RegistryChange>),
    /// Of a twin alone.
    Twin {
        /// Whose.
        id: IdentityId,
        /// What.
        patch: Box<TwinPatch>,
        /// The version it must have, if that matters.
        matches: Option<Etag>,
    },
}

/// Why one of many changes was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BulkFailure {
    /// The registry refused.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The twin cannot be so.
    #[error(transparent)]
    Twin(#[from] TwinWriteError),
}

/// What became of one of many changes.
pub type BulkOutcome = Result<(), BulkFailure>;

impl Hub {
    /// Makes every change that can be made; the outcomes are in the order of the changes.
    ///
    /// # Errors
    /// The store failed; changes before the failure stand.
    pub async fn change_all(
        &self,
        changes: Vec<BulkChange>,
    ) -> Result<Vec<BulkOutcome>, StoreError> {
        let mut outcomes = Vec::with_capacity(changes.len());
        let mut run = Run::default();
        for change in changes {
            if !run.takes(&change) {
                outcomes.extend(self.make(std::mem::take(&mut run)).await?);
            }
            run.add(change);
        }
        outcomes.extend(self.make(run).await?);
        Ok(outcomes)
    }

    async fn make(&self, run: Run) -> Result<Vec<BulkOutcome>, StoreError> {
        let mut outcomes: Vec<BulkOutcome> = if run.registry.is_empty() {
            let patches = run
                .twins
                .into_iter()
                .map(|(id, patch, matches)| async move {
                    let patched = self.twins.patch(&id, patch, matches).await;
                    patched.map(drop).map_err(BulkFailure::from)
                });
            join_all(patches).await
        } else {
            let written = self.registry.change(run.registry).await?;
            for written in written.iter().flatten() {
                self.tell_desired(written).await;
            }
            let told = |written: Result<_, RegistryError>| written.map(drop).map_err(Into::into);
            written.into_iter().map(told).collect()
        };
        for failure in outcomes
            .iter_mut()
            .filter_map(|outcome| outcome.as_mut().err())
        {
            self.tell_missing_device(failure).await?;
        }
        Ok(outcomes)
    }

    /// Hands a connected device what a change of its entry did to its desired properties, as a change of
    /// its twin alone does. compat: REG-49
    async fn tell_desired(&self, written: &IdentityWritten) {
        let IdentityWritten::Put {
            identity,
            desired: Some(desired),
            ..
        } = written
        else {
            return;
        };
        // The text is made for those who hear it: most lines of an import are of nobody who is connected.
        if self.presence.link(identity.key).is_some() {
            let DesiredPatch { patch, change } = &**desired;
            let notice = PatchText::new(patch).notice(change);
            self.twins.tell(identity.key, &notice).await;
        }
    }

    /// Of a module that is not there, says so of its device where that is missing too. compat: REG-16
    async fn tell_missing_device(&self, failure: &mut BulkFailure) -> Result<(), StoreError> {
        let missing = match failure {
            BulkFailure::Registry(RegistryError::Identity(IdentityError::Absent(id)))
            | BulkFailure::Twin(TwinWriteError::Absent(id)) => id,
            _ => return Ok(()),
        };
        let device = IdentityId::device(missing.device.clone());
        if missing.module.is_some() && self.registry.get(&device).await?.is_none() {
            *missing = device;
        }
        Ok(())
    }
}

/// Neighbours that are made together: either changes of the registry, or of different twins.
#[derive(Default)]
struct Run {
    registry: Vec<RegistryChange>,
    twins: Vec<(IdentityId, TwinPatch, Option<Etag>)>,
    patched: HashSet<IdentityId>,
}

impl Run {
    fn takes(&self, change: &BulkChange) -> bool {
        match change {
            BulkChange::Registry(_) => self.twins.is_empty(),
            BulkChange::Twin { id, .. } => self.registry.is_empty() && !self.patched.contains(id),
        }
    }

    fn add(&mut self, change: BulkChange) {
        match change {
            BulkChange::Registry(change) => self.registry.push(*change),
            BulkChange::Twin { id, patch, matches } => {
                self.patched.insert(id.clone());
                self.twins.push((id, *patch, matches));
            }
        }
    }
}
