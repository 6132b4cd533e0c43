//! The service API over HTTPS: routes, who may take each, and what surrounds them all.
//!
//! [`routes`] is the whole table; a route that is not in it does not exist, and none is reached without
//! the rights its line asks for. The other files decode, call a hub service and encode. The rules are the
//! hub's; what an error looks like is decided in [`error`].

mod authorities;
mod body;
mod bulk;
mod call;
mod configurations;
mod error;
mod job_document;
mod job_events;
mod jobs;
mod keys;
mod linger;
mod methods;
mod node;
pub mod openapi;
mod policies;
mod profile;
mod progress;
mod query;
mod registry;
mod reply;
mod server;
mod throttle;
mod transfer_lines;
mod transfers;
mod twin_document;
mod twins;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, Method, Uri, header::AUTHORIZATION},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, delete, get, patch, post, put},
};
use fanfare_hub::{
    Hub,
    access::{Action, Principal},
    ports::measures::MeasuredStore,
    profile::OperationClass,
    transfers::Transfers,
};
use fanfare_wire::error::ErrorCode;
use percent_encoding::percent_decode_str;
use tokio::sync::watch;

use self::call::Proven;
use crate::{
    audit::{self, AuditLog, Audited, Trail},
    auth::{Access, Unauthorized},
    telemetry::RequestCounts,
    throttle::Throttle,
    tls::CurrentCertificate,
};

pub(crate) use error::{Refusal, TrackingId, written};
pub use server::{PeerAddress, serve};
pub use transfer_lines::Lines;

/// What the service API works with.
pub struct Rest {
    hub: Arc<Hub>,
    transfers: Arc<Transfers>,
    access: Arc<Access>,
    throttle: Option<Arc<Throttle>>,
    /// For metrics alone.
    store: Arc<dyn MeasuredStore>,
    /// For metrics alone.
    certificate: Arc<CurrentCertificate>,
    audit: Arc<AuditLog>,
    requests: RequestCounts,
    streams: job_events::Streams,
    is_ready: AtomicBool,
    is_stopping: watch::Sender<bool>,
}

impl Rest {
    /// Over a hub and its policies, held to the rates of `throttle`; not ready yet. `store` tells its numbers, nothing else.
    pub fn new(
        hub: Arc<Hub>,
        transfers: Arc<Transfers>,
        access: Arc<Access>,
        throttle: Option<Arc<Throttle>>,
        store: Arc<dyn MeasuredStore>,
        certificate: Arc<CurrentCertificate>,
        audit: Arc<AuditLog>,
    ) -> Arc<Self> {
        Arc::new(Self {
            hub,
            transfers,
            access,
            throttle,
            store,
            certificate,
            audit,
            requests: RequestCounts::new(
                routes().into_iter().map(|route| (route.method, route.path)),
            ),
            streams: job_events::Streams::default(),
            is_ready: AtomicBool::new(false),
            is_stopping: watch::Sender::new(false),
        })
    }

    /// What `GET /health/ready` says from now on.
    pub fn set_ready(&self, is_ready: bool) {
        self.is_ready.store(is_ready, Ordering::Release);
    }

    /// Not ready any more, and what has no end of its own ends: nobody waits for a stream of events.
    pub fn stop(&self) {
        self.set_ready(false);
        self.is_stopping.send_replace(true);
    }
}

/// What it takes to reach a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// A token whose rights allow this.
    Action(Action),
}

/// One line of the table of routes.
pub struct Route {
    /// The HTTP method.
    pub method: Method,
    /// The path, with `{name}` for its variable parts.
    pub path: &'static str,
    /// What it takes.
    pub needs: Needs,
    /// What its requests count as where a profile imposes rates.
    pub class: Option<OperationClass>,
    body_max: usize,
    entry: MethodRouter<Arc<Rest>>,
}

impl Route {
    /// Whether it belongs to the contract, which has versions.
    pub(crate) fn is_versioned(&self) -> bool {
        self.needs != Needs::Nothing && !self.path.starts_with("/fanfare/")
    }
}

/// Bytes of a body, but for those below. Ours.
const BODY_MAX: usize = 1024 * 1024;
/// Bytes of a body that schedules a job: conditions may list very many devices. Ours.
const JOB_BODY_MAX: usize = 64 * 1024 * 1024;

/// Bytes of a body that changes a hundred devices with the twins they may have. Ours.
const BULK_BODY_MAX: usize = 8 * 1024 * 1024;

/// Bytes of a configuration: a list shows a hundred of them at once. Ours.
const CONFIGURATION_BODY_MAX: usize = 256 * 1024;

