//! Merges, versions and limits as tables.

use serde_json::json;

use super::*;

const T1: Timestamp = Timestamp(1_000_000);
const T2: Timestamp = Timestamp(2_000_000);

fn object(value: Value) -> Object {
    match value {
        Value::Object(members) => members,
        other => panic!("not an object: {other}"),
    }
}

fn desired(value: Value) -> TwinPatch {
    TwinPatch::new(SectionPatch::Absent, SectionPatch::Merge(object(value))).unwrap()
}

#[test]
fn objects_merge_arrays_replace_and_nulls_remove() {
    let cases = [
        (json!({"a": 1}), json!({"b": 2}), json!({"a": 1, "b": 2})),
        (
            json!({"a": {"x": 1, "y": 2}}),
            json!({"a": {"x": null}}),
            json!({"a": {"y": 2}}),
        ),
        (json!({"a": [1, 2]}), json!({"a": [3]}), json!({"a": [3]})),
        (json!({"a": 1}), json!({"a": {"b": null}}), json!({"a": {}})),
        (json!({"a": {"b": 1}}), json!({"a": 5}), json!({"a": 5})),
        (json!({"a": 1}), json!({"zz": null}), json!({"a": 1})),
    ];
    for (first, second, merged) in cases {
        let mut twin = TwinDocument::new(T1);
        twin.patch(&desired(first), T1).unwrap();
        twin.patch(&desired(second), T1).unwrap();
        assert_eq!(Value::Object(twin.desired.values), merged);
    }
}

#[test]
fn a_patch_that_changes_nothing_still_moves_every_version() {
    let mut twin = TwinDocument::new(T1);
    let change = twin.patch(&desired(json!({})), T2).unwrap();
    assert_eq!(
        change,
        Some(DesiredChange {
            version: 2,
            cleared: None
        })
    );
    assert_eq!((twin.version, twin.etag), (2, Etag(2)));
    let tags = TwinPatch::new(SectionPatch::Merge(Object::new()), SectionPatch::Absent);
    assert_eq!(twin.patch(&tags.unwrap(), T2).unwrap(), None);
    assert_eq!(
        (twin.desired.version, twin.version, twin.etag),
        (2, 3, Etag(3))
    );
}

#[test]
fn a_report_moves_the_version_but_not_the_etag() {
    let mut twin = TwinDocument::new(T1);
    let patch = ReportedPatch::new(object(json!({"fw": "1.2", "old": null}))).unwrap();
    assert_eq!(twin.report(&patch, T2).unwrap(), 2);
    assert_eq!((twin.version, twin.etag), (2, Etag(1)));
    assert_eq!(twin.reported.metadata.children["fw"].updated, T2);
    assert_eq!(twin.reported.metadata.version, None);
}

#[test]
fn metadata_follows_the_tree() {
    let mut twin = TwinDocument::new(T1);
    twin.patch(&desired(json!({"a": {"x": 1, "y": 2}, "b": 3})), T1)
        .unwrap();
    twin.patch(&desired(json!({"a": {"x": 9}})), T2).unwrap();
    let metadata = &twin.desired.metadata;
    assert_eq!((metadata.updated, metadata.version), (T2, Some(3)));
    assert_eq!(metadata.children["a"].updated, T2);
    assert_eq!(metadata.children["a"].children["x"].version, Some(3));
    assert_eq!(metadata.children["a"].children["y"].version, Some(2));
    assert_eq!(metadata.children["b"].updated, T1);
    twin.patch(&desired(json!({"a": null})), T2).unwrap();
    assert!(!twin.desired.metadata.children.contains_key("a"));
}

