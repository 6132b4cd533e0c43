//! Decides how many tests passed and failed from what the test programs print.
//!
//! Reads one line at a time and knows the closing lines of nextest, libtest, node's runner, pytest and
//! the plain `N passed, N failed` of our own scripts. A line it does not know counts nothing.

/// Tests counted so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// Counts what `line` reports, if it is a closing line.
    pub(crate) fn read(&mut self, line: &str) {
        let line = without_colour(line);
        let line = line.trim();
        let words: Vec<&str> = line
            .split([' ', ',', ';', '='])
            .filter(|word| !word.is_empty())
            .collect();
        if is_node_total(&words) {
            match (words[1], words[2].parse::<u64>()) {
                ("pass", Ok(count)) => self.passed += count,
                ("fail", Ok(count)) => self.failed += count,
                _ => {}
            }
            return;
        }
        if !is_closing(line, &words) {
            return;
        }
        for pair in words.windows(2) {
            let Ok(count) = pair[0].parse::<u64>() else {
                continue;
            };
            match pair[1] {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                // nextest: `2 timed out`
                "timed" => self.failed += count,
                _ => {}
            }
        }
    }
}

/// `# pass 12` (tap) or `ℹ pass 12` (spec), from node's own test runner.
fn is_node_total(words: &[&str]) -> bool {
    words.len() == 3 && (words[0] == "#" || words[0] == "ℹ")
}

fn is_closing(line: &str, words: &[&str]) -> bool {
    let is_count = |word: &str| word.parse::<u64>().is_ok();
    line.starts_with("test result:")
        || line.starts_with("Summary [")
        || (line.starts_with("===") && line.contains(" in "))
        || words.windows(4).any(|four| {
            is_count(four[0]) && four[1] == "passed" && is_count(four[2]) && four[3] == "failed"
        })
}

/// `line` without terminal escape sequences (`ESC [ ... letter`).
fn without_colour(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(next) = chars.next() {
        if next == '\u{1b}' {
            chars.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(next);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(lines: &[&str]) -> (u64, u64) {
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.read(line));
        (tally.passed, tally.failed)
    }

    #[test]
    fn closing_lines_of_every_runner_are_counted() {
        let cases: [(&str, (u64, u64)); 9] = [
            (
                "     Summary [   0.512s] 12 tests run: 12 passed, 0 skipped",
                (12, 0),
            ),
            (
                "Summary [ 9.1s] 14 tests run: 11 passed (1 slow), 2 failed, 1 timed out",
                (11, 3),
            ),
            (
                "test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out",
                (5, 0),
            ),
            ("test result: FAILED. 4 passed; 1 failed; 0 ignored", (4, 1)),
            ("# pass 31", (31, 0)),
            ("ℹ fail 2", (0, 2)),
            (
                "conformance/node: 7 passed, 1 failed in 3 files, 8.1 s",
                (7, 1),
            ),
            ("===== 3 passed, 1 failed in 0.12s =====", (3, 1)),
            (
                "\u{1b}[32;1m     Summary\u{1b}[0m [ 0.5s] \u{1b}[1m3\u{1b}[0m tests run: 3 passed",
                (3, 0),
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(count(&[line]), expected, "{line}");
        }
    }

    #[test]
    fn other_lines_count_nothing_and_reports_add_up() {
        assert_eq!(
            count(&["a device that passed 12 passed", "# comment", ""]),
            (0, 0)
        );
        assert_eq!(
            count(&["2 passed, 0 failed", "test result: ok. 3 passed; 0 failed"]),
            (5, 0)
        );
    }
}
