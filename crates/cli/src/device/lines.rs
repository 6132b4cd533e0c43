//! The newline-JSON form of a registry: one change a line, as the original's `devices.txt` has them.
//!
//! Decides what a line is, where it ends, and what is said about one that cannot be read. Knows neither hub nor
//! progress: [`super::chunk`] makes calls of lines, [`super::check`] looks at values. Memory is for one line, of
//! at most [`LINE_BYTES_MAX`].

use std::io::{self, BufRead};

use fanfare_wire::registry::{BulkItem, ImportMode};
use fanfare_wire::{Field, decode};
use serde::Deserialize;

use super::member_names;

/// Bytes of one line; what the hub's own import jobs take. compat: XFER-7
pub(super) const LINE_BYTES_MAX: usize = 1024 * 1024;

/// One line that is not blank.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Its number, from 1; blank lines count.
    pub(super) number: u64,
    /// Bytes of the file up to and with its end.
    pub(super) end: u64,
    /// Its text without its end; `None` when it is longer than [`LINE_BYTES_MAX`].
    pub(super) text: Option<Vec<u8>>,
}

/// Cuts a file into lines. A line ends with a line feed, perhaps after a carriage return, or with the file.
#[derive(Debug)]
pub(super) struct LineReader<R> {
    input: R,
    place: Place,
}

/// How far a file was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Lines, blank ones too.
    pub(super) lines: u64,
    /// Bytes.
    pub(super) bytes: u64,
}

impl<R: BufRead> LineReader<R> {
    /// Reads on in `input`, which stands at `place`.
    pub(super) fn new(input: R, place: Place) -> Self {
        Self { input, place }
    }

    /// The next line that is not blank; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let mut text = Vec::new();
            let mut is_too_long = false;
            let has_ended = loop {
                let piece = self.input.fill_buf()?;
                if piece.is_empty() {
                    break true;
                }
                let feed = piece.iter().position(|byte| *byte == b'\n');
                let part = &piece[..feed.unwrap_or(piece.len())];
                is_too_long |= text.len() + part.len() > LINE_BYTES_MAX;
                if is_too_long {
                    text = Vec::new();
                } else {
                    text.extend_from_slice(part);
                }
                let used = part.len() + usize::from(feed.is_some());
                self.input.consume(used);
                self.place.bytes += used as u64;
                if feed.is_some() {
                    break false;
                }
            };
            if has_ended && text.is_empty() && !is_too_long {
                return Ok(None);
            }
            self.place.lines += 1;
            if self.place.lines == 1 && text.starts_with(BYTE_ORDER_MARK) {
                text.drain(..BYTE_ORDER_MARK.len());
            }
            if !is_too_long && text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            return Ok(Some(Line {
                number: self.place.lines,
                end: self.place.bytes,
                text: (!is_too_long).then_some(text),
            }));
        }
    }
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What is wrong with a line that is no change at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LineFault {
    /// Where in the line, in bytes from 1, when the parser can say.
    pub(super) column: Option<u64>,
    /// What, without repeating the line: it may hold keys.
    pub(super) problem: String,
}

/// Reads a line as a change of the registry, and spells its members as the contract does. `mode` is that of lines
/// that name none, such as an export's.
pub(super) fn read_change(line: &mut Line, mode: ImportMode) -> Result<BulkItem, LineFault> {
    let Some(text) = &mut line.text else {
        return Err(LineFault {
            column: Some(LINE_BYTES_MAX as u64 + 1),
            problem: format!("the line has more than {LINE_BYTES_MAX} bytes"),
        });
    };
    member_names::spell(text);
    let mut item: BulkItem = decode(text).map_err(|fault| fault_of(&fault.to_string()))?;
    if mode != ImportMode::default() {
        let named: NamedMode = decode(text).map_err(|fault| fault_of(&fault.to_string()))?;
        item.import_mode = named.import_mode.unwrap_or(mode);
    }
    Ok(item)
}

