//! What came of a bulk call, item by item, and what is left when one ends in the middle.

use std::fmt;
use std::ops::Range;

use fanfare_wire::error::ErrorCode;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::{Error, IdentityId};

/// What came of every item of a bulk call: all that are not among the refused were done.
///
/// ```no_run
/// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
/// use fanfare_client::Device;
/// let outcome = registry.create_devices(&[Device::new("door-1"), Device::new("door-2")]).await?;
/// println!("{} created", outcome.done());
/// for refused in &outcome.refused {
///     println!("{}: {} {}", refused.id, refused.code, refused.text);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BulkOutcome {
    /// Items that the hub has answered for.
    pub items: usize,
    /// Those it refused, in the order of the items.
    pub refused: Vec<RefusedItem>,
    /// What the hub remarked without refusing anything.
    pub warnings: Vec<Value>,
}

impl BulkOutcome {
    /// How many items were done.
    ///
    /// ```
    /// assert_eq!(fanfare_client::BulkOutcome::default().done(), 0);
    /// ```
    #[must_use]
    pub fn done(&self) -> usize {
        self.items.saturating_sub(self.refused.len())
    }

    /// Whether every item was done.
    ///
    /// ```
    /// assert!(fanfare_client::BulkOutcome::default().is_all_done());
    /// ```
    #[must_use]
    pub fn is_all_done(&self) -> bool {
        self.refused.is_empty()
    }

    /// Why the item at `index` was refused; `None` if it was done.
    ///
    /// ```
    /// assert_eq!(fanfare_client::BulkOutcome::default().refusal_of(0), None);
    /// ```
    #[must_use]
    pub fn refusal_of(&self, index: usize) -> Option<&RefusedItem> {
        self.refused
            .iter()
            .find(|refused| refused.index == Some(index))
    }

    /// Takes in the reply to the call for `ids`, which follow the items known so far.
    pub(super) fn take(&mut self, ids: &[IdentityId], reply: BulkReply) {
        let mut used = vec![false; ids.len()];
        for error in reply.errors {
            let id = IdentityId {
                device_id: error.device_id,
                module_id: error.module_id,
            };
            let at = (0..ids.len()).find(|at| !used[*at] && ids[*at] == id);
            if let Some(at) = at {
                used[at] = true;
            }
            self.refused.push(RefusedItem {
                index: at.map(|at| self.items + at),
                id,
                code: error.error_code.0,
                text: error.error_status,
                operation: error.operation,
                other: error.other,
            });
        }
        self.items += ids.len();
        self.warnings.extend(reply.warnings);
    }
}

/// One item that was refused.
///
/// ```no_run
/// # fn example(refused: &fanfare_client::RefusedItem) {
/// if refused.code == "DeviceAlreadyExists" {
///     println!("{} is there already", refused.id);
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RefusedItem {
    /// Which of the items it was, from 0; `None` when the hub names none of them.
    pub index: Option<usize>,
    /// What it was about.
    pub id: IdentityId,
    /// The contract's name, for example `DeviceAlreadyExists`.
    pub code: String,
    /// The hub's words.
    pub text: String,
    /// What was tried, as the hub calls it.
    pub operation: Option<String>,
    /// Everything else the hub says about it.
    pub other: Map<String, Value>,
}

impl RefusedItem {
    /// The contract's number of the code, for example 409001; `None` for a name that this library does not know.
    ///
    /// ```no_run
    /// # fn example(refused: &fanfare_client::RefusedItem) {
    /// println!("{:?}", refused.number());
    /// # }
    /// ```
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        ErrorCode::from_name(&self.code)
            .map(ErrorCode::number)
            .or_else(|| self.code.parse().ok())
    }
}

impl fmt::Display for RefusedItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.id, self.code)?;
        match self.text.as_str() {
            "" => Ok(()),
            text => write!(f, ": {text}"),
        }
    }
}

