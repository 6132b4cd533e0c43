//! The service API over HTTPS: routes, who may take each, and what surrounds them all.
//!
//! [`routes`] is the whole table; a route that is not in it does not exist, and none is reached without
//! the rights its line asks for. The other files decode, call a hub service and encode. The rules are the
//! hub's; what an error looks like is decided in [`error`].

mod bulk;
mod call;
mod configurations;
mod error;
mod job_document;
mod job_events;
mod jobs;
mod keys;
mod methods;
mod node;
pub mod openapi;
mod profile;
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
    http::{Method, header::AUTHORIZATION},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, delete, get, patch, post, put},
};
use fanfare_hub::{
    Hub,
    access::{Action, Rights},
    ports::measures::MeasuredStore,
    profile::OperationClass,
    time::Timestamp,
    transfers::Transfers,
};
use fanfare_wire::error::ErrorCode;
use percent_encoding::percent_decode_str;
use tokio::sync::watch;

use self::{call::Proven, error::Refusal};
use crate::{
    auth::{Access, Granted, Unauthorized},
    telemetry::RequestCounts,
    throttle::Throttle,
};

pub use server::serve;
pub use transfer_lines::Lines;

/// What the service API works with.
pub struct Rest {
    hub: Arc<Hub>,
    transfers: Arc<Transfers>,
    access: Arc<Access>,
    throttle: Option<Arc<Throttle>>,
    /// For metrics alone.
    store: Arc<dyn MeasuredStore>,
    requests: RequestCounts,
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
    ) -> Arc<Self> {
        Arc::new(Self {
            hub,
            transfers,
            access,
            throttle,
            store,
            requests: RequestCounts::new(
                routes().into_iter().map(|route| (route.method, route.path)),
            ),
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
        // Metrics tell less than jobs do: whoever may read those may read these.
        to(
            Method::GET,
            "/fanfare/v1/metrics",
            Action::JobRead,
            get(node::metrics),
        ),
        to(
            Method::GET,
            "/fanfare/v1/profile",
            Action::JobRead,
            get(profile::show),
        ),
    ];
    all.extend(job_routes());
    all.extend(registry_routes());
    all.extend(twin_routes());
    all.extend(configuration_routes());
    all.extend(module_routes());
    all
}

fn job_routes() -> Vec<Route> {
    use Action::{JobRead, JobWrite, RegistryWrite};
    vec![
        Route {
            body_max: JOB_BODY_MAX,
            ..to(Method::PUT, "/jobs/v2/{job}", JobWrite, put(jobs::schedule))
        },
        to(Method::GET, "/jobs/v2/query", JobRead, get(jobs::list)),
        to(Method::GET, "/jobs/v2/{job}", JobRead, get(jobs::show)),
        to(
            Method::POST,
            "/jobs/v2/{job}/cancel",
            JobWrite,
            post(jobs::cancel),
        ),
        to(
            Method::GET,
            "/fanfare/v1/jobs/{job}/events",
            JobRead,
            get(job_events::show),
        ),
        to(Method::GET, "/jobs", JobRead, get(transfers::list)),
        to(Method::GET, "/jobs/{job}", JobRead, get(transfers::show)),
        to(
            Method::DELETE,
            "/jobs/{job}",
            RegistryWrite,
            delete(transfers::cancel),
        ),
        to(
            Method::POST,
            "/jobs/create",
            RegistryWrite,
            post(transfers::create),
        ),
    ]
}

fn registry_routes() -> Vec<Route> {
    use Action::{JobRead, RegistryRead, RegistryWrite, ServiceConnect};
    let mut all = vec![
        Route {
            body_max: BULK_BODY_MAX,
            ..to(Method::POST, "/devices", RegistryWrite, post(bulk::change))
        },
        to(Method::GET, "/devices", RegistryRead, get(registry::list)),
        to(Method::GET, "/devices/", RegistryRead, get(registry::list)),
        to(
            Method::POST,
            "/devices/keys/regenerate",
            RegistryWrite,
            post(keys::regenerate),
        ),
        to(
            Method::DELETE,
            "/devices/{device}/commands",
            ServiceConnect,
            delete(registry::purge),
        ),
        // What a query needs depends on what it reads; the route itself looks again.
        to(Method::POST, "/devices/query", JobRead, post(query::page)),
        to(
            Method::GET,
            "/statistics/devices",
            RegistryRead,
            get(registry::statistics),
        ),
        to(
            Method::GET,
            "/statistics/service",
            ServiceConnect,
            get(registry::connections),
        ),
    ];
    for path in ["/devices/{device}", "/devices/query"] {
        all.extend([
            to(Method::PUT, path, RegistryWrite, put(registry::put)),
            to(Method::GET, path, RegistryRead, get(registry::show)),
            to(
                Method::DELETE,
                path,
                RegistryWrite,
                delete(registry::delete),
            ),
        ]);
    }
    all
}

fn configuration_routes() -> Vec<Route> {
    use Action::{RegistryRead, RegistryWrite};
    const ONE: &str = "/configurations/{configuration}";
    const APPLY: &str = "/devices/{device}/applyConfigurationContent";
    const TEST: &str = "/configurations/testQueries";
    vec![
        to(
            Method::GET,
            "/configurations",
            RegistryRead,
            get(configurations::list),
        ),
        to(Method::GET, ONE, RegistryRead, get(configurations::show)),
        Route {
            body_max: CONFIGURATION_BODY_MAX,
            ..to(Method::PUT, ONE, RegistryWrite, put(configurations::put))
        },
        to(
            Method::DELETE,
            ONE,
            RegistryWrite,
            delete(configurations::delete),
        ),
        // It reads no registry, but tells what its conditions may say.
        to(
            Method::POST,
            TEST,
            RegistryRead,
            post(configurations::test_queries),
        ),
        to(
            Method::POST,
            APPLY,
            RegistryWrite,
            post(configurations::apply),
        ),
    ]
}

fn twin_routes() -> Vec<Route> {
    use Action::ServiceConnect;
    vec![
        to(
            Method::GET,
            "/twins/{device}",
            ServiceConnect,
            get(twins::show),
        ),
        to(
            Method::PATCH,
            "/twins/{device}",
            ServiceConnect,
            patch(twins::patch),
        ),
        to(
            Method::PUT,
            "/twins/{device}",
            ServiceConnect,
            put(twins::replace),
        ),
        to(
            Method::POST,
            "/twins/{device}/methods",
            ServiceConnect,
            post(methods::invoke),
        ),
    ]
}

fn module_routes() -> Vec<Route> {
    use Action::{RegistryRead, RegistryWrite, ServiceConnect};
    const MODULE: &str = "/devices/{device}/modules/{module}";
    const TWIN: &str = "/twins/{device}/modules/{module}";
    const METHODS: &str = "/twins/{device}/modules/{module}/methods";
    vec![
        to(
            Method::GET,
            "/devices/{device}/modules",
            RegistryRead,
            get(registry::modules),
        ),
        to(
            Method::GET,
            MODULE,
            RegistryRead,
            get(registry::show_module),
        ),
        to(
            Method::PUT,
            MODULE,
            RegistryWrite,
            put(registry::put_module),
        ),
        to(
            Method::DELETE,
            MODULE,
            RegistryWrite,
            delete(registry::delete_module),
        ),
        to(Method::GET, TWIN, ServiceConnect, get(twins::show)),
        to(Method::PATCH, TWIN, ServiceConnect, patch(twins::patch)),
        to(Method::PUT, TWIN, ServiceConnect, put(twins::replace)),
        to(Method::POST, METHODS, ServiceConnect, post(methods::invoke)),
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
        let entry = entry.route_layer(middleware::from_fn_with_state(guard, admit));
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
    let whole = tokio::spawn(next.run(request));
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
    let granted = match needs {
        Needs::Nothing => Granted {
            rights: Rights::NONE,
            until: Timestamp::FAR_FUTURE,
        },
        Needs::Action(action) => match rights_of(&rest, &request) {
            Ok(granted) if action.is_allowed(granted.rights) => granted,
            Ok(_) | Err(Unauthorized) => return Refusal::from(Unauthorized).into_response(),
        },
    };
    request.extensions_mut().insert(Proven {
        rights: granted.rights,
        until: granted.until,
        body_max,
        versioned,
    });
    next.run(request).await
}

fn rights_of(rest: &Rest, request: &Request) -> Result<Granted, Unauthorized> {
    let token = request.headers().get(AUTHORIZATION).ok_or(Unauthorized)?;
    let token = token.to_str().map_err(|_| Unauthorized)?;
    let segments = request.uri().path().split('/').skip(1);
    let path: Vec<_> = segments
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy())
        .collect();
    let path: Vec<_> = path.iter().map(AsRef::as_ref).collect();
    rest.access
        .verify_service(token, &path, rest.hub.clock.now())
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
