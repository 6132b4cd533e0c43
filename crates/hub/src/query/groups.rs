//! Decides what a query with GROUP BY, DISTINCT or aggregates answers with: one object per group.
//!
//! Rows are of one group where every value of the key is equal: numbers as doubles, arrays and objects
//! by their content, and undefined equal to itself. The group shows the values of its first row. Without
//! a key there is one group, also of no rows. compat: QUERY-24

use std::cmp::Ordering;

pub use super::ast::Aggregate;
use super::document::Document;
use super::order::OrderBy;
use super::path::Path;
use super::value::{Number, Value, write_object};

/// One object per group.
#[derive(Debug, Clone, PartialEq)]
pub struct Groups {
    keys: Box<[Path]>,
    aggregates: Box<[AggregateOf]>,
    columns: Box<[GroupColumn]>,
}

/// An aggregate and what it is over.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregateOf {
    /// Which.
    pub function: Aggregate,
    /// Over the values here; `None`, for COUNT alone, is over rows.
    pub path: Option<Path>,
}

/// A member of the object.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupColumn {
    /// The alias, the last step of the path, or the aggregate's name in lower case.
    /// compat: QUERY-15, QUERY-16
    pub key: Box<str>,
    /// Where its value comes from.
    pub value: GroupValue,
}

/// A value of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupValue {
    /// The place of a path in [`Groups::keys`].
    Key(usize),
    /// The place of an aggregate in [`Groups::aggregates`].
    Aggregate(usize),
}

impl Groups {
    pub(super) fn new(
        keys: Vec<Path>,
        aggregates: Vec<AggregateOf>,
        columns: Vec<GroupColumn>,
    ) -> Self {
        Self {
            keys: keys.into(),
            aggregates: aggregates.into(),
            columns: columns.into(),
        }
    }

    /// What a group's rows have in common; no two are equal. Empty: everything is one group.
    pub fn keys(&self) -> &[Path] {
        &self.keys
    }

    /// The aggregates, those behind ORDER BY included.
    pub fn aggregates(&self) -> &[AggregateOf] {
        &self.aggregates
    }

    /// The columns in the order they were written; no two have the same key.
    pub fn columns(&self) -> &[GroupColumn] {
        &self.columns
    }

    /// A group of no rows yet, with the key of this one.
    pub fn begin<D: Document + ?Sized>(&self, first: &D) -> Group {
        let text = |path: &Path| {
            let mut text = Vec::new();
            let is_defined = first.value(path).write_json(&mut text);
            is_defined.then(|| String::from_utf8_lossy(&text).into())
        };
        Group {
            keys: self.keys.iter().map(text).collect(),
            totals: self.totals(),
        }
    }

    /// The one group of a query without a key, over no rows yet.
    pub fn begin_whole(&self) -> Group {
        Group {
            keys: Box::default(),
            totals: self.totals(),
        }
    }

    fn totals(&self) -> Box<[Total]> {
        let start = |of: &AggregateOf| Total::new(of.function);
        self.aggregates.iter().map(start).collect()
    }

    /// Counts a matching row into its group. Returns the bytes by which the group grew or shrank.
    pub fn add<D: Document + ?Sized>(&self, group: &mut Group, row: &D) -> isize {
        let mut grown = 0;
        for (of, total) in self.aggregates.iter().zip(&mut group.totals) {
            match &of.path {
                None => total.add_row(),
                Some(path) => grown += total.add(&row.value(path)),
            }
        }
        grown
    }

    /// What a group is ordered by.
    pub fn value<'g>(&self, group: &'g Group, by: &OrderBy) -> Value<'g> {
        match by {
            OrderBy::Aggregate(place) => group.totals[*place].value(),
            OrderBy::Path(path) => self
                .keys
                .iter()
                .position(|key| key == path)
                .and_then(|place| group.keys[place].as_deref())
                .and_then(Value::from_json_text)
                .unwrap_or(Value::Undefined),
        }
    }

    /// Appends the group's JSON object to `out`. What is undefined is left out.
    pub fn write_row(&self, group: &Group, out: &mut Vec<u8>) {
        let columns = self
            .columns
            .iter()
            .map(|column| (&*column.key, &column.value));
        write_object(out, columns, |value, out| match value {
            GroupValue::Aggregate(place) => group.totals[*place].value().write_json(out),
            GroupValue::Key(place) => group.keys[*place].as_deref().is_some_and(|text| {
                out.extend_from_slice(text.as_bytes());
                true
            }),
        });
    }
}

