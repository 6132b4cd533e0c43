//! The few limits of peers that an operator may have to change: where a whole fleet or all callers come from
//! one address, behind a proxy or a router.

use super::Checked;
use crate::gate::GateLimits;

const CONNECTIONS_MAX: u32 = 10_000_000;
const FAILURES_MAX: u32 = 1_000_000;

impl Checked<'_> {
    /// What the gate is told.
    pub(super) fn gate(&mut self) -> GateLimits {
        let mut limits = GateLimits::default();
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        if let Some(number) = self.number(
            "unfinished-per-address",
            1,
            CONNECTIONS_MAX,
            "a number of connections",
        ) {
            limits.strangers_per_address = count(number);
            // One address may be all there is: then there must be places for it.
            limits.strangers = limits.strangers.max(count(number).saturating_mul(2));
        }
        if let Some(number) = self.number(
            "https-per-address",
            1,
            CONNECTIONS_MAX,
            "a number of connections",
        ) {
            limits.https_connections_per_address = count(number);
        }
        if let Some(number) = self.number(
            "failures-per-minute",
            1,
            FAILURES_MAX,
            "a number of failures",
        ) {
            limits.failures_per_minute = number;
        }
        limits
    }
}