/// A change as the client sends it: without what a device reported, which no hub takes from anyone else and which
/// is half of an export's bytes (compat: REG-45), and without members that the contract does not name.
pub(super) fn sendable(mut item: BulkItem) -> fanfare_client::BulkItem {
    if let Some(properties) = &mut item.properties {
        properties.reported = Field::Absent;
    }
    if let Some(authentication) = &mut item.authentication {
        authentication.authentication_type = Some(authentication.kind());
    }
    let document = serde_json::to_value(item).expect("documents of the wire can be written");
    serde_json::from_value(document).expect("the client reads every document of the wire")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NamedMode {
    #[serde(default)]
    import_mode: Option<ImportMode>,
}

/// Takes the place out of the parser's words: its line is always the first, its column is ours.
fn fault_of(words: &str) -> LineFault {
    let mut problem = words;
    let mut column = None;
    while let Some((before, place)) = problem.rsplit_once(" at line ") {
        let found = place.split_once(" column ").map(|(_, column)| column);
        let Some(number) = found.and_then(|number| number.parse().ok()) else {
            break;
        };
        column = column.or(Some(number));
        problem = before;
    }
    let column = column.map(|column: u64| column.max(1));
    let problem = match problem.strip_prefix("body: ") {
        Some(words) if words.starts_with("invalid type") => "the line has to be a JSON object",
        Some(words) => words,
        None => problem,
    };
    LineFault {
        column,
        problem: match problem {
            "missing field `id`" => {
                "missing field `id`, the name of the device here (not `deviceId`)".to_owned()
            }
            problem => {
                of_no_type(problem).replacen("the body is not valid JSON", "not valid JSON", 1)
            }
        },
    }
}

/// The parser's words, without a name of ours for what it wanted, and without what somebody put in a key's place.
fn of_no_type(problem: &str) -> String {
    if let Some((before, _)) = problem.split_once(", expected struct ") {
        return format!("{before}, expected an object");
    }
    match (problem.split_once(" `"), problem.rsplit_once(", expected ")) {
        (Some((before, _)), Some((_, after))) if problem.starts_with("authentication") => {
            format!("{before}, expected {after}")
        }
        _ => problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(text: &[u8]) -> Vec<(u64, u64, Option<Vec<u8>>)> {
        // A buffer of three bytes cuts everywhere.
        let mut reader = LineReader::new(io::BufReader::with_capacity(3, text), Place::default());
        let mut all = Vec::new();
        while let Some(line) = reader.next().unwrap() {
            all.push((line.number, line.end, line.text));
        }
        assert_eq!(reader.place.bytes, text.len() as u64);
        all
    }

    fn change(text: &str, mode: ImportMode) -> Result<BulkItem, LineFault> {
        let text = Some(text.as_bytes().to_vec());
        let mut line = Line {
            number: 1,
            end: 0,
            text,
        };
        read_change(&mut line, mode)
    }

    #[test]
    fn lines_are_numbered_and_placed_and_blank_ones_left_out() {
        assert_eq!(lines(b""), []);
        assert_eq!(lines(b"\n \n\r\n"), []);
        let found = lines("\u{feff}ab\r\n\n  \ncd".as_bytes());
        let want = [
            (1, 7, Some(b"ab\r".to_vec())),
            (4, 13, Some(b"cd".to_vec())),
        ];
        assert_eq!(found, want);
    }

    #[test]
    fn a_line_too_long_is_told_and_harms_no_other() {
        let mut text = b"a\n".to_vec();
        text.extend(vec![b'x'; LINE_BYTES_MAX + 1]);
        text.extend(b"\nb\n");
        let found = lines(&text);
        let numbers: Vec<_> = found
            .iter()
            .map(|(n, _, text)| (*n, text.is_some()))
            .collect();
        assert_eq!(numbers, [(1, true), (2, false), (3, true)]);
        let mut line = Line {
            number: 2,
            end: 0,
            text: None,
        };
        let fault = read_change(&mut line, ImportMode::Create).unwrap_err();
        assert_eq!(fault.problem, "the line has more than 1048576 bytes");
    }

    #[test]
    fn a_fault_says_the_column_and_the_member() {
        for (text, column, problem) in [
            (
                r#"{"id":"d","#,
                10,
                "not valid JSON: EOF while parsing a value",
            ),
            (
                r#"{"id":7}"#,
                7,
                "id: invalid type: integer `7`, expected a string",
            ),
            (
                r#"{"tags":{}}"#,
                11,
                "missing field `id`, the name of the device here (not `deviceId`)",
            ),
            (r#"[]"#, 1, "the line has to be a JSON object"),
            (
                r#"{"id":"d","importMode":"merge"}"#,
                31,
                "importMode: invalid value: string, expected a mode such as createOrUpdate",
            ),
        ] {
            let fault = change(text, ImportMode::default()).unwrap_err();
            assert_eq!(fault.problem, problem, "{text}");
            assert_eq!(fault.column, Some(column), "{text}: {problem}");
        }
    }

    #[test]
    fn what_is_wrong_with_credentials_is_told_without_them() {
        for (credentials, problem) in [
            (
                r#"{"symmetricKey":"c2VjcmV0"}"#,
                "authentication.symmetricKey: invalid type: string, expected an object",
            ),
            (
                r#"", expected c2VjcmV0""#,
                "authentication: invalid type: string, expected an object",
            ),
            (
                r#"{"type":"c2VjcmV0"}"#,
                "authentication.type: unknown variant, expected one of `Sas`, ",
            ),
            (
                r#"{"symmetricKey":{"primaryKey":["c2VjcmV0"]}}"#,
                "authentication.symmetricKey.primaryKey: invalid type: sequence, expected a string",
            ),
        ] {
            let line = format!(r#"{{"id":"d","authentication":{credentials}}}"#);
            let fault = change(&line, ImportMode::default()).unwrap_err();
            assert!(fault.problem.starts_with(problem), "{}", fault.problem);
            assert!(!fault.problem.contains("c2VjcmV0"), "{}", fault.problem);
        }
    }

    #[test]
    fn no_member_is_lost_for_its_case() {
        let line = r#"{"Id":"d","Status":"Disabled","Tags":{"A":1},"Authentication":{"SymmetricKey":{"PrimaryKey":"p"}}}"#;
        let item = change(line, ImportMode::default()).unwrap();
        let keys = item.authentication.unwrap().symmetric_key.unwrap();
        assert_eq!(keys.primary_key.unwrap().expose(), "p");
        assert!(item.status.is_some() && matches!(item.tags, Field::Value(_)));
        let twice = change(r#"{"id":"d","tags":{},"Tags":{}}"#, ImportMode::default());
        assert_eq!(twice.unwrap_err().problem, "duplicate field `tags`");
    }

    #[test]
    fn a_mode_is_for_lines_that_name_none() {
        let mode = |text, mode| change(text, mode).unwrap().import_mode;
        let plain = r#"{"id":"d"}"#;
        assert_eq!(
            mode(plain, ImportMode::CreateOrUpdate),
            ImportMode::CreateOrUpdate
        );
        assert_eq!(mode(plain, ImportMode::Create), ImportMode::Create);
        let named = r#"{"id":"d","importMode":"Delete"}"#;
        assert_eq!(mode(named, ImportMode::Create), ImportMode::Delete);
    }

    #[test]
    fn what_is_sent_is_what_a_hub_may_be_told() {
        let line = json!({
            "id": "d", "moduleId": "m", "eTag": "MQ==", "twinETag": "AAAAAAAAAAE=", "status": "disabled",
            "statusReason": "lost", "tags": {"a": null}, "capabilities": {"iotEdge": true}, "more": 1,
            "managedBy": "x", "deviceScope": "s", "parentScopes": ["s"],
            "authentication": {"x509Thumbprint": {"primaryThumbprint": "00", "secondaryThumbprint": null}},
            "properties": {"desired": {"a": 1, "$version": 4, "$metadata": {}}, "reported": {"b": 2}},
        });
        let item = change(&line.to_string(), ImportMode::Update).unwrap();
        let sent = serde_json::to_value(sendable(item)).unwrap();
        let want = json!({
            "id": "d", "moduleId": "m", "eTag": "MQ==", "twinETag": "AAAAAAAAAAE=", "status": "disabled",
            "statusReason": "lost", "tags": {"a": null}, "capabilities": {"iotEdge": true},
            "managedBy": "x", "deviceScope": "s", "parentScopes": ["s"], "importMode": "update",
            "authentication": {"type": "selfSigned", "x509Thumbprint": {"primaryThumbprint": "00"}},
            "properties": {"desired": {"a": 1}},
        });
        assert_eq!(sent, want);
        let least = sendable(change(r#"{"id":"d","tags":null}"#, ImportMode::default()).unwrap());
        assert_eq!(least.tags, Some(serde_json::Value::Null));
    }
}