/// A group in the making.
#[derive(Debug, Clone)]
pub struct Group {
    /// The JSON of each key, `None` where undefined.
    keys: Box<[Option<Box<str>>]>,
    totals: Box<[Total]>,
}

impl Group {
    /// Bytes it takes, about.
    pub fn bytes(&self) -> usize {
        let keys = self.keys.iter().flatten().map(|text| text.len());
        let totals = self.totals.iter().map(Total::text_bytes);
        size_of::<Self>()
            + size_of_val(&*self.keys)
            + size_of_val(&*self.totals)
            + keys.chain(totals).sum::<usize>()
    }
}

/// An aggregate in the making. What is of the wrong type is passed over. compat: QUERY-25
#[derive(Debug, Clone)]
enum Total {
    Count(u64),
    /// Whole numbers are summed apart and exactly.
    Sum {
        whole: i128,
        others: f64,
        numbers: u64,
        is_average: bool,
    },
    Extreme {
        best: Option<Extreme>,
        wanted: Ordering,
    },
}

#[derive(Debug, Clone)]
enum Extreme {
    Number(Number),
    String(Box<str>),
}

impl Total {
    fn new(function: Aggregate) -> Self {
        let sum = |is_average| Total::Sum {
            whole: 0,
            others: 0.0,
            numbers: 0,
            is_average,
        };
        let extreme = |wanted| Total::Extreme { best: None, wanted };
        match function {
            Aggregate::Count => Total::Count(0),
            Aggregate::Sum => sum(false),
            Aggregate::Avg => sum(true),
            Aggregate::Min => extreme(Ordering::Less),
            Aggregate::Max => extreme(Ordering::Greater),
        }
    }

    fn add_row(&mut self) {
        if let Total::Count(rows) = self {
            *rows += 1;
        }
    }

    fn text_bytes(&self) -> usize {
        match self {
            Total::Extreme {
                best: Some(Extreme::String(text)),
                ..
            } => text.len(),
            _ => 0,
        }
    }

    /// Returns the bytes by which it grew or shrank.
    fn add(&mut self, value: &Value<'_>) -> isize {
        let before = self.text_bytes();
        match (&mut *self, value) {
            (Total::Count(rows), value) => *rows += u64::from(*value != Value::Undefined),
            (
                Total::Sum {
                    whole,
                    others,
                    numbers,
                    ..
                },
                Value::Number(number),
            ) => {
                match number {
                    Number::Integer(n) => *whole += i128::from(*n),
                    Number::Float(n) => *others += n,
                }
                *numbers += 1;
            }
            (Total::Extreme { best, wanted }, Value::Number(number))
                if best
                    .as_ref()
                    .is_none_or(|best| number_to(*number, best) == *wanted) =>
            {
                *best = Some(Extreme::Number(*number));
            }
            (Total::Extreme { best, wanted }, Value::String(text))
                if best
                    .as_ref()
                    .is_none_or(|best| string_to(text, best) == *wanted) =>
            {
                *best = Some(Extreme::String(text.as_ref().into()));
            }
            _ => {}
        }
        self.text_bytes() as isize - before as isize
    }

    fn value(&self) -> Value<'_> {
        match self {
            Total::Count(rows) => {
                Value::Number(Number::Integer(i64::try_from(*rows).unwrap_or(i64::MAX)))
            }
            Total::Sum { numbers: 0, .. } => Value::Undefined,
            Total::Sum {
                whole,
                others,
                numbers,
                is_average: true,
            } => Value::number((*whole as f64 + others) / *numbers as f64),
            Total::Sum { whole, others, .. } => match i64::try_from(*whole) {
                Ok(whole) if *others == 0.0 => Value::from(whole),
                _ => Value::number(*whole as f64 + others),
            },
            Total::Extreme { best, .. } => match best {
                None => Value::Undefined,
                Some(Extreme::Number(number)) => Value::Number(*number),
                Some(Extreme::String(text)) => Value::str(text),
            },
        }
    }
}

/// Numbers come before strings, as everywhere. compat: QUERY-27
fn number_to(number: Number, best: &Extreme) -> Ordering {
    match best {
        Extreme::Number(best) => {
            let (number, best) = (number.as_f64(), best.as_f64());
            number.partial_cmp(&best).unwrap_or(Ordering::Equal)
        }
        Extreme::String(_) => Ordering::Less,
    }
}

fn string_to(text: &str, best: &Extreme) -> Ordering {
    match best {
        Extreme::Number(_) => Ordering::Greater,
        Extreme::String(best) => text.cmp(best),
    }
}
