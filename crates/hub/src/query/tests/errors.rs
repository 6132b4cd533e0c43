//! Every refusal names its place and what is wrong, and stays within bounds on hostile text.

use super::super::limits::{LIST_ITEMS_MAX, NESTING_MAX, TEXT_BYTES_MAX};
use super::{Condition, Query};

fn condition_error(text: &str) -> String {
    Condition::parse(text).expect_err(text).to_string()
}

fn assert_condition_error(text: &str, wanted: &str) {
    let wanted = format!("SQL query parse failed: Line {wanted}");
    assert_eq!(condition_error(text), wanted, "{text}");
}

#[test]
fn a_condition_error_has_line_column_and_reason() {
    let cases = [
        ("", "1:1 The condition is empty, '*' selects every device"),
        ("  ", "1:3 The condition is empty, '*' selects every device"),
        (
            "SELECT * FROM devices",
            "1:1 A condition is only the part after WHERE of a query, 'SELECT' cannot stand in it",
        ),
        (
            "WHERE a = 1",
            "1:1 A condition is the part after WHERE, without the word itself",
        ),
        (
            "* AND status = 'x'",
            "1:3 Unexpected 'AND', expected the end of the condition",
        ),
        ("tags.a = 1;", "1:11 Unexpected semicolon"),
        ("tags.a = 1 # 2", "1:12 Unexpected character '#'"),
        ("tags.ä = 1 ?", "1:12 Unexpected character '?'"),
        (
            "tags.a = 1\n AND\n  tags.b ! 2",
            "3:10 Unexpected character '!'",
        ),
        (
            "tags.a =",
            "1:9 Unexpected end of the text, expected a value, a path or a function",
        ),
        (
            "tags.a == 1",
            "1:9 Unexpected '=', expected a value, a path or a function",
        ),
        (
            "tags.a = 1 tags.b",
            "1:12 Unexpected 'tags', expected the end of the condition",
        ),
        (
            "tags.a = AND",
            "1:10 Unexpected 'AND', expected a value, a path or a function",
        ),
        ("tags.a = 'x", "1:10 String without an end"),
        (r"tags.a = 'x\q'", r"1:12 Unknown escape '\q'"),
        (r"tags.a = 'x\u12G4'", r"1:12 Malformed escape '\u12G4'"),
        (r"tags.a = '\ud83d'", r"1:11 Malformed escape '\ud83d'"),
        (r"tags.a = '\", r"1:11 Unknown escape '\'"),
        ("tags.a = 1x", "1:10 Malformed or too large number '1x'"),
        ("tags.a = 0x", "1:10 Malformed or too large number '0x'"),
        (
            "tags.a = 1e999",
            "1:10 Malformed or too large number '1e999'",
        ),
        (
            "tags.5 = 1",
            "1:6 Unexpected '5', expected a name after '.', others than words are written ['so']",
        ),
        (
            "tags[5] = 1",
            "1:6 Unexpected '5', expected a string after '[' in a path",
        ),
        ("tags.[[a = 1", "1:6 '[[' without ']]'"),
        ("tags.[[]] = 1", "1:6 Expected a name between '[[' and ']]'"),
        ("tags.$ = 1", "1:6 Expected a name after '$'"),
    ];
    for (text, wanted) in cases {
        assert_condition_error(text, wanted);
    }
}

#[test]
fn misused_operators_and_lists_are_named() {
    let cases = [
        (
            "status IN ('a')",
            "1:11 Unexpected '(', expected a list in square brackets after IN",
        ),
        (
            "status IN ['a' 'b']",
            "1:16 Unexpected string 'b', expected ']'",
        ),
        (
            "status IN [tags.a]",
            "1:12 Unexpected 'tags', expected a literal",
        ),
        ("status IN [-'a']", "1:16 Only numbers can be negative"),
        ("status NOT ['a']", "1:12 Unexpected '[', expected IN"),
        (
            "1 < 2 < 3",
            "1:7 Comparisons cannot be chained, join them with AND",
        ),
        (
            "1 = NOT true",
            "1:5 NOT needs round brackets around it here",
        ),
        (
            "(status = 'a'",
            "1:14 Unexpected end of the text, expected ')'",
        ),
    ];
    for (text, wanted) in cases {
        assert_condition_error(text, wanted);
    }
}

#[test]
fn unknown_names_are_named() {
    let cases = [
        (
            "foo = 1",
            "1:1 Unknown field 'foo', below tags and properties any name is allowed",
        ),
        (
            "tags.a = 1 AND devices.foo.bar = 1",
            "1:16 Unknown field 'foo.bar', below tags and properties any name is allowed",
        ),
        ("deviceId.x = 1", "1:1 deviceId has no member 'x'"),
        (
            "1 = configurations.[[a]].state",
            "1:5 configurations.[[id]] has no member 'state', only status",
        ),
        (
            "configurations.a.status.since = 1",
            "1:1 configurations.[[id]] has no member 'status.since', only status",
        ),
        (
            "properties.wanted.x = 1",
            "1:1 Unknown section 'wanted', there are properties.desired and properties.reported",
        ),
        (
            "[[a;b]] = 1",
            "1:1 Unknown field 'a,b', below tags and properties any name is allowed",
        ),
        ("FOO(1)", "1:1 Unknown function 'FOO'"),
        (
            "COUNT() > 1",
            "1:1 'COUNT' is an aggregate and stands only after SELECT",
        ),
        ("IS_DEFINED()", "1:1 IS_DEFINED takes 1 argument, not 0"),
        (
            "startswith('a')",
            "1:1 STARTS_WITH takes 2 arguments, not 1",
        ),
        (
            "SUBSTRING('a')",
            "1:1 SUBSTRING takes 2 to 3 arguments, not 1",
        ),
        ("CONCAT()", "1:1 CONCAT takes 1 or more arguments, not 0"),
        (
            "FROM devices.jobs WHERE status = 'x'",
            "1:6 A condition selects from devices or devices.modules, not from devices.jobs",
        ),
        (
            "FROM machines",
            "1:6 Unknown source 'machines', there are devices, devices.modules and devices.jobs",
        ),
        (
            "FROM",
            "1:5 Unexpected end of the text, expected 'devices', 'devices.modules' or 'devices.jobs'",
        ),
    ];
    for (text, wanted) in cases {
        assert_condition_error(text, wanted);
    }
}

fn assert_query_errors(cases: &[(&str, &str)]) {
    for (text, wanted) in cases {
        let error = Query::parse(text).expect_err(text).to_string();
        assert_eq!(
            error,
            format!("SQL query parse failed: Line {wanted}"),
            "{text}"
        );
    }
}

#[test]
fn a_query_error_has_line_column_and_reason() {
    let cases = [
        ("", "1:1 Unexpected end of the text, expected SELECT"),
        (
            "deviceId = 'x'",
            "1:1 Unexpected 'deviceId', expected SELECT",
        ),
        (
            "SELECT FROM devices",
            "1:8 Unexpected 'FROM', expected '*', a path or an aggregate",
        ),
        (
            "SELECT * WHERE a = 1",
            "1:10 Unexpected 'WHERE', expected FROM",
        ),
        (
            "SELECT * FROM devices WHERE",
            "1:28 Unexpected end of the text, expected a value, a path or a function",
        ),
        (
            "SELECT * FROM devices WHERE *",
            "1:29 Unexpected '*', expected a value, a path or a function",
        ),
        (
            "SELECT * FROM devices AS",
            "1:25 Unexpected end of the text, expected a name after AS",
        ),
        (
            "SELECT TOP 1.5 * FROM devices",
            "1:12 Unexpected '1.5', expected a whole number after TOP",
        ),
        (
            "SELECT LOWER(status) FROM devices",
            "1:8 Only paths and aggregates can be selected, 'LOWER' is not an aggregate",
        ),
        (
            "SELECT status, STATUS FROM devices",
            "1:16 Two columns are named 'status', name one with AS",
        ),
        (
            "SELECT COUNT(), COUNT(status) FROM devices",
            "1:17 Two columns are named 'count', name one with AS",
        ),
    ];
    assert_query_errors(&cases);
}

#[test]
fn misused_groups_are_named() {
    let cases = [
        (
            "SELECT AVG() FROM devices",
            "1:12 Unexpected ')', expected a path",
        ),
        (
            "SELECT SUM(*) FROM devices",
            "1:12 Unexpected '*', expected a path",
        ),
        (
            "SELECT status, COUNT() FROM devices",
            "1:8 'status' stands beside groups and is not in GROUP BY",
        ),
        (
            "SELECT tags.a, COUNT() FROM devices GROUP BY tags.b",
            "1:8 'tags.a' stands beside groups and is not in GROUP BY",
        ),
        (
            "SELECT * FROM devices GROUP BY status",
            "1:32 '*' cannot be grouped, select paths of GROUP BY and aggregates",
        ),
        (
            "SELECT * FROM devices GROUP status",
            "1:29 Unexpected 'status', expected BY",
        ),
        (
            "SELECT DISTINCT COUNT() FROM devices GROUP BY status",
            "1:8 DISTINCT beside GROUP BY needs every path of GROUP BY selected",
        ),
        (
            "SELECT * FROM devices.jobs WHERE tags.a = 1",
            "1:34 Unknown field 'tags.a' of a row of devices.jobs",
        ),
        (
            "SELECT * FROM devices.jobs WHERE configurations.a.status = 'Applied'",
            "1:34 Unknown field 'configurations.a.status' of a row of devices.jobs",
        ),
        (
            "SELECT * FROM devices WHERE jobId = 'x'",
            "1:29 Unknown field 'jobId', below tags and properties any name is allowed",
        ),
    ];
    assert_query_errors(&cases);
}

#[test]
fn misused_orders_are_named() {
    let cases = [
        (
            "SELECT status FROM devices GROUP BY status ORDER BY version",
            "1:53 'version' is not in GROUP BY, so groups have no order by it",
        ),
        (
            "SELECT COUNT() FROM devices ORDER BY status",
            "1:38 'status' is not in GROUP BY, so groups have no order by it",
        ),
        (
            "SELECT DISTINCT status FROM devices ORDER BY version",
            "1:46 'version' is not selected, so DISTINCT rows have no order by it",
        ),
        (
            "SELECT DISTINCT status FROM devices ORDER BY COUNT()",
            "1:46 ORDER BY an aggregate needs groups, or aggregates, to order",
        ),
        (
            "SELECT * FROM devices ORDER BY COUNT()",
            "1:32 ORDER BY an aggregate needs groups, or aggregates, to order",
        ),
        (
            "SELECT * FROM devices ORDER BY LOWER(status)",
            "1:32 Only paths and aggregates can be selected, 'LOWER' is not an aggregate",
        ),
        (
            "SELECT * FROM devices ORDER BY status DOWN",
            "1:39 Unexpected 'DOWN', expected the end of the query",
        ),
        (
            "SELECT * FROM devices ORDER BY",
            "1:31 Unexpected end of the text, expected a path or an aggregate",
        ),
    ];
    assert_query_errors(&cases);
}

#[test]
fn groups_and_orders_have_bounds() {
    let list = |count: usize, item: &dyn Fn(usize) -> String| {
        let items: Vec<_> = (0..count).map(item).collect();
        items.join(", ")
    };
    let path = |n: usize| format!("tags.k{n}");
    let average = |n: usize| format!("AVG(tags.k{n}) AS a{n}");
    type Text<'a> = &'a dyn Fn(usize) -> String;
    let cases: [(Text<'_>, usize, &str); 4] = [
        (
            &|n| format!("SELECT COUNT() FROM devices GROUP BY {}", list(n, &path)),
            16,
            "GROUP BY takes at most 16 paths",
        ),
        (
            &|n| format!("SELECT DISTINCT {} FROM devices", list(n, &path)),
            16,
            "SELECT DISTINCT takes at most 16 columns",
        ),
        (
            &|n| format!("SELECT * FROM devices ORDER BY {}", list(n, &path)),
            16,
            "ORDER BY takes at most 16 keys",
        ),
        (
            &|n| format!("SELECT {} FROM devices", list(n, &average)),
            100,
            "At most 100 aggregates are allowed",
        ),
    ];
    for (text, most, wanted) in cases {
        assert!(Query::parse(&text(most)).is_ok(), "{wanted}");
        let error = Query::parse(&text(most + 1)).expect_err(wanted);
        assert_eq!(error.message, wanted);
    }
    // The same path twice is one key.
    let twice = list(40, &|n| format!("tags.k{}", n % 16));
    assert!(Query::parse(&format!("SELECT COUNT() FROM devices GROUP BY {twice}")).is_ok());
}

#[test]
fn an_error_knows_the_bytes_it_is_about() {
    let text = "tags.ä = 1 AND\n foo.bar = 2";
    let error = Condition::parse(text).unwrap_err();
    assert_eq!(&text[error.span()], "foo.bar");
    assert_eq!((error.line, error.column), (2, 2));
    let at_end = Condition::parse("status =").unwrap_err();
    assert_eq!(at_end.span(), 8..8);
}

#[test]
fn no_error_text_holds_a_semicolon_or_a_long_quotation() {
    let long = format!("tags.a = {}", "é".repeat(1000));
    let texts = [
        "a;b",
        "[[;]] = 1",
        "'x' ';'",
        "[';'] = ;",
        "tags['a;b'] 'x;y'",
        &long,
    ];
    for text in texts {
        let shown = condition_error(text);
        assert!(!shown.contains(';') && shown.len() < 300, "{shown}");
    }
    let control = condition_error("\u{1b}");
    assert!(!control.contains('\u{1b}'), "{control:?}");
}

#[test]
fn hostile_nesting_is_refused_and_never_overflows() {
    let times = |n: usize, piece: &str| piece.repeat(n);
    let many = 1_000_000;
    for text in [
        times(many, "("),
        times(many, "NOT "),
        times(many, "-"),
        times(many, "LOWER("),
        format!("{}1", times(many, "1 + ")),
        format!("{}1", times(many, "1 = (")),
        format!("{}true{}", times(many, "("), times(many, ")")),
        // Each level is short, but chains on the left of chains add up.
        format!(
            "{}1{}",
            times(150, "("),
            times(150, &format!("{})", times(150, " + 1")))
        ),
    ] {
        let shown = condition_error(&text);
        assert!(
            shown.contains(&format!("deeper than {NESTING_MAX}")),
            "{shown}"
        );
    }
    let deep = format!("{}true{}", times(150, "NOT ("), times(150, ")"));
    assert!(
        Condition::parse(&deep).is_err(),
        "a bracket and a NOT are a level each"
    );
    let deep = format!("{}true{}", times(90, "NOT ("), times(90, ")"));
    assert!(super::selects(&deep));
}

#[test]
fn long_texts_are_bounded_but_long_chains_are_not_deep() {
    let ors = vec!["tags.floor = 9"; 10_000].join(" OR ");
    assert!(!super::selects(&ors));
    assert!(super::selects(&format!("{ors} OR tags.floor = 3")));
    let shown = condition_error(&vec!["true"; 100_001].join(" AND "));
    assert!(shown.contains("More than 100000 operators"), "{shown}");
    let shown = condition_error(&format!("tags{} = 1", ".a".repeat(200_000)));
    assert!(shown.contains("More than 100000 operators"), "{shown}");
    let shown = condition_error(&" ".repeat(TEXT_BYTES_MAX + 1));
    assert!(shown.contains("67108865 bytes"), "{shown}");
    let shown = condition_error(&format!("status IN [{}1]", "1,".repeat(LIST_ITEMS_MAX)));
    assert!(shown.contains("Lists hold more than 4194304"), "{shown}");
}

#[test]
fn a_list_of_a_million_ids_works() {
    use std::fmt::Write as _;
    let mut text = String::from("deviceId IN [");
    for n in 0..1_000_000 {
        write!(text, "'device-{n:07}',").unwrap();
    }
    text.push_str("'pump-3']");
    let condition = Condition::parse(&text).unwrap();
    assert_eq!(condition.text(), text);
    assert_eq!(condition.identity_ids().unwrap().len(), 1_000_001);
    let document = super::twin();
    for _ in 0..1000 {
        assert!(condition.matches(&super::JsonDocument(&document)));
    }
}
