//! `fanfare job schedule-method` and `fanfare job schedule-twin`: what is scheduled, and when.

use std::io::{IsTerminal as _, stderr, stdin};
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgGroup, Args};
use fanfare_client::{DeviceMethod, Error, HubClient, Job, ScheduleOptions, TwinPatch};
use rand::RngExt as _;
use serde_json::{Map, Value, json};

use super::figures::{counted, mebibytes, moment, span};
use super::preview::Preview;
use super::show::job_columns;
use super::targets::{TargetArgs, Targets, described};
use super::watch::{PatienceArgs, Watch};
use crate::clock::unix_now_micros;
use crate::confirm::ConfirmArgs;
use crate::diagnostic::say;
use crate::failure::Failure;
use crate::hub::HubArgs;
use crate::output::{Format, OutputArgs, line, show_one};
use crate::time_arg::{self, TimeArg};
use crate::value_arg::ValueArg;

/// `fanfare job schedule-method`.
#[derive(Debug, Args)]
#[command(after_help = METHOD_EXAMPLES)]
pub(crate) struct MethodArgs {
    /// Name of the method.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    method: String,
    /// What devices get: JSON, @FILE, or `-` for standard input; null otherwise.
    #[arg(long, value_name = "JSON")]
    payload: Option<ValueArg>,
    /// How long a device may take to answer, 5s to 5m.
    #[arg(long, value_name = "TIME", value_parser = time_arg::response_timeout, default_value = "30s")]
    response_timeout: Duration,
    #[command(flatten)]
    job: ScheduleArgs,
}

const METHOD_EXAMPLES: &str = "\
Examples:
  fanfare job schedule-method \"tags.building = '43'\" --method lockDoor --dry-run
  fanfare job schedule-method '*' --method reboot --payload '{\"delay\": 5}' --start 02:00 --window 2h
  fanfare job schedule-method --ids-from doors.txt --method lockDoor --watch";

/// `fanfare job schedule-twin`.
#[derive(Debug, Args)]
#[command(after_help = TWIN_EXAMPLES)]
#[command(group = ArgGroup::new("patch").required(true).multiple(true).args(["desired", "tags"]))]
pub(crate) struct TwinArgs {
    /// Changes of desired properties: a JSON object, @FILE, or `-` for standard input; null removes a property.
    #[arg(long, value_name = "JSON")]
    desired: Option<ValueArg>,
    /// Changes of tags, likewise.
    #[arg(long, value_name = "JSON")]
    tags: Option<ValueArg>,
    #[command(flatten)]
    job: ScheduleArgs,
}

const TWIN_EXAMPLES: &str = "\
Examples:
  fanfare job schedule-twin \"tags.floor = 3\" --desired '{\"interval\": 30}' --watch
  fanfare job schedule-twin --ids-from moved.txt --tags '{\"building\": \"43\"}'";

/// What both have in common.
#[derive(Debug, Args)]
pub(crate) struct ScheduleArgs {
    #[command(flatten)]
    targets: TargetArgs,
    /// Name of the job; one is made otherwise. No two jobs of a hub have the same.
    #[arg(long, value_name = "ID", value_parser = super::job_id)]
    job_id: Option<String>,
    /// When it starts: now, +10m, 02:00, 2026-12-01T02:00, or 2026-12-01T02:00:00+01:00.
    #[arg(long, value_name = "WHEN", default_value = "now")]
    start: TimeArg,
    /// The zone of --start, such as Europe/Rome; the system's otherwise.
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// How long devices may be reached from the start on, such as 30m or 1d [default: 1h].
    #[arg(long, value_name = "TIME", value_parser = time_arg::whole_seconds)]
    window: Option<Duration>,
    /// Change nothing; show how many devices match now and what would be sent.
    #[arg(long, conflicts_with = "watch")]
    dry_run: bool,
    /// Ask before a job for more devices than this.
    #[arg(long, value_name = "DEVICES", default_value_t = 1_000)]
    confirm_above: u64,
    #[command(flatten)]
    confirm: ConfirmArgs,
    /// Follow the job to its end.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    patience: PatienceArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

impl MethodArgs {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let takes_stdin = self.payload == Some(ValueArg::Stdin);
        let targets = self.job.read_targets(takes_stdin)?;
        let payload = match &self.payload {
            Some(payload) => payload.json("--payload")?,
            None => Value::Null,
        };
        let method = DeviceMethod::new(self.method)
            .payload(payload)
            .response_timeout(self.response_timeout);
        self.job.schedule(Operation::Method(method), targets).await
    }
}

