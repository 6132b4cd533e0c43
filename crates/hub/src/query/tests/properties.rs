//! Generated texts, expressions and documents.

use proptest::prelude::*;
use serde_json::{Value as JsonValue, json};

use super::super::ast::{Arithmetic, Comparison, Expr, PathExpr, Targets};
use super::super::error::Span;
use super::super::parser::parse_targets;
use super::super::{Literal, bind, eval, evaluate};
use super::{Condition, JsonDocument, Query};

fn literal() -> impl Strategy<Value = Literal> {
    prop_oneof![
        Just(Literal::Undefined),
        Just(Literal::Null),
        any::<bool>().prop_map(Literal::Bool),
        prop_oneof![(0u32..4).prop_map(f64::from), 0.0..1e300f64].prop_map(Literal::Number),
        text().prop_map(Literal::String),
    ]
}

fn list_item() -> impl Strategy<Value = Literal> {
    prop_oneof![
        literal(),
        (-4i32..4).prop_map(|n| Literal::Number(n.into()))
    ]
}

/// Strings that are ids of [`document`]s now and then.
fn text() -> impl Strategy<Value = Box<str>> {
    prop_oneof![
        "[abc]",
        "\\PC{0,6}",
        "[a'\"\\\\;\n\u{0}é😀]{0,5}",
        "[0-9.e+-]{0,5}"
    ]
    .prop_map(Into::into)
}

fn path() -> impl Strategy<Value = Expr> {
    let fields = vec![
        "deviceId",
        "DeviceID",
        "version",
        "status",
        "tags",
        "lastActivityTime",
    ];
    let below = prop::collection::vec(
        prop_oneof!["[xyz]", "\\PC{1,5}", "in|from|\\$version"],
        1..4,
    );
    prop_oneof![
        3 => prop::sample::select(fields).prop_map(|field| vec![field.to_owned()]),
        2 => below.clone().prop_map(|mut steps| { steps.insert(0, "tags".into()); steps }),
        1 => below.prop_map(|mut steps| {
            steps.splice(0..0, ["properties".into(), "reported".into()]);
            steps
        }),
    ]
    .prop_map(|steps| {
        let steps = steps.into_iter().map(Into::into).collect();
        Expr::Path(PathExpr {
            steps,
            span: Span::default(),
        })
    })
}

/// A comparison or look-up of the device id, which planning is about.
fn id_test() -> impl Strategy<Value = Expr> {
    let id = || {
        Expr::Path(PathExpr {
            steps: vec!["deviceId".into()],
            span: Span::default(),
        })
    };
    let letter = || "[abc]".prop_map(|s| Literal::String(s.into()));
    prop_oneof![
        letter().prop_map(move |l| {
            Expr::Compare(Comparison::Equal, Box::new([id(), Expr::Literal(l)]))
        }),
        (prop::collection::vec(letter(), 0..3), any::<bool>()).prop_map(move |(list, negated)| {
            Expr::In {
                operand: Box::new(id()),
                negated,
                list,
            }
        }),
    ]
}

fn call(arguments: impl Strategy<Value = Expr> + Clone) -> impl Strategy<Value = Expr> {
    let names: Vec<(&str, usize)> = vec![
        ("IS_DEFINED", 1),
        ("ISNULL", 1),
        ("IS_PRIMITIVE", 1),
        ("LENGTH", 1),
        ("lower", 1),
        ("AS_NUMBER", 1),
        ("SQRT", 1),
        ("SIGN", 1),
        ("FLOOR", 1),
        ("EXP", 1),
        ("POWER", 2),
        ("STARTSWITH", 2),
        ("CONTAINS", 2),
        ("INDEX_OF", 2),
        ("SUBSTRING", 2),
        ("SUBSTRING", 3),
        ("CONCAT", 3),
    ];
    (
        prop::sample::select(names),
        prop::collection::vec(arguments, 3),
    )
        .prop_map(|((name, arity), mut arguments)| {
            arguments.truncate(arity);
            Expr::Call {
                name: name.into(),
                arguments,
                span: Span::default(),
            }
        })
}

