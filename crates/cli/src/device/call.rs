//! One call of an import: sends a chunk, waits for a hub that has gone away, and says what became of each line.

use fanfare_client::{BulkItem, Error, RegistryClient};
use fanfare_wire::registry::ImportMode;

use super::chunk::Chunk;
use super::errors_file::{INVALID_LINE, LineError};
use super::lines::Place;
use super::patience::Patience;
use crate::failure::Failure;

/// From this many items on, a call whose items are all refused alone says something about the hub, not about them.
const SUSPICIOUS_ITEMS: usize = 10;

/// Makes the calls of one import. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    registry: RegistryClient,
    patience: Patience,
}

/// What became of a chunk.
#[derive(Debug)]
pub(super) struct Settled {
    /// How far the file is done with it.
    pub(super) end: Place,
    /// Changes that were made.
    pub(super) changed: u64,
    /// Changes that had been made before, as far as can be told.
    pub(super) found_done: u64,
    /// Lines that failed, in order.
    pub(super) errors: Vec<LineError>,
}

impl Caller {
    /// Makes its calls with `registry`, and waits for it with `patience`.
    pub(super) fn new(registry: RegistryClient, patience: Patience) -> Self {
        Self { registry, patience }
    }

    /// Has the hub make the changes of a chunk. Lines up to `doubtful_lines` may have been sent by an earlier run.
    ///
    /// # Errors
    /// The hub refuses the call for a reason that is not in its lines, or stays away.
    pub(super) async fn settle(
        self,
        chunk: Chunk,
        doubtful_lines: u64,
    ) -> Result<Settled, Failure> {
        let mut settled = Settled {
            end: chunk.end,
            changed: 0,
            found_done: 0,
            errors: Vec::new(),
        };
        for (line, fault) in chunk.faults {
            settled.errors.push(LineError {
                line,
                column: fault.column,
                device_id: None,
                module_id: None,
                error_code: INVALID_LINE.to_owned(),
                error_status: fault.problem,
                operation: None,
            });
        }
        let items = chunk.items.len();
        let mut refused_alone = 0;
        let mut parts = vec![chunk.items];
        while let Some(mut part) = parts.pop() {
            let error = match self.send(&part).await? {
                Sent::Answered {
                    refused,
                    is_repeated,
                } => {
                    for (at, (line, item)) in part.iter().enumerate() {
                        let doubtful = is_repeated || *line <= doubtful_lines;
                        let found = refused.iter().find(|refused| refused.index == Some(at));
                        settled.take(*line, item, found, doubtful);
                    }
                    settled.take_unplaced(&part, &refused);
                    continue;
                }
                Sent::Refused(error) => error,
            };
            if part.len() > 1 {
                // One line spoils the call; the others are found out by halving.
                let second = part.split_off(part.len() / 2);
                parts.extend([second, part]);
                continue;
            }
            refused_alone += 1;
            if refused_alone == items && items >= SUSPICIOUS_ITEMS {
                return Err(error.into());
            }
            for (line, item) in &part {
                let refused = RefusedLine {
                    index: None,
                    code: error.code().unwrap_or("Refused").to_owned(),
                    text: error.message().unwrap_or_default().to_owned(),
                };
                settled.take(*line, item, Some(&refused), false);
            }
        }
        settled.errors.sort_by_key(|error| error.line);
        Ok(settled)
    }

    /// One request; asked again as long as there is hope.
    async fn send(&self, part: &[(u64, BulkItem)]) -> Result<Sent, Failure> {
        if part.is_empty() {
            return Ok(Sent::Answered {
                refused: Vec::new(),
                is_repeated: false,
            });
        }
        let items: Vec<BulkItem> = part.iter().map(|(_, item)| item.clone()).collect();
        let mut is_repeated = false;
        let mut outage = self.patience.call();
        loop {
            let error = match self.registry.bulk(&items).await {
                Ok(outcome) => {
                    self.patience.answered();
                    let refused = outcome.refused.into_iter().map(|refused| RefusedLine {
                        index: refused.index,
                        code: refused.code,
                        text: refused.text,
                    });
                    let refused = refused.collect();
                    return Ok(Sent::Answered {
                        refused,
                        is_repeated,
                    });
                }
                Err(interrupted) => Error::from(interrupted),
            };
            if is_about_items(&error) {
                return Ok(Sent::Refused(error));
            }
            is_repeated |= error.may_have_been_done();
            outage.wait(error).await?;
        }
    }
}

/// How a request ended.
enum Sent {
    /// With an answer for each item. Repeated ones may have been done by the try before.
    Answered {
        refused: Vec<RefusedLine>,
        is_repeated: bool,
    },
    /// As a whole, because of what is in it.
    Refused(Error),
}

