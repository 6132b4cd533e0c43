//! The live view at the widths people have, down to those that nobody should have.

use unicode_width::UnicodeWidthStr as _;

use super::*;
use crate::job::reasons::{Reason, Reasons};

const MINUTE: Duration = Duration::from_secs(60);

/// A job of 50,000 devices, a minute after its start.
fn running() -> Standing {
    let mut at = Standing::unknown("lock-43");
    at.what = "method lockDoor".to_owned();
    at.status = JobStatus::Running;
    at.counts = Some(counts(30_900, 304, 2_000, 16_796, 0));
    at.times.start_ms = Some(at.times.began_ms);
    at.times.window = Some(60 * MINUTE);
    at.pace.observe(Duration::ZERO, 0);
    at.pace.observe(MINUTE, 31_204);
    at.reasons = Some(reasons(&[
        ("JobRunPreconditionFailed", 212),
        ("GatewayTimeout", 92),
    ]));
    at
}

fn counts(
    succeeded: u64,
    failed: u64,
    running: u64,
    pending: u64,
    canceled: u64,
) -> DeviceJobStatistics {
    DeviceJobStatistics {
        device_count: succeeded + failed + running + pending + canceled,
        succeeded_count: succeeded,
        failed_count: failed,
        running_count: running,
        pending_count: pending,
        canceled_count: canceled,
        ..DeviceJobStatistics::default()
    }
}

fn reasons(groups: &[(&str, u64)]) -> Reasons {
    let reason = |(code, count): &(&str, u64)| Reason {
        code: (*code).to_owned(),
        count: *count,
    };
    Reasons {
        groups: groups.iter().map(reason).collect(),
        of_first: None,
    }
}

fn shown(at: &Standing, width: usize) -> String {
    frame(at, MINUTE, width, Paint::Plain).join("\n")
}

#[test]
fn eighty_columns_hold_everything() {
    assert_eq!(
        shown(&running(), 80),
        "\
lock-43  method lockDoor                                                 running
  █████████████████████████████████▓▒▒░░░░░░░░░░░░░░░░░░   62%  31,204 of 50,000
  30,900 succeeded   304 failed   2,000 running   16,796 pending
  520/s   about 36s left   window closes in 59m 00s
  212  JobRunPreconditionFailed  not online before the window closed
   92  GatewayTimeout            no answer in time"
    );
}

#[test]
fn a_wide_terminal_gets_a_longer_bar_and_no_more() {
    let wide = shown(&running(), 140);
    let bar = wide.lines().nth(1).unwrap();
    assert_eq!(bar.chars().filter(|c| "█▓▒░".contains(*c)).count(), BAR_MAX);
    assert!(wide.lines().next().unwrap().ends_with("running"));
    assert_eq!(wide.lines().next().unwrap().width(), 140);
}

#[test]
fn fifty_columns_drop_words_and_meanings_but_no_number() {
    assert_eq!(
        shown(&running(), 50),
        "\
lock-43  method lockDoor                   running
  ██████████████▓▒░░░░░░░░   62%  31,204 of 50,000
  30,900 ok  304 failed  2,000 running  16,796 pe…
  520/s, about 36s left, window closes in 59m 00s
  212  JobRunPreconditionFailed
   92  GatewayTimeout            no answer in time"
    );
}

#[test]
fn the_narrowest_terminal_has_one_line() {
    assert_eq!(shown(&running(), 30), "62% 304 failed lock-43");
    assert_eq!(shown(&running(), 12), "62% 304 fai…");
}

#[test]
fn no_line_is_ever_wider_than_the_terminal() {
    let mut at = running();
    at.name = "j".repeat(64);
    at.message =
        Some("the hub says something that is rather long and goes on for a while".to_owned());
    at.link = Link::Lost {
        since: Duration::ZERO,
        gives_up_at: Some(10 * MINUTE),
        why: "127.0.0.1:443 cannot be reached".to_owned(),
    };
    for width in 0..200 {
        for line in frame(&at, MINUTE, width, Paint::Plain) {
            assert!(line.width() <= width.max(10), "{width}: {line}");
        }
        for line in ended(&at, width, Paint::Plain) {
            assert!(line.width() <= width.max(10), "{width}: {line}");
        }
    }
}

#[test]
fn colours_change_no_text() {
    let coloured = frame(&running(), MINUTE, 80, Paint::Colour).join("\n");
    assert!(coloured.contains("\x1b[32m"), "{coloured}");
    assert_eq!(
        anstream::adapter::strip_str(&coloured).to_string(),
        shown(&running(), 80)
    );
}

#[test]
fn a_job_ahead_counts_down() {
    let mut at = Standing::unknown("lock-43");
    at.what = "method lockDoor".to_owned();
    at.status = JobStatus::Scheduled;
    at.times.start_ms = Some(at.times.began_ms + 3_661_000);
    at.start_text = Some("2026-12-01 02:00:00Z".to_owned());
    assert_eq!(
        shown(&at, 72),
        "\
lock-43  method lockDoor                                       scheduled
  starts in 1h 00m   at 2026-12-01 02:00:00Z"
    );
    assert_eq!(
        plain(&at),
        "lock-43: scheduled, starts at 2026-12-01 02:00:00Z"
    );
}

