//! What expressions yield for a document.

use super::{selects, truth_of};

#[test]
fn only_true_selects() {
    for (condition, selected) in [
        ("*", true),
        ("true", true),
        ("tags.hot", true),
        ("tags.cold", false),
        ("null", false),
        ("undefined", false),
        ("1", false),
        ("'true'", false),
        ("tags.building", false),
        ("tags.none", false),
        ("tags", false),
        ("tags.list", false),
        ("[true]", false),
        ("tags.missing", false),
    ] {
        assert_eq!(selects(condition), selected, "{condition}");
    }
}

#[test]
fn logic_has_three_values() {
    let (t, f, u) = ("true", "false", "undefined");
    let table = [
        // a, b, a AND b, a OR b
        (t, t, t, t),
        (t, f, f, t),
        (t, u, u, t),
        (f, t, f, t),
        (f, f, f, f),
        (f, u, f, u),
        (u, t, u, t),
        (u, f, f, u),
        (u, u, u, u),
    ];
    for (a, b, and, or) in table {
        assert_eq!(truth_of(&format!("{a} AND {b}")), and, "{a} AND {b}");
        assert_eq!(truth_of(&format!("{a} OR {b}")), or, "{a} OR {b}");
    }
    for (a, not) in [(t, f), (f, t), (u, u)] {
        assert_eq!(truth_of(&format!("NOT {a}")), not, "NOT {a}");
    }
    // What is not a boolean is as undefined in logic.
    for other in ["null", "1", "'x'", "tags", "tags.list"] {
        assert_eq!(truth_of(&format!("NOT {other}")), u, "NOT {other}");
        assert_eq!(
            truth_of(&format!("{other} AND true")),
            u,
            "{other} AND true"
        );
        assert_eq!(truth_of(&format!("{other} OR true")), t, "{other} OR true");
        assert_eq!(
            truth_of(&format!("{other} AND false")),
            f,
            "{other} AND false"
        );
    }
    assert_eq!(truth_of("true AND undefined AND false"), f);
    assert_eq!(truth_of("false OR undefined OR true"), t);
}

#[test]
fn comparisons_are_between_primitives_of_one_type() {
    let (t, f, u) = ("true", "false", "undefined");
    let operators = ["=", "!=", "<", "<=", ">", ">="];
    let table = [
        ("1", "2", [f, t, t, t, f, f]),
        ("2", "2.0", [t, f, f, t, f, t]),
        ("'a'", "'b'", [f, t, t, t, f, f]),
        ("'B'", "'a'", [f, t, t, t, f, f]),
        ("'a'", "'a'", [t, f, f, t, f, t]),
        ("'10'", "'9'", [f, t, t, t, f, f]),
        ("false", "true", [f, t, t, t, f, f]),
        ("null", "null", [t, f, f, t, f, t]),
        ("tags.none", "null", [t, f, f, t, f, t]),
        // Other types: unequal, in no order.
        ("1", "'1'", [f, t, u, u, u, u]),
        ("1", "true", [f, t, u, u, u, u]),
        ("null", "0", [f, t, u, u, u, u]),
        ("null", "''", [f, t, u, u, u, u]),
        ("tags.building", "43", [f, t, u, u, u, u]),
        // Undefined, arrays, objects: nothing to compare.
        ("undefined", "1", [u; 6]),
        ("1", "tags.missing", [u; 6]),
        ("tags.missing", "tags.missing", [u; 6]),
        ("tags.missing", "null", [u; 6]),
        ("tags", "tags", [u; 6]),
        ("tags.list", "tags.list", [u; 6]),
        ("[1]", "[1]", [u; 6]),
        ("tags.list", "1", [u; 6]),
        // Integers are exact to 2^52.
        ("4503599627370496", "4503599627370495", [f, t, f, f, t, t]),
        ("-0", "0", [t, f, f, t, f, t]),
    ];
    for (left, right, wanted) in table {
        for (operator, wanted) in operators.iter().zip(wanted) {
            let expression = format!("{left} {operator} {right}");
            assert_eq!(truth_of(&expression), wanted, "{expression}");
        }
    }
}

#[test]
fn a_missing_value_is_neither_equal_nor_different() {
    assert!(!selects("tags.missing = 1"));
    assert!(!selects("tags.missing != 1"));
    assert!(!selects("NOT tags.missing = 1"));
    assert!(!selects("tags.missing NOT IN [1]"));
    assert!(selects("NOT IS_DEFINED(tags.missing) OR tags.missing != 1"));
}

#[test]
fn arithmetic_is_on_finite_doubles() {
    for expression in [
        "1 + 2 * 3 = 7",
        "(1 + 2) * 3 = 9",
        "10 - 2 - 3 = 5",
        "7 / 2 = 3.5",
        "7 % 4 = 3",
        "-7 % 4 = -3",
        "-tags.floor + 1 = -2",
        "tags.floor * tags.half = 1.5",
        "--3 = 3",
        "0x10 = 16",
    ] {
        assert_eq!(truth_of(expression), "true", "{expression}");
    }
    for expression in [
        "1 / 0 = 1 / 0",
        "0 % 0 != 1",
        "1e308 * 10 > 1",
        "'a' + 'b' = 'ab'",
        "1 + null = 1",
        "1 + true = 2",
        "-'1' = -1",
        "tags.missing + 1 = 1",
        "tags + 1 = 1",
    ] {
        assert_eq!(truth_of(expression), "undefined", "{expression}");
    }
}

#[test]
fn in_is_equality_with_any_of_a_list() {
    let (t, f, u) = ("true", "false", "undefined");
    for (expression, inside) in [
        ("1 IN [1, 2]", t),
        ("1.0 IN [1]", t),
        ("-0 IN [0]", t),
        ("-1 IN [-1]", t),
        ("3 IN [1, 2]", f),
        ("'1' IN [1]", f),
        ("'a' IN ['A']", f),
        ("null IN [null]", t),
        ("true IN [true]", t),
        ("false IN [true]", f),
        ("tags.none IN ['x']", f),
        ("tags.missing IN ['x']", u),
        ("tags.missing IN [undefined]", u),
        ("1 IN [2, undefined]", u),
        ("1 IN [1, undefined]", t),
        ("tags.list IN [1]", u),
        ("tags IN ['x']", u),
        ("1 IN []", f),
        ("tags.missing IN []", f),
        ("tags.floor + 1 IN [4]", t),
    ] {
        assert_eq!(truth_of(expression), inside, "{expression}");
        let outside = match inside {
            "true" => f,
            "false" => t,
            _ => u,
        };
        for not_in in ["NIN", "NOT IN"] {
            let negated = expression.replace(" IN ", &format!(" {not_in} "));
            assert_eq!(truth_of(&negated), outside, "{negated}");
        }
    }
}

/// Decides that IN means what a chain of comparisons means.
#[test]
fn in_agrees_with_equality_joined_by_or() {
    let values = [
        "1",
        "'1'",
        "null",
        "true",
        "false",
        "undefined",
        "tags",
        "tags.list",
        "tags.missing",
    ];
    let items = ["1", "'1'", "null", "true", "undefined", "-0", "0"];
    for value in values {
        for a in items {
            for b in items {
                let list = truth_of(&format!("{value} IN [{a}, {b}]"));
                let chain = truth_of(&format!("{value} = {a} OR {value} = {b}"));
                assert_eq!(list, chain, "{value} IN [{a}, {b}]");
            }
        }
    }
}