/// Every route there is.
pub fn routes() -> Vec<Route> {
    let mut all = vec![
        open("/health/live", get(node::live)),
        open("/health/ready", get(node::ready)),
        // It says what every release says.
        open("/fanfare/v1/openapi.json", get(openapi::show)),
        to(
            Method::GET,
            "/fanfare/v1/metrics",
            Action::MetricsRead,
            get(node::metrics),
        ),
        to(
            Method::GET,
            "/fanfare/v1/profile",
            Action::MetricsRead,
            get(profile::show),
        ),
    ];
    all.extend(job_routes());
    all.extend(registry_routes());
    all.extend(twin_routes());
    all.extend(configuration_routes());
    all.extend(module_routes());
    all.extend(policy_routes());
    all.extend(authority_routes());
    all
}

fn job_routes() -> Vec<Route> {
    use Action::{JobsCancel, JobsRead, JobsWrite, TransfersCancel, TransfersRead, TransfersWrite};
    vec![
        Route {
            body_max: JOB_BODY_MAX,
            ..to(
                Method::PUT,
                "/jobs/v2/{job}",
                JobsWrite,
                put(jobs::schedule),
            )
        },
        to(Method::GET, "/jobs/v2/query", JobsRead, get(jobs::list)),
        to(Method::GET, "/jobs/v2/{job}", JobsRead, get(jobs::show)),
        to(
            Method::POST,
            "/jobs/v2/{job}/cancel",
            JobsCancel,
            post(jobs::cancel),
        ),
        to(
            Method::GET,
            "/fanfare/v1/jobs/{job}/events",
            JobsRead,
            get(job_events::show),
        ),
        to(Method::GET, "/jobs", TransfersRead, get(transfers::list)),
        to(
            Method::GET,
            "/jobs/{job}",
            TransfersRead,
            get(transfers::show),
        ),
        to(
            Method::DELETE,
            "/jobs/{job}",
            TransfersCancel,
            delete(transfers::cancel),
        ),
        to(
            Method::POST,
            "/jobs/create",
            TransfersWrite,
            post(transfers::create),
        ),
    ]
}

fn registry_routes() -> Vec<Route> {
    use Action::*;
    let mut all = vec![
        Route {
            body_max: BULK_BODY_MAX,
            ..to(
                Method::POST,
                "/devices",
                DevicesChangeMany,
                post(bulk::change),
            )
        },
        to(Method::GET, "/devices", DevicesRead, get(registry::list)),
        to(Method::GET, "/devices/", DevicesRead, get(registry::list)),
        to(
            Method::POST,
            "/devices/keys/regenerate",
            DevicesWrite,
            post(keys::regenerate),
        ),
        to(
            Method::DELETE,
            "/devices/{device}/commands",
            MessagesPurge,
            delete(registry::purge),
        ),
        // What a query needs depends on what it reads; the route itself looks again.
        to(Method::POST, "/devices/query", Query, post(query::page)),
        to(
            Method::GET,
            "/statistics/devices",
            DeviceStatistics,
            get(registry::statistics),
        ),
        to(
            Method::GET,
            "/statistics/service",
            ServiceStatistics,
            get(registry::connections),
        ),
    ];
    for path in ["/devices/{device}", "/devices/query"] {
        all.extend([
            to(Method::PUT, path, DevicesWrite, put(registry::put)),
            to(Method::GET, path, DevicesRead, get(registry::show)),
            to(
                Method::DELETE,
                path,
                DevicesDelete,
                delete(registry::delete),
            ),
        ]);
    }
    all
}

fn configuration_routes() -> Vec<Route> {
    use Action::{
        ConfigurationsApply, ConfigurationsDelete, ConfigurationsRead, ConfigurationsTest,
        ConfigurationsWrite,
    };
    const ONE: &str = "/configurations/{configuration}";
    const APPLY: &str = "/devices/{device}/applyConfigurationContent";
    const TEST: &str = "/configurations/testQueries";
    vec![
        to(
            Method::GET,
            "/configurations",
            ConfigurationsRead,
            get(configurations::list),
        ),
        to(
            Method::GET,
            ONE,
            ConfigurationsRead,
            get(configurations::show),
        ),
        Route {
            body_max: CONFIGURATION_BODY_MAX,
            ..to(
                Method::PUT,
                ONE,
                ConfigurationsWrite,
                put(configurations::put),
            )
        },
        to(
            Method::DELETE,
            ONE,
            ConfigurationsDelete,
            delete(configurations::delete),
        ),
        to(
            Method::POST,
            TEST,
            ConfigurationsTest,
            post(configurations::test_queries),
        ),
        to(
            Method::POST,
            APPLY,
            ConfigurationsApply,
            post(configurations::apply),
        ),
    ]
}