struct RefusedLine {
    /// Which of the call; `None` when the hub does not say it.
    index: Option<usize>,
    code: String,
    text: String,
}

/// Whether a call was refused for what its items are: a shape or a size. Nothing was done then. compat: REG-43
fn is_about_items(error: &Error) -> bool {
    matches!(error.status(), Some(400 | 413))
}

impl Settled {
    /// What the hub refuses without a word of which: as many lines are not changed, whichever they are.
    fn take_unplaced(&mut self, part: &[(u64, BulkItem)], refused: &[RefusedLine]) {
        let (Some((first, _)), Some((last, _))) = (part.first(), part.last()) else {
            return;
        };
        for refused in refused.iter().filter(|refused| refused.index.is_none()) {
            self.changed = self.changed.saturating_sub(1);
            let text = &refused.text;
            self.errors.push(LineError {
                line: *first,
                column: None,
                device_id: None,
                module_id: None,
                error_code: refused.code.clone(),
                error_status: format!("one of the lines {first} to {last}: {text}"),
                operation: None,
            });
        }
    }

    fn take(&mut self, line: u64, item: &BulkItem, refused: Option<&RefusedLine>, doubtful: bool) {
        let Some(refused) = refused else {
            self.changed += 1;
            return;
        };
        if doubtful && is_done_before(item.import_mode, &refused.code) {
            self.found_done += 1;
            return;
        }
        self.errors.push(LineError {
            line,
            column: None,
            device_id: Some(item.id.clone()),
            module_id: item.module_id.clone(),
            error_code: refused.code.clone(),
            error_status: refused.text.clone(),
            operation: Some(item.import_mode.as_str().to_owned()),
        });
    }
}

/// Whether a refusal is what a change that was made already meets when it is asked for once more.
fn is_done_before(mode: ImportMode, code: &str) -> bool {
    match mode {
        ImportMode::Create => {
            matches!(code, "DeviceAlreadyExists" | "ModuleAlreadyExistsOnDevice")
        }
        ImportMode::Delete => matches!(code, "DeviceNotFound" | "ModuleNotFound"),
        ImportMode::DeleteIfMatchETag => {
            matches!(
                code,
                "DeviceNotFound" | "ModuleNotFound" | "PreconditionFailed"
            )
        }
        ImportMode::UpdateIfMatchETag
        | ImportMode::CreateOrUpdateIfMatchETag
        | ImportMode::UpdateTwinIfMatchETag => code == "PreconditionFailed",
        ImportMode::Update | ImportMode::CreateOrUpdate | ImportMode::UpdateTwin => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(mode: ImportMode, code: &str, doubtful: bool) -> (u64, u64, usize) {
        let mut settled = Settled {
            end: Place::default(),
            changed: 0,
            found_done: 0,
            errors: Vec::new(),
        };
        let refused = RefusedLine {
            index: Some(0),
            code: code.to_owned(),
            text: String::new(),
        };
        let item = BulkItem::new("d", mode);
        settled.take(1, &item, Some(&refused), doubtful);
        settled.take(2, &item, None, doubtful);
        (settled.changed, settled.found_done, settled.errors.len())
    }

    #[test]
    fn a_refusal_that_names_no_line_is_not_lost() {
        let item = |id| BulkItem::new(id, ImportMode::Create);
        let mut settled = Settled {
            end: Place::default(),
            changed: 2,
            found_done: 0,
            errors: Vec::new(),
        };
        let refused = RefusedLine {
            index: None,
            code: "ArgumentInvalid".to_owned(),
            text: "no".to_owned(),
        };
        settled.take_unplaced(&[(3, item("a")), (5, item("b"))], &[refused]);
        assert_eq!(settled.changed, 1);
        assert_eq!(
            settled.errors[0].error_status,
            "one of the lines 3 to 5: no"
        );
    }

    #[test]
    fn a_change_that_may_have_been_made_is_not_called_failed() {
        assert_eq!(
            settled(ImportMode::Create, "DeviceAlreadyExists", true),
            (1, 1, 0)
        );
        assert_eq!(
            settled(ImportMode::Create, "DeviceAlreadyExists", false),
            (1, 0, 1)
        );
        assert_eq!(
            settled(ImportMode::Create, "ArgumentInvalid", true),
            (1, 0, 1)
        );
        assert_eq!(
            settled(ImportMode::Delete, "DeviceNotFound", true),
            (1, 1, 0)
        );
        assert_eq!(
            settled(ImportMode::Update, "DeviceNotFound", true),
            (1, 0, 1)
        );
    }
}
