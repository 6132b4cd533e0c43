//! Decides what a query answers with: the columns of a row, and counts over rows.

use super::document::Document;
use super::path::Path;
use super::value::write_string;

/// One object per row.
#[derive(Debug, Clone, PartialEq)]
pub struct Projection {
    columns: Box<[Column]>,
}

/// A member of the object and where its value comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// The alias, or the last step of the path in canonical casing. compat: QUERY-15
    pub key: Box<str>,
    /// Where.
    pub path: Path,
}

impl Projection {
    pub(super) fn new(columns: Vec<Column>) -> Self {
        Self {
            columns: columns.into(),
        }
    }

    /// The columns in the order they were written; no two have the same key.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Appends the row's JSON object to `out`. Columns that are undefined are left out.
    pub fn write_row<D: Document + ?Sized>(&self, document: &D, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut first = true;
        for column in &self.columns {
            let before = out.len();
            if !first {
                out.push(b',');
            }
            write_string(out, &column.key);
            out.push(b':');
            if document.value(&column.path).write_json(out) {
                first = false;
            } else {
                out.truncate(before);
            }
        }
        out.push(b'}');
    }
}

/// One object over all rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Counts {
    counts: Box<[Count]>,
}

/// `COUNT() AS key` or `COUNT(path) AS key`.
#[derive(Debug, Clone, PartialEq)]
pub struct Count {
    /// The alias, or `count`. compat: QUERY-16
    pub key: Box<str>,
    /// Count rows where this is defined; `None` counts every row.
    pub path: Option<Path>,
}

/// Counts in the making.
#[derive(Debug, Clone)]
pub struct Tally {
    counts: Counts,
    rows: Vec<u64>,
}

impl Counts {
    pub(super) fn new(counts: Vec<Count>) -> Self {
        Self {
            counts: counts.into(),
        }
    }

    /// The counts in the order they were written; no two have the same key.
    pub fn counts(&self) -> &[Count] {
        &self.counts
    }

    /// Whether only rows are counted, so that none has to be looked into once it matched.
    pub fn only_rows(&self) -> bool {
        self.counts.iter().all(|count| count.path.is_none())
    }

    /// A tally at zero.
    pub fn tally(&self) -> Tally {
        Tally {
            counts: self.clone(),
            rows: vec![0; self.counts.len()],
        }
    }
}

impl Tally {
    /// Counts a matching row.
    pub fn add<D: Document + ?Sized>(&mut self, document: &D) {
        for (count, rows) in self.counts.counts.iter().zip(&mut self.rows) {
            let counted = match &count.path {
                None => true,
                Some(path) => document.value(path) != super::Value::Undefined,
            };
            *rows += u64::from(counted);
        }
    }

    /// Counts `rows` matching rows that need not be looked into; right where
    /// [`Counts::only_rows`] holds.
    pub fn add_rows(&mut self, rows: u64) {
        for sum in &mut self.rows {
            *sum += rows;
        }
    }

    /// Appends the JSON object of the counts to `out`.
    pub fn write_row(&self, out: &mut Vec<u8>) {
        for (n, (count, rows)) in self.counts.counts.iter().zip(&self.rows).enumerate() {
            out.push(if n == 0 { b'{' } else { b',' });
            write_string(out, &count.key);
            out.push(b':');
            out.extend_from_slice(rows.to_string().as_bytes());
        }
        out.push(b'}');
    }
}
