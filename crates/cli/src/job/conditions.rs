//! Conditions as text: of ids, and turned into queries that ask what they select.
//!
//! A condition begins a line of its own inside such a query, so that the place in a refusal is its place in the
//! condition, one line down.

use fanfare_client::literal;

/// `deviceId IN ['a','b']`.
pub(crate) fn one_of<'a>(device_ids: impl IntoIterator<Item = &'a str>) -> String {
    let mut condition = String::from("deviceId IN [");
    for (at, id) in device_ids.into_iter().enumerate() {
        if at > 0 {
            condition.push(',');
        }
        condition.push_str(&literal(id));
    }
    condition.push(']');
    condition
}

/// What a condition selects from, and how. The hub alone decides what it means: this only finds its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Selection<'a> {
    /// What stands between FROM and WHERE: `devices`, `devices.modules`, either perhaps with an alias.
    source: &'a str,
    /// The text behind WHERE; `None` for everyone.
    filter: Option<&'a str>,
    /// Bytes of the condition before `filter`.
    filter_at: usize,
}

impl<'a> Selection<'a> {
    /// Takes `condition` apart: `*`, what follows WHERE, or either behind `FROM source WHERE`.
    pub(crate) fn of(condition: &'a str) -> Self {
        let (source, filter_at) = from_clause(condition).unwrap_or(("devices", 0));
        let filter = condition[filter_at..].trim();
        let starts_at =
            filter_at + (condition.len() - filter_at) - condition[filter_at..].trim_start().len();
        Self {
            source,
            filter: (filter != "*" && !filter.is_empty()).then_some(filter),
            filter_at: starts_at,
        }
    }

    /// Whether it selects modules.
    pub(crate) fn is_of_modules(&self) -> bool {
        self.source
            .to_ascii_lowercase()
            .starts_with("devices.modules")
    }

    /// "device" or "module".
    pub(crate) fn noun(&self) -> &'static str {
        if self.is_of_modules() {
            "module"
        } else {
            "device"
        }
    }

    /// `SELECT columns` of what it selects, the filter at the end as it was written: the hub's words about this query
    /// are about the filter, and brackets that do not match stay so.
    pub(crate) fn plain_query(&self, columns: &str) -> String {
        let source = self.source;
        match self.filter {
            Some(filter) => format!("SELECT {columns} FROM {source} WHERE\n{filter}"),
            None => format!("SELECT {columns} FROM {source}"),
        }
    }

    /// `SELECT columns` of what it selects, followed by `rest`.
    pub(crate) fn query(&self, columns: &str, rest: &str) -> String {
        let source = self.source;
        let mut query = format!("SELECT {columns} FROM {source}");
        if let Some(filter) = self.filter {
            // In brackets: a condition that ends with words of a query must not become part of one.
            query.push_str(&format!(" WHERE (\n{filter}\n)"));
        }
        query.push_str(rest);
        query
    }

    /// How many lines and, in the first line, characters of the condition stand before its filter: what turns a
    /// place in [`Self::query`] into one in the condition.
    pub(crate) fn filter_place(&self, condition: &str) -> (usize, usize) {
        let before = &condition[..self.filter_at];
        let last_line = before.rsplit('\n').next().unwrap_or(before);
        (before.matches('\n').count(), last_line.chars().count())
    }
}

/// The source of `FROM source [alias] WHERE ...` and where the rest begins; `None` without FROM.
fn from_clause(condition: &str) -> Option<(&str, usize)> {
    let mut words = words(condition);
    let (_, first) = words.next()?;
    if !first.eq_ignore_ascii_case("FROM") {
        return None;
    }
    let (source_at, source) = words.next()?;
    let mut source_end = source_at + source.len();
    for (at, word) in words.take(2) {
        if word.eq_ignore_ascii_case("WHERE") {
            return Some((&condition[source_at..source_end], at + word.len()));
        }
        source_end = at + word.len();
    }
    Some((condition[source_at..].trim_end(), condition.len()))
}

/// Words with the bytes they begin at.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_whitespace()
        .map(move |word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_quoted_so_that_none_ends_the_text() {
        assert_eq!(
            one_of(["a", "o'hara", r"b\"]),
            r"deviceId IN ['a','o\'hara','b\\']"
        );
        assert_eq!(one_of([]), "deviceId IN []");
    }

    #[test]
    fn a_condition_becomes_a_query_with_its_text_on_a_line_of_its_own() {
        for (condition, query) in [
            ("*", "SELECT COUNT() FROM devices ;"),
            (
                " tags.a = 1 ",
                "SELECT COUNT() FROM devices WHERE (\ntags.a = 1\n) ;",
            ),
            (
                "FROM devices.modules WHERE moduleId = 'm'",
                "SELECT COUNT() FROM devices.modules WHERE (\nmoduleId = 'm'\n) ;",
            ),
            (
                "from devices d where d.tags.a = 1",
                "SELECT COUNT() FROM devices d WHERE (\nd.tags.a = 1\n) ;",
            ),
            ("FROM devices WHERE *", "SELECT COUNT() FROM devices ;"),
            (
                "FROM devices.modules",
                "SELECT COUNT() FROM devices.modules ;",
            ),
        ] {
            assert_eq!(
                Selection::of(condition).query("COUNT()", " ;"),
                query,
                "{condition}"
            );
        }
        assert_eq!(
            Selection::of("FROM devices WHERE a) OR (b").plain_query("deviceId"),
            "SELECT deviceId FROM devices WHERE\na) OR (b"
        );
        assert!(Selection::of("FROM Devices.Modules").is_of_modules());
        assert!(!Selection::of("fromage = 1").is_of_modules());
    }

    #[test]
    fn the_place_of_a_filter_is_known() {
        for (condition, place) in [
            ("tags.a = 1", (0, 0)),
            ("  tags.a = 1", (0, 2)),
            ("FROM devices WHERE tags.a = 1", (0, 19)),
            ("FROM devices\n  WHERE tags.a = 1", (1, 8)),
        ] {
            assert_eq!(
                Selection::of(condition).filter_place(condition),
                place,
                "{condition}"
            );
        }
    }
}
