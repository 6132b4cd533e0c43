//! Cuts lines into the calls of an import, and decides which calls may be under way together.
//!
//! A call holds at most what the contract allows and names no identity twice, for then neither change would be
//! made. compat: REG-43, REG-44. Calls that name the same device are made one after the other: a module needs its
//! device, and of two changes of one device the later is to win.

use std::collections::HashSet;
use std::io::{self, BufRead};

use fanfare_client::BulkItem;
use fanfare_wire::registry::ImportMode;

use super::lines::{Line, LineFault, LineReader, Place, read_change, sendable};

/// Changes in one call. Contract. compat: REG-43
pub(super) const CHUNK_ITEMS_MAX: usize = 100;
/// Bytes of lines in one call, unless one line alone has more. Ours; hubs take bodies of a few MiB.
const CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// Lines that cannot be read in one chunk, so that a file of nothing else is gone over in steps. Ours.
const CHUNK_FAULTS_MAX: usize = 1_000;

/// What is sent in one call, and what was wrong with the lines between.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The changes with the numbers of their lines.
    pub(super) items: Vec<(u64, BulkItem)>,
    /// The lines that are no changes.
    pub(super) faults: Vec<(u64, LineFault)>,
    /// How far the file is done when this is.
    pub(super) end: Place,
}

impl Chunk {
    /// The devices it names, also those of modules.
    pub(super) fn devices(&self) -> HashSet<String> {
        let ids = self.items.iter().map(|(_, item)| item.id.clone());
        ids.collect()
    }
}

/// Makes chunks of a file.
#[derive(Debug)]
pub(super) struct Chunks<R> {
    lines: LineReader<R>,
    mode: ImportMode,
    /// Read, and left for the next chunk.
    left: Option<(Line, BulkItem)>,
}

impl<R: BufRead> Chunks<R> {
    /// The chunks of `input`, which stands at `place`. `mode` is that of lines that name none.
    pub(super) fn new(input: R, place: Place, mode: ImportMode) -> Self {
        Self {
            lines: LineReader::new(input, place),
            mode,
            left: None,
        }
    }

    /// The next chunk; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Chunk>> {
        let mut begun = Begun::default();
        while !begun.is_full() {
            let (line, item) = match self.left.take() {
                Some((line, item)) => (line, Ok(item)),
                None => match self.lines.next()? {
                    Some(mut line) => {
                        let item = read_change(&mut line, self.mode).map(sendable);
                        (line, item)
                    }
                    None => break,
                },
            };
            match item {
                Err(fault) => begun.refuse(&line, fault),
                Ok(item) if begun.takes(&line, &item) => begun.take(&line, item),
                Ok(item) => {
                    self.left = Some((line, item));
                    break;
                }
            }
        }
        Ok(begun.end.map(|end| Chunk {
            items: begun.items,
            faults: begun.faults,
            end,
        }))
    }
}

#[derive(Default)]
struct Begun {
    items: Vec<(u64, BulkItem)>,
    faults: Vec<(u64, LineFault)>,
    named: HashSet<(String, Option<String>)>,
    bytes: usize,
    end: Option<Place>,
}

impl Begun {
    fn is_full(&self) -> bool {
        self.items.len() >= CHUNK_ITEMS_MAX || self.faults.len() >= CHUNK_FAULTS_MAX
    }

    fn takes(&self, line: &Line, item: &BulkItem) -> bool {
        let fits = self.bytes + bytes(line) <= CHUNK_BYTES_MAX;
        (self.items.is_empty() || fits) && !self.named.contains(&name(item))
    }

    fn take(&mut self, line: &Line, item: BulkItem) {
        self.named.insert(name(&item));
        self.bytes += bytes(line);
        self.items.push((line.number, item));
        self.end_at(line);
    }

    fn refuse(&mut self, line: &Line, fault: LineFault) {
        self.faults.push((line.number, fault));
        self.end_at(line);
    }

    fn end_at(&mut self, line: &Line) {
        self.end = Some(Place {
            lines: line.number,
            bytes: line.end,
        });
    }
}

fn bytes(line: &Line) -> usize {
    line.text.as_ref().map_or(0, Vec::len)
}

fn name(item: &BulkItem) -> (String, Option<String>) {
    (item.id.clone(), item.module_id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(text: &str) -> Vec<Chunk> {
        let mode = ImportMode::default();
        let mut chunks = Chunks::new(text.as_bytes(), Place::default(), mode);
        std::iter::from_fn(|| chunks.next().unwrap()).collect()
    }

    fn sizes(text: &str) -> Vec<usize> {
        chunks(text).iter().map(|chunk| chunk.items.len()).collect()
    }

    fn devices(range: std::ops::Range<u32>) -> String {
        range.map(|n| format!("{{\"id\":\"d{n}\"}}\n")).collect()
    }

    #[test]
    fn a_chunk_holds_a_hundred_changes() {
        assert!(sizes("").is_empty());
        assert_eq!(sizes(&devices(0..100)), [100]);
        assert_eq!(sizes(&devices(0..250)), [100, 100, 50]);
        let text = devices(0..150);
        let ends: Vec<Place> = chunks(&text).iter().map(|chunk| chunk.end).collect();
        assert_eq!(ends[0].lines, 100);
        assert_eq!(ends[1].lines, 150);
        assert_eq!(ends[1].bytes, text.len() as u64);
    }

    #[test]
    fn an_identity_is_named_once_in_a_chunk() {
        let twice = "{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"id\":\"a\"}\n{\"id\":\"c\"}\n";
        let found = chunks(twice);
        let lines = |chunk: &Chunk| {
            chunk
                .items
                .iter()
                .map(|(line, _)| *line)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            found.iter().map(lines).collect::<Vec<_>>(),
            [vec![1, 2], vec![3, 4]]
        );
        // A device and its module are two, and the same device to the calls that may go together.
        let both = "{\"id\":\"a\"}\n{\"id\":\"a\",\"moduleId\":\"m\"}\n";
        let found = chunks(both);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].devices(), HashSet::from(["a".to_owned()]));
    }

    #[test]
    fn large_lines_make_small_calls() {
        let large = |id: &str| {
            let tag = "x".repeat(CHUNK_BYTES_MAX / 3);
            format!("{{\"id\":\"{id}\",\"tags\":{{\"t\":\"{tag}\"}}}}\n")
        };
        let text: String = ["a", "b", "c", "d", "e"].map(large).concat();
        assert_eq!(sizes(&text), [2, 2, 1]);
    }

    #[test]
    fn bad_lines_stand_beside_the_chunk_they_were_found_in() {
        let text = format!("nonsense\n{}\n{{\"id\":3}}\n", devices(0..2));
        let found = chunks(&text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].items.len(), 2);
        let bad: Vec<u64> = found[0].faults.iter().map(|(line, _)| *line).collect();
        assert_eq!(bad, [1, 5]);
        let nothing_else = "x\n".repeat(2_500);
        let faults: Vec<usize> = chunks(&nothing_else)
            .iter()
            .map(|c| c.faults.len())
            .collect();
        assert_eq!(faults, [1_000, 1_000, 500]);
    }

    #[test]
    fn reading_goes_on_in_the_middle() {
        let text = devices(0..250);
        let first = chunks(&text).remove(0).end;
        let rest = &text.as_bytes()[first.bytes as usize..];
        let mut chunks = Chunks::new(rest, first, ImportMode::default());
        let next = chunks.next().unwrap().unwrap();
        assert_eq!(next.items[0].0, 101);
        assert_eq!(next.items[0].1.id, "d100");
        assert_eq!(next.end.lines, 200);
    }
}
