//! What callers and devices do in a history, and what the world outside knows by it.
//!
//! A write that failed may have happened: then the store is asked, and what it shows counts.

use std::sync::Arc;

use fanfare_hub::{
    ids::{CallId, DeviceId, IdentityId, IdentityKey, MethodName, ModuleId, Term},
    jobs::{
        CancelError, JobRequest, ScheduleError,
        job::{Job, MethodOperation, Operation, TwinOperation},
    },
    json::JsonText,
    method::AnswerPayload,
    ports::store::{RegistryStore, TwinStore, TwinWriteError},
    registry::{AuthenticationRequest, IdentityRequest, Precondition, Status},
    twin::document::{SectionPatch, TwinPatch},
};
use serde_json::{Value, json};

use super::{
    known::{CancelMark, KnownJob, Operated},
    play::Player,
    script::{Body, DEVICES, Group, Kind, Manner, PEOPLE, Plan, Target},
    watch::hold,
};
use crate::rig::{FakeLink, job_id, second};

/// Devices first, then modules of the first devices.
pub(super) fn identity(who: usize) -> IdentityId {
    let of = who % DEVICES;
    let module = (who >= DEVICES).then(|| ModuleId::parse("m").expect("it is valid"));
    IdentityId {
        device: DeviceId::parse(&format!("d{of}")).expect("it is valid"),
        module,
    }
}

pub(super) fn text(chars: usize) -> String {
    "x".repeat(chars)
}

fn condition(target: &Target) -> String {
    match target {
        Target::Everyone => "*".to_owned(),
        Target::Group(group) => format!("tags.group = '{group:?}'"),
        Target::One(device) => format!("deviceId = 'd{device}'"),
        Target::HighFloor => "properties.desired.floor > 4".to_owned(),
        Target::Connected => "connectionState = 'Connected'".to_owned(),
        Target::Modules => "FROM devices.modules WHERE tags.group IN ['A', 'B']".to_owned(),
        Target::ModulesOf(device) => {
            format!("FROM devices.modules WHERE deviceId = 'd{device}'")
        }
        Target::Nobody => "tags.group = 'nobody'".to_owned(),
    }
}

fn patch(tags: Option<Value>, desired: Option<Value>) -> TwinPatch {
    let section = |value: Option<Value>| match value {
        Some(Value::Object(members)) => SectionPatch::Merge(members),
        _ => SectionPatch::Absent,
    };
    TwinPatch::new(section(tags), section(desired)).expect("it keeps the rules")
}

fn operation(kind: &Kind, number: usize) -> (Operation, Operated) {
    let twin = |members: Value| {
        let operation = TwinOperation {
            patch: patch(None, Some(members)),
            echo: JsonText::parse(b"{}").expect("it is JSON"),
        };
        (Operation::Twin(operation), Operated::Twin)
    };
    match kind {
        Kind::Method { response_seconds } => {
            let name = format!("m{number}");
            let operation = MethodOperation {
                name: MethodName::parse(&name).expect("it is valid"),
                payload: JsonText::null(),
                response_seconds: *response_seconds,
                connect_seconds: None,
            };
            (Operation::Method(operation), Operated::Method(name))
        }
        Kind::Floor(floor) => twin(json!({ "floor": floor })),
        Kind::Large => twin(json!({"y": text(3_000), "z": text(3_000)})),
    }
}

