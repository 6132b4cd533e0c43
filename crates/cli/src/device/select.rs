//! Queries made of a condition that a person wrote, and a caret under the right place of it when it is wrong.

use fanfare_client::{Error, HubClient};
use serde_json::Value;

use crate::diagnostic::hub_place;
use crate::failure::Failure;

/// `SELECT members FROM source`, with what a person wrote behind WHERE.
#[derive(Debug, Clone)]
pub(super) struct Select<'a> {
    before: String,
    condition: Option<&'a str>,
}

impl<'a> Select<'a> {
    pub(super) fn new(members: &str, source: &str, condition: Option<&'a str>) -> Self {
        let before = match condition {
            None => format!("SELECT {members} FROM {source}"),
            Some(_) => format!("SELECT {members} FROM {source} WHERE "),
        };
        Self { before, condition }
    }

    /// The query.
    pub(super) fn text(&self) -> String {
        format!("{}{}", self.before, self.condition.unwrap_or_default())
    }

    /// What went wrong, with the place in the condition where the hub names one.
    pub(super) fn failure(&self, error: Error) -> Failure {
        let place = error.message().and_then(hub_place);
        let place = place.map(|place| (place.line, place.column));
        let failure = Failure::from(error);
        let (Some(condition), Some((line, column))) = (self.condition, place) else {
            return failure;
        };
        let before = if line == 1 {
            self.before.chars().count()
        } else {
            0
        };
        match column.checked_sub(before) {
            Some(column) => failure.at("condition", condition, line, column.max(1)),
            None => failure,
        }
    }
}

/// How many devices a condition selects.
pub(super) async fn counted(hub: &HubClient, condition: &str) -> Result<u64, Failure> {
    let select = Select::new("COUNT() AS devices", "devices", Some(condition));
    let rows = hub.queries().query::<Value>(select.text()).collect().await;
    let rows = rows.map_err(|error| select.failure(error))?;
    Ok(rows
        .first()
        .and_then(|row| row["devices"].as_u64())
        .unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_made_of_its_parts() {
        let all = Select::new("*", "devices", None);
        assert_eq!(all.text(), "SELECT * FROM devices");
        let some = Select::new("deviceId", "devices", Some("tags.a = 1"));
        assert_eq!(some.text(), "SELECT deviceId FROM devices WHERE tags.a = 1");
    }
}
