//! Which limits of the original service a hub imposes: none, or those its documentation names for a tier.
//!
//! Decides numbers only. Who holds them: [`crate::jobs`] the rules of jobs, and the front ends the rates, since
//! those are about requests. The original's delays (queries that lag, jobs that take minutes to start) are
//! not among them: what is written is seen at once under every profile.
//!
//! Source of all numbers: the published quotas of the contract. compat: HTTP-30, JOB-50

use std::time::Duration;

use crate::limits;

/// The limits a hub imposes beyond its own bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Whose numbers these are.
    pub tier: Tier,
    /// How many units the numbers that grow with units are for; at least 1.
    pub units: u32,
    /// What jobs may do.
    pub jobs: JobRules,
    /// Whether Python's service SDK, which cannot read the list of jobs as the contract has it, gets one it can.
    pub python_job_list: bool,
}

impl Profile {
    /// Nothing is imposed.
    pub fn open() -> Self {
        Self::of(Tier::Open, 1)
    }

    /// The published numbers of a tier with so many units.
    pub fn of(tier: Tier, units: u32) -> Self {
        let units = units.max(1);
        let is_strict = tier != Tier::Open;
        let jobs = JobRules {
            active_max: match tier {
                Tier::Open => None,
                Tier::AzureS1 => Some(1),
                Tier::AzureS2 => Some(5),
                Tier::AzureS3 => Some(10),
            },
            device_operations_per_second: match tier {
                Tier::Open => None,
                Tier::AzureS1 => Some(10),
                Tier::AzureS2 => Some(units.max(10)),
                Tier::AzureS3 => Some(units.saturating_mul(50)),
            },
            ..JobRules::OPEN
        };
        let jobs = match is_strict {
            false => jobs,
            true => JobRules {
                cancel_while_running: false,
                condition_chars_max: Some(limits::STRICT_CONDITION_CHARS_MAX),
                retry_window: Duration::ZERO,
                ..jobs
            },
        };
        Self {
            tier,
            units,
            jobs,
            python_job_list: !is_strict,
        }
    }

    /// How many requests of a class the hub takes; absent is as many as come.
    pub fn rate(&self, class: OperationClass) -> Option<Rate> {
        use OperationClass as Class;
        let is_s3 = match self.tier {
            Tier::Open => return None,
            Tier::AzureS1 | Tier::AzureS2 => false,
            Tier::AzureS3 => true,
        };
        // Numbers of S1, S2 and S3: what a hub has at least, and what each unit brings.
        let per_second = |s1: [u32; 2], s2: [u32; 2], s3: u32| {
            let [least, unit] = match self.tier {
                Tier::Open | Tier::AzureS1 => s1,
                Tier::AzureS2 => s2,
                Tier::AzureS3 => [0, s3],
            };
            Rate {
                operations: self.units.saturating_mul(unit).max(least),
                per: SECOND,
            }
        };
        let per_minute = |unit: u32, unit_s3: u32| Rate {
            operations: self
                .units
                .saturating_mul(if is_s3 { unit_s3 } else { unit }),
            per: MINUTE,
        };
        Some(match class {
            Class::Registry | Class::Jobs => per_minute(100, 5_000),
            Class::Queries => per_minute(20, 1_000),
            Class::Configurations => per_minute(20, 20),
            Class::Methods => per_second([0, 40], [0, 120], 6_144),
            Class::TwinReads => per_second([100, 0], [100, 10], 500),
            Class::TwinUpdates => per_second([50, 0], [50, 5], 250),
            Class::Connects => per_second([100, 12], [0, 120], 6_000),
        })
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Whose numbers a profile has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// None but the hub's own bounds.
    Open,
    /// The original's free and S1 tiers.
    AzureS1,
    /// The original's S2 tier.
    AzureS2,
    /// The original's S3 tier.
    AzureS3,
}

impl Tier {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Open, Self::AzureS1, Self::AzureS2, Self::AzureS3];

    /// Its name, as an operator writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::AzureS1 => "azure-s1",
            Self::AzureS2 => "azure-s2",
            Self::AzureS3 => "azure-s3",
        }
    }

    /// The tier of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.name() == name)
    }
}

/// What jobs may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobRules {
    /// Jobs that are under way or due at once; absent is any number.
    pub active_max: Option<u32>,
    /// Device jobs (method calls and twin updates) that all jobs together begin in a second, at least 1;
    /// absent is any number.
    pub device_operations_per_second: Option<u32>,
    /// Whether a job may be cancelled while it runs.
    pub cancel_while_running: bool,
    /// Characters of a job's condition, and of a query; absent is the bound of the request's body.
    pub condition_chars_max: Option<usize>,
    /// Within this time the same request again is a retry, not a conflict; zero is never.
    pub retry_window: Duration,
}

