//! Fleets with twins of every shape, jobs in every state, and their documents as the contract shows them.

use std::{collections::BTreeMap, sync::Arc};

use fanfare_hub::{
    configurations::{Assignment, Configuration, ConfigurationId, ConfigurationSettings, Content},
    ids::{IdentityId, Ordinal, Space},
    jobs::{
        job::{JobPlan, Operation},
        ledger::{Outcome, Verdict},
        row,
    },
    ports::{
        configurations::{AssignmentItem, ConfigurationPut},
        store::{DeviceJobRow, DeviceJobScan, DeviceJobState, JobRecords, Twin},
    },
    registry::{
        Authentication, IdentityWrite, IdentityWritten, Precondition, Status, SymmetricKey,
    },
    twin::document::{Metadata, Properties, ReportedPatch},
};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Map, Value, json};

use super::{
    Shared, Source,
    cases::{KEYS, TEXTS},
};
use crate::contract::{
    at, delete, device,
    jobs::{
        accept, call, journal, json_text, method_plan, nothing, rows, seal, settled, twin_plan,
    },
    module, object, patch, put,
};

const DEVICES: usize = 14;

/// Documents in the order of the store.
pub(super) struct Fleet {
    devices: Vec<Value>,
    modules: Vec<Value>,
    device_jobs: Vec<Value>,
}

impl Fleet {
    pub(super) fn documents(&self, source: Source) -> &[Value] {
        match source {
            Source::Devices => &self.devices,
            Source::Modules => &self.modules,
            Source::Jobs => &self.device_jobs,
        }
    }

    /// Puts fleet `number` into the store: always the same one.
    pub(super) async fn create(store: &Shared, number: u8) -> Self {
        let mut draw = Draw::new(number);
        let names: Vec<_> = (0..DEVICES).map(|n| device(&format!("d{n}"))).collect();
        let modules: Vec<_> = (0..6)
            .map(|n| module(&format!("d{}", n / 2), &format!("m{}", n % 3)))
            .collect();
        let mut puts: Vec<_> = names.iter().map(|id| draw.put(id)).collect();
        // One name with an older identity behind it.
        puts.push(delete(&names[3], Precondition::Exists));
        puts.push(draw.put(&names[3]));
        puts.extend(modules.iter().map(|id| draw.put(id)));
        for result in store.identity_write(puts, at(0)).await.unwrap() {
            result.expect("the fleet is well formed");
        }
        for id in names.iter().chain(&modules) {
            draw.change_twin(store, id).await;
        }
        let ordinals = async |ids: &[IdentityId]| {
            let mut found = Vec::new();
            for twin in twins(store, ids).await {
                found.push(twin.identity.key.ordinal);
            }
            found
        };
        let (of_devices, of_modules) = (ordinals(&names).await, ordinals(&modules).await);
        assign_configurations(store, &mut draw, &of_devices, &of_modules).await;
        run_jobs(store, &mut draw, number, &of_devices, &of_modules).await;
        let rows = rows(store, DeviceJobScan::default(), usize::MAX).await;
        Self {
            devices: twins(store, &names).await.iter().map(twin).collect(),
            modules: twins(store, &modules).await.iter().map(twin).collect(),
            device_jobs: rows.iter().map(device_job).collect(),
        }
    }
}

/// Removes every device, and so every module.
pub(super) async fn remove(store: &Shared) {
    let names = (0..DEVICES).map(|n| delete(&device(&format!("d{n}")), Precondition::Exists));
    for result in store.identity_write(names.collect(), at(50)).await.unwrap() {
        assert!(matches!(result, Ok(IdentityWritten::Deleted { .. })));
    }
    for name in ["a", "it's"] {
        forget(store, name).await;
    }
}

fn configuration_id(name: &str) -> ConfigurationId {
    ConfigurationId::parse(name).expect("tests use valid ids")
}

