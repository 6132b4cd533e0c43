//! How results are printed: a table for people, JSON, JSON lines or CSV for programs.
//!
//! Decides the four formats and nothing about their content: a verb declares its [`Column`]s once and pushes rows
//! as JSON values. Results go to standard output and nothing else does; rows go out as they come, so a million of
//! them need no memory. `table.rs` decides how wide columns are.

mod table;

use std::borrow::Cow;
use std::io::{Stdout, Write, stdout};

use anstream::AutoStream;
use clap::{Args, ValueEnum};
use fanfare_client::Timestamp;
use serde_json::Value;

use self::table::TableWriter;
use crate::failure::Failure;
use crate::job::figures;

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// A table for people; what it shows may change.
    #[default]
    Table,
    /// One JSON document: an array where there may be many, an object where there is one.
    Json,
    /// One JSON document a line, as they come.
    Jsonl,
    /// Comma-separated values below a line of names.
    Csv,
}

/// `--output`, for verbs that print results.
#[derive(Debug, Clone, Default, Args)]
pub struct OutputArgs {
    /// How the result is printed: table for people; json, jsonl or csv for programs.
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        hide_possible_values = true
    )]
    pub format: Format,
}

/// One column of tables and CSV: which member of a row it shows, and how a table does.
///
/// ```
/// use fanfare_cli::output::{Column, Tone};
///
/// let columns = [
///     Column::new("deviceId").titled("device").whole(),
///     Column::new("building").at("/tags/building"),
///     Column::new("status").toned(|text| if text == "enabled" { Tone::Good } else { Tone::Bad }),
/// ];
/// # assert_eq!(columns.len(), 3);
/// ```
#[derive(Debug, Clone)]
pub struct Column {
    name: Cow<'static, str>,
    title: Option<Cow<'static, str>>,
    pointer: Cow<'static, str>,
    shown: Option<fn(&Value) -> String>,
    toned: Option<fn(&str) -> Tone>,
    is_right: bool,
    is_whole: bool,
    place: Place,
}

/// What a cell's colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// Nothing.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Somebody should look.
    Bad,
    /// Under way, or undecided.
    Waiting,
    /// Of little interest.
    Dim,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Both,
    Table,
    Csv,
}

impl Column {
    /// The member `name` of a row. The name heads the column in CSV, where it is stable.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        let name = name.into();
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        Self {
            name,
            title: None,
            pointer: pointer.into(),
            shown: None,
            toned: None,
            is_right: false,
            is_whole: false,
            place: Place::Both,
        }
    }

    /// Where in a row the value is, a JSON pointer such as `/error/code`.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<Cow<'static, str>>) -> Self {
        self.pointer = pointer.into();
        self
    }

    /// What heads the column in a table, when it is not the name.
    #[must_use]
    pub fn titled(mut self, title: impl Into<Cow<'static, str>>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// How a table writes the value; null when the row has none.
    #[must_use]
    pub fn shown(mut self, shown: fn(&Value) -> String) -> Self {
        self.shown = Some(shown);
        self
    }

    /// The colour of a cell, by its text.
    #[must_use]
    pub fn toned(mut self, toned: fn(&str) -> Tone) -> Self {
        self.toned = Some(toned);
        self
    }

    /// Numbers stand at the right.
    #[must_use]
    pub fn right(mut self) -> Self {
        self.is_right = true;
        self
    }

    /// A table breaks other columns first: for ids, which people copy.
    #[must_use]
    pub fn whole(mut self) -> Self {
        self.is_whole = true;
        self
    }

    /// Not in CSV.
    #[must_use]
    pub fn only_table(mut self) -> Self {
        self.place = Place::Table;
        self
    }

    /// Not in tables.
    #[must_use]
    pub fn only_csv(mut self) -> Self {
        self.place = Place::Csv;
        self
    }

    fn title(&self) -> &str {
        self.title.as_deref().unwrap_or(&self.name)
    }

    fn value<'a>(&self, row: &'a Value) -> &'a Value {
        row.pointer(&self.pointer).unwrap_or(&Value::Null)
    }

    /// The text of a table's cell, in one line and harmless to a terminal.
    fn cell(&self, row: &Value) -> String {
        let value = self.value(row);
        let text = match (self.shown, value) {
            (Some(shown), value) => shown(value),
            (None, Value::Null) => String::new(),
            (None, value) => text(value),
        };
        if text.is_empty() {
            return "-".to_owned();
        }
        harmless(&text)
    }
}