impl TwinArgs {
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let is_stdin = |value: &Option<ValueArg>| *value == Some(ValueArg::Stdin);
        if is_stdin(&self.desired) && is_stdin(&self.tags) {
            return Err(Failure::usage(
                "standard input cannot be both --desired and --tags",
            ));
        }
        let takes_stdin = is_stdin(&self.desired) || is_stdin(&self.tags);
        let targets = self.job.read_targets(takes_stdin)?;
        let object =
            |value: &Option<ValueArg>, flag: &str| -> Result<Option<Map<String, Value>>, Failure> {
                value.as_ref().map(|value| value.object(flag)).transpose()
            };
        let patch = TwinPatch {
            desired: object(&self.desired, "--desired")?.map(Value::Object),
            tags: object(&self.tags, "--tags")?.map(Value::Object),
            ..TwinPatch::default()
        };
        self.job.schedule(Operation::Twin(patch), targets).await
    }
}

/// What a job does to each device.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Method(DeviceMethod),
    Twin(TwinPatch),
}

impl Operation {
    /// "method lockDoor", "twin update".
    pub(crate) fn describe(&self) -> String {
        match self {
            Operation::Method(method) => format!("method {}", method.name),
            Operation::Twin(_) => "twin update".to_owned(),
        }
    }

    /// The member of the request that says it, and its value.
    pub(crate) fn document(&self) -> (&'static str, Value) {
        let (name, value) = match self {
            Operation::Method(method) => ("cloudToDeviceMethod", serde_json::to_value(method)),
            Operation::Twin(patch) => ("updateTwin", serde_json::to_value(patch)),
        };
        (name, value.expect("it is plain JSON"))
    }

    /// What the name of a job begins with that has none.
    fn stem(&self) -> String {
        match self {
            Operation::Method(method) => method
                .name
                .chars()
                .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
                .take(32)
                .collect(),
            Operation::Twin(_) => "twin".to_owned(),
        }
    }
}

/// A job as it is going to be scheduled.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) job_id: String,
    pub(crate) operation: Operation,
    pub(crate) condition: String,
    /// The condition for people.
    pub(crate) devices: String,
    pub(crate) options: ScheduleOptions,
}

/// Largest body a hub takes that schedules a job.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Room in it for everything but the condition and the operation.
const BODY_REST_BYTES: usize = 1_024;

impl Plan {
    /// Says so before anything is sent if the hub could not take the request.
    fn check_size(&self, targets: &Targets, bytes_max: usize) -> Result<(), Failure> {
        // Quotes and backslashes grow by one byte each in JSON; ids have no control characters.
        let growing = self
            .condition
            .bytes()
            .filter(|byte| matches!(byte, b'"' | b'\\'))
            .count();
        let operation = self.operation.document().1.to_string().len();
        let bytes = self.condition.len() + growing + operation + BODY_REST_BYTES;
        if bytes <= bytes_max {
            return Ok(());
        }
        let size = mebibytes(bytes);
        let limit = mebibytes(bytes_max);
        let Targets::Ids(list) = targets else {
            return Err(Failure::usage(format!(
                "the request would be {size}, hubs take {limit}"
            )));
        };
        let fits = list.ids.len() as u64 * bytes_max as u64 / bytes as u64;
        // Room for ids that are longer than the others.
        let lines = (fits * 9 / 10_000 * 1_000).max(1);
        let ids = counted(list.ids.len() as u64, "id");
        Err(
            Failure::usage(format!("{ids} make a request of {size}, hubs take {limit}"))
                .try_this(format!(
                    "cut the file into jobs: split -l {lines} FILE part-"
                ))
                .try_this("tag the devices once and select by that tag"),
        )
    }

    /// Schedules it.
    async fn send(&self, hub: &HubClient) -> Result<Job, Failure> {
        let jobs = hub.jobs();
        let (id, condition, options) = (&*self.job_id, &*self.condition, self.options);
        let sent = match self.operation.clone() {
            Operation::Method(method) => {
                jobs.schedule_device_method(id, condition, method, options)
                    .await
            }
            Operation::Twin(patch) => {
                jobs.schedule_twin_update(id, condition, patch, options)
                    .await
            }
        };
        sent.map_err(|error| Failure::from(error).about("condition", condition))
    }

