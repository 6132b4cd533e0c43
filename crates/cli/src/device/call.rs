//! One call of an import: sends a chunk, waits for a hub that has gone away, and says what became of each line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fanfare_client::{BulkItem, Error, RegistryClient};
use fanfare_wire::registry::ImportMode;
use tokio::time::sleep;

use super::chunk::Chunk;
use super::errors_file::{INVALID_LINE, LineError};
use super::lines::Place;
use crate::diagnostic;
use crate::failure::Failure;
use crate::job::figures::span;

/// Shortest and longest pause before a hub that has gone away is asked again. The client has tried before.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// From this many items on, a call whose items are all refused alone says something about the hub, not about them.
const SUSPICIOUS_ITEMS: usize = 10;

/// Makes the calls of one import. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    registry: RegistryClient,
    patience: Duration,
    /// A hub that never answered is more likely a wrong name than one that has gone away.
    has_answered: Arc<AtomicBool>,
    /// Said once in an outage.
    is_told: Arc<AtomicBool>,
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
    /// Waits up to `patience` for a hub that gives no answer any more.
    pub(super) fn new(registry: RegistryClient, patience: Duration) -> Self {
        Self {
            registry,
            patience,
            has_answered: Arc::default(),
            is_told: Arc::default(),
        }
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
                        let found = refused.iter().find(|refused| refused.index == at);
                        settled.take(*line, item, found, doubtful);
                    }
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
                    index: 0,
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
        let mut pause = PAUSE_FIRST;
        let mut away_since: Option<Instant> = None;
        loop {
            let error = match self.registry.bulk(&items).await {
                Ok(outcome) => {
                    self.has_answered.store(true, Ordering::Relaxed);
                    self.is_told.store(false, Ordering::Relaxed);
                    let refused = outcome.refused.into_iter().filter_map(|refused| {
                        Some(RefusedLine {
                            index: refused.index?,
                            code: refused.code,
                            text: refused.text,
                        })
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
            let since = *away_since.get_or_insert_with(Instant::now);
            let is_hopeful = error.can_retry_help() && self.has_answered.load(Ordering::Relaxed);
            if !is_hopeful || since.elapsed() + pause > self.patience {
                return Err(error.into());
            }
            if !self.is_told.swap(true, Ordering::Relaxed) {
                let patience = span(self.patience);
                diagnostic::say(&format!(
                    "The hub gives no answer ({error}); waiting up to {patience} for it."
                ));
            }
            is_repeated |= error.may_have_been_done();
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
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
    index: usize,
    code: String,
    text: String,
}

/// Whether a call was refused for what its items are: a shape or a size. Nothing was done then. compat: REG-43
fn is_about_items(error: &Error) -> bool {
    matches!(error.status(), Some(400 | 413))
}

impl Settled {
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
            index: 0,
            code: code.to_owned(),
            text: String::new(),
        };
        let item = BulkItem::new("d", mode);
        settled.take(1, &item, Some(&refused), doubtful);
        settled.take(2, &item, None, doubtful);
        (settled.changed, settled.found_done, settled.errors.len())
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
