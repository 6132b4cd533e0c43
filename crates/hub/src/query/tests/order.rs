//! The order of values, and its spelling in bytes.

use std::cmp::Ordering;

use proptest::prelude::*;
use serde_json::{Value as JsonValue, json};

use super::super::limits::RANK_BYTES_MAX;
use super::super::order::write_rank;
use super::super::{Direction, Json, OrderBy, Value};
use super::{JsonDocument, Query, twin};

fn spelled(value: Option<&JsonValue>, direction: Direction, bytes_max: usize) -> Vec<u8> {
    let value = value.map_or(Value::Undefined, Value::from_json);
    let mut rank = Vec::new();
    write_rank(&value, direction, bytes_max, &mut rank);
    rank
}

fn up(value: Option<&JsonValue>) -> Vec<u8> {
    spelled(value, Direction::Ascending, RANK_BYTES_MAX)
}

#[test]
fn values_of_all_types_have_one_order() {
    let ascending = [
        json!(null),
        json!(false),
        json!(true),
        json!(-1e300),
        json!(-3),
        json!(-0.5),
        json!(0),
        json!(1),
        json!(1.5),
        json!(2),
        json!(10),
        json!(1e300),
        json!(""),
        json!("\u{0}"),
        json!("\u{0}a"),
        json!("10"),
        json!("9"),
        json!("A"),
        json!("a"),
        json!("a\u{0}"),
        json!("aa"),
        json!("é"),
        json!("日"),
        json!("😀"),
        json!([]),
        json!([null]),
        json!([1]),
        json!([1, 1]),
        json!([2]),
        json!([[]]),
        json!({}),
        json!({"a": 1}),
        json!({"a": 1, "b": 1}),
        json!({"a": 2}),
        json!({"b": 0}),
    ];
    let mut ranks = vec![up(None)];
    ranks.extend(ascending.iter().map(|value| up(Some(value))));
    for pair in ranks.windows(2) {
        assert!(pair[0] < pair[1], "{pair:?}");
    }
    for (a, b) in [
        (json!(1), json!(1.0)),
        (json!(0.0), json!(-0.0)),
        (json!({"a": 1, "b": [2]}), json!({"b": [2.0], "a": 1})),
    ] {
        assert_eq!(up(Some(&a)), up(Some(&b)));
    }
    // However an object is kept.
    let text = Value::Object(Json::Text("{ \"b\":[2] ,\"a\":1}".into()));
    let mut rank = Vec::new();
    write_rank(&text, Direction::Ascending, RANK_BYTES_MAX, &mut rank);
    assert_eq!(rank, up(Some(&json!({"a": 1, "b": [2]}))));
}

#[test]
fn long_values_are_cut_and_stay_apart() {
    let text = |tail: &str| json!(format!("{}{tail}", "x".repeat(100)));
    let cut = |value: &JsonValue| spelled(Some(value), Direction::Ascending, 50);
    let (a, b) = (text("a"), text("b"));
    assert_eq!(cut(&a).len(), 82);
    assert_ne!(cut(&a), cut(&b));
    assert_eq!(cut(&a), cut(&a.clone()));
    for (lesser, greater) in [(json!("w"), &a), (json!("x"), &a)] {
        assert!(cut(&lesser) < cut(greater));
    }
    assert!(cut(&a) < cut(&json!("y")));
    // One string of a twin counts whole.
    let longest = |last: &str| json!(format!("{}{last}", "\u{0}x".repeat(2_047)));
    let (a, b) = (longest("aa"), longest("ab"));
    assert!(up(Some(&json!("x".repeat(4_096)))).len() <= RANK_BYTES_MAX);
    assert_eq!(up(Some(&a)).len(), RANK_BYTES_MAX + 32);
    assert_ne!(up(Some(&a)), up(Some(&b)));
}

#[test]
fn a_ranking_is_read_from_left_to_right() {
    let query = Query::parse(
        "SELECT * FROM devices ORDER BY tags.a DESC, [[tags]].b ASC, deviceId, TAGS.a",
    )
    .unwrap();
    assert_eq!(query.order().len(), 3, "the same key again decides nothing");
    let rank = |a: JsonValue, b: JsonValue| {
        let document = json!({"deviceId": "d", "tags": {"a": a, "b": b}});
        let document = JsonDocument(&document);
        let mut rank = Vec::new();
        let value_of = |by: &OrderBy| match by {
            OrderBy::Path(path) => super::super::Document::value(&document, path),
            OrderBy::Aggregate(_) => Value::Undefined,
        };
        query.ranking().write(value_of, &mut rank);
        rank
    };
    assert!(rank(json!(2), json!(9)) < rank(json!(1), json!(1)));
    assert!(rank(json!(1), json!(1)) < rank(json!(1), json!(2)));
    assert!(rank(json!("aa"), json!(0)) < rank(json!("a"), json!(0)));
}

