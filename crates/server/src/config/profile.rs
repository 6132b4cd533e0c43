//! The settings that choose a profile, and the single ones that override its numbers.

use std::time::Duration;

use fanfare_hub::profile::{JobRules, Profile, Tier};

use super::Checked;

/// Units of the largest hub the original sells.
const UNITS_MAX: u32 = 200;
const COUNT_MAX: u32 = 1_000_000;
/// Characters of the largest body that schedules a job.
const CONDITION_CHARS_MAX: u32 = 64 * 1024 * 1024;
const RETRY_SECONDS_MAX: u32 = 24 * 3_600;
const UNLIMITED: &str = "unlimited";

impl Checked<'_> {
    /// The profile in force: a tier's numbers, then whatever is set by itself.
    pub(super) fn profile(&mut self) -> Profile {
        let tier = self.tier();
        let units = self.number("units", 1, UNITS_MAX, "a number of units");
        let mut profile = Profile::of(tier, units.unwrap_or(1));
        self.override_jobs(&mut profile.jobs);
        if let Some(is_on) = self.switch("python-job-list") {
            profile.python_job_list = is_on;
        }
        profile
    }

    fn tier(&mut self) -> Tier {
        let Some(name) = self.text("profile") else {
            return Tier::Open;
        };
        Tier::parse(&name).unwrap_or_else(|| {
            let known = Tier::ALL.map(Tier::name).join(", ");
            self.fault(
                "profile",
                &format!("must be one of {known}, {name:?} is not"),
            );
            Tier::Open
        })
    }

    fn override_jobs(&mut self, rules: &mut JobRules) {
        if let Some(bound) = self.bound("jobs-at-once", COUNT_MAX, "a number of jobs") {
            rules.active_max = bound;
        }
        let operations = "a number of device operations";
        if let Some(bound) = self.bound("job-device-operations-per-second", COUNT_MAX, operations) {
            rules.device_operations_per_second = bound;
        }
        if let Some(is_on) = self.switch("cancel-while-running") {
            rules.cancel_while_running = is_on;
        }
        let characters = "a number of characters";
        if let Some(bound) = self.bound("condition-chars-max", CONDITION_CHARS_MAX, characters) {
            rules.condition_chars_max = bound.map(|chars| chars as usize);
        }
        let seconds = "a number of seconds";
        if let Some(seconds) = self.number("job-retry-window", 0, RETRY_SECONDS_MAX, seconds) {
            rules.retry_window = Duration::from_secs(u64::from(seconds));
        }
    }

    /// A number from 1, or the word for none.
    fn bound(&mut self, key: &str, max: u32, what: &str) -> Option<Option<u32>> {
        let is_unlimited = self
            .values
            .get(key)
            .is_some_and(|value| value.as_str() == Some(UNLIMITED));
        if is_unlimited {
            return Some(None);
        }
        let what = format!("{UNLIMITED:?} or {what}");
        self.number(key, 1, max, &what).map(Some)
    }
}
