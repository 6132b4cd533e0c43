//! Every function, with the types it wants and those it does not.

use super::{selects, truth_of};

#[test]
fn functions_yield_these_values() {
    for expression in [
        "ABS(-2) = 2",
        "EXP(0) = 1",
        "POWER(2, 10) = 1024",
        "SQUARE(-3) = 9",
        "CEILING(1.2) = 2",
        "CEILING(-1.2) = -1",
        "FLOOR(1.8) = 1",
        "FLOOR(-1.2) = -2",
        "SIGN(-4) = -1",
        "SIGN(0) = 0",
        "SIGN(0.1) = 1",
        "SQRT(9) = 3",
        "AS_NUMBER('12') = 12",
        "AS_NUMBER('-1.5e1') = -15",
        "AS_NUMBER(tags.building) + 1 = 44",
        "AS_NUMBER(7) = 7",
        "CONCAT('a', tags.building, 'b') = 'a43b'",
        "CONCAT('a') = 'a'",
        "LENGTH('größe😀') = 6",
        "LENGTH('') = 0",
        "LOWER('ÄB') = 'äb'",
        "UPPER('äb') = 'ÄB'",
        "SUBSTRING('größe', 2) = 'öße'",
        "SUBSTRING('größe', 2, 2) = 'öß'",
        "SUBSTRING('abc', 1, 99) = 'bc'",
        "SUBSTRING('abc', 9) = ''",
        "SUBSTRING('abc', 0, 0) = ''",
        "SUBSTRING(LOWER('ABC'), 1, 1) = 'b'",
        "INDEX_OF('größe', 'ß') = 3",
        "INDEX_OF('abc', 'x') = -1",
        "INDEX_OF('abc', '') = 0",
        "STARTS_WITH(deviceId, 'pump')",
        "ENDS_WITH(deviceId, '-3')",
        "CONTAINS(deviceId, 'mp-')",
        "NOT STARTS_WITH('abc', 'b')",
        "NOT ENDS_WITH('abc', 'b')",
        "NOT CONTAINS('abc', 'B')",
    ] {
        assert!(selects(expression), "{expression}");
    }
}

#[test]
fn type_functions_always_answer() {
    let values = [
        ("tags.floor", "NUMBER"),
        ("tags.building", "STRING"),
        ("tags.hot", "BOOL"),
        ("tags.list", "ARRAY"),
        ("[1]", "ARRAY"),
        ("tags", "OBJECT"),
        ("tags.none", "NULL"),
        ("tags.missing", "undefined"),
        ("1 + 'a'", "undefined"),
    ];
    for (value, kind) in values {
        for asked in ["NUMBER", "STRING", "BOOL", "ARRAY", "OBJECT", "NULL"] {
            let wanted = if asked == kind { "true" } else { "false" };
            assert_eq!(
                truth_of(&format!("IS_{asked}({value})")),
                wanted,
                "IS_{asked}({value})"
            );
        }
        let defined = if kind == "undefined" { "false" } else { "true" };
        assert_eq!(
            truth_of(&format!("IS_DEFINED({value})")),
            defined,
            "IS_DEFINED({value})"
        );
        let primitive = ["NUMBER", "STRING", "BOOL", "NULL"].contains(&kind);
        let primitive = if primitive { "true" } else { "false" };
        assert_eq!(
            truth_of(&format!("IS_PRIMITIVE({value})")),
            primitive,
            "{value}"
        );
    }
}

#[test]
fn a_wrong_type_yields_undefined() {
    for call in [
        "ABS('1')",
        "EXP(null)",
        "EXP(1e6)",
        "POWER(2, '1')",
        "POWER(-1, 0.5)",
        "SQUARE(true)",
        "CEILING('1')",
        "FLOOR(tags)",
        "SIGN('x')",
        "SQRT(-1)",
        "AS_NUMBER('1x')",
        "AS_NUMBER('')",
        "AS_NUMBER('inf')",
        "AS_NUMBER('NaN')",
        "AS_NUMBER(' 1')",
        "AS_NUMBER('1e999')",
        "AS_NUMBER(true)",
        "CONCAT('a', 1)",
        "CONCAT('a', tags.missing)",
        "LENGTH(tags.list)",
        "LENGTH(12)",
        "LOWER(1)",
        "UPPER(null)",
        "SUBSTRING(1, 1)",
        "SUBSTRING('a', -1)",
        "SUBSTRING('a', 0.5)",
        "SUBSTRING('a', 0, -1)",
        "SUBSTRING('a', 0, tags.missing)",
        "SUBSTRING('a', '0')",
        "INDEX_OF(1, '1')",
        "STARTS_WITH(deviceId, 1)",
        "ENDS_WITH(null, 'a')",
        "CONTAINS(tags.list, 1)",
        "STARTS_WITH(tags.missing, '')",
    ] {
        assert_eq!(truth_of(&format!("IS_DEFINED({call})")), "false", "{call}");
    }
}

#[test]
fn names_go_in_any_case_with_or_without_underscores() {
    for call in [
        "is_defined(tags.floor)",
        "ISDEFINED(tags.floor)",
        "IsDefined(DeviceId)",
        "startswith(deviceId, 'p')",
        "STARTS_WITH(deviceId, 'p')",
        "EndsWith(deviceId, '3')",
        "IndexOf('abc', 'c') = 2",
        "AsNumber('1') = 1",
        "isprimitive(1)",
    ] {
        assert!(selects(call), "{call}");
    }
}

#[test]
fn a_built_string_is_bounded() {
    let piece = "x".repeat(300_000);
    let call = |n: usize| format!("CONCAT({})", vec![format!("'{piece}'"); n].join(","));
    assert!(selects(&format!("LENGTH({}) = 900000", call(3))));
    assert!(selects(&format!("NOT IS_DEFINED({})", call(4))));
}