fn twin_routes() -> Vec<Route> {
    use Action::{MethodsInvoke, TwinsRead, TwinsWrite};
    let mut all = Vec::new();
    for twin in ["/twins/{device}", "/twins/{device}/modules/{module}"] {
        all.extend([
            to(Method::GET, twin, TwinsRead, get(twins::show)),
            to(Method::PATCH, twin, TwinsWrite, patch(twins::patch)),
            to(Method::PUT, twin, TwinsWrite, put(twins::replace)),
        ]);
    }
    for methods in [
        "/twins/{device}/methods",
        "/twins/{device}/modules/{module}/methods",
    ] {
        all.push(to(
            Method::POST,
            methods,
            MethodsInvoke,
            post(methods::invoke),
        ));
    }
    all
}

fn module_routes() -> Vec<Route> {
    use Action::{DevicesDelete, DevicesRead, DevicesWrite};
    const MODULE: &str = "/devices/{device}/modules/{module}";
    vec![
        to(
            Method::GET,
            "/devices/{device}/modules",
            DevicesRead,
            get(registry::modules),
        ),
        to(Method::GET, MODULE, DevicesRead, get(registry::show_module)),
        to(Method::PUT, MODULE, DevicesWrite, put(registry::put_module)),
        to(
            Method::DELETE,
            MODULE,
            DevicesDelete,
            delete(registry::delete_module),
        ),
    ]
}

fn policy_routes() -> Vec<Route> {
    use Action::{PoliciesRead, PoliciesWrite};
    const ONE: &str = "/fanfare/v1/policies/{policy}";
    const ROTATE: &str = "/fanfare/v1/policies/{policy}/rotate";
    vec![
        to(
            Method::GET,
            "/fanfare/v1/policies",
            PoliciesRead,
            get(policies::list),
        ),
        to(Method::GET, ONE, PoliciesRead, get(policies::show)),
        to(Method::PUT, ONE, PoliciesWrite, put(policies::put)),
        to(Method::DELETE, ONE, PoliciesWrite, delete(policies::delete)),
        to(Method::POST, ROTATE, PoliciesWrite, post(policies::rotate)),
    ]
}

fn authority_routes() -> Vec<Route> {
    use Action::{AuthoritiesRead, AuthoritiesWrite};
    const ALL: &str = "/fanfare/v1/authorities";
    const ONE: &str = "/fanfare/v1/authorities/{authority}";
    const CODE: &str = "/fanfare/v1/authorities/{authority}/code";
    const VERIFY: &str = "/fanfare/v1/authorities/{authority}/verify";
    let write = |method, path, entry| to(method, path, AuthoritiesWrite, entry);
    vec![
        to(Method::GET, ALL, AuthoritiesRead, get(authorities::list)),
        to(Method::GET, ONE, AuthoritiesRead, get(authorities::show)),
        write(Method::PUT, ONE, put(authorities::put)),
        write(Method::DELETE, ONE, delete(authorities::delete)),
        write(Method::POST, CODE, post(authorities::make_code)),
        write(Method::POST, VERIFY, post(authorities::verify)),
    ]
}

fn open(path: &'static str, entry: MethodRouter<Arc<Rest>>) -> Route {
    Route {
        method: Method::GET,
        path,
        needs: Needs::Nothing,
        class: None,
        body_max: BODY_MAX,
        entry,
    }
}

fn to(method: Method, path: &'static str, action: Action, entry: MethodRouter<Arc<Rest>>) -> Route {
    Route {
        class: throttle::class_of(&method, path),
        method,
        path,
        needs: Needs::Action(action),
        body_max: BODY_MAX,
        entry,
    }
}

