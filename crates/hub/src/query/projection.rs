//! Decides what a query without groups answers with: the columns of a row.

use super::document::Document;
use super::path::Path;
use super::value::write_object;

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
        let columns = self
            .columns
            .iter()
            .map(|column| (&*column.key, &column.path));
        write_object(out, columns, |path, out| {
            document.value(path).write_json(out)
        });
    }
}
