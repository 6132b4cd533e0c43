//! What a query yields over plain documents, the plainest way.

use std::cmp::Ordering;

use fanfare_hub::query::{JsonDocument, Query};
use serde_json::{Map, Value};

use super::cases::{Case, OrderItem, Shape};

/// The rows of a query over documents in the order of the store.
pub(super) fn rows(case: &Case, documents: &[Value]) -> Vec<Value> {
    let query = Query::parse(&case.text()).expect("generated queries are queries");
    let matching: Vec<&Value> = documents
        .iter()
        .filter(|document| query.matches(&JsonDocument(document)))
        .collect();
    let mut rows = match &case.shape {
        Shape::All => sorted(case, matching).into_iter().cloned().collect(),
        Shape::Columns(paths) => {
            let row =
                |document: &Value| object(paths.iter().map(|path| get(document, path).cloned()));
            sorted(case, matching).into_iter().map(row).collect()
        }
        Shape::Distinct(keys) => grouped(case, keys, &[], &matching),
        Shape::Groups { keys, aggregates } => grouped(case, keys, aggregates, &matching),
    };
    if let Some(top) = case.top {
        rows.truncate(top as usize);
    }
    rows
}

fn get<'d>(document: &'d Value, path: &[String]) -> Option<&'d Value> {
    path.iter().try_fold(document, |at, step| match at {
        Value::Object(members) => members.get(step),
        _ => None,
    })
}

fn object(values: impl Iterator<Item = Option<Value>>) -> Value {
    let member = |(n, value): (usize, Option<Value>)| value.map(|value| (format!("c{n}"), value));
    Value::Object(values.enumerate().filter_map(member).collect::<Map<_, _>>())
}

fn sorted<'d>(case: &Case, mut documents: Vec<&'d Value>) -> Vec<&'d Value> {
    documents.sort_by(|a, b| {
        let decided = case.order.iter().map(|(item, descends)| match item {
            OrderItem::Path(path) => turned(compare(get(a, path), get(b, path)), *descends),
            OrderItem::Aggregate(_) => panic!("rows have no aggregates"),
        });
        first_decided(decided)
    });
    documents
}

/// A group: what its rows have in common, what they come to.
struct Group {
    keys: Vec<Option<Value>>,
    totals: Vec<Option<Value>>,
}