#[test]
fn clearing_names_what_went() {
    let mut twin = TwinDocument::new(T1);
    twin.patch(&desired(json!({"a": 1, "b": 2})), T1).unwrap();
    let clear = TwinPatch::new(SectionPatch::Absent, SectionPatch::Clear).unwrap();
    let change = twin.patch(&clear, T2).unwrap().unwrap();
    assert_eq!(change.cleared, Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!((change.version, twin.desired.values.len()), (3, 0));
}

/// The three ways to bring members into a section.
fn brought(members: Value) -> [(&'static str, Result<(), TwinError>); 5] {
    let members = object(members);
    let patch = |tags, desired| TwinPatch::new(tags, desired).map(drop);
    let merge = || SectionPatch::Merge(members.clone());
    [
        ("tags", patch(merge(), SectionPatch::Absent)),
        ("properties.desired", patch(SectionPatch::Absent, merge())),
        (
            "properties.reported",
            ReportedPatch::new(members.clone()).map(drop),
        ),
        (
            "tags",
            TwinReplacement::new(Some(members.clone()), None).map(drop),
        ),
        (
            "properties.desired",
            TwinReplacement::new(None, Some(members.clone())).map(drop),
        ),
    ]
}

/// `levels` objects or arrays around a number, below a section's member.
fn nested(levels: usize, wrap: fn(Value) -> Value) -> Value {
    let inner = (0..levels).fold(json!(1), |inner, _| wrap(inner));
    json!({ "k": inner })
}

fn in_object(inner: Value) -> Value {
    json!({ "k": inner })
}

fn in_array(inner: Value) -> Value {
    json!([inner])
}

fn number(text: &str) -> Value {
    let number: Value = serde_json::from_str(text).unwrap();
    json!({ "n": number })
}

#[test]
fn what_is_just_inside_the_limits_is_taken() {
    let sample = serde_json::from_str(
        r#"{"one":{"two":{"three":{"four":{"five":{"six":{"seven":{"eight":{"nine":
            {"ten":{"property":"value"}}}}}}}}}}}"#,
    );
    for members in [
        json!({ "k".repeat(1_024): 1 }),
        json!({ "ü".repeat(512): 1 }),
        json!({"-": 1, "_": 2, "/": 3, "größe\"x\"": 4, "\u{a0}\u{2028}": 5}),
        json!({"s": "x".repeat(4_096)}),
        json!({"s": "ü".repeat(2_048)}),
        json!({"s": "$. \u{0}\u{7f}\u{85}"}),
        nested(10, in_object),
        nested(10, in_array),
        sample.unwrap(),
        number("4503599627370495"),
        number("-4503599627370496"),
        number("0"),
        number("-0"),
        number("-0.0"),
        number("4503599627370496.0"),
        number("9007199254740992.0"),
        number("4503599627370496e0"),
        number("1e2"),
        number("1E+16"),
        number("1e300"),
        number("-1.7976931348623157e308"),
        number("5e-324"),
        json!({"a": [], "o": {}, "t": true, "n": null, "m": [null, [null], {"x": null}]}),
        json!({}),
    ] {
        for (section, result) in brought(members.clone()) {
            assert_eq!(result, Ok(()), "{section} {members}");
        }
    }
}

#[test]
fn what_is_just_outside_the_limits_is_refused_with_its_place() {
    const KEY: &str = "has a '.', '$' or space";
    const CONTROL: &str = "has a control character";
    const RANGE: &str = "is outside -4503599627370496 to 4503599627370495";
    let key = |key: &str, problem: &str| (json!({ key: 1 }), format!("{key:?} below @ {problem}"));
    let long = "k".repeat(64);
    let cases = [
        key("", "is empty"),
        key("a.b", KEY),
        key(".", KEY),
        key("$a", KEY),
        key("a$", KEY),
        key(" ", KEY),
        key("a b", KEY),
        key("\u{0}", CONTROL),
        key("\t", CONTROL),
        key("\u{1f}", CONTROL),
        key("\u{7f}", CONTROL),
        key("\u{80}", CONTROL),
        key("\u{9f}", CONTROL),
        (
            json!({ "k".repeat(1_025): 1 }),
            format!("{long:?} below @ is longer than 1024 bytes"),
        ),
        (
            json!({ format!("{}kk", "ü".repeat(512)): 1 }),
            "below @ is longer than 1024 bytes".to_owned(),
        ),
        (json!({"a": {"": 1}}), "\"\" below @.a is empty".to_owned()),
        (
            json!({"a": [{"x.y": 1}]}),
            format!("\"x.y\" below @.a {KEY}"),
        ),
        (
            json!({"a": {"$version": 1}}),
            format!("\"$version\" below @.a {KEY}"),
        ),
        (
            json!({"a": {"b": "x".repeat(4_097)}}),
            "the string at @.a.b has 4097 bytes, at most 4096 are allowed".to_owned(),
        ),
        (
            json!({"a": ["x".repeat(4_097)]}),
            "the string at @.a has 4097 bytes, at most 4096 are allowed".to_owned(),
        ),
        (
            nested(11, in_object),
            "@.k.k.k.k.k.k.k.k.k.k.k is nested deeper than 10 levels".to_owned(),
        ),
        (
            nested(11, in_array),
            "@.k is nested deeper than 10 levels".to_owned(),
        ),
        (
            json!({"k": {"k": [{"k": nested(7, in_object)}]}}),
            "is nested deeper than 10 levels".to_owned(),
        ),
        (
            number("4503599627370496"),
            format!("the number at @.n {RANGE}"),
        ),
        (
            number("-4503599627370497"),
            format!("the number at @.n {RANGE}"),
        ),
        (
            number("9007199254740993"),
            format!("the number at @.n {RANGE}"),
        ),
        (
            number("18446744073709551615"),
            format!("the number at @.n {RANGE}"),
        ),
        (
            json!({"a": [1, 4_503_599_627_370_496_i64]}),
            format!("the number at @.a {RANGE}"),
        ),
    ];
    for (members, message) in cases {
        for (section, result) in brought(members.clone()) {
            let told = result.map_err(|error| error.to_string());
            let expected = message.replace('@', section);
            assert!(
                told.as_ref().is_err_and(|told| told.contains(&expected)),
                "{members} in {section}: {told:?} instead of {expected}"
            );
        }
    }
}

