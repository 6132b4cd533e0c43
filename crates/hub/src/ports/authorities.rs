//! The memory of certificate authorities.

use std::sync::Arc;

use async_trait::async_trait;

use super::StoreError;
use crate::{
    authorities::{Authority, AuthorityChange, AuthorityRefused},
    time::Timestamp,
};

/// Certificate authorities; there are few, so they are read together.
#[async_trait]
pub trait AuthorityStore: Send + Sync + 'static {
    /// All of them.
    async fn authority_list(&self) -> Result<AuthorityList, StoreError>;

    /// Makes one change; all of them after it.
    async fn authority_change(
        &self,
        change: AuthorityChange,
        at: Timestamp,
    ) -> Result<Result<AuthorityList, AuthorityRefused>, StoreError>;
}

/// All authorities at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityList {
    /// Grows with every change, so that the newer of two lists is known.
    pub revision: u64,
    /// In order of their names.
    pub authorities: Arc<[Authority]>,
}

impl Default for AuthorityList {
    fn default() -> Self {
        Self {
            revision: 0,
            authorities: Arc::from([]),
        }
    }
}