#[test]
fn what_is_not_known_is_not_shown() {
    let mut at = Standing::unknown("lock-43");
    assert_eq!(shown(&at, 40), "lock-43                           queued");
    at.status = JobStatus::Running;
    at.counts = Some(counts(0, 0, 0, 0, 0));
    assert!(
        shown(&at, 80).contains("no device matches"),
        "{}",
        shown(&at, 80)
    );
}

#[test]
fn a_lost_hub_is_said_with_how_long_there_is_patience() {
    let mut at = running();
    at.link = Link::Lost {
        since: MINUTE / 2,
        gives_up_at: Some(2 * MINUTE),
        why: "127.0.0.1:443 cannot be reached".to_owned(),
    };
    let last = shown(&at, 120).lines().last().unwrap().to_owned();
    assert_eq!(
        last,
        "  hub not reachable, trying again (for 30s, giving up in 1m 00s): 127.0.0.1:443 cannot be reached"
    );
    assert_eq!(
        plain(&at),
        "lock-43: running, hub not reachable, trying again"
    );
    assert_eq!(shown(&at, 30), "hub not reachable");
}

#[test]
fn a_job_that_waits_for_its_devices_says_so() {
    let mut at = running();
    at.counts = Some(counts(49, 0, 0, 1, 0));
    at.pace = crate::job::pace::Pace::default();
    at.reasons = None;
    let third = shown(&at, 80).lines().nth(3).unwrap().to_owned();
    assert_eq!(third, "  waiting for 1 device   window closes in 59m 00s");
}

#[test]
fn a_pace_of_before_says_nothing_about_devices_that_are_not_online() {
    let mut at = running();
    at.counts = Some(counts(40, 0, 0, 20, 0));
    at.pace = crate::job::pace::Pace::default();
    at.pace.observe(MINUTE - Duration::from_secs(5), 10);
    at.pace.observe(MINUTE - Duration::from_secs(3), 40);
    at.pace.observe(MINUTE, 40);
    at.reasons = None;
    let third = shown(&at, 80).lines().nth(3).unwrap().to_owned();
    assert_eq!(third, "  waiting for 20 devices   window closes in 59m 00s");
}

#[test]
fn a_job_that_cannot_be_done_in_time_says_so() {
    let mut at = running();
    at.times.window = Some(MINUTE + MINUTE / 4);
    assert!(
        shown(&at, 80).contains("will not be done in time"),
        "{}",
        shown(&at, 80)
    );
}

#[test]
fn what_stays_is_a_summary() {
    let mut at = running();
    at.status = JobStatus::Completed;
    at.counts = Some(counts(49_696, 304, 0, 0, 0));
    at.times.end_ms = Some(at.times.began_ms + 4_260);
    assert_eq!(
        ended(&at, 80, Paint::Plain).join("\n"),
        "\
lock-43 completed in 4.3s: 49,696 succeeded, 304 failed
  212  JobRunPreconditionFailed  not online before the window closed
   92  GatewayTimeout            no answer in time"
    );
    at.status = JobStatus::Cancelled;
    at.counts = None;
    at.reasons = None;
    at.times.end_ms = None;
    assert_eq!(ended(&at, 80, Paint::Plain), ["lock-43 cancelled"]);
}

#[test]
fn many_reasons_are_cut_and_counted() {
    let mut at = running();
    let many: Vec<(String, u64)> = (0..20).map(|n| (format!("Code{n:02}"), 100 - n)).collect();
    let many: Vec<(&str, u64)> = many.iter().map(|(code, count)| (&**code, *count)).collect();
    at.reasons = Some(reasons(&many));
    let text = shown(&at, 80);
    assert!(text.ends_with("\n  1,225 for 14 other reasons"), "{text}");
}

#[test]
fn every_count_has_a_piece_of_the_bar_and_the_bar_is_full() {
    for (numbers, cells, want) in [
        ([1, 1, 1, 1, 1], 5, [1, 1, 1, 1, 1]),
        ([999_999, 1, 0, 0, 0], 40, [39, 1, 0, 0, 0]),
        ([0, 0, 0, 0, 7], 10, [0, 0, 0, 0, 10]),
        ([0; 5], 10, [0; 5]),
        ([1, 1, 1, 0, 0], 10, [3, 3, 4, 0, 0]),
    ] {
        assert_eq!(shares(numbers, cells), want, "{numbers:?}");
    }
    assert_eq!(shares([u64::MAX, u64::MAX, 0, 0, 0], 10), [5, 5, 0, 0, 0]);
}

#[test]
fn plain_lines_say_all_counts() {
    assert_eq!(
        plain(&running()),
        "lock-43: running, 62% of 50,000 devices: 30,900 succeeded, 304 failed, 2,000 running, 16,796 pending"
    );
}
