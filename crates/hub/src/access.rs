//! Who may do what: rights, and the shared access policies that grant them.

use std::ops::BitOr;

use crate::registry::SymmetricKey;

/// A set of rights; the flags are the contract's. compat: AUTH-10
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights(u8);

impl Rights {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Read identities.
    pub const REGISTRY_READ: Self = Self(1);
    /// Change identities; implies reading them.
    pub const REGISTRY_WRITE: Self = Self(3);
    /// Use the service side: twins, methods, queries, jobs.
    pub const SERVICE_CONNECT: Self = Self(4);
    /// Connect as any device.
    pub const DEVICE_CONNECT: Self = Self(8);

    /// From stored flags; unknown ones are dropped.
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & 0xf)
    }

    /// The flags.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Whether all of `needed` are here.
    pub fn include(self, needed: Self) -> bool {
        self.0 & needed.0 == needed.0
    }
}

impl BitOr for Rights {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A named pair of keys and what they open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its name, as in `SharedAccessKeyName`.
    pub name: String,
    /// What it grants.
    pub rights: Rights,
    /// The first key.
    pub primary: SymmetricKey,
    /// The second key, for rotation.
    pub secondary: SymmetricKey,
}

/// The policies that every hub starts with. compat: AUTH-11
pub const DEFAULT_POLICIES: [(&str, Rights); 5] = [
    ("iothubowner", Rights(1 | 3 | 4 | 8)),
    ("service", Rights::SERVICE_CONNECT),
    ("device", Rights::DEVICE_CONNECT),
    ("registryRead", Rights::REGISTRY_READ),
    ("registryReadWrite", Rights::REGISTRY_WRITE),
];

/// What somebody wants to do on the service side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Read or list identities, device statistics.
    RegistryRead,
    /// Create, change or delete identities.
    RegistryWrite,
    /// Twins, queries over them, direct methods.
    ServiceConnect,
    /// Create or cancel a job.
    JobWrite,
    /// Read or list jobs and their rows.
    JobRead,
}

impl Action {
    /// Whether `rights` allow it. compat: AUTH-12
    pub fn is_allowed(self, rights: Rights) -> bool {
        match self {
            Self::RegistryRead => rights.include(Rights::REGISTRY_READ),
            Self::RegistryWrite => rights.include(Rights::REGISTRY_WRITE),
            Self::ServiceConnect => rights.include(Rights::SERVICE_CONNECT),
            Self::JobWrite => {
                rights.include(Rights::REGISTRY_WRITE) || rights.include(Rights::SERVICE_CONNECT)
            }
            Self::JobRead => {
                rights.include(Rights::REGISTRY_READ) || rights.include(Rights::SERVICE_CONNECT)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_default_policy_may_do_what_the_contract_says() {
        use Action::*;
        let table: [(&str, &[Action]); 5] = [
            (
                "iothubowner",
                &[
                    RegistryRead,
                    RegistryWrite,
                    ServiceConnect,
                    JobWrite,
                    JobRead,
                ],
            ),
            ("service", &[ServiceConnect, JobWrite, JobRead]),
            ("device", &[]),
            ("registryRead", &[RegistryRead, JobRead]),
            (
                "registryReadWrite",
                &[RegistryRead, RegistryWrite, JobWrite, JobRead],
            ),
        ];
        for ((name, rights), (expected_name, allowed)) in DEFAULT_POLICIES.into_iter().zip(table) {
            assert_eq!(name, expected_name);
            for action in [
                RegistryRead,
                RegistryWrite,
                ServiceConnect,
                JobWrite,
                JobRead,
            ] {
                assert_eq!(
                    action.is_allowed(rights),
                    allowed.contains(&action),
                    "{name} {action:?}"
                );
            }
        }
    }
}
