//! What the system says of this process, from `/proc`; nothing where there is none.

use std::fs;

/// The process at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ProcessReading {
    /// Seconds since 1970.
    pub(super) started: f64,
    /// Seconds of processor time.
    pub(super) cpu: f64,
    /// Bytes in RAM.
    pub(super) memory: u64,
    /// Open files.
    pub(super) files: u64,
    /// How many may be open; absent when there is no bound.
    pub(super) files_max: Option<u64>,
}

pub(super) fn read() -> Option<ProcessReading> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name in brackets may hold anything, so the fields are counted behind it: state is the first.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let boot = fs::read_to_string("/proc/stat").ok()?;
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime "))?;
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let files_max = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|line| line.split_whitespace().next()?.parse().ok());
    Some(ProcessReading {
        started: boot.trim().parse::<f64>().ok()? + field(19)? as f64 / ticks,
        cpu: (field(11)? + field(12)?) as f64 / ticks,
        memory: field(21)? * rustix::param::page_size() as u64,
        files: fs::read_dir("/proc/self/fd").ok()?.count() as u64,
        files_max,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_a_running_process() {
        let read = read().expect("tests run where there is /proc");
        // After 2020, more than a megabyte, and the three standard streams may be closed but this file is not.
        assert!(read.started > 1_577_836_800.0, "{read:?}");
        assert!(read.memory > 1_000_000 && read.files > 0, "{read:?}");
        assert!(read.cpu >= 0.0 && read.files_max.is_none_or(|max| max >= read.files));
    }
}
