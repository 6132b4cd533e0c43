//! Core dumps hold every key that is in memory, so a node makes none.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Lowers the soft limit of core dumps to nothing; who is to look into a hub that crashes may raise it again for
/// the running process (`prlimit --core`).
pub(crate) fn forbid() {
    let mut limit = getrlimit(Resource::Core);
    limit.current = Some(0);
    if let Err(error) = setrlimit(Resource::Core, limit) {
        tracing::warn!(%error, "core dumps cannot be forbidden; one would hold keys");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_core_is_dumped_from_now_on() {
        forbid();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
    }
}