fn grouped(
    case: &Case,
    paths: &[Vec<String>],
    aggregates: &[(&'static str, Option<Vec<String>>)],
    documents: &[&Value],
) -> Vec<Value> {
    let mut members: Vec<Vec<&Value>> = Vec::new();
    if paths.is_empty() {
        members.push(documents.to_vec());
    } else {
        for document in documents {
            let is_same = |group: &&mut Vec<&Value>| {
                let same = |path| compare(get(group[0], path), get(document, path)).is_eq();
                paths.iter().all(|path| same(path))
            };
            match members.iter_mut().find(is_same) {
                Some(group) => group.push(document),
                None => members.push(vec![document]),
            }
        }
    }
    let group = |members: Vec<&Value>| Group {
        keys: match members.first() {
            Some(first) => paths.iter().map(|path| get(first, path).cloned()).collect(),
            None => Vec::new(),
        },
        totals: aggregates
            .iter()
            .map(|(function, path)| total(function, path.as_deref(), &members))
            .collect(),
    };
    let mut groups: Vec<Group> = members.into_iter().map(group).collect();
    groups.sort_by(|a, b| {
        let decided = case.order.iter().map(|(item, descends)| {
            let ordering = match item {
                OrderItem::Aggregate(place) => {
                    compare(a.totals[*place].as_ref(), b.totals[*place].as_ref())
                }
                OrderItem::Path(path) => {
                    let place = paths.iter().position(|key| key == path);
                    let place = place.expect("groups are ordered by their keys");
                    compare(a.keys[place].as_ref(), b.keys[place].as_ref())
                }
            };
            turned(ordering, *descends)
        });
        let keys = a.keys.iter().zip(&b.keys);
        let rest = keys.map(|(a, b)| compare(a.as_ref(), b.as_ref()));
        first_decided(decided.chain(rest))
    });
    let row = |group: Group| object(group.keys.into_iter().chain(group.totals));
    groups.into_iter().map(row).collect()
}

fn total(function: &str, path: Option<&[String]>, rows: &[&Value]) -> Option<Value> {
    let Some(path) = path else {
        return Some(rows.len().into());
    };
    let values: Vec<&Value> = rows.iter().filter_map(|row| get(row, path)).collect();
    let numbers: Vec<&Value> = values.iter().copied().filter(|v| v.is_number()).collect();
    match function {
        "COUNT" => Some(values.len().into()),
        "SUM" | "AVG" if numbers.is_empty() => None,
        "SUM" | "AVG" => {
            // Generated numbers are small multiples of a quarter, so any way of adding is exact.
            let sum: f64 = numbers.iter().filter_map(|n| n.as_f64()).sum();
            let is_whole = |n: &&Value| n.is_i64() || n.as_f64() == Some(0.0);
            match function {
                "AVG" => Some((sum / numbers.len() as f64).into()),
                _ if numbers.iter().all(is_whole) => Some((sum as i64).into()),
                _ => Some(whole_if_floats_cancel(&numbers, sum)),
            }
        }
        _ => {
            let ordered = values
                .into_iter()
                .filter(|v| v.is_number() || v.is_string());
            let better = |best: &Value, next: &Value| match compare(Some(next), Some(best)) {
                Ordering::Less => function == "MIN",
                Ordering::Greater => function == "MAX",
                Ordering::Equal => false,
            };
            let best = ordered.reduce(|best, next| if better(best, next) { next } else { best });
            best.cloned()
        }
    }
}

/// Fractions that add up to nothing leave the whole numbers whole.
fn whole_if_floats_cancel(numbers: &[&Value], sum: f64) -> Value {
    let floats = numbers.iter().filter(|n| !n.is_i64());
    let floats: f64 = floats.filter_map(|n| n.as_f64()).sum();
    if floats == 0.0 {
        (sum as i64).into()
    } else {
        sum.into()
    }
}

fn turned(ordering: Ordering, descends: bool) -> Ordering {
    if descends {
        ordering.reverse()
    } else {
        ordering
    }
}

fn first_decided(mut orderings: impl Iterator<Item = Ordering>) -> Ordering {
    let decided = orderings.find(|ordering| ordering.is_ne());
    decided.unwrap_or(Ordering::Equal)
}

/// The total order of values; `None` is undefined.
fn compare(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    let class = |value: Option<&Value>| match value {
        None => 0,
        Some(Value::Null) => 1,
        Some(Value::Bool(_)) => 2,
        Some(Value::Number(_)) => 3,
        Some(Value::String(_)) => 4,
        Some(Value::Array(_)) => 5,
        Some(Value::Object(_)) => 6,
    };
    match (a, b) {
        (Some(Value::Bool(a)), Some(Value::Bool(b))) => a.cmp(b),
        (Some(Value::Number(a)), Some(Value::Number(b))) => a
            .as_f64()
            .partial_cmp(&b.as_f64())
            .expect("JSON numbers are finite"),
        (Some(Value::String(a)), Some(Value::String(b))) => a.cmp(b),
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            let items = a.iter().zip(b).map(|(a, b)| compare(Some(a), Some(b)));
            first_decided(items).then(a.len().cmp(&b.len()))
        }
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let members = a.iter().zip(b);
            let decided = members.map(|((n, a), (m, b))| n.cmp(m).then(compare(Some(a), Some(b))));
            first_decided(decided).then(a.len().cmp(&b.len()))
        }
        (a, b) => class(a).cmp(&class(b)),
    }
}
