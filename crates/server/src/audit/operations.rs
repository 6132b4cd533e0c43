//! What the change that a route makes is called. The words are stable: people search for them.

use axum::http::Method;

/// The word for a route, by its place in the contract; none for routes that only read.
pub(crate) fn operation_of(method: &Method, path: &str) -> Option<&'static str> {
    if method == Method::GET {
        return None;
    }
    let is_it =
        |(known, _, pattern): &&(&str, &str, &str)| method.as_str() == *known && path == *pattern;
    OPERATIONS.iter().find(is_it).map(|(_, word, _)| *word)
}

const OPERATIONS: &[(&str, &str, &str)] = &[
    ("PUT", "job.schedule", "/jobs/v2/{job}"),
    ("POST", "job.cancel", "/jobs/v2/{job}/cancel"),
    ("POST", "transfer.create", "/jobs/create"),
    ("DELETE", "transfer.cancel", "/jobs/{job}"),
    ("POST", "devices.change", "/devices"),
    ("POST", "keys.regenerate", "/devices/keys/regenerate"),
    ("DELETE", "messages.purge", "/devices/{device}/commands"),
    ("PUT", "device.put", "/devices/{device}"),
    ("DELETE", "device.delete", "/devices/{device}"),
    // A device may have this name too.
    ("PUT", "device.put", "/devices/query"),
    ("DELETE", "device.delete", "/devices/query"),
    ("PUT", "module.put", "/devices/{device}/modules/{module}"),
    (
        "DELETE",
        "module.delete",
        "/devices/{device}/modules/{module}",
    ),
    ("PATCH", "twin.patch", "/twins/{device}"),
    ("PUT", "twin.replace", "/twins/{device}"),
    ("PATCH", "twin.patch", "/twins/{device}/modules/{module}"),
    ("PUT", "twin.replace", "/twins/{device}/modules/{module}"),
    ("POST", "method.call", "/twins/{device}/methods"),
    (
        "POST",
        "method.call",
        "/twins/{device}/modules/{module}/methods",
    ),
    (
        "PUT",
        "configuration.put",
        "/configurations/{configuration}",
    ),
    (
        "DELETE",
        "configuration.delete",
        "/configurations/{configuration}",
    ),
    (
        "POST",
        "configuration.apply",
        "/devices/{device}/applyConfigurationContent",
    ),
    ("PUT", "policy.put", "/fanfare/v1/policies/{policy}"),
    ("DELETE", "policy.delete", "/fanfare/v1/policies/{policy}"),
    (
        "POST",
        "policy.rotate",
        "/fanfare/v1/policies/{policy}/rotate",
    ),
    (
        "PUT",
        "authority.put",
        "/fanfare/v1/authorities/{authority}",
    ),
    (
        "DELETE",
        "authority.delete",
        "/fanfare/v1/authorities/{authority}",
    ),
    (
        "POST",
        "authority.code",
        "/fanfare/v1/authorities/{authority}/code",
    ),
    (
        "POST",
        "authority.verify",
        "/fanfare/v1/authorities/{authority}/verify",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::routes;

    /// Routes that are not GET and yet change nothing.
    const READS: [(&str, &str); 2] = [
        ("POST", "/devices/query"),
        ("POST", "/configurations/testQueries"),
    ];

    /// A new route that changes something must get its word above.
    #[test]
    fn every_route_that_changes_something_has_its_word() {
        for route in routes() {
            let key = (route.method.as_str(), route.path);
            let reads = route.method == Method::GET || READS.contains(&key);
            let word = operation_of(&route.method, route.path);
            assert_eq!(word.is_none(), reads, "{key:?} {word:?}");
        }
    }

    #[test]
    fn every_word_belongs_to_a_route() {
        for (method, word, path) in OPERATIONS {
            let is_there = routes()
                .iter()
                .any(|route| route.method.as_str() == *method && route.path == *path);
            assert!(is_there, "{word}: {method} {path}");
        }
    }
}
