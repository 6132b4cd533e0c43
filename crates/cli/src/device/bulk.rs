//! What is said about many devices at once: a row for each where a program reads, a summary where a person does.

use fanfare_client::{BulkItem, Error, IdentityId, RegistryClient};
use serde_json::{Value, json};

use crate::diagnostic;
use crate::failure::Failure;
use crate::job::figures::{count, counted};
use crate::output::{self, Column, Format, OutputArgs, RowWriter, Tone};

/// How the results of a verb are called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    /// "created".
    pub(super) done: &'static str,
    /// "Created".
    pub(super) sentence: &'static str,
    /// "device" or "module".
    pub(super) noun: &'static str,
}

/// Gathers what became of many devices and prints it.
pub(super) struct Report {
    words: Words,
    is_table: bool,
    rows: RowWriter,
    is_gone_fine: bool,
    done: u64,
    refused: u64,
}

impl Report {
    pub(super) fn new(words: Words, output: &OutputArgs) -> Self {
        Self {
            words,
            is_table: output.format == Format::Table,
            rows: RowWriter::start(output, columns(words, false)),
            is_gone_fine: false,
            done: 0,
            refused: 0,
        }
    }

    /// The same for a verb that wants devices gone, whoever deletes them.
    pub(super) fn gone_is_fine(self) -> Self {
        Self {
            is_gone_fine: true,
            ..self
        }
    }

    /// The same for rows that have keys.
    pub(super) fn with_keys(words: Words, output: &OutputArgs) -> Self {
        Self {
            rows: RowWriter::start(output, columns(words, true)),
            ..Self::new(words, output)
        }
    }

    /// Makes the changes, a hundred in a call, and takes note of each.
    pub(super) async fn make(
        &mut self,
        registry: &RegistryClient,
        items: &[BulkItem],
    ) -> Result<(), Failure> {
        for id in self.attempt(registry, items).await? {
            self.done(&id, Value::Null)?;
        }
        Ok(())
    }

    /// Makes the changes and takes note of those refused; returns those done, for [`Self::done`].
    pub(super) async fn attempt(
        &mut self,
        registry: &RegistryClient,
        items: &[BulkItem],
    ) -> Result<Vec<IdentityId>, Failure> {
        let outcome = match registry.bulk(items).await {
            Ok(outcome) => outcome,
            Err(interrupted) => {
                if self.done > 0 {
                    let Words { sentence, noun, .. } = self.words;
                    diagnostic::say(&format!(
                        "{sentence} {} before the failure.",
                        counted(self.done, noun)
                    ));
                }
                return Err(Error::from(interrupted).into());
            }
        };
        let mut done = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let id = item.identity();
            match outcome.refusal_of(at) {
                None => done.push(id),
                Some(refused) if self.is_gone_fine && refused.code == "DeviceNotFound" => {}
                Some(refused) => self.refused(&id, &refused.code, &refused.text)?,
            }
        }
        Ok(done)
    }

    /// Takes note of one that was done; `more` is added to its row.
    pub(super) fn done(&mut self, id: &IdentityId, more: Value) -> Result<(), Failure> {
        self.done += 1;
        // A person wants to know about those that were not done, or what is new about those that were.
        if self.is_table && more.is_null() {
            return Ok(());
        }
        let mut row = json!({
            "deviceId": id.device_id, "moduleId": id.module_id, "result": self.words.done,
        });
        if let (Value::Object(row), Value::Object(more)) = (&mut row, more) {
            row.extend(more);
        }
        self.rows.push(&row)
    }

    fn refused(&mut self, id: &IdentityId, code: &str, text: &str) -> Result<(), Failure> {
        self.refused += 1;
        self.rows.push(&json!({
            "deviceId": id.device_id, "moduleId": id.module_id, "result": "refused",
            "code": code, "text": text,
        }))
    }

    /// Prints the end; a failure when anything was refused.
    pub(super) fn end(self) -> Result<(), Failure> {
        self.rows.finish()?;
        let Words {
            done,
            sentence,
            noun,
        } = self.words;
        if self.is_table && (self.done > 0 || self.refused == 0) {
            output::line(&format!("{sentence} {}.", counted(self.done, noun)))?;
        }
        if self.refused == 0 {
            return Ok(());
        }
        let were = if self.refused == 1 { "was" } else { "were" };
        let all = counted(self.done + self.refused, noun);
        let title = format!("{} of {all} {were} not {done}", count(self.refused));
        Err(Failure::not_done(title))
    }
}

/// A table shows what there is to see; CSV always has the same columns.
fn columns(words: Words, with_keys: bool) -> Vec<Column> {
    let tone = |text: &str| match text {
        "refused" => Tone::Bad,
        _ => Tone::Good,
    };
    let mut columns = vec![Column::new("deviceId").titled("device").whole()];
    columns.push(match words.noun {
        "module" => Column::new("moduleId").titled("module").whole(),
        _ => Column::new("moduleId").only_csv(),
    });
    columns.push(Column::new("result").toned(tone));
    if with_keys {
        columns.extend([
            Column::new("connectionString")
                .titled("connection string")
                .whole(),
            Column::new("primaryKey").only_csv(),
            Column::new("secondaryKey").only_csv(),
            Column::new("code").only_csv(),
            Column::new("text"),
        ]);
    } else {
        columns.extend([Column::new("code"), Column::new("text")]);
    }
    columns
}
