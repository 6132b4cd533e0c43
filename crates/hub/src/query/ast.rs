//! Second stage: syntax. What was written, before any name is looked up.
//!
//! `Display` prints text that parses to the same syntax; brackets appear where they are needed.
//! Chains of AND and OR are flat, so that their length costs no depth.

use std::fmt;

use super::error::Span;
use super::lexer::is_word;
use super::value::Literal;

/// A whole query.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Select {
    /// Place of `DISTINCT`, if written.
    pub(super) distinct: Option<Span>,
    /// `TOP n`
    pub(super) top: Option<u64>,
    pub(super) selection: Selection,
    pub(super) source: SourceName,
    pub(super) filter: Option<Expr>,
    pub(super) group_by: Vec<PathExpr>,
    pub(super) order_by: Vec<(Item, Direction)>,
}

/// A condition: a query's end, without or with its source.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Targets {
    pub(super) source: Option<SourceName>,
    /// `None` stands for `*`.
    pub(super) filter: Option<Expr>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Selection {
    All,
    Items(Vec<Item>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    pub(super) column: Column,
    pub(super) alias: Option<Box<str>>,
    pub(super) span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Column {
    Path(PathExpr),
    /// An aggregate; no path stands for `COUNT()` and `COUNT(*)`.
    Aggregate(Aggregate, Option<PathExpr>),
}

/// What many rows yield together. compat: QUERY-16, QUERY-25
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    /// How many rows, or rows where the path is defined.
    Count,
    /// The mean of the numbers.
    Avg,
    /// The sum of the numbers.
    Sum,
    /// The first of the numbers and strings.
    Min,
    /// The last of the numbers and strings.
    Max,
}

/// Which end of an order comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `ASC`, or nothing.
    Ascending,
    /// `DESC`
    Descending,
}

/// `devices`, `devices.modules`, `devices.jobs` as written, with an alias if one was given.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SourceName {
    pub(super) steps: Vec<Box<str>>,
    pub(super) alias: Option<Box<str>>,
    pub(super) span: Span,
}

/// A path as written; at least one step.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PathExpr {
    pub(super) steps: Vec<Box<str>>,
    pub(super) span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    Literal(Literal),
    Path(PathExpr),
    List(Vec<Literal>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    /// Two or more.
    And(Vec<Expr>),
    /// Two or more.
    Or(Vec<Expr>),
    Compare(Comparison, Box<[Expr; 2]>),
    Arithmetic(Arithmetic, Box<[Expr; 2]>),
    In {
        operand: Box<Expr>,
        negated: bool,
        list: Vec<Literal>,
    },
    Call {
        name: Box<str>,
        arguments: Vec<Expr>,
        /// Place of the name.
        span: Span,
    },
}

/// An operator between two values that yields a boolean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`, `<>`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
}

/// An operator between two numbers that yields a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Remainder,
}

impl Aggregate {
    pub(super) const ALL: [(&'static str, Aggregate); 5] = [
        ("COUNT", Aggregate::Count),
        ("AVG", Aggregate::Avg),
        ("SUM", Aggregate::Sum),
        ("MIN", Aggregate::Min),
        ("MAX", Aggregate::Max),
    ];

    pub(super) fn name(self) -> &'static str {
        let entry = Self::ALL.iter().find(|(_, aggregate)| *aggregate == self);
        entry.expect("every aggregate is in the table").0
    }
}

/// How tightly an operator binds; a looser operand stands in brackets. compat: QUERY-7
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Binding {
    Or,
    And,
    Not,
    Compare,
    Add,
    Multiply,
    Negate,
    Primary,
}

impl Arithmetic {
    pub(super) fn binding(self) -> Binding {
        match self {
            Arithmetic::Add | Arithmetic::Subtract => Binding::Add,
            Arithmetic::Multiply | Arithmetic::Divide | Arithmetic::Remainder => Binding::Multiply,
        }
    }
}

impl Binding {
    /// The next tighter one: what the right side of a left-associative operator is parsed at.
    pub(super) fn tighter(self) -> Binding {
        match self {
            Binding::Or => Binding::And,
            Binding::And => Binding::Not,
            Binding::Not => Binding::Compare,
            Binding::Compare => Binding::Add,
            Binding::Add => Binding::Multiply,
            Binding::Multiply => Binding::Negate,
            Binding::Negate | Binding::Primary => Binding::Primary,
        }
    }
}

impl Expr {
    fn binding(&self) -> Binding {
        match self {
            Expr::Or(_) => Binding::Or,
            Expr::And(_) => Binding::And,
            Expr::Not(_) => Binding::Not,
            Expr::Compare(..) | Expr::In { .. } => Binding::Compare,
            Expr::Arithmetic(op, _) => op.binding(),
            Expr::Negate(_) => Binding::Negate,
            Expr::Literal(_) | Expr::Path(_) | Expr::List(_) | Expr::Call { .. } => {
                Binding::Primary
            }
        }
    }