    /// When it starts, for people.
    pub(crate) fn start_text(&self) -> String {
        let Some(start) = self.options.start_time else {
            return "now".to_owned();
        };
        let ahead_us = start.as_micros().saturating_sub(unix_now_micros());
        match u64::try_from(ahead_us) {
            Ok(ahead_us) if ahead_us > 0 => {
                let ahead = Duration::from_secs(ahead_us.div_ceil(1_000_000));
                format!("{}, in {}", moment(start), span(ahead))
            }
            _ => format!("{}, which has passed: now", moment(start)),
        }
    }

    /// How long devices may be reached, for people.
    pub(crate) fn window_text(&self) -> String {
        self.options
            .window
            .map_or_else(|| "1h, the hub's default".to_owned(), time_arg::shown)
    }
}

impl ScheduleArgs {
    fn read_targets(&self, stdin_is_taken: bool) -> Result<Targets, Failure> {
        if stdin_is_taken && self.targets.takes_stdin() {
            return Err(Failure::usage(
                "standard input cannot be both the ids and a value",
            ));
        }
        self.targets.read()
    }

    async fn schedule(&self, operation: Operation, targets: Targets) -> Result<(), Failure> {
        let start_time = match self.start {
            TimeArg::After(Duration::ZERO) => None,
            later => Some(later.moment(self.timezone.as_deref())?),
        };
        let plan = Plan {
            job_id: self
                .job_id
                .clone()
                .unwrap_or_else(|| new_id(&operation.stem())),
            condition: targets.condition(),
            devices: targets.describe(),
            operation,
            options: ScheduleOptions {
                start_time,
                window: self.window,
            },
        };
        plan.check_size(&targets, BODY_BYTES_MAX)?;
        let hub = self.hub.client()?;
        if self.dry_run {
            return Preview::of(&hub, &targets)
                .await?
                .print(&plan, &self.output);
        }
        self.ask(&hub, &plan, &targets).await?;
        let job = plan.send(&hub).await?;
        self.report(&plan, &job)?;
        if !self.watch {
            return Ok(());
        }
        let watch = Watch {
            hub,
            patience: self.patience.clone(),
            output: self.output.clone(),
            again: self.command("watch", &plan.job_id),
        };
        let mut job = job;
        if let Operation::Method(method) = plan.operation {
            // The answer to a schedule does not repeat it.
            job.cloud_to_device_method = Some(method);
        }
        watch.to_the_end(&job).await
    }

    /// Asks before a large job; counts devices only where the answer matters.
    async fn ask(&self, hub: &HubClient, plan: &Plan, targets: &Targets) -> Result<(), Failure> {
        if self.confirm.yes {
            return Ok(());
        }
        let mut preview = None;
        let many = match targets {
            Targets::Ids(list) => list.ids.len() as u64,
            Targets::Condition(_) => {
                let found = Preview::of(hub, targets).await.map_err(may_not_ask)?;
                preview.insert(found).matching()
            }
        };
        if many == 0 {
            let noun = targets.noun();
            say(&format!(
                "No {noun} matches now; the job does nothing unless one does when it starts."
            ));
        }
        if many <= self.confirm_above {
            return Ok(());
        }
        let what = format!(
            "Schedule {} for {}",
            plan.operation.describe(),
            counted(many, targets.noun())
        );
        if stdin().is_terminal() && stderr().is_terminal() {
            let preview = match preview {
                Some(preview) => preview,
                None => Preview::of(hub, targets).await?,
            };
            for line in preview.lines(plan) {
                say(&line);
            }
        }
        self.confirm
            .ask(&what)
            .map_err(|failure| failure.try_this("--dry-run shows which they are"))
    }

    /// Says what was scheduled and how to go on.
    fn report(&self, plan: &Plan, job: &Job) -> Result<(), Failure> {
        if self.output.format != Format::Table {
            // With --watch the documents are about the watch.
            if self.watch {
                return Ok(());
            }
            let document = serde_json::to_value(job).map_err(anyhow::Error::from)?;
            return show_one(&self.output, job_columns(), &document);
        }
        let id = &plan.job_id;
        line(&format!(
            "Scheduled job {id}: {}",
            plan.operation.describe()
        ))?;
        line(&format!("  devices  {}", plan.devices))?;
        line(&format!("  starts   {}", plan.start_text()))?;
        line(&format!("  window   {}", plan.window_text()))?;
        if !self.watch {
            line(&format!("  watch    {}", self.command("watch", id)))?;
            line(&format!("  results  {}", self.command("results", id)))?;
        }
        line(&format!("  cancel   {}", self.command("cancel", id)))
    }