/// All routes, guarded, with the answers for everything else.
pub fn router(rest: Arc<Rest>) -> Router {
    let mut by_path: BTreeMap<&'static str, MethodRouter<Arc<Rest>>> = BTreeMap::new();
    for route in routes() {
        let guard = Guard {
            rest: rest.clone(),
            needs: route.needs,
            body_max: route.body_max,
            versioned: route.is_versioned(),
        };
        // A query is no change though it is posted: its scan ends with its caller.
        let is_change = route.method != Method::GET
            && !route.path.ends_with("/methods")
            && route.class != Some(OperationClass::Queries);
        let entry = match is_change {
            true => route.entry.route_layer(middleware::from_fn(to_the_end)),
            false => route.entry,
        };
        let entry = match (&rest.throttle, route.class) {
            (Some(throttle), Some(class)) => {
                let throttle = throttle.clone();
                let gate = throttle::Gate { throttle, class };
                entry.route_layer(middleware::from_fn_with_state(gate, throttle::limit))
            }
            _ => entry,
        };
        let word = audit::operation_of(&route.method, route.path);
        let audited = word
            .filter(|_| rest.audit.is_on())
            .map(|operation| Audited {
                log: rest.audit.clone(),
                operation,
            });
        let entry = match &audited {
            Some(audited) if rest.audit.is_required() => entry.route_layer(
                middleware::from_fn_with_state(audited.clone(), audit::while_recorded),
            ),
            _ => entry,
        };
        let entry = entry.route_layer(middleware::from_fn_with_state(guard, admit));
        let entry = match audited {
            Some(audited) => {
                entry.route_layer(middleware::from_fn_with_state(audited, audit::audited))
            }
            None => entry,
        };
        let known = by_path.remove(route.path).unwrap_or_default();
        by_path.insert(route.path, known.merge(entry));
    }
    by_path
        .into_iter()
        .fold(Router::new(), |router, (path, entry)| {
            router.route(path, entry)
        })
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(middleware::from_fn_with_state(rest.clone(), surround))
        .with_state(rest)
}

/// A change goes on though its caller hangs up: what follows its commit (a connection to cut, a device to
/// tell, a scheduler to wake) must happen. A method call is not one: it frees its place instead.
async fn to_the_end(request: Request, next: Next) -> Response {
    let trail = request.extensions().get::<Trail>().cloned();
    let whole = tokio::spawn(async move {
        let response = next.run(request).await;
        match trail {
            // Also when nobody waits for the answer any more.
            Some(trail) => trail.settle(response).await,
            None => response,
        }
    });
    whole.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request's handler panicked");
        Refusal::new(ErrorCode::ServerError, "the hub failed").into_response()
    })
}

#[derive(Clone)]
struct Guard {
    rest: Arc<Rest>,
    needs: Needs,
    body_max: usize,
    versioned: bool,
}

/// Lets a request in, or not; the body is not looked at before. compat: AUTH-13
async fn admit(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let Guard {
        rest,
        needs,
        body_max,
        versioned,
    } = guard;
    if let Needs::Action(action) = needs {
        let proven = principal_of(&rest, request.headers(), request.uri()).await;
        if let (Ok(principal), Some(trail)) = (&proven, request.extensions().get::<Trail>()) {
            trail.note(|noted| noted.actor(&principal.actor));
        }
        match proven.and_then(|principal| refuse_unless(principal, action)) {
            Ok(principal) => request.extensions_mut().insert(principal),
            Err(Unauthorized) => return Refusal::from(Unauthorized).into_response(),
        };
    }
    request.extensions_mut().insert(Proven {
        body_max,
        versioned,
    });
    next.run(request).await
}

fn refuse_unless(principal: Principal, action: Action) -> Result<Principal, Unauthorized> {
    if principal.may(action) {
        return Ok(principal);
    }
    tracing::debug!(actor = %principal.actor, ?action, "a caller may not do this");
    Err(Unauthorized)
}

async fn principal_of(
    rest: &Rest,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<Principal, Unauthorized> {
    let token = headers.get(AUTHORIZATION).ok_or(Unauthorized)?;
    let token = token.to_str().map_err(|_| Unauthorized)?;
    let segments = uri.path().split('/').skip(1);
    let path: Vec<_> = segments
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy())
        .collect();
    let path: Vec<_> = path.iter().map(AsRef::as_ref).collect();
    let now = rest.hub.clock.now();
    rest.access.verify_service(token, &path, now).await
}

/// Longest wait for any answer: the two time-outs of a method call at their longest, and some.
const ANSWER_WITHIN: Duration = Duration::from_secs(660);

/// Around every request: a bound on its time, the body of refusals, a count.
async fn surround(State(rest): State<Arc<Rest>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = request.extensions().get::<MatchedPath>();
    let place = rest
        .requests
        .place(request.method(), route.map(MatchedPath::as_str));
    let answered = tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await;
    let response = answered.unwrap_or_else(|_| {
        Refusal::new(ErrorCode::GenericTimeout, "the request took too long").into_response()
    });
    let response = error::written(response, rest.hub.clock.now());
    let status = response.status().as_u16();
    rest.requests.answered(place, status, began.elapsed());
    response
}

async fn unknown_path() -> Response {
    let refusal = Refusal::new(
        ErrorCode::GenericBadRequest,
        "there is nothing under this path",
    );
    let mut response = refusal.into_response();
    *response.status_mut() = axum::http::StatusCode::NOT_FOUND;
    response
}

async fn unknown_method() -> Refusal {
    Refusal::new(
        ErrorCode::GenericMethodNotAllowed,
        "the path does not know this method",
    )
}