impl JobRules {
    /// Nothing is imposed.
    pub const OPEN: Self = Self {
        active_max: None,
        device_operations_per_second: None,
        cancel_while_running: true,
        condition_chars_max: None,
        retry_window: limits::JOB_RETRY_WINDOW,
    };
}

/// Requests that are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperationClass {
    /// Identities of devices and modules: create, read, list, update, delete.
    Registry,
    /// Jobs of either kind: create, read, list, cancel.
    Jobs,
    /// Direct methods, in pieces of [`METHOD_PIECE_BYTES`].
    Methods,
    /// Twins read by services and devices.
    TwinReads,
    /// Twins changed by services, reported properties changed by devices.
    TwinUpdates,
    /// Pages of queries.
    Queries,
    /// Configurations: create, read, list, update, delete, apply, test.
    Configurations,
    /// New connections of devices.
    Connects,
}

/// Bytes of a direct method's request that count as one operation, begun ones included. Contract.
pub const METHOD_PIECE_BYTES: u64 = 4 * 1024;

impl OperationClass {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Registry,
        Self::Jobs,
        Self::Methods,
        Self::TwinReads,
        Self::TwinUpdates,
        Self::Queries,
        Self::Configurations,
        Self::Connects,
    ];

    /// Its name, for people and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Jobs => "jobs",
            Self::Methods => "methods",
            Self::TwinReads => "twinReads",
            Self::TwinUpdates => "twinUpdates",
            Self::Queries => "queries",
            Self::Configurations => "configurations",
            Self::Connects => "connects",
        }
    }
}

/// A number of operations in a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least 1.
    pub operations: u32,
    /// In which time.
    pub per: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_profile_imposes_nothing() {
        let open = Profile::open();
        assert_eq!(open.jobs, JobRules::OPEN);
        assert!(open.python_job_list);
        for class in OperationClass::ALL {
            assert_eq!(open.rate(class), None);
        }
    }

    #[test]
    fn jobs_have_the_published_numbers() {
        let table = [
            (Tier::AzureS1, 1, 1, 10),
            (Tier::AzureS1, 50, 1, 10),
            (Tier::AzureS2, 1, 5, 10),
            (Tier::AzureS2, 30, 5, 30),
            (Tier::AzureS3, 1, 10, 50),
            (Tier::AzureS3, 10, 10, 500),
        ];
        for (tier, units, active, pace) in table {
            let Profile {
                jobs,
                python_job_list,
                ..
            } = Profile::of(tier, units);
            let expected = JobRules {
                active_max: Some(active),
                device_operations_per_second: Some(pace),
                cancel_while_running: false,
                condition_chars_max: Some(8_192),
                retry_window: Duration::ZERO,
            };
            assert_eq!(jobs, expected, "{tier:?} {units}");
            assert!(!python_job_list);
        }
    }

    #[test]
    fn requests_have_the_published_numbers() {
        use OperationClass::*;
        // S1 with 1 and 20 units, S2 with 1 and 20, S3 with 1 and 4.
        let table = [
            (Registry, MINUTE, [100, 2_000, 100, 2_000, 5_000, 20_000]),
            (Jobs, MINUTE, [100, 2_000, 100, 2_000, 5_000, 20_000]),
            (Queries, MINUTE, [20, 400, 20, 400, 1_000, 4_000]),
            (Configurations, MINUTE, [20, 400, 20, 400, 20, 80]),
            (Methods, SECOND, [40, 800, 120, 2_400, 6_144, 24_576]),
            (TwinReads, SECOND, [100, 100, 100, 200, 500, 2_000]),
            (TwinUpdates, SECOND, [50, 50, 50, 100, 250, 1_000]),
            (Connects, SECOND, [100, 240, 120, 2_400, 6_000, 24_000]),
        ];
        let hubs = [
            (Tier::AzureS1, 1),
            (Tier::AzureS1, 20),
            (Tier::AzureS2, 1),
            (Tier::AzureS2, 20),
            (Tier::AzureS3, 1),
            (Tier::AzureS3, 4),
        ];
        for (class, per, numbers) in table {
            for ((tier, units), operations) in hubs.into_iter().zip(numbers) {
                let rate = Profile::of(tier, units).rate(class);
                assert_eq!(
                    rate,
                    Some(Rate { operations, per }),
                    "{class:?} {tier:?} {units}"
                );
            }
        }
    }

    #[test]
    fn tiers_are_found_by_their_names() {
        for tier in Tier::ALL {
            assert_eq!(Tier::parse(tier.name()), Some(tier));
        }
        assert_eq!(Tier::parse("azure-s4"), None);
    }
}
