//! Makes the pages of `docs/reference` that repeat what the code declares, and nothing more.
//!
//! The sources keep to one form, which is all that is read here: the table in `telemetry/metrics.rs`, and the
//! arguments of `fanfare serve` with their documentation. Tidy compares the pages with what these functions make.
//! The page of verbs is made by the command itself.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, bail};

use crate::suite::command::CommandLine;

/// Page, source, and what makes the one of the other.
pub(crate) const PAGES: [(&str, &str, Make); 2] = [
    (
        "docs/reference/metrics.md",
        "crates/server/src/telemetry/metrics.rs",
        metrics,
    ),
    (
        "docs/reference/config.md",
        "crates/cli/src/serve.rs",
        config,
    ),
];

/// The page that the command makes of its own verbs; a test of the command's compares it, since tidy builds nothing.
const VERBS_PAGE: &str = "docs/reference/cli.md";
const VERBS: [&str; 6] = ["run", "-q", "-p", "fanfare-cli", "--", "reference"];

type Make = fn(&str) -> anyhow::Result<String>;

/// Writes every page anew.
///
/// # Errors
/// When a source is not in its form, or a file cannot be read or written.
pub(crate) fn write(root: &Path) -> anyhow::Result<bool> {
    for (page, source, make) in PAGES {
        let text = fs::read_to_string(root.join(source)).context(source)?;
        fs::write(root.join(page), make(&text).context(source)?).context(page)?;
    }
    let verbs = CommandLine::cargo(VERBS).output();
    let verbs = verbs.context("fanfare reference did not run: cargo run -p fanfare-cli")?;
    fs::write(root.join(VERBS_PAGE), verbs).context(VERBS_PAGE)?;
    Ok(true)
}

const METRICS_HEAD: &str = "# Metrics

`GET /fanfare/v1/metrics` shows these in Prometheus' text form, to whoever may read jobs. Counters begin at nothing with each
start of the hub; `fanfare_jobs` and `fanfare_store_bytes` are read from the store. Which of them deserve an alert is in
[watching a hub](../operate/watching.md).

Made from `crates/server/src/telemetry/metrics.rs` by `cargo xtask reference`.

| metric | kind | unit | labels | meaning |
|---|---|---|---|---|
";

/// The table of metrics.
fn metrics(source: &str) -> anyhow::Result<String> {
    let (_, table) = source
        .split_once("\nmetrics! {\n")
        .context("there is no table of metrics")?;
    let (table, _) = table
        .split_once("\n}\n")
        .context("the table does not end")?;
    let mut page = METRICS_HEAD.to_owned();
    let mut meaning = String::new();
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(text) = line.strip_prefix("///") {
            meaning = text.trim().to_owned();
            continue;
        }
        let Some((kind, name, unit, labels)) = metric(line) else {
            bail!("not a line of the table: {line}");
        };
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = labels.join(", ");
        writeln!(
            page,
            "| `{name}` | {kind} | {unit} | {labels} | {meaning} |"
        )?;
    }
    Ok(page)
}

/// `NAME: Kind "name" in "unit" by ["label"];`
fn metric(line: &str) -> Option<(String, &str, &str, Vec<&str>)> {
    let (_, rest) = line.split_once(": ")?;
    let (kind, rest) = rest.split_once(" \"")?;
    let (name, rest) = rest.split_once("\" in \"")?;
    let (unit, rest) = rest.split_once("\" by [")?;
    let labels = rest.strip_suffix("];")?;
    let labels = labels.split('"').skip(1).step_by(2).collect();
    Some((kind.to_lowercase(), name, unit, labels))
}

const CONFIG_HEAD: &str = "# Configuration

Each setting of `fanfare serve` is a flag, an environment variable and a key of the TOML file that `--config` or
`FANFARE_CONFIG` names. Flags override variables, variables override the file. Lists are repeated flags, TOML arrays, or one text
with commas. `fanfare serve --check` says everything that is wrong with them at once.

Made from `crates/cli/src/serve.rs` by `cargo xtask reference`.

| flag | variable | key | meaning |
|---|---|---|---|
";

/// The table of settings, from the arguments of `fanfare serve`.
fn config(source: &str) -> anyhow::Result<String> {
    let (_, fields) = source
        .split_once("struct ServeArgs {\n")
        .context("there are no arguments")?;
    let (fields, _) = fields.split_once("\n}\n").context("they do not end")?;
    let mut page = CONFIG_HEAD.to_owned();
    let mut meaning = Vec::new();
    for line in fields.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            meaning.push(text.trim());
        }
        let Some((name, _)) = line.split_once(": ").filter(|(name, _)| is_field(name)) else {
            continue;
        };
        let flag = name.replace('_', "-");
        let text = std::mem::take(&mut meaning).join(" ").replace('|', "\\|");
        let (variable, key) = match name {
            // It says where the others are; the check is no setting.
            "config" => ("`FANFARE_CONFIG`".to_owned(), String::new()),
            "check" => (String::new(), String::new()),
            _ => (
                format!("`FANFARE_{}`", name.to_uppercase()),
                format!("`{flag}`"),
            ),
        };
        let text = text.replace(" [env: FANFARE_CONFIG]", "");
        writeln!(page, "| `--{flag}` | {variable} | {key} | {text} |")?;
    }
    Ok(page)
}

fn is_field(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_metrics_becomes_a_page() {
        let source = "x\nmetrics! {\n    /// Open ones.\n    A: Gauge \"a\" in \"b c\" by [\"d\", \"e\"];\n\n    /// All.\n    F: Counter \"f_total\" in \"g\" by [];\n}\n";
        let page = metrics(source).unwrap();
        let table = page.strip_prefix(METRICS_HEAD).unwrap();
        assert_eq!(
            table,
            "| `a` | gauge | b c | `d`, `e` | Open ones. |\n| `f_total` | counter | g |  | All. |\n"
        );
        assert!(metrics("\nmetrics! {\nA = 3;\n}\n").is_err());
        assert!(metrics("").is_err());
    }

    #[test]
    fn arguments_become_a_page() {
        let source = "pub struct ServeArgs {\n    /// A file [env: FANFARE_CONFIG].\n    #[arg(long)]\n    config: Option<PathBuf>,\n    /// Days,\n    /// or more [default: 30].\n    #[arg(long, value_name = \"DAYS\")]\n    job_days: Option<u32>,\n    /// Check.\n    check: bool,\n}\n";
        let page = config(source).unwrap();
        let table = page.strip_prefix(CONFIG_HEAD).unwrap();
        assert_eq!(
            table,
            "| `--config` | `FANFARE_CONFIG` |  | A file. |\n\
             | `--job-days` | `FANFARE_JOB_DAYS` | `job-days` | Days, or more [default: 30]. |\n\
             | `--check` |  |  | Check. |\n"
        );
    }
}