    /// `fanfare job VERB ID` for the same hub.
    fn command(&self, verb: &str, id: &str) -> String {
        super::command(verb, id, &self.hub)
    }
}

/// Whoever may schedule jobs need not have the right to ask queries.
fn may_not_ask(failure: Failure) -> Failure {
    match failure.client_error().and_then(Error::status) {
        Some(401 | 403) => failure.try_this("--yes schedules it without counting first"),
        _ => failure,
    }
}

/// A new name for a job: what it does, when it was made (UTC), and four characters of chance.
fn new_id(stem: &str) -> String {
    const CHARACTERS: &[u8] = b"23456789abcdefghijkmnpqrstuvwxyz";
    let mut chance = rand::rng();
    let tail: String = (0..4)
        .map(|_| char::from(CHARACTERS[chance.random_range(0..CHARACTERS.len())]))
        .collect();
    let made = jiff::Timestamp::from_microsecond(unix_now_micros()).unwrap_or_default();
    let made = made.strftime("%Y%m%d-%H%M%S");
    let stem = if stem.is_empty() { "job" } else { stem };
    format!("{stem}-{made}-{tail}")
}

/// Longest condition that a document of ours repeats; hubs echo as much. compat: JOB-16
const CONDITION_SHOWN_BYTES: usize = 64 * 1024;

/// What would be sent, as the hub would get it; the condition cut where it is long.
pub(crate) fn request(plan: &Plan) -> Value {
    let (name, operation) = plan.operation.document();
    let condition = if plan.condition.len() <= CONDITION_SHOWN_BYTES {
        plan.condition.clone()
    } else {
        described(&plan.condition)
    };
    let mut request = json!({
        "jobId": plan.job_id,
        "type": match plan.operation {
            Operation::Method(_) => "scheduleDeviceMethod",
            Operation::Twin(_) => "scheduleUpdateTwin",
        },
        "queryCondition": condition,
        name: operation,
    });
    if let Some(start) = plan.options.start_time {
        request["startTime"] = json!(start);
    }
    if let Some(window) = plan.options.window {
        request["maxExecutionTimeInSeconds"] = json!(window.as_secs());
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id_list::IdList;

    fn plan(operation: Operation, condition: String) -> Plan {
        let options = ScheduleOptions::default();
        Plan {
            job_id: "j".to_owned(),
            operation,
            devices: condition.clone(),
            condition,
            options,
        }
    }

    #[test]
    fn a_made_name_says_what_the_job_does_and_is_a_valid_id() {
        let of = |name: &str| new_id(&Operation::Method(DeviceMethod::new(name)).stem());
        for name in ["lockDoor", "$sys.reboot:now", "...", &"x".repeat(100)] {
            let id = of(name);
            assert_eq!(crate::job::job_id(&id), Ok(id.clone()));
        }
        assert!(of("lockDoor").starts_with("lockDoor-20"));
        assert!(of("...").starts_with("job-20"));
        assert_ne!(of("a"), of("a"));
    }

    #[test]
    fn a_list_that_no_hub_takes_is_refused_with_what_to_do() {
        let ids: Vec<Box<str>> = (0..20_000).map(|n| format!("{n:0>97}").into()).collect();
        let targets = Targets::Ids(IdList { ids, repeated: 0 });
        let plan = plan(Operation::Twin(TwinPatch::default()), targets.condition());
        let mebibyte = 1024 * 1024;
        assert!(plan.check_size(&targets, 2 * mebibyte).is_ok());
        let failure = plan.check_size(&targets, mebibyte).unwrap_err();
        let said = crate::diagnostic::plain(&failure);
        assert!(
            said.contains("20,000 ids make a request of 1.9 MiB, hubs take 1.0 MiB"),
            "{said}"
        );
        assert!(said.contains("split -l 9"), "{said}");
    }

    #[test]
    fn what_would_be_sent_is_shown_with_its_condition_cut() {
        let method = DeviceMethod::new("lock").payload(json!({"a": 1}));
        let shown = request(&plan(Operation::Method(method), "x".repeat(70_000)));
        assert_eq!(shown["cloudToDeviceMethod"]["methodName"], "lock");
        assert!(
            shown["queryCondition"]
                .as_str()
                .unwrap()
                .ends_with("... (70,000 characters in all)")
        );
        assert_eq!(shown.get("startTime"), None);
    }
}
