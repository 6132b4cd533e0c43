//! Decides how wide the columns of a table are, and lays rows out.
//!
//! The first rows are kept back to learn the widths; later ones keep to them, so a table that streams stays a table.
//! On a terminal a row never is wider than it: long cells go over several lines, ids last. Elsewhere cells are never
//! broken, so that a line is a row for whoever reads lines.

use std::io::{self, Write};

use clap::builder::styling::{AnsiColor, Style};
use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, Width,
    presets::NOTHING,
};
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use super::{Column, Tone};

/// Rows that decide the widths, and that are laid out together.
const CHUNK_ROWS: usize = 200;
/// Columns between two cells.
const GAP: usize = 2;
/// A column is not made narrower than this for the sake of whole ids.
const NARROW: usize = 8;

/// How many columns the terminal of standard output has; `None` when it is no terminal.
pub(super) fn terminal_width() -> Option<usize> {
    Table::new().width().map(usize::from)
}

/// Writes rows as a table.
pub(super) struct TableWriter<W> {
    out: W,
    columns: Vec<Column>,
    /// Of the terminal.
    width: Option<usize>,
    kept: Vec<Vec<String>>,
    /// Of the columns, once they are known.
    widths: Vec<usize>,
}

impl<W: Write> TableWriter<W> {
    pub(super) fn new(out: W, columns: Vec<Column>, width: Option<usize>) -> Self {
        Self {
            out,
            columns,
            width,
            kept: Vec::new(),
            widths: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, row: &Value) -> io::Result<()> {
        let cells = self.columns.iter().map(|column| column.cell(row));
        self.kept.push(cells.collect());
        if self.kept.len() >= CHUNK_ROWS {
            return self.flush();
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.kept.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.kept);
        let is_first = self.widths.is_empty();
        if is_first || self.width.is_none() {
            let wanted = self.wanted(&rows);
            let keep: Vec<bool> = self.columns.iter().map(|column| column.is_whole).collect();
            self.widths = match self.width {
                Some(width) => fit(&wanted, &keep, width),
                None => wanted,
            };
        }
        let text = self.laid_out(&rows, is_first);
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// The widest cell of each column, and no less than it had before.
    fn wanted(&self, rows: &[Vec<String>]) -> Vec<usize> {
        let mut wanted: Vec<usize> = self.columns.iter().map(|c| c.title().width()).collect();
        for (n, width) in self.widths.iter().enumerate() {
            wanted[n] = wanted[n].max(*width);
        }
        for row in rows {
            for (wanted, cell) in wanted.iter_mut().zip(row) {
                *wanted = (*wanted).max(cell.width());
            }
        }
        wanted
    }

    fn laid_out(&self, rows: &[Vec<String>], with_head: bool) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        // Cells carry their constraint; the writer takes colours away where they do not belong.
        table.set_width(u16::MAX);
        table.enforce_styling();
        if with_head {
            let head = self.columns.iter().map(|column| {
                aligned(column, Cell::new(column.title())).add_attribute(Attribute::Bold)
            });
            table.set_header(head.collect::<Vec<_>>());
        }
        for row in rows {
            let cells = self.columns.iter().zip(row).map(|(column, text)| {
                let tone = column.toned.map_or(Tone::Plain, |toned| toned(text));
                aligned(column, toned(Cell::new(text), tone))
            });
            table.add_row(cells.collect::<Vec<_>>());
        }
        let last = self.widths.len().saturating_sub(1);
        for (n, width) in self.widths.iter().enumerate() {
            let gap = if n == last { 0 } else { GAP };
            let Some(column) = table.column_mut(n) else {
                continue;
            };
            column.set_padding((0, u16::try_from(gap).unwrap_or(0)));
            let width = u16::try_from(width + gap).unwrap_or(u16::MAX);
            column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(width)));
        }
        let mut text = String::new();
        for line in table.lines() {
            push_trimmed(&mut text, &line);
            text.push('\n');
        }
        text
    }
}

