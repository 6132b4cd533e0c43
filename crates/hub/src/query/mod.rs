//! The query language: conditions of jobs, and queries over devices, modules and rows of jobs.
//!
//! ```text
//! text --lexer--> tokens --parser--> syntax (ast) --bind--> bound --eval over a Document--> value
//! ```
//!
//! A query yields whole documents, columns, or groups ([`Selection`]); [`Groups`] says what a group is and
//! what aggregates yield, [`Ranking`] in which order rows and groups stand. Pages are not made here.
//!
//! Every stage has its own types, so nothing unbound can run. [`evaluate`] is the one meaning of an
//! expression; a store that answers a part by index or pushes it down has to agree with it. Stores
//! take part through [`Document`] and [`Path`] alone; [`Condition::identity_ids`] tells them when a
//! few ids are enough to look at. Nothing here reads a store or a clock.

mod ast;
mod bind;
mod bound;
mod document;
mod error;
mod eval;
mod functions;
mod groups;
mod lexer;
pub mod limits;
mod order;
mod parser;
mod path;
mod plan;
mod projection;
mod value;

#[cfg(test)]
mod tests;

pub use ast::{Arithmetic, Comparison};
pub use bind::Selection;
pub use bound::{Expr, LiteralSet, Source};
pub use document::{Document, JsonDocument};
pub use error::{QueryError, Span};
pub use eval::evaluate;
pub use functions::Function;
pub use groups::{Aggregate, AggregateOf, Group, GroupColumn, GroupValue, Groups};
pub use order::{Direction, OrderBy, OrderKey, Ranking};
pub use path::{JobField, Keys, Path, PropertySection, RootField, Section};
pub use projection::{Column, Projection};
pub use value::{Json, Literal, Number, Value};

/// The devices or modules a job is for: `*`, or what would follow WHERE in a query, with an
/// optional `FROM devices.modules WHERE` in front.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    text: Box<str>,
    source: Source,
    filter: Option<Expr>,
}

impl Condition {
    /// Parses and binds `text`, at most [`limits::TEXT_BYTES_MAX`] bytes.
    ///
    /// Errors: syntax, an unknown name, a whole `SELECT` query, an empty text, a text over a limit.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let (source, filter) = bind::bind_targets(text, parser::parse_targets(text)?)?;
        Ok(Self {
            text: text.into(),
            source,
            filter,
        })
    }

    /// The text, byte for byte as it came. compat: QUERY-4
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Devices or modules, never jobs.
    pub fn source(&self) -> Source {
        self.source
    }

    /// The expression, `None` for everyone.
    pub fn filter(&self) -> Option<&Expr> {
        self.filter.as_ref()
    }

    /// Whether the condition selects this device or module.
    pub fn matches<D: Document + ?Sized>(&self, document: &D) -> bool {
        self.filter
            .as_ref()
            .is_none_or(|filter| eval::holds(filter, document))
    }

    /// If the condition can hold only for certain device ids: those, sorted, each once. They are a
    /// superset, so [`Self::matches`] decides; some may not exist. `None`: look at all.
    pub fn identity_ids(&self) -> Option<Vec<&str>> {
        candidates(self.filter.as_ref(), &Path::Field(RootField::DeviceId))
    }
}

/// A whole `SELECT` query.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    text: Box<str>,
    source: Source,
    selection: Selection,
    top: Option<u64>,
    filter: Option<Expr>,
    order: Box<[OrderKey]>,
}

impl Query {
    /// Parses and binds `text`, at most [`limits::TEXT_BYTES_MAX`] bytes.
    ///
    /// Errors: syntax, an unknown name, a text over a limit, columns and orders that groups do not
    /// have.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let bind::BoundSelect {
            source,
            selection,
            top,
            filter,
            order,
        } = bind::bind_select(text, parser::parse_select(text)?)?;
        Ok(Self {
            text: text.into(),
            source,
            selection,
            top,
            filter,
            order: order.into(),
        })
    }

    /// The text, byte for byte as it came.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the query ranges over.
    pub fn source(&self) -> Source {
        self.source
    }

    /// What it yields.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// `TOP n`: at most so many rows, or groups, over all pages. Groups are over every match.
    pub fn top(&self) -> Option<u64> {
        self.top
    }

    /// The expression after WHERE, if there is one.
    pub fn filter(&self) -> Option<&Expr> {
        self.filter.as_ref()
    }

    /// ORDER BY; empty without it.
    pub fn order(&self) -> &[OrderKey] {
        &self.order
    }

    /// The order of the result: of rows by ORDER BY, of groups by ORDER BY and then by their key.
    pub fn ranking(&self) -> Ranking {
        Ranking::new(&self.order, self.group_keys())
    }

    /// The order of groups by their key alone. What it writes is the same for rows of one group, and for
    /// no others.
    pub fn grouping(&self) -> Ranking {
        Ranking::new(&[], self.group_keys())
    }

    fn group_keys(&self) -> &[Path] {
        match &self.selection {
            Selection::Groups(groups) => groups.keys(),
            Selection::Document | Selection::Projection(_) => &[],
        }
    }

    /// Whether this row belongs to the result.
    pub fn matches<D: Document + ?Sized>(&self, document: &D) -> bool {
        self.filter
            .as_ref()
            .is_none_or(|filter| eval::holds(filter, document))
    }

    /// As [`Condition::identity_ids`], for rows of every source.
    pub fn identity_ids(&self) -> Option<Vec<&str>> {
        let field = match self.source {
            Source::Devices | Source::Modules => Path::Field(RootField::DeviceId),
            Source::Jobs => Path::Job(JobField::DeviceId),
        };
        candidates(self.filter.as_ref(), &field)
    }

    /// As [`Self::identity_ids`], for the job ids of rows of `devices.jobs`.
    pub fn job_ids(&self) -> Option<Vec<&str>> {
        candidates(self.filter.as_ref(), &Path::Job(JobField::JobId))
    }
}

fn candidates<'e>(filter: Option<&'e Expr>, field: &Path) -> Option<Vec<&'e str>> {
    plan::candidates(filter?, field)
}
