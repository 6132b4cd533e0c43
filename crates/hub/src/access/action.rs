//! The one table of what a route may ask for, and who may have it.

use super::{DataAction, Rights};

/// What somebody wants to do on the service side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read or list identities, with their keys.
    DevicesRead,
    /// Create or change one identity, or give it new keys.
    DevicesWrite,
    /// Delete one identity.
    DevicesDelete,
    /// Create, change and delete many at once.
    DevicesChangeMany,
    /// Count identities.
    DeviceStatistics,
    /// Count connections.
    ServiceStatistics,
    /// Read a twin.
    TwinsRead,
    /// Change a twin.
    TwinsWrite,
    /// Invoke a direct method.
    MethodsInvoke,
    /// Read, list or follow jobs and their rows.
    JobsRead,
    /// Schedule a job.
    JobsWrite,
    /// Cancel a job.
    JobsCancel,
    /// Read or list imports and exports.
    TransfersRead,
    /// Begin an import or export.
    TransfersWrite,
    /// Cancel an import or export.
    TransfersCancel,
    /// Read or list configurations.
    ConfigurationsRead,
    /// Create or change a configuration.
    ConfigurationsWrite,
    /// Delete a configuration.
    ConfigurationsDelete,
    /// Apply content to one device.
    ConfigurationsApply,
    /// Try a configuration's conditions.
    ConfigurationsTest,
    /// Purge a device's command queue.
    MessagesPurge,
    /// Ask a query at all; what it reads is asked for again.
    Query,
    /// Read what the hub measures, and the profile it keeps to.
    MetricsRead,
    /// Read or list shared access policies, with their keys.
    PoliciesRead,
    /// Create, change, rotate or delete shared access policies.
    PoliciesWrite,
    /// Read or list certificate authorities.
    AuthoritiesRead,
    /// Add, verify or remove certificate authorities.
    AuthoritiesWrite,
}