/// A line without the blanks at its end, also those before the code that ends a colour.
fn push_trimmed(text: &mut String, line: &str) {
    let line = line.trim_end();
    let end = line.strip_suffix(RESET).unwrap_or(line);
    text.push_str(end.trim_end());
    text.push_str(&line[end.len()..]);
}

/// What crossterm writes after a styled cell.
const RESET: &str = "\u{1b}[0m";

fn aligned(column: &Column, cell: Cell) -> Cell {
    if column.is_right {
        return cell.set_alignment(CellAlignment::Right);
    }
    cell
}

fn toned(cell: Cell, tone: Tone) -> Cell {
    match tone {
        Tone::Plain => cell,
        Tone::Good => cell.fg(Color::DarkGreen),
        Tone::Bad => cell.fg(Color::DarkRed),
        Tone::Waiting => cell.fg(Color::DarkYellow),
        Tone::Dim => cell.add_attribute(Attribute::Dim),
    }
}

/// Widths that fit into `width`: the widest columns give way first, those to keep last.
fn fit(wanted: &[usize], keep: &[bool], width: usize) -> Vec<usize> {
    let gaps = GAP * wanted.len().saturating_sub(1);
    let room = width.saturating_sub(gaps).max(wanted.len());
    if wanted.iter().sum::<usize>() <= room {
        return wanted.to_vec();
    }
    let sum = |is_kept: bool, width: fn(usize) -> usize| -> usize {
        let columns = wanted.iter().zip(keep);
        let columns = columns.filter(|(_, keep)| **keep == is_kept);
        columns.map(|(wanted, _)| width(*wanted)).sum()
    };
    let kept = sum(true, |wanted| wanted);
    if kept + sum(false, |wanted| wanted.min(NARROW)) <= room {
        let mut widths = wanted.to_vec();
        let cut: Vec<usize> = (0..wanted.len()).filter(|n| !keep[*n]).collect();
        let narrowed = level(
            &cut.iter().map(|n| wanted[*n]).collect::<Vec<_>>(),
            room - kept,
        );
        for (n, width) in cut.into_iter().zip(narrowed) {
            widths[n] = width;
        }
        return widths;
    }
    level(wanted, room)
}

/// Cuts every width to one level, the highest at which all fit, and hands what is left to the first ones cut.
fn level(wanted: &[usize], room: usize) -> Vec<usize> {
    let widest = wanted.iter().copied().max().unwrap_or(0).min(room);
    let at = |level: usize| {
        wanted
            .iter()
            .map(|width| (*width).min(level))
            .sum::<usize>()
    };
    let level = (1..=widest)
        .rev()
        .find(|level| at(*level) <= room)
        .unwrap_or(1);
    let mut left = room.saturating_sub(at(level));
    let cut = wanted.iter().map(|width| {
        let more = usize::from(*width > level && left > 0);
        left -= more;
        (*width).min(level) + more
    });
    cut.collect()
}

/// One value as lines of `title  value`.
pub(super) fn card(columns: &[Column], value: &Value) -> String {
    let bold = Style::new().bold();
    let widest = columns.iter().map(|column| column.title().width()).max();
    let mut text = String::new();
    for column in columns {
        let title = column.title();
        let pad = " ".repeat(widest.unwrap_or(0) - title.width() + GAP);
        let cell = column.cell(value);
        let style = style(column.toned.map_or(Tone::Plain, |toned| toned(&cell)));
        text.push_str(&format!(
            "{bold}{title}{bold:#}{pad}{style}{cell}{style:#}\n"
        ));
    }
    text
}