/// Gives some of three configurations to everybody: two write the same, and the third is removed, but
/// still remembered beside the twins.
async fn assign_configurations(
    store: &Shared,
    draw: &mut Draw,
    devices: &[Ordinal],
    modules: &[Ordinal],
) {
    let mut kept = Vec::new();
    for (name, path) in [("a", "same"), ("it's", "same"), ("gone", "other")] {
        let content = json!({"deviceContent": {format!("properties.desired.{path}"): name}});
        kept.push(keep(store, name, &content).await);
    }
    let contents: Vec<_> = kept
        .iter()
        .map(|c| Content::parse(c.settings.content.as_ref().unwrap()).unwrap())
        .collect();
    for (space, ordinals) in [(Space::Devices, devices), (Space::Modules, modules)] {
        let mut items = Vec::new();
        for ordinal in ordinals {
            let matching = draw.one(proptest::sample::subsequence(vec![0, 1, 2], 0..=3));
            let parts = matching.iter().map(|n: &usize| {
                let configuration = &kept[*n];
                (
                    configuration.number,
                    configuration.content_version,
                    &contents[*n].device,
                )
            });
            items.push(AssignmentItem {
                ordinal: *ordinal,
                wanted: Arc::new(Assignment::of(parts)),
            });
        }
        let done = store.configuration_assign(store.term(), space, items, at(8));
        assert_eq!(done.await.unwrap().refused, []);
    }
    forget(store, "gone").await;
}

async fn forget(store: &Shared, name: &str) {
    let id = configuration_id(name);
    let gone = store.configuration_delete(&id, None).await.unwrap();
    gone.expect("it was created");
}

async fn keep(store: &Shared, name: &str, content: &Value) -> Configuration {
    let put = ConfigurationPut {
        id: configuration_id(name),
        settings: ConfigurationSettings {
            schema_version: None,
            labels: None,
            content: Some(json_text(&content.to_string())),
            condition: String::new(),
            priority: 0,
            metrics: BTreeMap::new(),
            others: BTreeMap::new(),
        },
        precondition: Precondition::Absent,
    };
    let kept = store.configuration_put(put, at(8)).await.unwrap();
    kept.expect("it is new")
}

/// Twins in the order of the store.
async fn twins(store: &Shared, ids: &[IdentityId]) -> Vec<Twin> {
    let mut twins = Vec::new();
    for id in ids {
        twins.push(store.twin_get(id).await.unwrap().expect("it was created"));
    }
    twins.sort_by_key(|twin| twin.identity.key.ordinal);
    twins
}

/// Four jobs: half done with calls in flight, over, of twins, of modules.
async fn run_jobs(
    store: &Shared,
    draw: &mut Draw,
    number: u8,
    devices: &[Ordinal],
    modules: &[Ordinal],
) {
    let letter = char::from(b'j' + number);
    let start = async |n: u8, plan: JobPlan, targets: &[Ordinal]| {
        let second = i64::from(10 + n);
        let job = accept(store, &format!("{letter}{n}"), plan, at(second)).await;
        seal(store, &job, targets, at(second + 1)).await
    };
    for (n, is_closed) in [(0, false), (1, true)] {
        let job = start(n, method_plan(), devices).await;
        let called = &devices[..10];
        let records = JobRecords {
            dispatched: (1..)
                .zip(called)
                .map(|(n, ordinal)| (*ordinal, call(store, n)))
                .collect(),
            ..nothing(&job)
        };
        journal(store, records, 13).await;
        let ended = called
            .iter()
            .skip(usize::from(n))
            .step_by(if is_closed { 1 } else { 2 });
        let records = JobRecords {
            settled: ended
                .map(|ordinal| settled(*ordinal, draw.outcome(), 14))
                .collect(),
            ..nothing(&job)
        };
        journal(store, records, 14).await;
        if is_closed {
            store
                .job_close(job.number, store.term(), at(4_000))
                .await
                .unwrap();
        }
    }
    let plan = twin_plan(patch(json!({"a": 1}), json!(null)));
    let job = start(2, plan, &devices[4..]).await;
    let page = devices[4..9].to_vec();
    store
        .job_twin_page(job.number, store.term(), page, at(15))
        .await
        .unwrap();
    let plan = JobPlan {
        space: Space::Modules,
        ..method_plan()
    };
    start(3, plan, modules).await;
}

/// Draws what a fleet is made of; the same for the same number.
struct Draw(TestRunner);