/// Prints rows as they come.
///
/// ```no_run
/// # fn main() -> Result<(), fanfare_cli::failure::Failure> {
/// use fanfare_cli::output::{Column, OutputArgs, RowWriter};
/// use serde_json::json;
///
/// let mut rows = RowWriter::start(&OutputArgs::default(), vec![Column::new("deviceId")]);
/// rows.push(&json!({"deviceId": "door-1"}))?;
/// rows.finish()?;
/// # Ok(())
/// # }
/// ```
pub struct RowWriter {
    kind: Kind,
    rows: u64,
    when_none: Option<String>,
}

enum Kind {
    Table(TableWriter<AutoStream<Stdout>>),
    Json(Sink),
    Jsonl(Sink),
    Csv(Sink, Vec<Column>),
}

impl RowWriter {
    /// Rows of these columns in the format that was asked for; nothing is printed yet.
    #[must_use]
    pub fn start(output: &OutputArgs, columns: Vec<Column>) -> Self {
        let kind = match output.format {
            Format::Table => Kind::Table(TableWriter::new(
                anstream::stdout(),
                shown_in(columns, Place::Table),
                table::terminal_width(),
            )),
            Format::Json => Kind::Json(Sink::new()),
            Format::Jsonl => Kind::Jsonl(Sink::new()),
            Format::Csv => Kind::Csv(Sink::new(), shown_in(columns, Place::Csv)),
        };
        Self {
            kind,
            rows: 0,
            when_none: None,
        }
    }

    /// What a person is told, on standard error, when there is no row at all.
    #[must_use]
    pub fn when_none(mut self, text: impl Into<String>) -> Self {
        self.when_none = Some(text.into());
        self
    }

    /// One more row. JSON shows all of it, tables and CSV what their columns show.
    ///
    /// # Errors
    /// When it cannot be written; a closed pipe ends the process quietly.
    pub fn push(&mut self, row: &Value) -> Result<(), Failure> {
        let is_first = self.rows == 0;
        self.rows += 1;
        match &mut self.kind {
            Kind::Table(table) => table.push(row)?,
            Kind::Json(sink) => {
                let text = serde_json::to_string_pretty(row).map_err(anyhow::Error::from)?;
                sink.write(if is_first { "[\n  " } else { ",\n  " })?;
                sink.write(&text.replace('\n', "\n  "))?;
            }
            Kind::Jsonl(sink) => sink.write(&format!("{row}\n"))?,
            Kind::Csv(sink, columns) => {
                if is_first {
                    sink.write(&csv_line(columns.iter().map(|column| &*column.name)))?;
                }
                sink.write(&csv_row(columns, row))?;
            }
        }
        Ok(())
    }

    /// Prints what is kept back for want of more: call it where the next row may take a while.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn flush(&mut self) -> Result<(), Failure> {
        match &mut self.kind {
            Kind::Table(table) => table.flush()?,
            Kind::Json(sink) | Kind::Jsonl(sink) | Kind::Csv(sink, _) => sink.flush()?,
        }
        Ok(())
    }

    /// Prints the end; returns how many rows there were.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(mut self) -> Result<u64, Failure> {
        let is_empty = self.rows == 0;
        match &mut self.kind {
            Kind::Json(sink) if is_empty => sink.write("[]\n")?,
            Kind::Json(sink) => sink.write("\n]\n")?,
            Kind::Csv(sink, columns) if is_empty => {
                sink.write(&csv_line(columns.iter().map(|column| &*column.name)))?;
            }
            Kind::Table(_) if is_empty => {
                if let Some(text) = &self.when_none {
                    crate::diagnostic::say(text);
                }
            }
            _ => {}
        }
        self.flush()?;
        Ok(self.rows)
    }
}

