//! Why device jobs failed, counted by reason.
//!
//! One grouped query where the hub can; the original cannot, and then the failed rows are counted page by page up
//! to [`ROWS_LOOKED_AT_MAX`].

use std::collections::HashMap;

use fanfare_client::{DeviceJob, DeviceJobStatus, HubClient, OUTCOME_UNKNOWN, literal};
use serde::Serialize;
use serde_json::Value;

/// Failed rows that are counted where the hub cannot group them.
const ROWS_LOOKED_AT_MAX: u64 = 20_000;
/// Rows asked for at once.
const PAGE_ROWS: u32 = 1_000;

/// Failures of one job by reason, the most frequent first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reasons {
    pub(crate) groups: Vec<Reason>,
    /// Set when only so many failures were looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) of_first: Option<u64>,
}

/// One reason and how many device jobs it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Reason {
    pub(crate) code: String,
    pub(crate) count: u64,
}

impl Reason {
    /// What the code means, for those that hubs give.
    pub(crate) fn meaning(&self) -> Option<&'static str> {
        Some(match &*self.code {
            "JobRunPreconditionFailed" => "not online before the window closed",
            "DeviceNotOnline" => "not online",
            "GatewayTimeout" => "no answer in time",
            "GenericBadGateway" => "the answer was no JSON, or too large",
            "DeviceNotFound" => "deleted after the job began",
            "ArgumentInvalid" => "the twin would go over a limit",
            OUTCOME_UNKNOWN => "called when the hub went down; nobody knows",
            code if code.starts_with(ANSWERED) => "the device's own answer",
            _ => return None,
        })
    }
}

/// How the code of a device's own refusal begins; the status follows.
const ANSWERED: &str = "answered ";

impl Reasons {
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// All that were counted.
    pub(crate) fn total(&self) -> u64 {
        self.groups.iter().map(|reason| reason.count).sum()
    }

    /// Of the rows of a grouped query, each with `code` (absent where there is none) and `count`.
    fn from_groups(rows: &[Value]) -> Self {
        let mut tally = Tally::default();
        for row in rows {
            let code = row["code"].as_str().unwrap_or(UNNAMED);
            tally.add(code.to_owned(), row["count"].as_u64().unwrap_or(0));
        }
        tally.into_reasons()
    }

    /// Why device jobs of `job_id` failed.
    ///
    /// # Errors
    /// When the hub refuses both ways of asking, or does not answer.
    pub(crate) async fn of_failures(
        hub: &HubClient,
        job_id: &str,
    ) -> Result<Self, fanfare_client::Error> {
        let failed = format!(
            "devices.jobs.jobId = {} AND devices.jobs.status = 'failed'",
            literal(job_id)
        );
        let grouped = format!(
            "SELECT error.code AS code, COUNT() AS count FROM devices.jobs WHERE {failed} GROUP BY error.code"
        );
        match hub
            .queries()
            .query::<Value>(grouped)
            .page_items(PAGE_ROWS)
            .collect()
            .await
        {
            Ok(rows) => return Ok(Self::from_groups(&rows)),
            Err(error) if error.status() == Some(400) => {}
            Err(error) => return Err(error),
        }
        let rows = format!("SELECT * FROM devices.jobs WHERE {failed}");
        let mut rows = hub.queries().query::<DeviceJob>(rows).page_items(PAGE_ROWS);
        let (mut tally, mut looked_at) = (Tally::default(), 0);
        while let Some(row) = rows.try_next().await? {
            tally.row(&row);
            looked_at += 1;
            if looked_at == ROWS_LOOKED_AT_MAX {
                break;
            }
        }
        let mut reasons = tally.into_reasons();
        reasons.of_first = (looked_at == ROWS_LOOKED_AT_MAX).then_some(looked_at);
        Ok(reasons)
    }

