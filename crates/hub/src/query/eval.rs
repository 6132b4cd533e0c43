//! Last stage: what a bound expression yields for one document. This is the reference semantics;
//! what a store pushes down has to agree with it.
//!
//! Logic is three-valued. Operations never fail: where they have no result it is undefined.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::ast::{Arithmetic, Comparison};
use super::bound::Expr;
use super::document::Document;
use super::value::{Json, Value};

/// Whether a document meets a condition: only if it evaluates to `true`. compat: QUERY-18
pub(super) fn holds<D: Document + ?Sized>(expr: &Expr, document: &D) -> bool {
    evaluate(expr, document) == Value::Bool(true)
}

/// The value of an expression for a document.
pub fn evaluate<'v, D: Document + ?Sized>(expr: &'v Expr, document: &'v D) -> Value<'v> {
    match expr {
        Expr::Constant(literal) => Value::from(literal),
        Expr::Path(path) => document.value(path),
        Expr::List => Value::Array(Json::Text(Cow::Borrowed("[]"))),
        Expr::Not(operand) => from_truth(truth(&evaluate(operand, document)).map(|t| !t)),
        Expr::And(operands) => from_truth(decided_by(false, operands, document)),
        Expr::Or(operands) => from_truth(decided_by(true, operands, document)),
        Expr::Negate(operand) => match evaluate(operand, document) {
            Value::Number(n) => Value::number(-n.as_f64()),
            _ => Value::Undefined,
        },
        Expr::Compare(op, operands) => {
            let [left, right] = &**operands;
            from_truth(compare(
                *op,
                &evaluate(left, document),
                &evaluate(right, document),
            ))
        }
        Expr::Arithmetic(op, operands) => {
            let [left, right] = &**operands;
            calculate(*op, &evaluate(left, document), &evaluate(right, document))
        }
        Expr::In {
            operand,
            negated,
            set,
        } => {
            let found = set.contains(&evaluate(operand, document));
            from_truth(found.map(|found| found != *negated))
        }
        Expr::Call(function, arguments) => {
            let arguments: Vec<_> = arguments.iter().map(|a| evaluate(a, document)).collect();
            function.apply(&arguments)
        }
    }
}

/// AND is decided by a false, OR by a true; otherwise one undefined operand makes it undefined.
/// compat: QUERY-19
fn decided_by<D: Document + ?Sized>(
    decisive: bool,
    operands: &[Expr],
    document: &D,
) -> Option<bool> {
    let mut result = Some(!decisive);
    for operand in operands {
        match truth(&evaluate(operand, document)) {
            Some(t) if t == decisive => return Some(decisive),
            Some(_) => {}
            None => result = None,
        }
    }
    result
}

/// What is not a boolean is neither true nor false, so that NOT selects nothing by accident.
fn truth(value: &Value<'_>) -> Option<bool> {
    match value {
        Value::Bool(b) => Some(*b),
        _ => None,
    }
}

fn from_truth<'v>(truth: Option<bool>) -> Value<'v> {
    truth.map_or(Value::Undefined, Value::Bool)
}

/// Compares primitives; anything else is undefined. compat: QUERY-20
fn compare(op: Comparison, left: &Value<'_>, right: &Value<'_>) -> Option<bool> {
    let ordering = match (left, right) {
        (Value::Undefined | Value::Array(_) | Value::Object(_), _)
        | (_, Value::Undefined | Value::Array(_) | Value::Object(_)) => return None,
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    };
    match (op, ordering) {
        (Comparison::Equal, ordering) => Some(ordering == Some(Ordering::Equal)),
        (Comparison::NotEqual, ordering) => Some(ordering != Some(Ordering::Equal)),
        (_, None) => None,
        (Comparison::Less, Some(ordering)) => Some(ordering.is_lt()),
        (Comparison::LessEqual, Some(ordering)) => Some(ordering.is_le()),
        (Comparison::Greater, Some(ordering)) => Some(ordering.is_gt()),
        (Comparison::GreaterEqual, Some(ordering)) => Some(ordering.is_ge()),
    }
}

/// Doubles in, a finite double out or undefined. compat: QUERY-21
fn calculate<'v>(op: Arithmetic, left: &Value<'_>, right: &Value<'_>) -> Value<'v> {
    let (Value::Number(left), Value::Number(right)) = (left, right) else {
        return Value::Undefined;
    };
    let (left, right) = (left.as_f64(), right.as_f64());
    Value::number(match op {
        Arithmetic::Add => left + right,
        Arithmetic::Subtract => left - right,
        Arithmetic::Multiply => left * right,
        Arithmetic::Divide => left / right,
        Arithmetic::Remainder => left % right,
    })
}
