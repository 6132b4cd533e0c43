//! Decides whether the conformance run proved what the SDKs offer: every public method of every class by a
//! passing test of its success and one of its likeliest refusal, or by a line of `known-gaps.toml`.
//!
//! A test says what it proves at the start of its title: `Registry.create, Registry.get: ...`, with `refused`
//! among the names when it proves a refusal, or `line 3: ...` for a line of the device checklist. The table of
//! README.md is made from the same facts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

/// Where the suites leave what ran, below the workspace folder.
pub(crate) const RESULTS: [&str; 2] = [
    "target/conformance/node.json",
    "target/conformance/python.json",
];
const GAPS: &str = "conformance/known-gaps.toml";
const README: &str = "README.md";
const TABLE_BEGIN: &str = "<!-- sdk classes: `cargo xtask surface --write` -->\n";
const TABLE_END: &str = "<!-- end of sdk classes -->";
const CHECKLIST_LINES: u32 = 16;

/// What one suite leaves behind.
#[derive(Deserialize)]
struct Results {
    /// Package, class, methods.
    surface: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    title: String,
    ok: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Gaps {
    gap: Vec<Gap>,
    line: Vec<LineGap>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Gap {
    package: String,
    class: String,
    methods: Vec<String>,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineGap {
    numbers: Vec<u32>,
    #[expect(dead_code, reason = "for people; its presence is what counts")]
    reason: String,
}

/// Compares, and writes README's table anew when asked. Returns whether all is proven and the table current.
///
/// # Errors
/// When a file cannot be read: the suites have not run, or the list of gaps is malformed.
pub(crate) fn run(root: &Path, write: bool) -> anyhow::Result<bool> {
    let read = |name: &str| {
        std::fs::read_to_string(root.join(name)).with_context(|| format!("{name} cannot be read"))
    };
    let gaps: Gaps =
        toml::from_str(&read(GAPS)?).with_context(|| format!("{GAPS} is malformed"))?;
    let mut suites = Vec::new();
    for name in RESULTS {
        let text = read(name).context("run the stages node and python first")?;
        let suite: Results =
            serde_json::from_str(&text).with_context(|| format!("{name} is malformed"))?;
        suites.push(suite);
    }
    let report = compare(&suites, &gaps);
    let readme = read(README)?;
    let table = with_table(&readme, &report.table)?;
    let mut faults = report.faults;
    if write {
        std::fs::write(root.join(README), &table)?;
    } else if table != readme {
        faults.push(format!(
            "{README} has an old table: cargo xtask surface --write"
        ));
    }
    for fault in &faults {
        println!("surface: {fault}");
    }
    println!(
        "surface: {} methods and lines proven, {} faults",
        report.proven,
        faults.len()
    );
    Ok(faults.is_empty())
}

struct Report {
    faults: Vec<String>,
    table: String,
    proven: usize,
}

/// What the titles of one suite's passing tests prove.
#[derive(Default)]
struct Proofs {
    works: BTreeSet<String>,
    refused: BTreeSet<String>,
    lines: BTreeSet<u32>,
}

impl Proofs {
    fn of(tests: &[Test]) -> Self {
        let mut proofs = Self::default();
        for test in tests.iter().filter(|test| test.ok) {
            let Some((names, _)) = test.title.split_once(": ") else {
                continue;
            };
            let names: Vec<_> = names.split(", ").collect();
            let set = match names.contains(&"refused") {
                true => &mut proofs.refused,
                false => &mut proofs.works,
            };
            set.extend(names.iter().map(|name| (*name).to_owned()));
            let numbers = names.iter().filter_map(|name| name.strip_prefix("line "));
            proofs
                .lines
                .extend(numbers.filter_map(|number| number.parse::<u32>().ok()));
        }
        proofs
    }
}

fn compare(suites: &[Results], gaps: &Gaps) -> Report {
    let mut faults = Vec::new();
    let mut table =
        String::from("| package | class | works | what does not |\n|---|---|---|---|\n");
    let mut proven = 0;
    let mut lines: BTreeSet<u32> = BTreeSet::new();
    for suite in suites {
        let proofs = Proofs::of(&suite.tests);
        lines.extend(proofs.lines.iter().copied());
        for (package, classes) in &suite.surface {
            for (class, methods) in classes {
                let judged = judge(package, class, methods, gaps, &proofs, &mut faults);
                proven += judged.works;
                // Writing to a String cannot fail.
                let _ = writeln!(
                    table,
                    "| `{package}` | `{class}` | {} | {} |",
                    judged.word(),
                    judged.reasons.join("; ")
                );
            }
        }
    }
    faults.extend(unknown_gaps(suites, gaps));
    let open: BTreeSet<u32> = gaps
        .line
        .iter()
        .flat_map(|gap| gap.numbers.iter().copied())
        .collect();
    for line in 1..=CHECKLIST_LINES {
        match (lines.contains(&line), open.contains(&line)) {
            (true, false) => proven += 1,
            (false, true) => {}
            (true, true) => faults.push(format!(
                "line {line} of the checklist passes but is listed in {GAPS}"
            )),
            (false, false) => {
                faults.push(format!("line {line} of the checklist is proven by no test"))
            }
        }
    }
    Report {
        faults,
        table,
        proven,
    }
}

#[derive(Default)]
struct Judged {
    works: usize,
    missing: usize,
    reasons: Vec<String>,
}

impl Judged {
    fn word(&self) -> &'static str {
        match (self.works, self.missing) {
            (0, _) => "no",
            (_, 0) => "yes",
            _ => "partly",
        }
    }
}

fn judge(
    package: &str,
    class: &str,
    methods: &[String],
    gaps: &Gaps,
    proofs: &Proofs,
    faults: &mut Vec<String>,
) -> Judged {
    let mut judged = Judged::default();
    let of_class: Vec<_> = gaps
        .gap
        .iter()
        .filter(|gap| gap.package == package && gap.class == class)
        .collect();
    for method in methods {
        let name = format!("{class}.{method}");
        let gap = of_class.iter().find(|gap| {
            gap.methods
                .iter()
                .any(|listed| listed == method || listed == "*")
        });
        let (works, refused) = (proofs.works.contains(&name), proofs.refused.contains(&name));
        match gap {
            Some(_) if works => {
                faults.push(format!("{package} {name} works but is listed in {GAPS}"));
                judged.works += 1;
            }
            Some(gap) => {
                judged.missing += 1;
                if !judged.reasons.contains(&gap.reason) {
                    judged.reasons.push(gap.reason.clone());
                }
            }
            None => {
                judged.works += 1;
                if !works {
                    faults.push(format!(
                        "{package} {name}: no passing test shows that it works"
                    ));
                }
                if !refused && may_be_refused(&name, method) {
                    faults.push(format!(
                        "{package} {name}: no passing test shows how it is refused"
                    ));
                }
            }
        }
    }
    judged
}

/// Whether the hub has a say in a method; the others only arrange something inside the SDK.
fn may_be_refused(name: &str, method: &str) -> bool {
    const LOCAL: &[&str] = &[
        // Node
        "constructor",
        "close",
        "setOptions",
        "setTransportOptions",
        "setRetryPolicy",
        "toJSON",
        "fromConnectionString",
        "fromSharedAccessSignature",
        "fromAuthenticationProvider",
        "updateSharedAccessSignature",
        "onDeviceMethod",
        "onMethod",
        "enableTwinDesiredPropertiesUpdates",
        "sendEvent",
        "sendEventBatch",
        "sendOutputEvent",
        "sendOutputEventBatch",
        "getTwin",
        "getConfigurations",
        "getRegistryStatistics",
        "listJobs",
        "list",
        "getModulesOnDevice",
        // Python
        "connected",
        "disconnect",
        "shutdown",
        "from_connection_string",
        "update_sastoken",
        "get_twin",
        "create_from_connection_string",
        "create_from_sastoken",
        "create_from_symmetric_key",
        "send_message",
        "send_message_to_output",
        "send_method_response",
        "receive_method_request",
        "receive_twin_desired_properties_patch",
        "on_background_exception",
        "on_connection_state_change",
        "on_method_request_received",
        "on_new_sastoken_required",
        "on_twin_desired_properties_patch_received",
        "get_configurations",
        "get_device_registry_statistics",
        "get_service_statistics",
        "get_devices",
        "get_import_export_jobs",
    ];
    // A connected device may always read its twin.
    !LOCAL.contains(&method) && name != "device.Twin.get"
}

/// Gaps that name what no SDK has: a slip of the pen, or a method that is gone.
fn unknown_gaps(suites: &[Results], gaps: &Gaps) -> Vec<String> {
    let mut faults = Vec::new();
    for gap in &gaps.gap {
        let methods = suites
            .iter()
            .find_map(|suite| suite.surface.get(&gap.package)?.get(&gap.class));
        let Some(methods) = methods else {
            faults.push(format!(
                "{GAPS} names {} {}, which no SDK has",
                gap.package, gap.class
            ));
            continue;
        };
        let unknown = |listed: &&String| *listed != "*" && !methods.contains(listed);
        for method in gap.methods.iter().filter(unknown) {
            faults.push(format!(
                "{GAPS} names {}.{method}, which no SDK has",
                gap.class
            ));
        }
    }
    faults
}

fn with_table(readme: &str, table: &str) -> anyhow::Result<String> {
    let begin = readme
        .find(TABLE_BEGIN)
        .context("README.md has no place for the table")?
        + TABLE_BEGIN.len();
    let length = readme[begin..]
        .find(TABLE_END)
        .context("README.md has no end of the table")?;
    Ok(format!(
        "{}{table}{}",
        &readme[..begin],
        &readme[begin + length..]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite(titles: &[(&str, bool)]) -> Results {
        let methods = ["create", "get", "send"].map(str::to_owned).to_vec();
        let classes = BTreeMap::from([("Registry".to_owned(), methods)]);
        Results {
            surface: BTreeMap::from([("sdk".to_owned(), classes)]),
            tests: titles
                .iter()
                .map(|(title, ok)| Test {
                    title: (*title).to_owned(),
                    ok: *ok,
                })
                .collect(),
        }
    }

    fn gaps(methods: &[&str]) -> Gaps {
        Gaps {
            gap: vec![Gap {
                package: "sdk".to_owned(),
                class: "Registry".to_owned(),
                methods: methods.iter().map(|one| (*one).to_owned()).collect(),
                reason: "not yet".to_owned(),
            }],
            line: vec![LineGap {
                numbers: (2..=CHECKLIST_LINES).collect(),
                reason: "not yet".to_owned(),
            }],
        }
    }

    const ALL: [(&str, bool); 3] = [
        ("Registry.create, Registry.get: come and go", true),
        (
            "Registry.create, Registry.get, refused: what is not there",
            true,
        ),
        ("line 1: goes on", true),
    ];

    #[test]
    fn what_is_proven_or_a_known_gap_is_no_fault() {
        let report = compare(&[suite(&ALL)], &gaps(&["send"]));
        assert_eq!(report.faults, Vec::<String>::new());
        assert_eq!(report.proven, 3);
        assert!(
            report
                .table
                .contains("| `sdk` | `Registry` | partly | not yet |")
        );
    }

    #[test]
    fn what_is_not_proven_or_failed_is_a_fault_and_so_is_a_gap_that_works() {
        let mut titles = ALL;
        titles[1].1 = false;
        let report = compare(&[suite(&titles)], &gaps(&["send", "get"]));
        let [works, refused] = &report.faults[..] else {
            panic!("{:?}", report.faults);
        };
        assert!(
            refused.contains("Registry.get works but is listed"),
            "{refused}"
        );
        assert!(
            works.contains("Registry.create: no passing test shows how it is refused"),
            "{works}"
        );
    }

    #[test]
    fn gaps_that_no_sdk_has_and_lines_nobody_proves_are_faults() {
        let mut gaps = gaps(&["send", "fly"]);
        gaps.line[0].numbers.pop();
        let faults = compare(&[suite(&ALL)], &gaps).faults;
        assert!(
            faults.iter().any(|fault| fault.contains("Registry.fly")),
            "{faults:?}"
        );
        assert!(
            faults.iter().any(|fault| fault.contains("line 16")),
            "{faults:?}"
        );
    }

    #[test]
    fn the_table_replaces_what_stood_between_its_marks() {
        let readme = format!("head\n{TABLE_BEGIN}old\n{TABLE_END}\ntail");
        let wanted = format!("head\n{TABLE_BEGIN}new\n{TABLE_END}\ntail");
        assert_eq!(with_table(&readme, "new\n").ok(), Some(wanted));
        assert!(with_table("nothing", "new").is_err());
    }
}