#[test]
fn a_name_alone_means_the_column_of_that_name() {
    let order = |text: &str| {
        let query = Query::parse(text).unwrap();
        match &query.order()[0].by {
            OrderBy::Path(path) => path.to_string(),
            OrderBy::Aggregate(place) => place.to_string(),
        }
    };
    assert_eq!(
        order("SELECT tags.a AS n FROM devices ORDER BY n"),
        "tags.a"
    );
    assert_eq!(
        order("SELECT tags.status FROM devices ORDER BY status"),
        "tags.status"
    );
    assert_eq!(
        order("SELECT tags.status FROM devices ORDER BY STATUS"),
        "status"
    );
    assert_eq!(
        order("SELECT tags.status FROM devices c ORDER BY c.status"),
        "status"
    );
    assert_eq!(order("SELECT * FROM devices ORDER BY version"), "version");
    assert_eq!(
        order("SELECT status, SUM(version) FROM devices GROUP BY status ORDER BY sum"),
        "0"
    );
    assert!(Query::parse("SELECT * FROM devices ORDER BY n").is_err());
    assert!(!twin().is_null());
}

fn any_value() -> impl Strategy<Value = JsonValue> {
    let leaf = prop_oneof![
        Just(JsonValue::Null),
        any::<bool>().prop_map(JsonValue::from),
        (-3i64..3).prop_map(JsonValue::from),
        any::<f64>().prop_map(JsonValue::from),
        "[ab\u{0}\u{1}é]{0,4}".prop_map(JsonValue::from),
        "x{40,60}[ab]".prop_map(JsonValue::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(JsonValue::from),
            prop::collection::btree_map("[ab\u{0}]{0,2}", inner, 0..3)
                .prop_map(|map| JsonValue::Object(map.into_iter().collect())),
        ]
    })
}

/// The order again, the slow way.
fn compare(a: &JsonValue, b: &JsonValue) -> Ordering {
    let class = |value: &JsonValue| match value {
        JsonValue::Null => 0,
        JsonValue::Bool(_) => 1,
        JsonValue::Number(_) => 2,
        JsonValue::String(_) => 3,
        JsonValue::Array(_) => 4,
        JsonValue::Object(_) => 5,
    };
    match (a, b) {
        (JsonValue::Bool(a), JsonValue::Bool(b)) => a.cmp(b),
        (JsonValue::Number(a), JsonValue::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            a.partial_cmp(&b).unwrap()
        }
        (JsonValue::String(a), JsonValue::String(b)) => a.cmp(b),
        (JsonValue::Array(a), JsonValue::Array(b)) => {
            let mut pairs = a.iter().zip(b).map(|(a, b)| compare(a, b));
            let decided = pairs.find(|ordering| ordering.is_ne());
            decided.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (JsonValue::Object(a), JsonValue::Object(b)) => {
            let mut pairs = a
                .iter()
                .zip(b)
                .map(|((n, a), (m, b))| n.cmp(m).then(compare(a, b)));
            let decided = pairs.find(|ordering| ordering.is_ne());
            decided.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (a, b) => class(a).cmp(&class(b)),
    }
}

proptest! {
    #[test]
    fn spellings_order_as_values_do(a in any_value(), b in any_value()) {
        let (x, y) = (up(Some(&a)), up(Some(&b)));
        prop_assert_eq!(x.cmp(&y), compare(&a, &b));
        let down = |value| spelled(Some(value), Direction::Descending, RANK_BYTES_MAX);
        prop_assert_eq!(down(&a).cmp(&down(&b)), compare(&b, &a));
    }

    #[test]
    fn no_spelling_begins_another(a in any_value(), b in any_value(), bytes_max in 1usize..60) {
        let ranks = [&a, &b].map(|value| spelled(Some(value), Direction::Ascending, bytes_max));
        let equal = compare(&a, &b).is_eq();
        prop_assert_eq!(ranks[0] == ranks[1], equal);
        prop_assert!(equal || !ranks[0].starts_with(&ranks[1]));
    }
}
