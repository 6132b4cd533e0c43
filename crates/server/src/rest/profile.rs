//! Which limits this hub imposes, for whoever wonders why something was refused.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use fanfare_hub::profile::{OperationClass, Profile};
use serde_json::{Map, Value, json};

use super::{Rest, call::Call, reply};

/// `GET /fanfare/v1/profile`: the profile in force with its numbers; null is no limit.
pub(super) async fn show(State(rest): State<Arc<Rest>>, _: Call) -> Response {
    reply::json(&document(&rest.hub.profile))
}

fn document(profile: &Profile) -> Value {
    let rate = |class: OperationClass| {
        let rate = profile.rate(class);
        let numbers =
            rate.map(|rate| json!({"operations": rate.operations, "seconds": rate.per.as_secs()}));
        (class.name().to_owned(), numbers.unwrap_or(Value::Null))
    };
    let rates: Map<_, _> = OperationClass::ALL.into_iter().map(rate).collect();
    let jobs = &profile.jobs;
    json!({
        "profile": profile.tier.name(),
        "units": profile.units,
        "jobsAtOnce": jobs.active_max,
        "jobDeviceOperationsPerSecond": jobs.device_operations_per_second,
        "cancelWhileRunning": jobs.cancel_while_running,
        "conditionCharsMax": jobs.condition_chars_max,
        "jobRetryWindowSeconds": jobs.retry_window.as_secs(),
        "pythonJobList": profile.python_job_list,
        "rates": rates,
    })
}