/// A caller that read a whole twin sends back what the hub put into it.
#[test]
fn stamps_that_come_back_with_the_desired_section_are_left_out() {
    let read = || object(json!({"a": 1, "$version": 7, "$metadata": {"a": {"$lastUpdated": "x"}}}));
    let patch = TwinPatch::new(SectionPatch::Absent, SectionPatch::Merge(read())).unwrap();
    assert_eq!(
        patch.desired(),
        &SectionPatch::Merge(object(json!({"a": 1})))
    );
    let replacement = TwinReplacement::new(None, Some(read())).unwrap();
    assert_eq!(replacement.desired(), Some(&object(json!({"a": 1}))));

    let tags = SectionPatch::Merge(read());
    assert!(TwinPatch::new(tags, SectionPatch::Absent).is_err());
    assert!(TwinReplacement::new(Some(read()), None).is_err());
    assert!(ReportedPatch::new(read()).is_err());
    let other = SectionPatch::Merge(object(json!({"$lastUpdated": "x"})));
    assert!(TwinPatch::new(SectionPatch::Absent, other).is_err());
}

#[test]
fn a_replacement_overwrites_the_sections_it_has() {
    let mut twin = TwinDocument::new(T1);
    let first = TwinPatch::new(
        SectionPatch::Merge(object(json!({"site": "b4"}))),
        SectionPatch::Merge(object(json!({"keep": {"x": 1, "y": 2}, "gone": [1]}))),
    );
    twin.patch(&first.unwrap(), T1).unwrap();

    let next = json!({"keep": {"x": 1, "n": null}, "list": [{"e": null}, 2]});
    let replacement = TwinReplacement::new(None, Some(object(next))).unwrap();
    let change = twin.replace(&replacement, T2);
    assert_eq!(
        change,
        Some(DesiredChange {
            version: 3,
            cleared: None
        })
    );
    assert_eq!(
        Value::Object(twin.desired.values.clone()),
        json!({"keep": {"x": 1}, "list": [{"e": null}, 2]})
    );
    assert_eq!(Value::Object(twin.tags.clone()), json!({"site": "b4"}));
    assert_eq!((twin.version, twin.etag), (3, Etag(3)));
    let stamp = Metadata {
        updated: T2,
        version: Some(3),
        children: BTreeMap::new(),
    };
    let keep = Metadata {
        children: [("x".to_owned(), stamp.clone())].into(),
        ..stamp.clone()
    };
    let children = [
        ("keep".to_owned(), keep),
        ("list".to_owned(), stamp.clone()),
    ];
    assert_eq!(
        twin.desired.metadata,
        Metadata {
            children: children.into(),
            ..stamp
        }
    );

    let tags = TwinReplacement::new(Some(Object::new()), None).unwrap();
    assert_eq!(twin.replace(&tags, T2), None);
    assert!(twin.tags.is_empty());
    assert_eq!((twin.version, twin.desired.version), (4, 3));
    assert_eq!(twin.replace(&TwinReplacement::default(), T2), None);
    assert_eq!((twin.version, twin.etag), (5, Etag(5)));
}

/// `bytes` by the contract's formula.
fn filling(bytes: usize) -> Value {
    let mut members = Object::new();
    let mut left = bytes;
    for n in 0.. {
        let key = format!("{n:04}");
        if left < 2 * (4 + 4_096) {
            let half = (left - 8) / 2;
            members.insert(key, "x".repeat(half).into());
            members.insert("last".to_owned(), "x".repeat(left - 8 - half).into());
            break;
        }
        members.insert(key, "x".repeat(4_096).into());
        left -= 4 + 4_096;
    }
    Value::Object(members)
}

