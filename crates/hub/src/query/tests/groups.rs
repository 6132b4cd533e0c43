//! What groups answer with: keys, aggregates, names of columns.

use serde_json::{Value as JsonValue, json};

use super::super::{Groups, OrderBy, Selection};
use super::{JsonDocument, Query, job_row};

fn groups(text: &str) -> Groups {
    let query = Query::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    match query.selection() {
        Selection::Groups(groups) => groups.clone(),
        other => panic!("{text}: {other:?}"),
    }
}

/// The one group of these documents, as text.
fn whole(text: &str, documents: &[JsonValue]) -> String {
    let groups = groups(text);
    let mut group = match documents.first() {
        Some(first) if !groups.keys().is_empty() => groups.begin(&JsonDocument(first)),
        _ => groups.begin_whole(),
    };
    for document in documents {
        groups.add(&mut group, &JsonDocument(document));
    }
    let mut out = Vec::new();
    groups.write_row(&group, &mut out);
    String::from_utf8(out).unwrap()
}

fn tagged(values: &[JsonValue]) -> Vec<JsonValue> {
    let document = |x: &JsonValue| json!({"tags": {"x": x}});
    values.iter().map(document).collect()
}

#[test]
fn counts_tally_rows_and_defined_values() {
    let mut documents = tagged(&[json!(1), json!(null)]);
    documents.push(json!({"tags": {}}));
    assert_eq!(
        whole(
            "SELECT COUNT(), COUNT(*) AS n, COUNT(tags.x) AS x FROM devices",
            &documents
        ),
        r#"{"count":3,"n":3,"x":2}"#
    );
    assert_eq!(whole("SELECT COUNT() FROM devices", &[]), r#"{"count":0}"#);
    assert_eq!(
        whole("SELECT COUNT() AS total FROM devices.jobs", &[job_row()]),
        r#"{"total":1}"#
    );
}

#[test]
fn aggregates_pass_over_what_is_of_the_wrong_type() {
    let text = "SELECT SUM(tags.x), AVG(tags.x), MIN(tags.x), MAX(tags.x) FROM devices";
    let cases = [
        (json!([]), "{}"),
        (json!([null, true, [1], {"a": 1}]), "{}"),
        (
            json!([1, 2, 6, null, "9", false]),
            r#"{"sum":9,"avg":3.0,"min":1,"max":"9"}"#,
        ),
        (json!(["b", "a", "é"]), r#"{"min":"a","max":"é"}"#),
        (
            json!([0.5, 1, -2.25]),
            r#"{"sum":-0.75,"avg":-0.25,"min":-2.25,"max":1}"#,
        ),
        // What was met first stays, as it was written.
        (
            json!([1.0, 1]),
            r#"{"sum":2.0,"avg":1.0,"min":1.0,"max":1.0}"#,
        ),
        (
            json!([0.0, -0.0, 0]),
            r#"{"sum":0,"avg":0.0,"min":0.0,"max":0.0}"#,
        ),
        // Whole numbers lose nothing on the way.
        (
            json!([9_007_199_254_740_993_i64, 1, -1]),
            r#"{"sum":9007199254740993,"avg":3002399751580330.5,"min":-1,"max":9007199254740993}"#,
        ),
        // No finite number, no value.
        (json!([1e308, 1e308]), r#"{"min":1e308,"max":1e308}"#),
    ];
    for (values, wanted) in cases {
        let documents = tagged(values.as_array().unwrap());
        let shown = whole(text, &documents);
        let (shown, wanted): (JsonValue, JsonValue) = (
            serde_json::from_str(&shown).unwrap(),
            serde_json::from_str(wanted).unwrap(),
        );
        assert_eq!(shown, wanted, "{values}");
    }
}

#[test]
fn columns_of_groups_are_named_by_alias_step_or_aggregate() {
    let documents = tagged(&[json!("a"), json!("a")]);
    let cases = [
        (
            "SELECT tags.x, COUNT() FROM devices GROUP BY tags.x",
            r#"{"x":"a","count":2}"#,
        ),
        (
            "SELECT Count(tags.x) AS n, tags.x AS [[the x]] FROM devices GROUP BY tags.y, tags.x",
            r#"{"n":2,"the x":"a"}"#,
        ),
        (
            "SELECT COUNT() FROM devices GROUP BY tags.x",
            r#"{"count":2}"#,
        ),
        // Undefined keys are left out, and so is what has no value.
        (
            "SELECT tags.y, tags.x, SUM(tags.x) FROM devices GROUP BY tags.x, tags.y",
            r#"{"x":"a"}"#,
        ),
        ("SELECT DISTINCT tags.x FROM devices", r#"{"x":"a"}"#),
        (
            "SELECT DISTINCT tags.x AS a, tags.x AS b FROM devices",
            r#"{"a":"a","b":"a"}"#,
        ),
        (
            "SELECT DISTINCT tags.x, COUNT() FROM devices GROUP BY tags.x",
            r#"{"x":"a","count":2}"#,
        ),
    ];
    for (text, wanted) in cases {
        assert_eq!(whole(text, &documents), wanted, "{text}");
    }
    let row = whole(
        "SELECT status, outcome.deviceMethodResponse.status AS code, MAX(endTimeUtc) AS last \
         FROM devices.jobs GROUP BY status, outcome.deviceMethodResponse.status",
        &[job_row()],
    );
    assert_eq!(
        row,
        r#"{"status":"canceled","code":200,"last":"2031-02-03T05:05:06.1400000Z"}"#
            .replace("06.14", "06.12")
    );
}

#[test]
fn groups_know_their_size() {
    let groups = groups("SELECT tags.x, MAX(tags.x), MIN(tags.x) FROM devices GROUP BY tags.x");
    let long = json!({"tags": {"x": "b".repeat(1_000)}});
    let short = json!({"tags": {"x": "c"}});
    let mut group = groups.begin(&JsonDocument(&long));
    let mut bytes = group.bytes() as isize;
    for (row, grown) in [(&long, 2_000), (&short, -999), (&short, 0), (&long, 0)] {
        let added = groups.add(&mut group, &JsonDocument(row));
        assert_eq!(added, grown);
        bytes += added;
        assert_eq!(group.bytes() as isize, bytes);
    }
}

#[test]
fn orders_may_name_columns_and_aggregates_that_are_not_shown() {
    let text =
        "SELECT tags.x AS n FROM devices GROUP BY tags.x ORDER BY COUNT() DESC, n, MAX(tags.y)";
    let query = Query::parse(text).unwrap();
    let by: Vec<_> = query.order().iter().map(|key| key.by.clone()).collect();
    let groups = groups(text);
    assert_eq!(
        by,
        [
            OrderBy::Aggregate(0),
            OrderBy::Path(groups.keys()[0].clone()),
            OrderBy::Aggregate(1)
        ]
    );
    assert_eq!(groups.aggregates().len(), 2);
    assert_eq!(whole(text, &tagged(&[json!(1)])), r#"{"n":1}"#);
    assert!(query.ranking().is_by_aggregate() && !query.grouping().is_by_aggregate());
}
