//! Text to syntax: what binds how, and what literals and paths may look like.

use super::super::parser::{parse_select, parse_targets};

/// Prints what was parsed, with brackets where they are needed.
fn reprint(condition: &str) -> String {
    let targets = parse_targets(condition).unwrap_or_else(|e| panic!("{condition}: {e}"));
    targets
        .filter
        .map_or("*".to_owned(), |filter| filter.to_string())
}

#[test]
fn operators_bind_as_published() {
    let cases = [
        (
            "a = 1 OR b = 2 AND NOT c = 3",
            "a = 1 OR b = 2 AND NOT c = 3",
        ),
        ("(a = 1 OR b = 2) AND c = 3", "(a = 1 OR b = 2) AND c = 3"),
        ("a OR (b AND c)", "a OR b AND c"),
        ("NOT (a = 1)", "NOT a = 1"),
        ("(NOT a) = 1", "(NOT a) = 1"),
        ("NOT (a AND b)", "NOT (a AND b)"),
        ("not not a", "NOT NOT a"),
        ("(a + b) * c", "(a + b) * c"),
        ("a + (b * c)", "a + b * c"),
        ("a - (b - c)", "a - (b - c)"),
        ("(a - b) - c", "a - b - c"),
        ("a / b % c", "a / b % c"),
        ("-a * b", "-a * b"),
        ("-(a * b)", "-(a * b)"),
        ("--1 <> - 2", "--1 != -2"),
        ("a + 1 < b", "a + 1 < b"),
        (
            "a NIN [1] and b not in ['x']",
            "a NOT IN [1] AND b NOT IN ['x']",
        ),
        ("(a AND b) AND c", "(a AND b) AND c"),
        ("((a))", "a"),
        (" \n* ", "*"),
    ];
    for (written, printed) in cases {
        assert_eq!(reprint(written), printed, "{written}");
    }
}

#[test]
fn literals_have_these_spellings() {
    let cases = [
        (r"'it\'s' = a", r"'it\'s' = a"),
        (r#""say \"x\" 'y'""#, r#"'say "x" \'y\''"#),
        (r"'\u00e9\u263A\ud83d\ude00'", "'é☺😀'"),
        (r"'\\ \/ \n'", r"'\\ / \u000a'"),
        ("0x1F", "31"),
        ("0XfffFFFFFFFFFF", "4503599627370495"),
        ("4503599627370496", "4503599627370496"),
        ("1.50", "1.5"),
        ("12e-1", "1.2"),
        ("1E3", "1000"),
        ("TRUE", "true"),
        ("Null", "null"),
        ("UNDEFINED", "undefined"),
        ("a IN []", "a IN []"),
        (
            "a IN [-1, 'x', null, true, undefined, 0x10]",
            "a IN [-1, 'x', null, true, undefined, 16]",
        ),
        ("IS_ARRAY([1, 2])", "IS_ARRAY([1, 2])"),
    ];
    for (written, printed) in cases {
        assert_eq!(reprint(written), printed, "{written}");
    }
}

#[test]
fn paths_take_words_names_and_strings() {
    let cases = [
        ("tags . x", "tags.x"),
        ("tags.[[group]].name", "tags.group.name"),
        ("tags.order.in", "tags.order.in"),
        ("tags['a-b'].c", "tags['a-b'].c"),
        ("tags.[[a-b]]['c d']", "tags['a-b']['c d']"),
        ("[[from]].x", "[[from]].x"),
        ("p.$metadata.$lastUpdated", "p.$metadata.$lastUpdated"),
        ("tags.größe_2", "tags.größe_2"),
        ("tags['$v']", "tags.$v"),
    ];
    for (written, printed) in cases {
        assert_eq!(reprint(written), printed, "{written}");
    }
}

#[test]
fn every_clause_of_a_query_is_understood() {
    let cases = [
        ("select * from devices", "SELECT * FROM devices"),
        (
            "SELECT TOP 5 a.b, c AS d FROM Devices.Modules WHERE a = 1",
            "SELECT TOP 5 a.b, c AS d FROM Devices.Modules WHERE a = 1",
        ),
        (
            "SELECT count(*), COUNT() AS count, AVG(a.b) AS [[the mean]] FROM devices c",
            "SELECT COUNT(), COUNT() AS count, AVG(a.b) AS [[the mean]] FROM devices AS c",
        ),
        (
            "SELECT DISTINCT a FROM devices GROUP BY a, b.c ORDER BY a ASC, b DESC",
            "SELECT DISTINCT a FROM devices GROUP BY a, b.c ORDER BY a, b DESC",
        ),
    ];
    for (written, printed) in cases {
        let parsed = parse_select(written).unwrap_or_else(|e| panic!("{written}: {e}"));
        assert_eq!(parsed.to_string(), printed, "{written}");
        assert_eq!(parse_select(printed).unwrap().to_string(), printed);
    }
}

#[test]
fn a_condition_may_name_its_source() {
    for (text, filtered) in [
        ("FROM devices", false),
        ("FROM devices WHERE *", false),
        ("from devices.modules where deviceId = 'x'", true),
        ("*", false),
    ] {
        assert_eq!(
            parse_targets(text).unwrap().filter.is_some(),
            filtered,
            "{text}"
        );
    }
}
