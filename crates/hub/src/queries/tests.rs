//! Pages out of rows that no store holds: bounds that a store would take too long to reach.

use std::{ops::ControlFlow, sync::Arc};

use serde_json::{Value as JsonValue, json};

use super::{
    Collect, Continuation, Frame, Place, Row, Rows, TooMuch, Whole, WholeScan, grouped::Grouped,
    ordered::Ordered, plain::Plain,
};
use crate::{
    ids::{DeviceId, Etag, Generation, IdentityId, IdentityKey, JobNumber, Ordinal, Space},
    limits,
    ports::{
        StoreError,
        store::{IdentityRow, Keys, Twin},
    },
    presence::Presence,
    query::{Document, JsonDocument, Path, Query, Selection, Value},
    registry::{Authentication, Identity, IdentitySettings, Status},
    time::Timestamp,
    twin::document::TwinDocument,
};

struct Fake<'d> {
    ordinal: Ordinal,
    as_json: JsonDocument<'d>,
}

impl Document for Fake<'_> {
    fn value(&self, path: &Path) -> Value<'_> {
        self.as_json.value(path)
    }
}

impl IdentityRow for Fake<'_> {
    fn key(&self) -> IdentityKey {
        IdentityKey {
            space: Space::Devices,
            ordinal: self.ordinal,
        }
    }

    fn twin(&self, _: Keys) -> Result<Twin, StoreError> {
        let name = DeviceId::parse("d").map_err(|_| StoreError::Absent("a fake".to_owned()))?;
        Ok(Twin {
            identity: Identity {
                id: IdentityId {
                    device: name,
                    module: None,
                },
                key: self.key(),
                generation: Generation(1),
                etag: Etag(1),
                settings: IdentitySettings {
                    status: Status::Enabled,
                    status_reason: None,
                    authentication: Authentication::None,
                    edge: false,
                    device_scope: None,
                    parent_scopes: Vec::new(),
                    managed_by: None,
                },
                status_updated: Timestamp::NEVER,
            },
            document: TwinDocument::new(Timestamp::NEVER),
            last_activity: Timestamp::NEVER,
            configurations: Vec::new(),
        })
    }
}

/// Bytes that pages here hold; a real one holds more.
const BYTES_MAX: usize = 8 * 1024 * 1024;

fn frame(text: &str, limit: usize, place: Place) -> Frame {
    let query = Query::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    Frame {
        query: Arc::new(query),
        place,
        limit,
        bytes_max: BYTES_MAX,
    }
}

fn grouped(text: &str, limit: usize, bytes_max: usize) -> Grouped {
    let frame = Frame {
        bytes_max,
        ..frame(text, limit, Place::Start)
    };
    let Selection::Groups(groups) = frame.query.selection() else {
        panic!("{text} has no groups")
    };
    Grouped::new(&frame, groups.clone()).expect("the place suits the query")
}

/// Shows rows with these values of `tags.x`, as far as the collector goes.
fn show(collector: &mut impl Collect, values: impl IntoIterator<Item = JsonValue>) {
    let presence = Presence::default();
    for (ordinal, x) in (0..).zip(values) {
        let document = json!({"deviceId": format!("d{ordinal}"), "tags": {"x": x}});
        let row = Fake {
            ordinal,
            as_json: JsonDocument(&document),
        };
        let looked = collector.look(&Row {
            matches: true,
            document: &row,
            place: (JobNumber(0), ordinal),
            whole: Whole::Identity {
                row: &row,
                presence: &presence,
            },
        });
        if looked == ControlFlow::Break(()) {
            return;
        }
    }
}

fn raw(rows: Rows) -> Vec<String> {
    match rows {
        Rows::Raw(rows) => rows,
        other => panic!("{other:?}"),
    }
}

