//! `fanfare job show`: one job, for people and for programs.

use std::time::Duration;

use clap::Args;
use fanfare_client::Job;
use serde_json::{Value, json};

use super::figures::{moment, span, took};
use super::follow::{begins, describe};
use super::targets::described;
use super::view::outcome_words;
use crate::clock::unix_now_micros;
use crate::failure::Failure;
use crate::hub::HubArgs;
use crate::output::{self, Column, Format, OutputArgs, Tone, show_one};
use crate::time_arg;

/// `fanfare job show`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ShowArgs {
    /// The job.
    #[arg(value_name = "JOB", value_parser = super::job_id)]
    job_id: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

const EXAMPLES: &str = "\
Examples:
  fanfare job show lock-43
  fanfare job show lock-43 -o json | jq -r .status";

impl ShowArgs {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let hub = self.hub.client()?;
        let job = hub.jobs().get_job(&self.job_id).await?;
        if self.output.format == Format::Table {
            let card = card(&job, unix_now_micros());
            return show_one(&self.output, columns_of(&card), &card);
        }
        let document = serde_json::to_value(&job).map_err(anyhow::Error::from)?;
        show_one(&self.output, job_columns(), &document)
    }
}

/// A job's columns, for tables of jobs and for CSV.
pub(crate) fn job_columns() -> Vec<Column> {
    let counted = |name, pointer| Column::new(name).at(pointer).right();
    vec![
        Column::new("jobId").titled("job").whole(),
        Column::new("type").titled("does").shown(type_word),
        Column::new("status").toned(status_tone),
        Column::new("createdTime")
            .titled("created")
            .shown(output::moment),
        Column::new("startTime")
            .titled("starts")
            .shown(output::moment),
        Column::new("endTime")
            .titled("ended")
            .shown(output::moment)
            .only_csv(),
        counted("deviceCount", "/deviceJobStatistics/deviceCount").titled("devices"),
        counted("succeededCount", "/deviceJobStatistics/succeededCount").titled("succeeded"),
        counted("failedCount", "/deviceJobStatistics/failedCount").titled("failed"),
        counted("runningCount", "/deviceJobStatistics/runningCount").only_csv(),
        counted("pendingCount", "/deviceJobStatistics/pendingCount").only_csv(),
        counted("canceledCount", "/deviceJobStatistics/canceledCount").only_csv(),
        Column::new("createdBy").at("/fanfare/createdBy").only_csv(),
    ]
}

fn type_word(value: &Value) -> String {
    match value.as_str() {
        Some("scheduleDeviceMethod") => "method".to_owned(),
        Some("scheduleUpdateTwin") => "twin update".to_owned(),
        other => other.unwrap_or_default().to_owned(),
    }
}

/// The colour of where a job, or a device's share of one, stands.
pub(crate) fn status_tone(status: &str) -> Tone {
    match status {
        "completed" => Tone::Good,
        "failed" => Tone::Bad,
        "running" | "scheduled" | "queued" => Tone::Waiting,
        "pending" => Tone::Dim,
        _ => Tone::Plain,
    }
}

/// What a person wants to know of a job, in lines. `now` is microseconds since 1970.
fn card(job: &Job, now: i64) -> Value {
    let mut lines: Vec<(&str, String)> = vec![
        ("job", job.job_id.clone()),
        ("does", describe(job)),
        ("status", job.status.to_string()),
    ];
    let mut say = |title, text: Option<String>| lines.extend(text.map(|text| (title, text)));
    say("says", job.status_message.clone());
    say("because", job.failure_reason.clone());
    say("devices", condition(job));
    if let Some(method) = &job.cloud_to_device_method {
        let payload = (!method.payload.is_null()).then(|| method.payload.to_string());
        say("payload", payload);
        say("answer in", method.response_timeout.map(time_arg::shown));
    }
    if let Some(patch) = &job.update_twin {
        say("desired", patch.desired.as_ref().map(Value::to_string));
        say("tags", patch.tags.as_ref().map(Value::to_string));
    }
    let since = |micros: i64| Duration::from_micros(u64::try_from(micros).unwrap_or(0));
    say("created", job.created_time.map(moment));
    say("created by", job.created_by().map(|who| who.to_string()));
    if let Some(start) = job.start_time {
        let ahead = start.as_micros() - now;
        let is_ahead = ahead > 0 && !job.has_ended();
        let words = if is_ahead {
            format!(", in {}", span(since(ahead)))
        } else {
            String::new()
        };
        say("start", Some(format!("{}{words}", moment(start))));
        if let Some(window) = job.window {
            let closes = begins(job)
                .unwrap_or(start)
                .as_micros()
                .saturating_add(i64::try_from(window.as_micros()).unwrap_or(i64::MAX));
            let closes = fanfare_client::Timestamp::from_micros(closes);
            say(
                "window",
                Some(format!(
                    "{}, to {}",
                    time_arg::shown(window),
                    moment(closes)
                )),
            );
        }
        match job.end_time {
            Some(end) if end > start => {
                let began = begins(job).unwrap_or(start);
                let ran = took(since(end.as_micros() - began.as_micros()));
                say("end", Some(format!("{}, after {ran}", moment(end))));
            }
            end => say("end", end.map(moment)),
        }
    }
    say("outcome", job.statistics.as_ref().map(outcome_words));
    let members = lines
        .into_iter()
        .map(|(title, text)| json!({"title": title, "text": text}));
    Value::Array(members.collect())
}