    /// Devices of `job_id` that answered with a status of 400 or above, by status; none where the hub cannot group.
    ///
    /// # Errors
    /// When the hub does not answer.
    pub(crate) async fn of_refusals(
        hub: &HubClient,
        job_id: &str,
    ) -> Result<Self, fanfare_client::Error> {
        let status = "outcome.deviceMethodResponse.status";
        let grouped = format!(
            "SELECT {status} AS status, COUNT() AS count FROM devices.jobs \
             WHERE devices.jobs.jobId = {} AND {status} >= 400 GROUP BY {status}",
            literal(job_id)
        );
        let rows = match hub
            .queries()
            .query::<Value>(grouped)
            .page_items(PAGE_ROWS)
            .collect()
            .await
        {
            Ok(rows) => rows,
            Err(error) if error.status() == Some(400) => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let mut tally = Tally::default();
        for row in &rows {
            tally.add(
                format!("{ANSWERED}{}", row["status"]),
                row["count"].as_u64().unwrap_or(0),
            );
        }
        Ok(tally.into_reasons())
    }

    /// These and those, the most frequent first.
    pub(crate) fn with(self, more: Self) -> Self {
        let of_first = self.of_first.or(more.of_first);
        let mut tally = Tally::default();
        for reason in self.groups.into_iter().chain(more.groups) {
            tally.add(reason.code, reason.count);
        }
        Self {
            of_first,
            ..tally.into_reasons()
        }
    }
}

/// What a failure is called that says nothing about itself.
const UNNAMED: &str = "no reason given";

/// Counts reasons as rows go by. Bounded by the number of different codes, which hubs have few of.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: HashMap<String, u64>,
}

impl Tally {
    /// Takes note of one device job.
    pub(crate) fn row(&mut self, row: &DeviceJob) {
        match (row.answer(), &row.error) {
            (_, Some(error)) => self.add(error.code.clone(), 1),
            (Some((status, _)), None) if status >= 400 => {
                self.add(format!("{ANSWERED}{status}"), 1)
            }
            (_, None) if row.status == DeviceJobStatus::Failed => self.add(UNNAMED.to_owned(), 1),
            _ => {}
        }
    }

    fn add(&mut self, code: String, count: u64) {
        *self.counts.entry(code).or_default() += count;
    }

    pub(crate) fn into_reasons(self) -> Reasons {
        let mut groups: Vec<Reason> = self
            .counts
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(code, count)| Reason { code, count })
            .collect();
        groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.code.cmp(&b.code)));
        Reasons {
            groups,
            of_first: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    fn row(document: Value) -> DeviceJob {
        let mut whole = json!({"deviceId": "d", "jobId": "j", "status": "failed"});
        let members = document.as_object().unwrap().clone();
        whole.as_object_mut().unwrap().extend(members);
        from_value(whole).unwrap()
    }

    #[test]
    fn the_most_frequent_reason_comes_first_and_equals_by_name() {
        let rows = [
            json!({"code": "GatewayTimeout", "count": 4}),
            json!({"count": 1}),
            json!({"code": "JobRunPreconditionFailed", "count": 92}),
            json!({"code": "DeviceNotFound", "count": 4}),
        ];
        let reasons = Reasons::from_groups(&rows);
        let codes: Vec<_> = reasons.groups.iter().map(|reason| &*reason.code).collect();
        assert_eq!(
            codes,
            [
                "JobRunPreconditionFailed",
                "DeviceNotFound",
                "GatewayTimeout",
                UNNAMED
            ]
        );
        assert_eq!(reasons.total(), 101);
    }

    #[test]
    fn a_devices_own_refusal_is_a_reason_and_its_consent_is_not() {
        let mut tally = Tally::default();
        let answered = |status| {
            row(
                json!({"status": "completed", "outcome": {"deviceMethodResponse": {"status": status, "payload": null}}}),
            )
        };
        for status in [200, 500, 500, 399] {
            tally.row(&answered(status));
        }
        tally.row(&row(
            json!({"error": {"code": "GatewayTimeout", "description": "late"}}),
        ));
        tally.row(&row(json!({})));
        tally.row(&row(json!({"status": "canceled"})));
        let reasons = tally.into_reasons();
        let seen: Vec<_> = reasons.groups.iter().map(|r| (&*r.code, r.count)).collect();
        assert_eq!(
            seen,
            [("answered 500", 2), ("GatewayTimeout", 1), (UNNAMED, 1)]
        );
        assert_eq!(reasons.groups[0].meaning(), Some("the device's own answer"));
    }

    #[test]
    fn two_lists_become_one() {
        let one = Reasons::from_groups(&[json!({"code": "A", "count": 1})]);
        let two = Reasons::from_groups(&[
            json!({"code": "B", "count": 2}),
            json!({"code": "A", "count": 3}),
        ]);
        let both = one.with(two);
        assert_eq!(
            both.groups[0],
            Reason {
                code: "A".to_owned(),
                count: 4
            }
        );
        assert_eq!(both.total(), 6);
    }
}
