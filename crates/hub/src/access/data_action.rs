//! Data actions: the words in which roles of a token say what its holder may do.
//!
//! The contract's names stand below `Microsoft.Devices/IotHubs/`, which may be left out; ours stand below
//! `fanfare/`, and only a pattern that says so reaches them: they decide who else gets in.

use std::{fmt, ops::BitOr, str::FromStr};

/// One data action. compat: AUTH-14
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DataAction {
    /// `devices/read`
    DevicesRead,
    /// `devices/write`
    DevicesWrite,
    /// `devices/delete`
    DevicesDelete,
    /// `statistics/read`
    StatisticsRead,
    /// `twins/read`
    TwinsRead,
    /// `twins/write`
    TwinsWrite,
    /// `directMethods/invoke/action`
    MethodsInvoke,
    /// `jobs/read`
    JobsRead,
    /// `jobs/write`
    JobsWrite,
    /// `jobs/delete`
    JobsDelete,
    /// `configurations/read`
    ConfigurationsRead,
    /// `configurations/write`
    ConfigurationsWrite,
    /// `configurations/delete`
    ConfigurationsDelete,
    /// `configurations/applyToEdgeDevice/action`
    ConfigurationsApply,
    /// `configurations/testQueries/action`
    ConfigurationsTest,
    /// `cloudToDeviceMessages/send/action`; no route asks for it.
    MessagesSend,
    /// `cloudToDeviceMessages/feedback/action`; no route asks for it.
    MessagesFeedback,
    /// `cloudToDeviceMessages/queue/purge/action`
    MessagesPurge,
    /// `fileUpload/notifications/action`; no route asks for it.
    FileNotifications,
    /// `fanfare/policies/read`
    PoliciesRead,
    /// `fanfare/policies/write`
    PoliciesWrite,
    /// `fanfare/authorities/read`
    AuthoritiesRead,
    /// `fanfare/authorities/write`
    AuthoritiesWrite,
}

impl DataAction {
    /// Every data action with its name.
    const NAMES: [(Self, &'static str); 23] = [
        (Self::DevicesRead, "devices/read"),
        (Self::DevicesWrite, "devices/write"),
        (Self::DevicesDelete, "devices/delete"),
        (Self::StatisticsRead, "statistics/read"),
        (Self::TwinsRead, "twins/read"),
        (Self::TwinsWrite, "twins/write"),
        (Self::MethodsInvoke, "directMethods/invoke/action"),
        (Self::JobsRead, "jobs/read"),
        (Self::JobsWrite, "jobs/write"),
        (Self::JobsDelete, "jobs/delete"),
        (Self::ConfigurationsRead, "configurations/read"),
        (Self::ConfigurationsWrite, "configurations/write"),
        (Self::ConfigurationsDelete, "configurations/delete"),
        (
            Self::ConfigurationsApply,
            "configurations/applyToEdgeDevice/action",
        ),
        (
            Self::ConfigurationsTest,
            "configurations/testQueries/action",
        ),
        (Self::MessagesSend, "cloudToDeviceMessages/send/action"),
        (
            Self::MessagesFeedback,
            "cloudToDeviceMessages/feedback/action",
        ),
        (
            Self::MessagesPurge,
            "cloudToDeviceMessages/queue/purge/action",
        ),
        (Self::FileNotifications, "fileUpload/notifications/action"),
        (Self::PoliciesRead, "fanfare/policies/read"),
        (Self::PoliciesWrite, "fanfare/policies/write"),
        (Self::AuthoritiesRead, "fanfare/authorities/read"),
        (Self::AuthoritiesWrite, "fanfare/authorities/write"),
    ];

    /// Its name, without the contract's prefix.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl fmt::Display for DataAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Some data actions.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct ActionSet(u32);

impl ActionSet {
    /// None at all.
    pub const NONE: Self = Self(0);

    /// Those that one pattern names: a name, or a name with one `*` for any text, such as `devices/*`,
    /// `*/read` or `*`. Letter case does not matter, and the contract's prefix may be there.
    ///
    /// # Errors
    /// [`ParseActionsError`] when it names nothing that there is, or has a second `*`.
    pub fn parse(pattern: &str) -> Result<Self, ParseActionsError> {
        let refused = || ParseActionsError(pattern.to_owned());
        let plain = pattern.trim().to_ascii_lowercase();
        let plain = plain.strip_prefix(PREFIX).unwrap_or(&plain);
        let (begin, end) = match plain.split_once('*') {
            Some((_, end)) if end.contains('*') => return Err(refused()),
            Some((begin, end)) => (begin, Some(end)),
            None => (plain, None),
        };
        let is_named = |name: &str| match end {
            None => name == begin,
            Some(end) => {
                begin.starts_with(OURS) == name.starts_with(OURS)
                    && name.len() >= begin.len() + end.len()
                    && name.starts_with(begin)
                    && name.ends_with(end)
            }
        };
        let named = DataAction::NAMES
            .into_iter()
            .filter(|(_, name)| is_named(&name.to_ascii_lowercase()))
            .map(|(action, _)| action)
            .collect::<Self>();
        if named == Self::NONE {
            return Err(refused());
        }
        Ok(named)
    }

    /// Those that any of the patterns names.
    ///
    /// # Errors
    /// As [`ActionSet::parse`], for the first that is wrong.
    pub fn parse_all<'a>(
        patterns: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, ParseActionsError> {
        patterns
            .into_iter()
            .try_fold(Self::NONE, |all, pattern| Ok(all | Self::parse(pattern)?))
    }

    /// Those of either.
    pub fn union(self, other: Self) -> Self {
        self | other
    }

    /// Whether `action` is one of them.
    pub fn contains(self, action: DataAction) -> bool {
        self.0 & action.bit() != 0
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = DataAction> {
        let all = DataAction::NAMES.into_iter().map(|(action, _)| action);
        all.filter(move |action| self.contains(*action))
    }
}

const PREFIX: &str = "microsoft.devices/iothubs/";
const OURS: &str = "fanfare/";

impl FromStr for ActionSet {
    type Err = ParseActionsError;

    fn from_str(pattern: &str) -> Result<Self, ParseActionsError> {
        Self::parse(pattern)
    }
}

impl FromIterator<DataAction> for ActionSet {
    fn from_iter<I: IntoIterator<Item = DataAction>>(actions: I) -> Self {
        let bits = actions.into_iter().map(DataAction::bit);
        Self(bits.fold(0, |all, bit| all | bit))
    }
}

impl BitOr for ActionSet {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for ActionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(DataAction::name).collect();
        f.write_str(&names.join(", "))
    }
}

impl fmt::Debug for ActionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActionSet({self})")
    }
}