#[test]
fn a_section_is_full_at_its_limit_and_not_before() {
    type Bring = fn(Value) -> Result<(), TwinError>;
    let merge = |value| SectionPatch::Merge(object(value));
    let tags: Bring = |value| {
        let patch = TwinPatch::new(SectionPatch::Merge(object(value)), SectionPatch::Absent)?;
        TwinDocument::new(T1).patch(&patch, T1).map(drop)
    };
    let desired: Bring = |value| {
        TwinDocument::new(T1)
            .patch(&self::desired(value), T1)
            .map(drop)
    };
    let reported: Bring = |value| {
        let patch = ReportedPatch::new(object(value))?;
        TwinDocument::new(T1).report(&patch, T1).map(drop)
    };
    let new_tags: Bring = |value| TwinReplacement::new(Some(object(value)), None).map(drop);
    let new_desired: Bring = |value| TwinReplacement::new(None, Some(object(value))).map(drop);
    for (name, bring, max) in [
        ("tags", tags, 8 * 1_024),
        ("properties.desired", desired, 32 * 1_024),
        ("properties.reported", reported, 32 * 1_024),
        ("tags", new_tags, 8 * 1_024),
        ("properties.desired", new_desired, 32 * 1_024),
    ] {
        assert_eq!(bring(filling(max)), Ok(()), "{name}");
        let refused = bring(filling(max + 1)).unwrap_err();
        let expected = TwinError::TooLarge {
            section: name,
            bytes: max + 1,
            max,
        };
        assert_eq!(refused, expected);
    }
    // What a patch removes makes room for what it brings.
    let mut twin = TwinDocument::new(T1);
    let patch = TwinPatch::new(merge(filling(8_192)), SectionPatch::Absent).unwrap();
    twin.patch(&patch, T1).unwrap();
    let swap = TwinPatch::new(
        merge(json!({"last": null, "0000": null, "n": 1})),
        SectionPatch::Absent,
    );
    twin.patch(&swap.unwrap(), T1).unwrap();
}

#[test]
fn sizes_are_counted_by_the_formula() {
    for (members, bytes) in [
        (json!({}), 0),
        (json!({"ab": 1}), 10),
        (json!({"ab": 1.5e300}), 10),
        (json!({"ab": true}), 6),
        (json!({"ab": null}), 2),
        (json!({"ab": "xyz"}), 5),
        (json!({"ü": "ü€😀"}), 2 + 9),
        (json!({"a": "x\u{0}\u{1f}\u{7f}\u{80}\u{9f}\u{a0}y"}), 1 + 4),
        (json!({"a": {"bc": {"def": 1}}}), 1 + 2 + 3 + 8),
        (
            json!({"a": [1, "xy", false, [2], {"k": 3}, null]}),
            1 + 8 + 2 + 4 + 8 + 9,
        ),
    ] {
        assert_eq!(
            super::check::object_size(&object(members.clone())),
            bytes,
            "{members}"
        );
    }
}

#[test]
fn the_merged_size_counts_not_the_patch() {
    let mut twin = TwinDocument::new(T1);
    let chunk = |key: &str| desired(json!({ key: ["y".repeat(4000), "y".repeat(4000)] }));
    for key in ["a", "b", "c", "d"] {
        twin.patch(&chunk(key), T1).unwrap();
    }
    let error = twin.patch(&chunk("e"), T1).unwrap_err();
    assert_eq!(
        error,
        TwinError::TooLarge {
            section: "properties.desired",
            bytes: 40_005,
            max: 32_768
        }
    );
}

/// A patch that is too large by itself need not wait for a twin that it does not fit.
#[test]
fn a_patch_that_fits_no_twin_is_known_by_itself() {
    let fits = |value| {
        let patch = TwinPatch::new(SectionPatch::Merge(object(value)), SectionPatch::Absent);
        patch.unwrap().check_fits().is_ok()
    };
    assert!(fits(filling(8 * 1_024)));
    assert!(!fits(filling(8 * 1_024 + 1)));
    let removals: Object = (0..2_000)
        .map(|n| (format!("{n:06}"), Value::Null))
        .collect();
    assert!(fits(Value::Object(removals)), "what goes takes no room");
    assert!(desired(filling(32 * 1_024 + 1)).check_fits().is_err());
    let clear = TwinPatch::new(SectionPatch::Clear, SectionPatch::Clear);
    assert!(clear.unwrap().check_fits().is_ok());
}
