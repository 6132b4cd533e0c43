//! Third stage: what a query means, with every name resolved.
//!
//! Stores may read a bound expression to narrow or push down work; its meaning is [`super::eval`].

use std::collections::HashSet;

use super::ast::{Arithmetic, Comparison};
use super::functions::Function;
use super::path::Path;
use super::value::{Literal, Value};

/// What a query or condition ranges over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// Device twins.
    Devices,
    /// Module twins.
    Modules,
    /// Rows of jobs: one device's share each.
    Jobs,
}

/// A bound expression. At most [`super::limits::NESTING_MAX`] levels.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// A literal.
    Constant(Literal),
    /// A value of the document.
    Path(Path),
    /// A list outside IN. Only the fact that it is an array can matter, so its items are gone.
    List,
    /// NOT
    Not(Box<Expr>),
    /// Arithmetic minus.
    Negate(Box<Expr>),
    /// Two or more operands.
    And(Box<[Expr]>),
    /// Two or more operands.
    Or(Box<[Expr]>),
    /// A comparison of left and right.
    Compare(Comparison, Box<[Expr; 2]>),
    /// Arithmetic on left and right.
    Arithmetic(Arithmetic, Box<[Expr; 2]>),
    /// IN, or NOT IN.
    In {
        /// What is looked up.
        operand: Box<Expr>,
        /// NOT IN, NIN.
        negated: bool,
        /// Where.
        set: Box<LiteralSet>,
    },
    /// A function with as many arguments as it takes.
    Call(Function, Box<[Expr]>),
}

/// The literals behind an IN, for one look-up however many they are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LiteralSet {
    strings: HashSet<Box<str>>,
    /// Bits of the doubles, with one zero.
    numbers: HashSet<u64>,
    null: bool,
    truth: [bool; 2],
    undefined: bool,
}

impl LiteralSet {
    /// The strings, if there is nothing else in the set. In no order.
    pub fn only_strings(&self) -> Option<impl Iterator<Item = &str>> {
        let others =
            !self.numbers.is_empty() || self.null || self.undefined || self.truth.contains(&true);
        if others {
            None
        } else {
            Some(self.strings.iter().map(|s| &**s))
        }
    }

    /// Whether the set holds nothing.
    pub fn is_empty(&self) -> bool {
        self.only_strings()
            .is_some_and(|mut strings| strings.next().is_none())
    }

    /// `value = item` joined by OR over all items: true, false, or `None` for undefined.
    pub fn contains(&self, value: &Value<'_>) -> Option<bool> {
        let found = match value {
            _ if self.is_empty() => return Some(false),
            Value::Undefined | Value::Array(_) | Value::Object(_) => return None,
            Value::Null => self.null,
            Value::Bool(b) => self.truth[usize::from(*b)],
            Value::Number(n) => self.numbers.contains(&number_key(n.as_f64())),
            Value::String(s) => self.strings.contains(s.as_ref()),
        };
        if found {
            Some(true)
        } else {
            (!self.undefined).then_some(false)
        }
    }
}

impl FromIterator<Literal> for LiteralSet {
    fn from_iter<I: IntoIterator<Item = Literal>>(literals: I) -> Self {
        let mut set = Self::default();
        for literal in literals {
            match literal {
                Literal::Undefined => set.undefined = true,
                Literal::Null => set.null = true,
                Literal::Bool(b) => set.truth[usize::from(b)] = true,
                Literal::Number(n) => {
                    set.numbers.insert(number_key(n));
                }
                Literal::String(s) => {
                    set.strings.insert(s);
                }
            }
        }
        set
    }
}

/// Equal for equal numbers: -0 becomes 0.
fn number_key(n: f64) -> u64 {
    (n + 0.0).to_bits()
}