/// A bulk call that ended in the middle: one of its requests failed as a whole. What came before it is in `outcome`,
/// what it was for in `unanswered`, and nothing after that was sent. `?` turns it into the [`Error`] of the request.
///
/// ```no_run
/// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
/// use fanfare_client::BulkItem;
/// let gone: Vec<BulkItem> = (0..10_000).map(|n| BulkItem::delete(format!("door-{n}"), None)).collect();
/// if let Err(interrupted) = registry.bulk(&gone).await {
///     println!("{} are deleted", interrupted.outcome.done());
///     if interrupted.source.may_have_been_done() {
///         println!("{:?} may be", interrupted.unanswered);
///     }
///     println!("{:?} are not", interrupted.unsent());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[error(
    "{} of {items} items were answered for, then a request failed",
    outcome.items
)]
#[non_exhaustive]
pub struct BulkInterrupted {
    /// What came of the items before.
    pub outcome: BulkOutcome,
    /// The items of the request that failed.
    pub unanswered: Range<usize>,
    /// How many items there were to do.
    pub items: usize,
    /// How it failed; also says whether it may have been done.
    #[source]
    pub source: Box<Error>,
}

impl BulkInterrupted {
    /// The items that were not sent at all.
    ///
    /// ```no_run
    /// # fn example(interrupted: &fanfare_client::BulkInterrupted) {
    /// println!("go on with item {}", interrupted.unsent().start);
    /// # }
    /// ```
    #[must_use]
    pub fn unsent(&self) -> Range<usize> {
        self.unanswered.end..self.items
    }
}

impl From<BulkInterrupted> for Error {
    fn from(interrupted: BulkInterrupted) -> Self {
        *interrupted.source
    }
}

/// The reply to one request, with 200 or 400. compat: REG-10
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BulkReply {
    #[serde(default, deserialize_with = "crate::words::null_as_default")]
    errors: Vec<ItemError>,
    #[serde(default, deserialize_with = "crate::words::null_as_default")]
    warnings: Vec<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemError {
    #[serde(default, deserialize_with = "crate::words::null_as_default")]
    device_id: String,
    #[serde(default)]
    module_id: Option<String>,
    #[serde(default)]
    error_code: CodeName,
    #[serde(default, deserialize_with = "crate::words::null_as_default")]
    error_status: String,
    #[serde(default)]
    operation: Option<String>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// The name of a code that hubs write as name or as number.
#[derive(Debug, Default)]
struct CodeName(String);

impl<'de> Deserialize<'de> for CodeName {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Ok(Self(match Value::deserialize(input)? {
            Value::String(name) => name,
            Value::Number(number) => {
                let known = number
                    .as_u64()
                    .and_then(|number| u32::try_from(number).ok());
                known
                    .and_then(ErrorCode::from_number)
                    .map_or_else(|| number.to_string(), |code| code.name().to_owned())
            }
            _ => String::new(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reply(errors: Value) -> BulkReply {
        serde_json::from_value(json!({"isSuccessful": false, "errors": errors, "warnings": null}))
            .unwrap()
    }

    #[test]
    fn refusals_find_their_items() {
        let ids: Vec<IdentityId> = ["a", "b", "a"].map(IdentityId::from).into();
        let mut outcome = BulkOutcome {
            items: 100,
            ..BulkOutcome::default()
        };
        outcome.take(
            &ids,
            reply(json!([
                {"deviceId": "a", "errorCode": "DeviceDefinedMultipleTimes", "errorStatus": "twice"},
                {"deviceId": "a", "errorCode": 400011, "errorStatus": null, "new": 1},
                {"deviceId": "x", "moduleId": null, "errorCode": 999999},
            ])),
        );
        let seen: Vec<_> = outcome
            .refused
            .iter()
            .map(|refused| (refused.index, refused.code.as_str(), refused.number()))
            .collect();
        let twice = "DeviceDefinedMultipleTimes";
        assert_eq!(
            seen,
            [
                (Some(100), twice, Some(400_011)),
                (Some(102), twice, Some(400_011)),
                (None, "999999", Some(999_999)),
            ]
        );
        assert_eq!((outcome.items, outcome.done()), (103, 100));
        assert_eq!(outcome.refusal_of(102).unwrap().other["new"], 1);
        assert_eq!(outcome.refusal_of(101), None);
    }
}