fn style(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::new(),
        Tone::Good => AnsiColor::Green.on_default(),
        Tone::Bad => AnsiColor::Red.on_default(),
        Tone::Waiting => AnsiColor::Yellow.on_default(),
        Tone::Dim => Style::new().dimmed(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn columns() -> Vec<Column> {
        vec![
            Column::new("deviceId").titled("device").whole(),
            Column::new("status"),
            Column::new("count").right(),
            Column::new("tags"),
        ]
    }

    fn rows() -> Vec<Value> {
        vec![
            json!({"deviceId": "door-43-303-long-id-of-a-device", "status": "enabled", "count": 7,
                "tags": {"building": "43", "floor": 3, "note": "by the stairs"}}),
            json!({"deviceId": "d-1", "status": "disabled", "count": 12345, "tags": {}}),
        ]
    }

    fn table(width: Option<usize>, rows: &[Value]) -> String {
        let mut written = Vec::new();
        let out = anstream::StripStream::new(&mut written);
        let mut table = TableWriter::new(out, columns(), width);
        for row in rows {
            table.push(row).unwrap();
        }
        table.flush().unwrap();
        drop(table);
        String::from_utf8(written).unwrap()
    }

    fn widest(text: &str) -> usize {
        text.lines().map(|line| line.width()).max().unwrap_or(0)
    }

    #[test]
    fn a_wide_terminal_shows_each_row_in_a_line() {
        let expected = "\
device                           status    count  tags
door-43-303-long-id-of-a-device  enabled       7  {\"building\":\"43\",\"floor\":3,\"note\":\"by the stairs\"}
d-1                              disabled  12345  {}
";
        assert_eq!(table(Some(140), &rows()), expected);
        assert_eq!(table(None, &rows()), expected);
    }

    #[test]
    fn a_narrower_terminal_breaks_what_is_not_an_id() {
        for width in [60, 80] {
            let text = table(Some(width), &rows());
            assert!(widest(&text) <= width, "{text}");
            assert!(text.contains("door-43-303-long-id-of-a-device"), "{text}");
            let whole: String = text.lines().skip(1).collect::<String>();
            assert!(whole.replace([' '], "").contains("disabled"), "{text}");
        }
    }

    #[test]
    fn a_very_narrow_one_breaks_ids_too_and_loses_nothing() {
        let text = table(Some(30), &rows());
        assert!(widest(&text) <= 30, "{text}");
        let letters = text.matches('0').count() + text.matches('3').count();
        assert_eq!(
            letters,
            table(None, &rows()).matches(['0', '3']).count(),
            "{text}"
        );
    }

    #[test]
    fn later_rows_keep_to_the_widths_of_the_first_and_there_is_one_head() {
        let many: Vec<Value> = (0..CHUNK_ROWS + 2)
            .map(|n| {
                let tags = if n > CHUNK_ROWS {
                    "long ".repeat(40)
                } else {
                    "t".to_owned()
                };
                json!({"deviceId": format!("d-{n}"), "status": "enabled", "count": n, "tags": tags})
            })
            .collect();
        let text = table(Some(60), &many);
        assert!(widest(&text) <= 60, "{text}");
        assert_eq!(text.matches("device").count(), 1, "{text}");
        let piped = table(None, &many);
        assert_eq!(piped.lines().count(), many.len() + 1);
    }

    #[test]
    fn a_missing_value_is_a_dash() {
        let text = table(Some(80), &[json!({"deviceId": "d"})]);
        assert_eq!(text.lines().nth(1), Some("d       -           -  -"));
    }

    #[test]
    fn widths_share_what_there_is() {
        assert_eq!(fit(&[10, 10], &[false, false], 80), [10, 10]);
        assert_eq!(fit(&[10, 100], &[false, false], 52), [10, 40]);
        assert_eq!(fit(&[50, 50], &[true, false], 72), [50, 20]);
        // No room to keep it whole.
        assert_eq!(fit(&[50, 50], &[true, false], 42), [20, 20]);
        assert_eq!(fit(&[50, 50], &[false, false], 43), [21, 20]);
        assert_eq!(fit(&[9, 9, 9], &[false; 3], 1), [1, 1, 1]);
    }

    #[test]
    fn a_card_has_a_line_for_each_column() {
        let text = card(&columns(), &rows()[1]);
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(
            plain,
            "device  d-1\nstatus  disabled\ncount   12345\ntags    {}\n"
        );
    }
}