impl Player<'_> {
    pub(super) fn name(&self, who: usize) -> String {
        self.known.people[who].id.to_string()
    }

    async fn job(&self, request: &JobRequest) -> Result<Option<Job>, String> {
        let job = self.rig().hub.jobs.get(&request.id).await;
        job.map_err(|error| format!("{} cannot be read: {error}", request.id))
    }

    pub(super) async fn schedule(&mut self, plan: &Plan) -> Result<String, String> {
        let number = self.known.asked;
        self.known.asked += 1;
        let (operation, operated) = operation(&plan.kind, number);
        let now = self.rig().now();
        let request = JobRequest {
            id: job_id(&format!("j{number}")),
            condition: condition(&plan.target).into(),
            operation,
            start: plan.start.map(|seconds| match u64::try_from(seconds) {
                Ok(seconds) => now + std::time::Duration::from_secs(seconds),
                Err(_) => second(0),
            }),
            window_seconds: plan.window_seconds,
            creator: None,
        };
        let scheduled = self.rig().hub.jobs.schedule(request.clone()).await;
        let told = match &scheduled {
            Ok(_) => "is accepted".to_owned(),
            Err(error @ ScheduleError::Store { .. }) => match self.job(&request).await? {
                Some(_) => format!("is accepted all the same ({error})"),
                None => {
                    return Ok(format!("{} is not accepted ({error})", request.id));
                }
            },
            Err(error) => return Err(format!("{} is refused: {error}", request.id)),
        };
        let told = format!("{} {told}: {plan:?}", request.id);
        self.known.jobs.push(KnownJob {
            request,
            operated,
            is_canceled: false,
            canceled: None,
        });
        Ok(told)
    }

    /// Comes back as a repetition, or as taken when its time is over; never as another job.
    pub(super) async fn repeat(&mut self, pick: u8) -> Result<String, String> {
        let Some(index) = self.picked(pick) else {
            return Ok(String::new());
        };
        let request = self.known.jobs[index].request.clone();
        let before = self.job(&request).await?;
        match self.rig().hub.jobs.schedule(request.clone()).await {
            Ok(again) => {
                let number = before.map(|job| job.number);
                hold!(
                    number == Some(again.number),
                    "{} came back as another job",
                    request.id
                );
                Ok(format!("{} is asked for again", request.id))
            }
            Err(ScheduleError::IdTaken(_) | ScheduleError::Store { .. }) => {
                Ok(format!("{} is asked for again, in vain", request.id))
            }
            Err(error) => Err(format!("{} is refused: {error}", request.id)),
        }
    }

    fn picked(&self, pick: u8) -> Option<usize> {
        let count = self.known.jobs.len();
        (count > 0).then(|| usize::from(pick) % count)
    }

    pub(super) async fn cancel(&mut self, pick: u8) -> Result<String, String> {
        let Some(index) = self.picked(pick) else {
            return Ok(String::new());
        };
        let request = self.known.jobs[index].request.clone();
        let name = &request.id;
        let canceled = self.rig().hub.jobs.cancel(name).await;
        let calls = match &self.known.jobs[index].operated {
            Operated::Method(method) => self.known.calls_of(method),
            Operated::Twin => 0,
        };
        let known = &mut self.known.jobs[index];
        match canceled {
            Ok(job) => {
                hold!(!job.may_begin(), "{name} is cancelled as {:?}", job.state);
                known.is_canceled = true;
                known.canceled.get_or_insert(CancelMark {
                    calls,
                    progress: job.progress.unwrap_or_default(),
                });
                Ok(format!("{name} is cancelled: {:?}", job.progress))
            }
            Err(CancelError::TooLate(_)) => Ok(format!("{name} is cancelled too late")),
            Err(CancelError::Store { .. }) => {
                let job = self.job(&request).await?;
                let is_canceled = job.is_some_and(|job| !job.may_begin() && is_cancelled(&job));
                self.known.jobs[index].is_canceled |= is_canceled;
                Ok(format!("{name} is cancelled, perhaps ({is_canceled})"))
            }
            Err(error) => Err(format!("{name} cannot be cancelled: {error}")),
        }
    }

    /// False when it may not connect.
    pub(super) fn connect(&mut self, who: usize, manner: Manner) -> bool {
        let person = &self.known.people[who];
        let (Some(key), false) = (person.key, person.is_disabled) else {
            return false;
        };
        let id = person.id.clone();
        let link = self
            .rig()
            .attach_as(id, key, manner == Manner::Answers, Some(0));
        if manner != Manner::Unsubscribed {
            self.rig().make_ready(&link);
        }
        self.known.links.push(link.clone());
        self.known.people[who].link = Some(link);
        self.known.people[who].manner = manner;
        true
    }

    /// `who` answers a call that `whose` got, on any connection.
    pub(super) async fn answer(
        &mut self,
        who: usize,
        whose: usize,
        pick: u8,
        body: Body,
    ) -> String {
        let calls = self.calls_to(self.known.people[whose].key);
        let Some(link) = self.open_link(who).filter(|_| !calls.is_empty()) else {
            return String::new();
        };
        // The newest first, since these are most often open.
        let (call, method) = calls[calls.len() - 1 - usize::from(pick) % calls.len()].clone();
        let payload = self.body(body);
        self.rig().answer_as(&link, call, payload).await;
        format!("{} answers {method} ({body:?})", self.name(who))
    }

    pub(super) async fn answer_invented(&mut self, who: usize) -> String {
        let Some(link) = self.open_link(who) else {
            return String::new();
        };
        let call = CallId {
            term: Term(1),
            number: 1 << 30,
        };
        let payload = self.body(Body::Text);
        self.rig().answer_as(&link, call, payload).await;
        format!("{} answers what nobody asked", self.name(who))
    }

    pub(super) async fn all_answer(&mut self) -> String {
        for who in 0..PEOPLE {
            let Some(link) = self.open_link(who) else {
                continue;
            };
            for call in link.unanswered() {
                let payload = self.body(Body::Text);
                self.rig().answer_as(&link, call, payload).await;
            }
        }
        "all answer what they have".to_owned()
    }

    fn open_link(&self, who: usize) -> Option<Arc<FakeLink>> {
        let link = self.known.people[who].link.clone()?;
        (!link.is_closed()).then_some(link)
    }

    fn calls_to(&self, key: Option<IdentityKey>) -> Vec<(CallId, String)> {
        let of_key = self.known.links.iter().filter(|link| Some(link.key) == key);
        of_key.flat_map(|link| link.named_calls()).collect()
    }

    /// Never the same twice.
    fn body(&mut self, body: Body) -> AnswerPayload {
        self.answers += 1;
        let of = |text: String| {
            AnswerPayload::Json(JsonText::parse(text.as_bytes()).expect("it is JSON"))
        };
        match body {
            Body::Text => of(format!("{}", self.answers)),
            Body::Large => of(format!("\"{}{}\"", text(6_000), self.answers)),
            Body::Empty => AnswerPayload::Empty,
            Body::Garbled => AnswerPayload::Garbled,
        }
    }

    pub(super) async fn tag(&mut self, who: usize, group: Group) {
        let tags = json!({ "group": format!("{group:?}") });
        self.change(who, patch(Some(tags), None)).await;
    }

    pub(super) async fn desire(&mut self, who: usize, desired: Value) {
        self.change(who, patch(None, Some(desired))).await;
    }

    async fn change(&mut self, who: usize, patch: TwinPatch) {
        let id = self.known.people[who].id.clone();
        let Some(key) = self.known.people[who].key else {
            return;
        };
        let before = self.desired_version(key).await;
        let changed = self.rig().hub.twins.patch(&id, patch, None).await;
        // Everything else is a refusal by the rules.
        if matches!(changed, Ok(_) | Err(TwinWriteError::Store(_))) {
            let moved = self.desired_version(key).await - before;
            *self.known.patched.entry(key).or_default() += moved;
        }
    }

    async fn desired_version(&self, key: IdentityKey) -> u64 {
        let versions = self.rig().store.twin_desired_versions(vec![key]).await;
        let versions = versions.expect("reads work on a full disk too");
        versions.first().map_or(0, |(_, version)| *version)
    }

    /// Creates somebody, or sets the status of who is there.
    pub(super) async fn put(&mut self, who: usize, status: Status) {
        let request = IdentityRequest {
            id: self.known.people[who].id.clone(),
            precondition: Precondition::Any,
            status: Some(status),
            status_reason: None,
            authentication: AuthenticationRequest::None,
            edge: false,
            device_scope: None,
            parent_scopes: Vec::new(),
            managed_by: None,
            twin: None,
        };
        // Whether it worked, what the store shows counts.
        let _ = self.rig().hub.registry.put(request).await;
        self.read_again(who).await;
    }

    pub(super) async fn delete(&mut self, who: usize) -> String {
        let id = self.known.people[who].id.clone();
        let before = self.known.deleted.clone();
        let deleted = self
            .rig()
            .hub
            .registry
            .delete(id, Precondition::Exists)
            .await;
        for who in 0..self.known.people.len() {
            self.read_again(who).await;
        }
        // Also when the result was lost, the engine hears of what was done.
        let known = &mut self.known;
        let new = known.deleted.difference(&before);
        known.settled_deletions.extend(new);
        match deleted {
            Ok(()) => format!("{} is deleted", self.name(who)),
            Err(error) => format!("{} is not deleted, perhaps ({error})", self.name(who)),
        }
    }

    async fn read_again(&mut self, who: usize) {
        let id = self.known.people[who].id.clone();
        let identity = self.rig().store.identity_get(&id).await;
        let identity = identity.expect("reads work on a full disk too");
        let key = identity.as_ref().map(|identity| identity.key);
        let person = &mut self.known.people[who];
        let before = std::mem::replace(&mut person.key, key);
        person.is_disabled =
            identity.is_some_and(|identity| identity.settings.status == Status::Disabled);
        if let Some(before) = before.filter(|before| Some(*before) != key) {
            self.known.deleted.insert(before);
            // Its connection belongs to nobody now.
            if let (None, Some(link)) = (key, self.known.people[who].link.take()) {
                self.rig().disconnect(&link);
            }
        }
    }
}

fn is_cancelled(job: &Job) -> bool {
    use fanfare_hub::jobs::job::{JobEnd, JobState};
    matches!(
        job.state,
        JobState::Draining { .. }
            | JobState::Ended {
                end: JobEnd::Cancelled,
                ..
            }
    )
}
