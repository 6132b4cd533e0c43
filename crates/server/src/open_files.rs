//! How many files the process may have open: each connection is one.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Files the hub keeps for itself: store, certificates, listeners, and copies under way. Ours.
pub(crate) const KEPT_FILES: u64 = 256;

/// Raises the soft limit to the hard one and says how many files may be open; none when there is no bound.
pub(crate) fn raise() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    let before = limit.current;
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => getrlimit(Resource::Nofile).current,
        Err(error) => {
            tracing::warn!(%error, "the number of open files cannot be raised to what is allowed");
            before
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_allowed_is_used() {
        let raised = raise();
        assert_eq!(raised, getrlimit(Resource::Nofile).maximum);
        assert!(raised.is_none_or(|files| files > KEPT_FILES));
    }
}