/// A text that names no data action. Holds the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no data action, such as devices/read, twins/* or */read")]
pub struct ParseActionsError(pub String);

/// A role that every hub knows by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuiltInRole {
    /// As tokens name it.
    pub name: &'static str,
    patterns: &'static [&'static str],
}

impl BuiltInRole {
    /// The role of a name, which is compared exactly.
    pub fn named(name: &str) -> Option<Self> {
        BUILT_IN_ROLES.into_iter().find(|role| role.name == name)
    }

    /// What it grants.
    pub fn actions(self) -> ActionSet {
        ActionSet::parse_all(self.patterns.iter().copied())
            .expect("the patterns of built-in roles name data actions, a test reads them all")
    }
}

/// The contract's four roles, and ours for those who may also decide who gets in. compat: AUTH-15
pub const BUILT_IN_ROLES: [BuiltInRole; 5] = [
    BuiltInRole {
        name: "IoT Hub Data Contributor",
        patterns: &["*"],
    },
    BuiltInRole {
        name: "IoT Hub Data Reader",
        patterns: &["*/read", "fileUpload/notifications/action"],
    },
    BuiltInRole {
        name: "IoT Hub Registry Contributor",
        patterns: &["devices/*"],
    },
    BuiltInRole {
        name: "IoT Hub Twin Contributor",
        patterns: &["twins/*"],
    },
    BuiltInRole {
        name: "Fanfare Owner",
        patterns: &["*", "fanfare/*"],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn names(set: ActionSet) -> String {
        set.to_string()
    }

    #[test]
    fn the_names_stand_in_the_order_of_their_places() {
        for (place, (action, _)) in DataAction::NAMES.into_iter().enumerate() {
            assert_eq!(action as usize, place);
            assert_eq!(
                names(ActionSet::parse(action.name()).unwrap()),
                action.name()
            );
        }
    }

    #[test]
    fn a_pattern_names_what_it_matches() {
        for (pattern, expected) in [
            ("devices/read", "devices/read"),
            ("DEVICES/Read", "devices/read"),
            ("Microsoft.Devices/IotHubs/jobs/write", "jobs/write"),
            ("devices/*", "devices/read, devices/write, devices/delete"),
            (
                "*/read",
                "devices/read, statistics/read, twins/read, jobs/read, configurations/read",
            ),
            (
                "fanfare/*/read",
                "fanfare/policies/read, fanfare/authorities/read",
            ),
            (
                "fanfare/policies/*",
                "fanfare/policies/read, fanfare/policies/write",
            ),
            ("directMethods/*/action", "directMethods/invoke/action"),
        ] {
            assert_eq!(
                ActionSet::parse(pattern).map(names),
                Ok(expected.to_owned())
            );
        }
        for wrong in [
            "",
            "devices",
            "devices/*/*",
            "devices/reads",
            "fan*",
            "device/read",
            "**",
        ] {
            let refused = Err(ParseActionsError(wrong.to_owned()));
            assert_eq!(ActionSet::parse(wrong), refused, "{wrong}");
        }
    }

    #[test]
    fn everything_of_the_contract_holds_nothing_of_ours() {
        let everything = ActionSet::parse("*").unwrap();
        for (action, name) in DataAction::NAMES {
            assert_eq!(
                everything.contains(action),
                !name.starts_with("fanfare/"),
                "{name}"
            );
        }
    }

    #[test]
    fn each_built_in_role_grants_what_the_contract_says() {
        for (name, expected) in [
            (
                "IoT Hub Registry Contributor",
                "devices/read, devices/write, devices/delete",
            ),
            ("IoT Hub Twin Contributor", "twins/read, twins/write"),
            (
                "IoT Hub Data Reader",
                "devices/read, statistics/read, twins/read, jobs/read, configurations/read, \
                 fileUpload/notifications/action",
            ),
        ] {
            let role = BuiltInRole::named(name).unwrap();
            assert_eq!(names(role.actions()), expected, "{name}");
        }
        let contributor = BuiltInRole::named("IoT Hub Data Contributor").unwrap();
        let owner = BuiltInRole::named("Fanfare Owner").unwrap();
        assert_eq!(contributor.actions().iter().count(), 19);
        assert_eq!(owner.actions().iter().count(), 23);
        assert_eq!(BuiltInRole::named("fanfare owner"), None);
    }
}