#[test]
fn groups_ordered_by_an_aggregate_have_a_bound() {
    let text = "SELECT tags.x, COUNT() FROM devices GROUP BY tags.x ORDER BY count";
    let most = limits::QUERY_GROUPS_HELD_MAX as i64;
    for (count, fault) in [(most, None), (most + 1, Some(TooMuch::Groups))] {
        let mut page = grouped(text, 3, limits::QUERY_HELD_BYTES_MAX);
        show(&mut page, (0..count).map(JsonValue::from));
        match (page.finish(), fault) {
            (Ok(filled), None) => assert_eq!(raw(filled.rows).len(), 3),
            (Err(error), Some(fault)) => assert_eq!(error.to_string(), fault.to_string()),
            (outcome, _) => panic!("{count} groups: {:?}", outcome.map(|filled| filled.rows)),
        }
    }
    // What is nested too deeply to be parsed again is ordered all the same.
    let deep = || (0..200).fold(json!(1), |inner, _| json!([inner]));
    let mut page = grouped(text, 3, BYTES_MAX);
    show(&mut page, [deep(), deep(), json!([1])]);
    assert_eq!(raw(page.finish().unwrap().rows).len(), 2);
    // By their keys there may be any number.
    let text = "SELECT tags.x, COUNT() FROM devices GROUP BY tags.x ORDER BY x DESC";
    let mut page = grouped(text, 3, limits::QUERY_HELD_BYTES_MAX);
    show(&mut page, (0..=most).map(JsonValue::from));
    let rows = raw(page.finish().unwrap().rows);
    let row = |x: i64| format!(r#"{{"x":{x},"count":1}}"#);
    assert_eq!(rows, [row(most), row(most - 1), row(most - 2)]);
}

#[test]
fn pages_of_very_large_rows_end_early() {
    let large = |n: usize| json!(format!("{n:03}{}", "x".repeat(64 * 1024)));
    let held = BYTES_MAX / (64 * 1024);
    let values = || (0..150).rev().map(large);
    let texts = [
        "SELECT tags.x FROM devices ORDER BY tags.x",
        "SELECT DISTINCT tags.x FROM devices",
        "SELECT tags.x FROM devices",
    ];
    for text in texts {
        let filled = if text.contains("DISTINCT") {
            let mut page = grouped(text, 200, BYTES_MAX);
            show(&mut page, values());
            page.finish()
        } else if text.contains("ORDER") {
            let mut page = Ordered::new(&frame(text, 200, Place::Start)).unwrap();
            show(&mut page, values());
            page.filled()
        } else {
            let mut page = Plain::new(&frame(text, 200, Place::Start)).unwrap();
            show(&mut page, values());
            page.finish()
        };
        let filled = filled.unwrap();
        assert!(filled.next.is_some(), "{text}");
        let rows = raw(filled.rows);
        assert!(
            (held * 9 / 10..=held + 1).contains(&rows.len()),
            "{text}: {}",
            rows.len()
        );
        let first = if text.contains("ORDER") || text.contains("DISTINCT") {
            "000"
        } else {
            "149"
        };
        assert_eq!(&rows[0][6..9], first, "{text}");
    }
    let text = "SELECT tags.x, COUNT() FROM devices GROUP BY tags.x ORDER BY COUNT()";
    let mut page = grouped(text, 200, BYTES_MAX);
    show(&mut page, values());
    let error = page.finish().err().expect("it is too much");
    assert_eq!(error.to_string(), TooMuch::GroupBytes.to_string());
}

#[test]
fn pages_of_very_large_twins_end_early() {
    let large = || (0..150).map(|_| json!("x".repeat(64 * 1024)));
    let held = BYTES_MAX / (64 * 1024);
    let mut page = Plain::new(&frame("SELECT * FROM devices", 200, Place::Start)).unwrap();
    show(&mut page, large());
    let filled = page.finish().unwrap();
    assert!(filled.next.is_some());
    assert!((held * 9 / 10..=held + 1).contains(&filled.rows.len()));
}

#[test]
fn whoever_has_to_see_everything_sees_so_many_rows() {
    let most = limits::QUERY_WHOLE_ROWS_SCANNED_MAX;
    let mut scan = WholeScan { rows: most - 1 };
    assert_eq!(scan.next(), Ok(()));
    assert_eq!(scan.next(), Err(TooMuch::Rows));
    assert!(
        TooMuch::Rows
            .to_string()
            .contains("no more than 20000000 rows")
    );
}

#[test]
fn a_place_suits_its_kind_of_query_only() {
    let rank = || Place::Rank(Box::new([1]));
    let row = |job| Place::Row(JobNumber(job), 3);
    assert!(Plain::new(&frame("SELECT * FROM devices", 1, rank())).is_err());
    assert!(Plain::new(&frame("SELECT * FROM devices", 1, row(1))).is_err());
    assert!(Plain::new(&frame("SELECT * FROM devices.jobs", 1, row(1))).is_ok());
    let ordered = "SELECT * FROM devices ORDER BY version";
    assert!(Ordered::new(&frame(ordered, 1, row(0))).is_err());
    let counted = frame("SELECT COUNT() FROM devices", 1, rank());
    let Selection::Groups(groups) = counted.query.selection() else {
        panic!("counts are groups")
    };
    assert!(Grouped::new(&counted, groups.clone()).is_err());
    assert_eq!(Continuation::default().place, Place::Start);
}

#[test]
fn nothing_is_left_of_top_0() {
    let mut page = grouped("SELECT TOP 0 COUNT() FROM devices", 0, BYTES_MAX);
    show(&mut page, [json!(1)]);
    let filled = page.finish().unwrap();
    assert!(raw(filled.rows).is_empty() && filled.next.is_none());
}