impl Draw {
    fn new(number: u8) -> Self {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[number; 32]);
        Self(TestRunner::new_with_rng(Config::default(), rng))
    }

    fn one<T: std::fmt::Debug>(&mut self, strategy: impl Strategy<Value = T>) -> T {
        let tree = strategy.new_tree(&mut self.0);
        tree.expect("the strategies reject nothing").current()
    }

    /// Members of a section: few keys, so that twins have some in common.
    fn members(&mut self) -> Value {
        let key = || proptest::sample::select(&KEYS[..]).prop_map(str::to_owned);
        let tree = json_value().prop_recursive(2, 8, 3, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map(key(), inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        });
        let members = proptest::collection::btree_map(key(), tree, 0..5);
        let members = self.one(members);
        Value::Object(members.into_iter().filter(|(_, v)| !v.is_null()).collect())
    }

    fn put(&mut self, id: &IdentityId) -> IdentityWrite {
        let kind = self.one(0u8..6);
        let first = patch(self.members(), self.members());
        let IdentityWrite::Put {
            id,
            mut settings,
            made,
            modules,
            precondition,
            ..
        } = put(id, Precondition::Absent)
        else {
            panic!("a put is a put")
        };
        match kind {
            0 => {
                settings.status = Status::Disabled;
                settings.status_reason = Some("it's \"so\"".to_owned());
            }
            1 => {
                settings.authentication = Authentication::SelfSigned {
                    primary: Some("AB12".to_owned()),
                    secondary: None,
                };
            }
            2 => settings.authentication = Authentication::CertificateAuthority,
            3 => settings.authentication = Authentication::None,
            _ => {
                settings.authentication = Authentication::Sas {
                    primary: SymmetricKey::new("cHJpbWFyeQ=="),
                    secondary: SymmetricKey::new("c2Vjb25kYXJ5"),
                };
            }
        }
        if id.module.is_some() {
            settings.managed_by = (kind == 0).then(|| "aa".to_owned());
        } else if kind == 5 {
            settings.edge = true;
            settings.device_scope = Some("scope-1".to_owned());
            settings.parent_scopes = vec!["scope-0".to_owned()];
        }
        IdentityWrite::Put {
            id,
            settings,
            made,
            modules,
            precondition,
            twin: Some(first),
        }
    }

    async fn change_twin(&mut self, store: &Shared, id: &IdentityId) {
        let [patches, reports] = [self.one(0i64..3), self.one(0i64..3)];
        for n in 0..patches {
            let change = patch(self.members(), self.members());
            store.twin_patch(id, change, None, at(1 + n)).await.unwrap();
        }
        let key = store.twin_get(id).await.unwrap().unwrap().identity.key;
        for n in 0..reports {
            let report = ReportedPatch::new(object(self.members())).unwrap();
            store
                .twin_report(id, key, report, None, at(4 + n))
                .await
                .unwrap();
        }
        if reports == 1 {
            store.activity_write(vec![(key, at(9))]).await.unwrap();
        }
    }

    fn outcome(&mut self) -> Outcome {
        match self.one(0u8..8) {
            0 => Outcome::TimedOut,
            1 => Outcome::Garbled,
            2 => Outcome::Unknown,
            3 => Outcome::Rejected {
                reason: "zoë".to_owned(),
            },
            4 => Outcome::Answered {
                status: 500,
                payload: None,
            },
            n => Outcome::Answered {
                status: 200 + i32::from(n % 2),
                payload: Some(json_text(&match n {
                    5 => self.one(json_value()).to_string(),
                    _ => self.members().to_string(),
                })),
            },
        }
    }
}

/// Few values, so that many are equal; numbers in both spellings.
fn json_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => any::<bool>().prop_map(Value::from),
        3 => (-2i64..4).prop_map(Value::from),
        2 => (-4i32..8).prop_map(|n| Value::from(f64::from(n) / 4.0)),
        4 => proptest::sample::select(&TEXTS[..]).prop_map(Value::from),
        1 => Just(json!([null, 1])),
        1 => Just(json!([])),
    ]
}