/// The condition, or what the hub says in its place when it is too long to repeat. compat: JOB-16
fn condition(job: &Job) -> Option<String> {
    if let Some(condition) = &job.query_condition {
        return Some(described(condition));
    }
    let length = job
        .other
        .get("fanfare")?
        .pointer("/condition/length")?
        .as_u64()?;
    Some(format!(
        "a condition of {} characters",
        super::figures::count(length)
    ))
}

fn columns_of(card: &Value) -> Vec<Column> {
    let lines = card.as_array().map(Vec::as_slice).unwrap_or_default();
    lines
        .iter()
        .enumerate()
        .map(|(at, line)| {
            let title = line["title"].as_str().unwrap_or_default().to_owned();
            let column = Column::new(title.clone()).at(format!("/{at}/text"));
            if title == "status" {
                column.toned(status_tone)
            } else {
                column
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::from_value;

    use super::*;

    fn lines(document: Value, now: &str) -> Vec<String> {
        let job: Job = from_value(document).unwrap();
        let now = fanfare_client::Timestamp::parse(now).unwrap();
        let card = card(&job, now.as_micros());
        let lines = card.as_array().unwrap().iter();
        lines
            .map(|line| {
                format!(
                    "{}: {}",
                    line["title"].as_str().unwrap(),
                    line["text"].as_str().unwrap()
                )
            })
            .collect()
    }

    #[test]
    fn a_job_ahead_says_when_it_starts_and_has_no_end() {
        let document = json!({"jobId": "j", "type": "scheduleUpdateTwin", "status": "scheduled",
            "queryCondition": "tags.a = 1", "startTime": "2031-02-03T04:05:06Z",
            "maxExecutionTimeInSeconds": 300, "updateTwin": {"etag": "*", "tags": {"ring": 2}}});
        let said = lines(document, "2031-02-03T04:00:00Z");
        assert!(said.contains(&"does: twin update".to_owned()), "{said:?}");
        assert!(said.contains(&"tags: {\"ring\":2}".to_owned()), "{said:?}");
        let start = said.iter().find(|line| line.starts_with("start:")).unwrap();
        assert!(start.ends_with(", in 5m 06s"), "{start}");
        assert!(
            !said
                .iter()
                .any(|line| line.starts_with("end:") || line.starts_with("outcome:"))
        );
    }

    #[test]
    fn a_start_that_had_passed_opens_the_window_when_the_job_is_made() {
        let document = json!({"jobId": "j", "type": "scheduleUpdateTwin", "status": "completed",
            "createdTime": "2031-02-03T04:00:00Z", "startTime": "2020-01-01T00:00:00Z",
            "endTime": "2031-02-03T04:00:09Z", "maxExecutionTimeInSeconds": 60});
        let said = lines(document, "2031-02-04T00:00:00Z").join("\n");
        assert!(said.contains("window: 1m, to 2031-02-03 "), "{said}");
        assert!(said.contains(", after 9.0s"), "{said}");
    }

    #[test]
    fn a_job_that_has_ended_says_how_long_it_took_and_what_came_of_it() {
        let document = json!({"jobId": "j", "type": "scheduleDeviceMethod", "status": "completed",
            "fanfare": {"condition": {"length": 40000000}},
            "cloudToDeviceMethod": {"methodName": "lock", "payload": null, "responseTimeoutInSeconds": 15},
            "startTime": "2031-02-03T04:05:06Z", "endTime": "2031-02-03T04:05:19.02Z",
            "deviceJobStatistics": {"deviceCount": 3, "succeededCount": 2, "failedCount": 1}});
        let said = lines(document, "2031-02-04T00:00:00Z");
        for line in [
            "does: method lock",
            "devices: a condition of 40,000,000 characters",
            "answer in: 15s",
            "outcome: 2 succeeded, 1 failed",
        ] {
            assert!(said.contains(&line.to_owned()), "{line}: {said:?}");
        }
        let end = said.iter().find(|line| line.starts_with("end:")).unwrap();
        assert!(end.ends_with(", after 13s"), "{end}");
    }
}