    /// Prints the expression as an operand of something that binds at `at`.
    fn print(&self, f: &mut fmt::Formatter<'_>, at: Binding) -> fmt::Result {
        if self.binding() < at {
            return write!(f, "({self})");
        }
        write!(f, "{self}")
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = |f: &mut fmt::Formatter<'_>, operands: &[Expr], word, binding: Binding| {
            separated(f, operands, word, |f, operand| {
                operand.print(f, binding.tighter())
            })
        };
        match self {
            Expr::Literal(literal) => write!(f, "{literal}"),
            Expr::Path(path) => write!(f, "{path}"),
            Expr::List(items) => print_list(f, items),
            Expr::Not(operand) => {
                f.write_str("NOT ")?;
                operand.print(f, Binding::Not)
            }
            Expr::Negate(operand) => {
                f.write_str("-")?;
                operand.print(f, Binding::Negate)
            }
            Expr::And(operands) => chain(f, operands, " AND ", Binding::And),
            Expr::Or(operands) => chain(f, operands, " OR ", Binding::Or),
            Expr::Compare(op, operands) => {
                operands[0].print(f, Binding::Add)?;
                write!(f, " {op} ")?;
                operands[1].print(f, Binding::Add)
            }
            Expr::Arithmetic(op, operands) => {
                operands[0].print(f, op.binding())?;
                write!(f, " {op} ")?;
                operands[1].print(f, op.binding().tighter())
            }
            Expr::In {
                operand,
                negated,
                list,
            } => {
                operand.print(f, Binding::Add)?;
                f.write_str(if *negated { " NOT IN " } else { " IN " })?;
                print_list(f, list)
            }
            Expr::Call {
                name, arguments, ..
            } => {
                write!(f, "{name}(")?;
                separated(f, arguments, ", ", |f, argument| write!(f, "{argument}"))?;
                f.write_str(")")
            }
        }
    }
}

impl fmt::Display for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.distinct.is_some() {
            "SELECT DISTINCT "
        } else {
            "SELECT "
        })?;
        if let Some(top) = self.top {
            write!(f, "TOP {top} ")?;
        }
        match &self.selection {
            Selection::All => f.write_str("*")?,
            Selection::Items(items) => separated(f, items, ", ", |f, item| write!(f, "{item}"))?,
        }
        write!(f, " FROM {}", self.source)?;
        if let Some(filter) = &self.filter {
            write!(f, " WHERE {filter}")?;
        }
        if !self.group_by.is_empty() {
            f.write_str(" GROUP BY ")?;
            separated(f, &self.group_by, ", ", |f, path| write!(f, "{path}"))?;
        }
        if !self.order_by.is_empty() {
            f.write_str(" ORDER BY ")?;
            separated(
                f,
                &self.order_by,
                ", ",
                |f, (item, direction)| match direction {
                    Direction::Ascending => write!(f, "{item}"),
                    Direction::Descending => write!(f, "{item} DESC"),
                },
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.steps.join("."))?;
        self.alias
            .as_ref()
            .map_or(Ok(()), |alias| write!(f, " AS {alias}"))
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.column {
            Column::Path(path) => write!(f, "{path}")?,
            Column::Aggregate(aggregate, None) => write!(f, "{}()", aggregate.name())?,
            Column::Aggregate(aggregate, Some(path)) => write!(f, "{}({path})", aggregate.name())?,
        }
        match &self.alias {
            Some(alias) if is_word(alias) => write!(f, " AS {alias}"),
            Some(alias) => write!(f, " AS [[{alias}]]"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for PathExpr {
    /// The first step as a name, the others as a name or as `['text']`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, step) in self.steps.iter().enumerate() {
            match (n, is_word(step)) {
                (0, true) if !is_reserved(step) => f.write_str(step)?,
                (0, _) => write!(f, "[[{step}]]")?,
                (_, true) => write!(f, ".{step}")?,
                (_, false) => {
                    f.write_str("[")?;
                    print_string(f, step)?;
                    f.write_str("]")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::Undefined => f.write_str("undefined"),
            Literal::Null => f.write_str("null"),
            Literal::Bool(b) => write!(f, "{b}"),
            Literal::Number(n) => write!(f, "{n}"),
            Literal::String(s) => print_string(f, s),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Comparison::Equal => "=",
            Comparison::NotEqual => "!=",
            Comparison::Less => "<",
            Comparison::LessEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterEqual => ">=",
        })
    }
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Arithmetic::Add => "+",
            Arithmetic::Subtract => "-",
            Arithmetic::Multiply => "*",
            Arithmetic::Divide => "/",
            Arithmetic::Remainder => "%",
        })
    }
}

/// Words that begin no path unless written `[[so]]`. After a dot every word is a step.
const RESERVED: [&str; 17] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP",
    "ORDER",
    "BY",
    "AS",
    "AND",
    "OR",
    "NOT",
    "IN",
    "NIN",
    "DISTINCT",
    "TRUE",
    "FALSE",
    "NULL",
    "UNDEFINED",
];

pub(super) fn is_reserved(word: &str) -> bool {
    RESERVED
        .iter()
        .any(|reserved| reserved.eq_ignore_ascii_case(word))
}

fn separated<T>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    separator: &str,
    mut print: impl FnMut(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            f.write_str(separator)?;
        }
        print(f, item)?;
    }
    Ok(())
}

fn print_list(f: &mut fmt::Formatter<'_>, items: &[Literal]) -> fmt::Result {
    f.write_str("[")?;
    separated(f, items, ", ", |f, item| write!(f, "{item}"))?;
    f.write_str("]")
}

fn print_string(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("'")?;
    for c in text.chars() {
        match c {
            '\'' | '\\' => write!(f, "\\{c}")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("'")
}