fn expression() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        3 => literal().prop_map(Expr::Literal),
        3 => path(),
        3 => id_test(),
        1 => prop::collection::vec(list_item(), 0..3).prop_map(Expr::List),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let pair = || (inner.clone(), inner.clone()).prop_map(|(a, b)| Box::new([a, b]));
        let comparison = prop::sample::select(vec![
            Comparison::Equal,
            Comparison::NotEqual,
            Comparison::Less,
            Comparison::LessEqual,
            Comparison::Greater,
            Comparison::GreaterEqual,
        ]);
        let arithmetic = prop::sample::select(vec![
            Arithmetic::Add,
            Arithmetic::Subtract,
            Arithmetic::Multiply,
            Arithmetic::Divide,
            Arithmetic::Remainder,
        ]);
        prop_oneof![
            1 => inner.clone().prop_map(|e| Expr::Not(Box::new(e))),
            1 => inner.clone().prop_map(|e| Expr::Negate(Box::new(e))),
            3 => prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::And),
            3 => prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::Or),
            1 => (comparison, pair()).prop_map(|(op, pair)| Expr::Compare(op, pair)),
            1 => (arithmetic, pair()).prop_map(|(op, pair)| Expr::Arithmetic(op, pair)),
            1 => (inner.clone(), any::<bool>(), prop::collection::vec(list_item(), 0..4)).prop_map(
                |(operand, negated, list)| Expr::In { operand: Box::new(operand), negated, list }
            ),
            2 => call(inner.clone()),
        ]
    })
}

fn document() -> impl Strategy<Value = JsonValue> {
    let leaf = prop_oneof![
        Just(JsonValue::Null),
        any::<bool>().prop_map(JsonValue::from),
        (-4i64..4).prop_map(JsonValue::from),
        any::<f64>().prop_map(JsonValue::from),
        text().prop_map(|s| JsonValue::from(&*s)),
    ];
    let tree = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(JsonValue::from),
            prop::collection::btree_map("[xyz]", inner, 0..3)
                .prop_map(|map| JsonValue::Object(map.into_iter().collect())),
        ]
    });
    ("[abcd]", tree.clone(), tree).prop_map(|(id, tags, reported)| {
        json!({
            "deviceId": id, "version": 3, "status": "enabled", "tags": tags,
            "lastActivityTime": "2031-02-03T04:05:06.5000000Z",
            "properties": {"reported": reported}
        })
    })
}

/// Clears places, which a printed text cannot have in common with what it was printed from.
fn without_places(expr: &mut Expr) {
    match expr {
        Expr::Literal(_) | Expr::List(_) => {}
        Expr::Path(path) => path.span = Span::default(),
        Expr::Not(inner) | Expr::Negate(inner) | Expr::In { operand: inner, .. } => {
            without_places(inner);
        }
        Expr::And(operands) | Expr::Or(operands) => operands.iter_mut().for_each(without_places),
        Expr::Compare(_, pair) | Expr::Arithmetic(_, pair) => {
            pair.iter_mut().for_each(without_places);
        }
        Expr::Call {
            arguments, span, ..
        } => {
            *span = Span::default();
            arguments.iter_mut().for_each(without_places);
        }
    }
}

proptest! {
    #[test]
    fn printed_syntax_parses_to_itself(expr in expression()) {
        let printed = expr.to_string();
        let mut parsed = parse_targets(&printed)
            .map_err(|e| TestCaseError::fail(format!("{printed}: {e}")))?
            .filter
            .expect("an expression was printed");
        without_places(&mut parsed);
        prop_assert_eq!(&parsed, &expr, "{}", printed);
    }

    #[test]
    fn any_expression_evaluates_for_any_document(expr in expression(), document in document()) {
        let text = expr.to_string();
        let targets = Targets { source: None, filter: Some(expr) };
        let (_, bound) = bind::bind_targets(&text, targets).expect("generated names are known");
        let bound = bound.expect("it has a filter");
        let document = JsonDocument(&document);
        let value = evaluate(&bound, &document);
        prop_assert_eq!(eval::holds(&bound, &document), value == super::super::Value::Bool(true));
        let condition = Condition::parse(&text).expect("what binds as syntax binds as text");
        prop_assert_eq!(condition.filter(), Some(&bound));
    }

    #[test]
    fn candidates_never_change_the_result(expr in expression(), document in document()) {
        let condition = Condition::parse(&expr.to_string()).expect("generated names are known");
        if condition.matches(&JsonDocument(&document)) {
            let id = document["deviceId"].as_str().expect("documents have ids");
            if let Some(candidates) = condition.identity_ids() {
                prop_assert!(candidates.contains(&id), "{}: {} not in {:?}", expr, id, candidates);
                prop_assert!(candidates.is_sorted());
            }
        }
    }

    #[test]
    fn any_text_parses_or_is_refused_in_place(text in "\\PC{0,40}|[a-c=<>()\\[\\]'\"\\\\., 0-9$xX*+;u-]{0,40}") {
        for error in [Condition::parse(&text).err(), Query::parse(&text).err()].into_iter().flatten() {
            let span = error.span();
            prop_assert!(text.get(span).is_some(), "{error}");
            prop_assert!(!error.to_string().contains(';'), "{error}");
            prop_assert!(error.line >= 1 && error.column >= 1);
        }
    }
}