/// Prints one result: a table has a line for each column, JSON is the whole value.
///
/// # Errors
/// When it cannot be written; a closed pipe ends the process quietly.
pub fn show_one(output: &OutputArgs, columns: Vec<Column>, value: &Value) -> Result<(), Failure> {
    match output.format {
        Format::Table => {
            let columns = shown_in(columns, Place::Table);
            let mut out = anstream::stdout();
            out.write_all(table::card(&columns, value).as_bytes())?;
            out.flush()?;
            Ok(())
        }
        Format::Json => {
            let text = serde_json::to_string_pretty(value).map_err(anyhow::Error::from)?;
            writeln!(stdout(), "{text}")?;
            Ok(())
        }
        Format::Jsonl | Format::Csv => {
            let mut rows = RowWriter::start(output, columns);
            rows.push(value)?;
            rows.finish().map(drop)
        }
    }
}

/// Prints a line for people to standard output, where a result is no data: "Job lock-43 is cancelled."
///
/// # Errors
/// When it cannot be written; a closed pipe ends the process quietly.
pub fn line(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// A time of a document for people: `2026-12-01 03:00:00+01:00` on this machine's clock; nothing for what is none,
/// or "never".
#[must_use]
pub fn moment(value: &Value) -> String {
    let at = value.as_str().and_then(|text| Timestamp::parse(text).ok());
    at.filter(|at| *at != Timestamp::NEVER)
        .map(figures::moment)
        .unwrap_or_default()
}

fn shown_in(columns: Vec<Column>, place: Place) -> Vec<Column> {
    let is_shown = |column: &Column| column.place == Place::Both || column.place == place;
    columns.into_iter().filter(is_shown).collect()
}

/// A value as a table and CSV write it: strings bare, the rest as JSON.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What comes from devices and tags must not move the cursor: control characters are written as escapes.
fn harmless(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

fn csv_row(columns: &[Column], row: &Value) -> String {
    let cells: Vec<String> = columns
        .iter()
        .map(|column| match column.value(row) {
            Value::Null => String::new(),
            value => text(value),
        })
        .collect();
    csv_line(cells.iter().map(String::as_str))
}

/// RFC 4180, with a bare line feed as every tool here ends lines.
fn csv_line<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    let mut line = String::new();
    for (n, cell) in cells.enumerate() {
        if n > 0 {
            line.push(',');
        }
        if cell.contains([',', '"', '\n', '\r']) || cell.starts_with(' ') || cell.ends_with(' ') {
            line.push('"');
            line.push_str(&cell.replace('"', "\"\""));
            line.push('"');
        } else {
            line.push_str(cell);
        }
    }
    line.push('\n');
    line
}

/// Standard output with a buffer of its own: the standard one writes every line.
struct Sink {
    out: Stdout,
    kept: String,
}

/// Bytes kept back before they are written.
const KEPT_BYTES_MAX: usize = 64 * 1024;

impl Sink {
    fn new() -> Self {
        Self {
            out: stdout(),
            kept: String::new(),
        }
    }

    fn write(&mut self, text: &str) -> std::io::Result<()> {
        self.kept.push_str(text);
        if self.kept.len() >= KEPT_BYTES_MAX {
            return self.flush();
        }
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.write_all(self.kept.as_bytes())?;
        self.kept.clear();
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn csv_quotes_what_it_must_and_nests_json() {
        let columns = [
            Column::new("id"),
            Column::new("tags"),
            Column::new("code").at("/error/code"),
            Column::new("absent"),
        ];
        let row = json!({"id": "a,\"b\"", "tags": {"x": 1}, "error": {"code": 7}});
        assert_eq!(
            csv_row(&columns, &row),
            "\"a,\"\"b\"\"\",\"{\"\"x\"\":1}\",7,\n"
        );
        assert_eq!(
            csv_line(["a", " b", "c\nd"].into_iter()),
            "a,\" b\",\"c\nd\"\n"
        );
    }

    #[test]
    fn a_cell_cannot_move_the_cursor() {
        let row = json!({"name": "a\u{1b}[2Jb\nc"});
        assert_eq!(Column::new("name").cell(&row), "a\\u{1b}[2Jb\\nc");
    }

    #[test]
    fn a_name_with_a_slash_is_still_a_member() {
        let row = json!({"a/b": 1});
        assert_eq!(Column::new("a/b").cell(&row), "1");
    }

    #[test]
    fn never_is_no_moment() {
        assert_eq!(moment(&json!("0001-01-01T00:00:00Z")), "");
        assert!(moment(&json!("2026-12-01T02:00:00.1234560Z")).starts_with("2026-"));
        assert_eq!(moment(&Value::Null), "");
    }
}