/// The document of a twin whose device is not connected.
pub(super) fn twin(twin: &Twin) -> Value {
    let identity = &twin.identity;
    let settings = &identity.settings;
    let (kind, primary, secondary) = match &settings.authentication {
        Authentication::Sas { .. } => ("sas", None, None),
        Authentication::SelfSigned { primary, secondary } => {
            ("selfSigned", primary.as_ref(), secondary.as_ref())
        }
        Authentication::CertificateAuthority => ("certificateAuthority", None, None),
        Authentication::None => ("none", None, None),
    };
    let mut document = json!({
        "deviceId": identity.id.device.as_str(),
        "etag": twin.document.etag.twin_text(),
        "deviceEtag": identity.etag.identity_text(),
        "status": match settings.status {
            Status::Enabled => "enabled",
            Status::Disabled => "disabled",
        },
        "statusReason": settings.status_reason,
        "statusUpdateTime": identity.status_updated.to_string(),
        "connectionState": "Disconnected",
        "lastActivityTime": twin.last_activity.to_string(),
        "cloudToDeviceMessageCount": 0,
        "authenticationType": kind,
        "x509Thumbprint": {"primaryThumbprint": primary, "secondaryThumbprint": secondary},
        "modelId": "",
        "version": twin.document.version,
        "capabilities": {"iotEdge": settings.edge},
        "tags": twin.document.tags,
        "properties": {
            "desired": section(&twin.document.desired),
            "reported": section(&twin.document.reported),
        },
    });
    if let Some(module) = &identity.id.module {
        document["moduleId"] = module.as_str().into();
    }
    if let Some(keeper) = &settings.managed_by {
        document["managedBy"] = keeper.as_str().into();
    }
    if let Some(scope) = &settings.device_scope {
        document["deviceScope"] = scope.as_str().into();
    }
    if !settings.parent_scopes.is_empty() {
        document["parentScopes"] = json!(settings.parent_scopes);
    }
    for (id, status) in &twin.configurations {
        document["configurations"][id.as_str()] = json!({"status": status.as_str()});
    }
    document
}

fn section(properties: &Properties) -> Value {
    let mut members = properties.values.clone();
    members.insert("$metadata".to_owned(), metadata(&properties.metadata));
    members.insert("$version".to_owned(), properties.version.into());
    Value::Object(members)
}

fn metadata(of: &Metadata) -> Value {
    let mut members = Map::new();
    members.insert("$lastUpdated".to_owned(), of.updated.to_string().into());
    if let Some(version) = of.version {
        members.insert("$lastUpdatedVersion".to_owned(), version.into());
    }
    let children = of.children.iter();
    members.extend(children.map(|(key, below)| (key.clone(), metadata(below))));
    Value::Object(members)
}

/// The document of a row of `devices.jobs`.
pub(super) fn device_job(of: &DeviceJobRow) -> Value {
    let job = &of.job;
    let mut document = json!({
        "deviceId": of.id.device.as_str(),
        "jobId": job.id.as_str(),
        "jobType": match job.plan.operation {
            Operation::Method(_) => "scheduleDeviceMethod",
            Operation::Twin(_) => "scheduleUpdateTwin",
        },
        "status": match &of.state {
            DeviceJobState::Pending => "pending",
            DeviceJobState::Running => "running",
            DeviceJobState::Ended(outcome) => match outcome.verdict() {
                Verdict::Succeeded => "completed",
                Verdict::Failed => "failed",
                Verdict::Canceled => "canceled",
            },
        },
        "startTimeUtc": job.start().to_string(),
        "endTimeUtc": job.deadline().to_string(),
        "createdDateTimeUtc": job.sealed().expect("only started jobs have rows").to_string(),
        "lastUpdatedDateTimeUtc": of.updated.to_string(),
        "outcome": {},
    });
    if let Some(module) = &of.id.module {
        document["moduleId"] = module.as_str().into();
    }
    if let DeviceJobState::Ended(outcome) = &of.state {
        if let Outcome::Answered { status, payload } = outcome {
            let payload: Value = match payload {
                Some(text) => serde_json::from_str(text.as_str()).expect("answers are JSON"),
                None => Value::Null,
            };
            document["outcome"] =
                json!({"deviceMethodResponse": {"status": status, "payload": payload}});
        }
        if let Some((code, description)) = row::failure(outcome) {
            document["error"] = json!({"code": code, "description": description});
        }
    }
    document
}