impl Action {
    /// Every action there is.
    pub fn all() -> &'static [Action] {
        use Action::*;
        &[
            DevicesRead,
            DevicesWrite,
            DevicesDelete,
            DevicesChangeMany,
            DeviceStatistics,
            ServiceStatistics,
            TwinsRead,
            TwinsWrite,
            MethodsInvoke,
            JobsRead,
            JobsWrite,
            JobsCancel,
            TransfersRead,
            TransfersWrite,
            TransfersCancel,
            ConfigurationsRead,
            ConfigurationsWrite,
            ConfigurationsDelete,
            ConfigurationsApply,
            ConfigurationsTest,
            MessagesPurge,
            Query,
            MetricsRead,
            PoliciesRead,
            PoliciesWrite,
            AuthoritiesRead,
            AuthoritiesWrite,
        ]
    }

    /// The data actions that a token must grant, all of them. compat: AUTH-14
    pub fn data_actions(self) -> &'static [DataAction] {
        use DataAction as Data;
        match self {
            Self::DevicesRead => &[Data::DevicesRead],
            Self::DevicesWrite => &[Data::DevicesWrite],
            Self::DevicesDelete => &[Data::DevicesDelete],
            Self::DevicesChangeMany => &[Data::DevicesWrite, Data::DevicesDelete],
            Self::DeviceStatistics | Self::ServiceStatistics | Self::MetricsRead => {
                &[Data::StatisticsRead]
            }
            Self::TwinsRead | Self::Query => &[Data::TwinsRead],
            Self::TwinsWrite => &[Data::TwinsWrite],
            Self::MethodsInvoke => &[Data::MethodsInvoke],
            Self::JobsRead | Self::TransfersRead => &[Data::JobsRead],
            Self::JobsWrite => &[Data::JobsWrite],
            Self::JobsCancel | Self::TransfersCancel => &[Data::JobsDelete],
            // An export shows every key, an import may delete every device.
            Self::TransfersWrite => &[
                Data::DevicesRead,
                Data::DevicesWrite,
                Data::DevicesDelete,
                Data::JobsWrite,
            ],
            Self::ConfigurationsRead => &[Data::ConfigurationsRead],
            Self::ConfigurationsWrite => &[Data::ConfigurationsWrite],
            Self::ConfigurationsDelete => &[Data::ConfigurationsDelete],
            Self::ConfigurationsApply => &[Data::ConfigurationsApply],
            Self::ConfigurationsTest => &[Data::ConfigurationsTest],
            Self::MessagesPurge => &[Data::MessagesPurge],
            Self::PoliciesRead => &[Data::PoliciesRead],
            Self::PoliciesWrite => &[Data::PoliciesWrite],
            Self::AuthoritiesRead => &[Data::AuthoritiesRead],
            Self::AuthoritiesWrite => &[Data::AuthoritiesWrite],
        }
    }

    /// The rights of a policy that allow it: any one of these. compat: AUTH-12
    pub fn rights(self) -> &'static [Rights] {
        match self {
            Self::DevicesRead
            | Self::DeviceStatistics
            | Self::ConfigurationsRead
            // It reads no registry, but tells what its conditions may say.
            | Self::ConfigurationsTest => &[Rights::REGISTRY_READ],
            Self::DevicesWrite
            | Self::DevicesDelete
            | Self::DevicesChangeMany
            | Self::TransfersWrite
            | Self::TransfersCancel
            | Self::ConfigurationsWrite
            | Self::ConfigurationsDelete
            | Self::ConfigurationsApply => &[Rights::REGISTRY_WRITE],
            Self::ServiceStatistics
            | Self::TwinsRead
            | Self::TwinsWrite
            | Self::MethodsInvoke
            | Self::MessagesPurge => &[Rights::SERVICE_CONNECT],
            Self::JobsWrite | Self::JobsCancel => {
                &[Rights::REGISTRY_WRITE, Rights::SERVICE_CONNECT]
            }
            // Metrics tell less than jobs do: whoever may read those may read these.
            Self::JobsRead | Self::TransfersRead | Self::Query | Self::MetricsRead => {
                &[Rights::REGISTRY_READ, Rights::SERVICE_CONNECT]
            }
            // Keys of policies open everything, so nothing less than everything shows them.
            Self::PoliciesRead
            | Self::PoliciesWrite
            | Self::AuthoritiesRead
            | Self::AuthoritiesWrite => &[Rights::OWNER],
        }
    }

    /// Whether a policy with `rights` may do it.
    pub fn is_allowed(self, rights: Rights) -> bool {
        self.rights().iter().any(|needed| rights.include(*needed))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::DEFAULT_POLICIES, *};

    #[test]
    fn each_default_policy_may_do_what_the_contract_says() {
        use Action::*;
        let registry_read = [
            DevicesRead,
            DeviceStatistics,
            ConfigurationsRead,
            ConfigurationsTest,
            JobsRead,
            TransfersRead,
            Query,
            MetricsRead,
        ];
        let registry_write = [
            DevicesWrite,
            DevicesDelete,
            DevicesChangeMany,
            TransfersWrite,
            TransfersCancel,
            ConfigurationsWrite,
            ConfigurationsDelete,
            ConfigurationsApply,
            JobsWrite,
            JobsCancel,
        ];
        let service = [
            ServiceStatistics,
            TwinsRead,
            TwinsWrite,
            MethodsInvoke,
            MessagesPurge,
            JobsRead,
            JobsWrite,
            JobsCancel,
            TransfersRead,
            Query,
            MetricsRead,
        ];
        let table: [(&str, Vec<Action>); 5] = [
            ("iothubowner", Action::all().to_vec()),
            ("service", service.to_vec()),
            ("device", Vec::new()),
            ("registryRead", registry_read.to_vec()),
            (
                "registryReadWrite",
                [&registry_read[..], &registry_write].concat(),
            ),
        ];
        for ((name, rights), (expected_name, allowed)) in DEFAULT_POLICIES.into_iter().zip(table) {
            assert_eq!(name, expected_name);
            for action in Action::all() {
                let expected = allowed.contains(action);
                assert_eq!(action.is_allowed(rights), expected, "{name} {action:?}");
            }
        }
    }

    #[test]
    fn nothing_may_be_had_for_nothing() {
        for action in Action::all() {
            assert!(!action.is_allowed(Rights::NONE), "{action:?}");
            assert!(!action.data_actions().is_empty(), "{action:?}");
        }
    }
}
