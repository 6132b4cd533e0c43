//! The edge hierarchy as far as a registry entry carries it: `deviceScope` and `parentScopes`.
//!
//! An edge device has a scope of its own, made by the hub and never changed. A leaf device carries the
//! scope of the edge device above it, and may be moved below another one. Pure; the writer asks
//! [`settle`], and looks up the parent when told to. compat: REG-9, REG-22

use super::IdentitySettings;
use crate::ids::{DeviceId, Generation};

const PREFIX: &str = "ms-azure-iot-edge://";

/// The scope that an edge device gets: its name, and a number that no other identity of the name has.
pub fn edge_scope(device: &DeviceId, generation: Generation) -> String {
    format!("{PREFIX}{device}-{generation}")
}

/// The device whose scope this may be; it is, if that device is an edge device with this very scope.
pub fn device_of(scope: &str) -> Option<DeviceId> {
    let (device, _) = scope.strip_prefix(PREFIX)?.rsplit_once('-')?;
    DeviceId::parse(device).ok()
}

/// What must hold for scopes to be stored as settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// They may be stored.
    Yes,
    /// They may be stored if the entry's scope is that of an edge device.
    IfParentExists,
    /// The scope of the entry cannot change to this.
    No,
}

/// Brings the scopes of a device's new settings into the form they are stored in. A scope left out stays;
/// empty text takes a leaf device from below its parent; a first scope is taken as it is, so that devices
/// may be imported before their parents.
pub fn settle(
    device: &DeviceId,
    generation: Generation,
    before: Option<&IdentitySettings>,
    settings: &mut IdentitySettings,
) -> Allowed {
    let given = settings.device_scope.take();
    let parents_given = !settings.parent_scopes.is_empty();
    let was = before.and_then(|before| before.device_scope.clone());
    if let (false, Some(before)) = (parents_given, before) {
        settings.parent_scopes.clone_from(&before.parent_scopes);
    }
    let was_edge = before.is_some_and(|before| before.edge);
    match (was_edge, settings.edge) {
        (true, true) => {
            if given
                .as_ref()
                .is_some_and(|given| was.as_ref().is_some_and(|was| was != given))
            {
                return Allowed::No;
            }
            let own = was.or(given).filter(|scope| !scope.is_empty());
            settings.device_scope = own.or_else(|| Some(edge_scope(device, generation)));
            Allowed::Yes
        }
        // What it carried so far was its parent's, which it keeps below `parentScopes`.
        (false, true) => {
            let own = given.filter(|given| !given.is_empty() && Some(given) != was.as_ref());
            if own.is_some() && before.is_some() {
                return Allowed::No;
            }
            settings.device_scope = own.or_else(|| Some(edge_scope(device, generation)));
            Allowed::Yes
        }
        // It has no scope of its own any more; what is left is the parent it had.
        (true, false) => {
            let had = before.and_then(|before| before.parent_scopes.first().cloned());
            let kept = settings.parent_scopes.first().cloned();
            let given = given.filter(|given| Some(given) != was.as_ref());
            match given.or(kept) {
                None => Allowed::Yes,
                scope => settle_leaf(scope, had.or(was), parents_given, settings),
            }
        }
        (false, false) => settle_leaf(given, was, parents_given, settings),
    }
}

fn settle_leaf(
    given: Option<String>,
    was: Option<String>,
    parents_given: bool,
    settings: &mut IdentitySettings,
) -> Allowed {
    match given {
        None => settings.device_scope = was,
        Some(none) if none.is_empty() => settings.parent_scopes.clear(),
        Some(scope) => {
            let is_move = was.as_ref().is_some_and(|was| *was != scope);
            if !parents_given && (is_move || settings.parent_scopes.is_empty()) {
                settings.parent_scopes = vec![scope.clone()];
            }
            settings.device_scope = Some(scope);
            if is_move {
                return Allowed::IfParentExists;
            }
        }
    }
    Allowed::Yes
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Authentication, Status},
        *,
    };

    /// `edge` or `leaf`, its scope (`-` for none, `''` for empty text), its parents.
    fn settings(text: &str) -> IdentitySettings {
        let mut words = text.split_whitespace();
        let edge = words.next() == Some("edge");
        let scope = words.next().expect("a scope or a dash");
        IdentitySettings {
            status: Status::Enabled,
            status_reason: None,
            authentication: Authentication::None,
            edge,
            device_scope: match scope {
                "-" => None,
                "''" => Some(String::new()),
                scope => Some(scope.to_owned()),
            },
            parent_scopes: words.map(str::to_owned).collect(),
            managed_by: None,
        }
    }

    #[test]
    fn scopes_follow_the_hierarchy() {
        use Allowed::{IfParentExists, No, Yes};
        // OWN stands for the scope that is made for it.
        let cases = [
            (None, "leaf -", Yes, "leaf -"),
            (None, "leaf ''", Yes, "leaf -"),
            (None, "leaf p", Yes, "leaf p p"),
            (None, "leaf p q", Yes, "leaf p q"),
            (None, "edge - p", Yes, "edge OWN p"),
            (None, "edge o", Yes, "edge o"),
            (Some("leaf p p"), "leaf -", Yes, "leaf p p"),
            (Some("leaf p p"), "leaf p", Yes, "leaf p p"),
            (Some("leaf p p"), "leaf q", IfParentExists, "leaf q q"),
            (Some("leaf p p"), "leaf ''", Yes, "leaf -"),
            (Some("leaf -"), "leaf p", Yes, "leaf p p"),
            (Some("leaf p p"), "edge p", Yes, "edge OWN p"),
            (Some("leaf -"), "edge x", No, "edge -"),
            (Some("edge o p"), "edge -", Yes, "edge o p"),
            (Some("edge o p"), "edge x", No, "edge - p"),
            (Some("edge o p"), "leaf o", Yes, "leaf p p"),
            (Some("edge o p"), "leaf q", IfParentExists, "leaf q q"),
            (Some("edge o p"), "leaf ''", Yes, "leaf -"),
            (Some("edge o"), "leaf -", Yes, "leaf -"),
            (Some("edge o"), "leaf - r", IfParentExists, "leaf r r"),
            (Some("edge -"), "edge -", Yes, "edge OWN"),
        ];
        let gate = DeviceId::parse("gate").expect("a valid id");
        for (before, asked, allowed, stored) in cases {
            let mut new = settings(asked);
            let was = before.map(settings);
            let answer = settle(&gate, Generation(7), was.as_ref(), &mut new);
            assert_eq!(answer, allowed, "{before:?} {asked}");
            let stored = stored.replace("OWN", "ms-azure-iot-edge://gate-7");
            assert_eq!(new, settings(&stored), "{before:?} {asked}");
        }
    }

    #[test]
    fn a_scope_names_its_device() {
        let gate = DeviceId::parse("gate-1").expect("a valid id");
        let scope = edge_scope(&gate, Generation(42));
        assert_eq!(scope, "ms-azure-iot-edge://gate-1-42");
        assert_eq!(device_of(&scope), Some(gate));
        for none in [
            "",
            "bogus",
            "ms-azure-iot-edge://",
            "ms-azure-iot-edge://gate",
            "ms-azure-iot-edge://a b-1",
        ] {
            assert_eq!(device_of(none), None, "{none}");
        }
    }
}
