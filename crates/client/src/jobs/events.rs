//! The hub's event stream, as text becomes events: `text/event-stream` of the HTML standard, of which only data
//! and comments matter here.
//!
//! Pure: bytes in, events out, however the network cut them. Everything is bounded by [`EVENT_BYTES_MAX`].

use std::collections::VecDeque;

/// Longest line and longest event, bytes. A job's document without condition and payload has less than a
/// thousandth; a hub that sends more sends something else.
pub(super) const EVENT_BYTES_MAX: usize = 256 * 1024;

/// Something the hub said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// The data of an event; several data lines are joined by a line feed.
    Data(Vec<u8>),
    /// A comment: the hub is there and has no news.
    Heartbeat,
}

/// A line or an event was longer than [`EVENT_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {EVENT_BYTES_MAX} bytes")]
pub(super) struct TooLong;

/// Reads events from pieces of a stream.
#[derive(Debug, Default)]
pub(super) struct EventReader {
    line: Vec<u8>,
    data: Vec<u8>,
    /// Whether the event has any data line: an empty one counts.
    has_data: bool,
    /// The last byte was a carriage return; a line feed right after it belongs to the same line end.
    after_return: bool,
    /// The first line has been read, so that a byte order mark is no longer one.
    began: bool,
    events: VecDeque<Event>,
}

impl EventReader {
    /// Takes the next piece of the stream.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        let mut rest = bytes;
        while let Some((&first, tail)) = rest.split_first() {
            if std::mem::take(&mut self.after_return) && first == b'\n' {
                rest = tail;
                continue;
            }
            let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                return self.extend_line(rest);
            };
            self.extend_line(&rest[..end])?;
            self.after_return = rest[end] == b'\r';
            rest = &rest[end + 1..];
            self.end_line()?;
        }
        Ok(())
    }

    /// The next event that is complete. What the stream ends in the middle of is no event.
    pub(super) fn next(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn extend_line(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + bytes.len() > EVENT_BYTES_MAX {
            return Err(TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), TooLong> {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if !std::mem::replace(&mut self.began, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            if std::mem::take(&mut self.has_data) {
                self.events.push_back(Event::Data(data));
            }
            return Ok(());
        }
        let (name, value) = match line.iter().position(|&byte| byte == b':') {
            Some(0) => {
                self.events.push_back(Event::Heartbeat);
                return Ok(());
            }
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &line[line.len()..]),
        };
        // `event`, `id`, `retry` and whatever comes one day mean nothing here.
        if name == b"data" {
            let value = value.strip_prefix(b" ").unwrap_or(value);
            if self.data.len() + 1 + value.len() > EVENT_BYTES_MAX {
                return Err(TooLong);
            }
            if std::mem::replace(&mut self.has_data, true) {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a stream says when it arrives in these pieces.
    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<String>, TooLong> {
        let mut reader = EventReader::default();
        let mut said = Vec::new();
        for piece in pieces {
            reader.feed(piece)?;
            while let Some(event) = reader.next() {
                said.push(match event {
                    Event::Data(data) => String::from_utf8(data).unwrap(),
                    Event::Heartbeat => "(heartbeat)".to_owned(),
                });
            }
        }
        Ok(said)
    }

    const STREAM: &str = "\u{feff}: welcome\r\n\r\ndata: {\"a\":1}\r\n\r\n:\n\nevent: job\nid: 7\ndata:one\ndata:  two\n\n\
        retry: 10\n\ndata\n\rdata: \u{e9}\u{2603}\r\rdata: cut";

    #[test]
    fn streams_mean_what_the_standard_says() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            ("data: x\n\n", &["x"]),
            ("data:x\n\n", &["x"]),
            ("data:  x\n\n", &[" x"]),
            ("data: x\r\n\r\n", &["x"]),
            ("data: x\r\r", &["x"]),
            ("data: x\r\n\rdata: y\n\n", &["x", "y"]),
            ("data: a\ndata: b\n\n", &["a\nb"]),
            ("data\ndata\n\n", &["\n"]),
            ("data:\n\n", &[""]),
            ("data: x\n", &[]),
            ("data: x", &[]),
            ("\n\n\n", &[]),
            (":\n", &["(heartbeat)"]),
            (": here\n\ndata: x\n\n", &["(heartbeat)", "x"]),
            ("data: x\n: between\n\n", &["(heartbeat)", "x"]),
            ("event: job\nid: 7\nretry: 5\nnonsense\nDATA: y\n\n", &[]),
            ("event: job\ndata: x\n\n", &["x"]),
            ("\u{feff}data: x\n\n", &["x"]),
            ("data: x\n\n\u{feff}data: y\n\n", &["x"]),
            ("data: a:b\n\n", &["a:b"]),
            (
                STREAM,
                &[
                    "(heartbeat)",
                    "{\"a\":1}",
                    "(heartbeat)",
                    "one\n two",
                    "",
                    "\u{e9}\u{2603}",
                ],
            ),
        ];
        for (stream, want) in table {
            assert_eq!(read([stream.as_bytes()]).unwrap(), *want, "{stream:?}");
            let bytes = stream.as_bytes().chunks(1);
            assert_eq!(read(bytes).unwrap(), *want, "{stream:?} byte by byte");
        }
    }

    #[test]
    fn nothing_grows_without_bound() {
        let line = vec![b'x'; EVENT_BYTES_MAX + 1];
        assert_eq!(read([line.as_slice()]), Err(TooLong));
        let pieces = line.chunks(1_000);
        assert_eq!(read(pieces), Err(TooLong));
        let many = "data: 0123456789\n".repeat(EVENT_BYTES_MAX / 10);
        assert_eq!(read([many.as_bytes()]), Err(TooLong));
        let comments = ": here\n".repeat(EVENT_BYTES_MAX / 4);
        assert!(read([comments.as_bytes()]).is_ok());
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_say_the_same(cuts in proptest::collection::vec(0..STREAM.len(), 0..20)) {
            let mut cuts = cuts;
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|cut| &STREAM.as_bytes()[cut[0]..cut[1]]);
            prop_assert_eq!(read(pieces).unwrap(), read([STREAM.as_bytes()]).unwrap());
        }

        #[test]
        fn no_bytes_upset_the_reader(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let mut reader = EventReader::default();
            for piece in &pieces {
                reader.feed(piece).unwrap();
                while reader.next().is_some() {}
            }
        }
    }
}
