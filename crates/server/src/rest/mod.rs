//! The service API over HTTPS: routes, who may take each, and what surrounds them all.
//!
//! [`routes`] is the whole table; a route that is not in it does not exist, and none is reached without
//! the rights its line asks for. The other files decode, call a hub service and encode. The rules are the
//! hub's; what an error looks like is decided in [`error`].

mod bulk;
mod call;
mod error;
mod job_document;
mod jobs;
mod keys;
mod methods;
mod node;
mod query;
mod registry;
mod reply;
mod server;
mod twin_document;
mod twins;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{Method, header::AUTHORIZATION},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, delete, get, patch, post, put},
};
use fanfare_hub::{
    Hub,
    access::{Action, Rights},
};
use fanfare_wire::error::ErrorCode;
use percent_encoding::percent_decode_str;

use self::{call::Proven, error::Refusal};
use crate::{
    auth::{Access, Unauthorized},
    telemetry::{HTTP_REQUESTS, Metrics},
};

pub use server::serve;

/// What the service API works with.
pub struct Rest {
    hub: Arc<Hub>,
    access: Arc<Access>,
    metrics: Metrics,
    /// Durable commits so far.
    commits: Box<dyn Fn() -> u64 + Send + Sync>,
    is_ready: AtomicBool,
}

impl Rest {
    /// Over a hub and its policies; not ready yet. `commits` counts the store's durable commits.
    pub fn new(
        hub: Arc<Hub>,
        access: Arc<Access>,
        commits: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            hub,
            access,
            metrics: Metrics::recorder(),
            commits: Box::new(commits),
            is_ready: AtomicBool::new(false),
        })
    }

    /// What `GET /health/ready` says from now on.
    pub fn set_ready(&self, is_ready: bool) {
        self.is_ready.store(is_ready, Ordering::Release);
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
    body_max: usize,
    entry: MethodRouter<Arc<Rest>>,
}

/// Bytes of a body, but for the one below. Ours.
const BODY_MAX: usize = 1024 * 1024;
/// Bytes of a body that schedules a job: conditions may list very many devices. Ours.
const JOB_BODY_MAX: usize = 64 * 1024 * 1024;

/// Every route there is.
pub fn routes() -> Vec<Route> {
    let mut all = vec![
        open("/health/live", get(node::live)),
        open("/health/ready", get(node::ready)),
        // Metrics tell less than jobs do: whoever may read those may read these.
        to(
            Method::GET,
            "/fanfare/v1/metrics",
            Action::JobRead,
            get(node::metrics),
        ),
    ];
    all.extend(job_routes());
    all.extend(registry_routes());
    all.extend(twin_routes());
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
        to(Method::GET, "/jobs", JobRead, get(jobs::list_v1)),
        to(Method::GET, "/jobs/{job}", JobRead, get(jobs::show_v1)),
        to(
            Method::DELETE,
            "/jobs/{job}",
            RegistryWrite,
            delete(jobs::show_v1),
        ),
        to(
            Method::POST,
            "/jobs/create",
            RegistryWrite,
            post(jobs::create_v1),
        ),
    ]
}

fn registry_routes() -> Vec<Route> {
    use Action::{JobRead, RegistryRead, RegistryWrite, ServiceConnect};
    let mut all = vec![
        to(Method::POST, "/devices", RegistryWrite, post(bulk::change)),
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

/// Modules come with a later release: the routes say so, to those who may ask.
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
        to(Method::GET, MODULE, RegistryRead, get(registry::module)),
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
            delete(registry::module),
        ),
        to(Method::GET, TWIN, ServiceConnect, get(registry::module)),
        to(Method::PATCH, TWIN, ServiceConnect, patch(registry::module)),
        to(Method::PUT, TWIN, ServiceConnect, put(registry::module)),
        to(
            Method::POST,
            METHODS,
            ServiceConnect,
            post(registry::module),
        ),
    ]
}

fn open(path: &'static str, entry: MethodRouter<Arc<Rest>>) -> Route {
    Route {
        method: Method::GET,
        path,
        needs: Needs::Nothing,
        body_max: BODY_MAX,
        entry,
    }
}

fn to(method: Method, path: &'static str, action: Action, entry: MethodRouter<Arc<Rest>>) -> Route {
    Route {
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
            versioned: route.needs != Needs::Nothing && !route.path.starts_with("/fanfare/"),
        };
        let is_change = route.method != Method::GET && !route.path.ends_with("/methods");
        let entry = match is_change {
            true => route.entry.route_layer(middleware::from_fn(to_the_end)),
            false => route.entry,
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
    let rights = match needs {
        Needs::Nothing => Rights::NONE,
        Needs::Action(action) => match rights_of(&rest, &request) {
            Ok(rights) if action.is_allowed(rights) => rights,
            Ok(_) | Err(Unauthorized) => return Refusal::from(Unauthorized).into_response(),
        },
    };
    request.extensions_mut().insert(Proven {
        rights,
        body_max,
        versioned,
    });
    next.run(request).await
}

fn rights_of(rest: &Rest, request: &Request) -> Result<Rights, Unauthorized> {
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
    let answered = tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await;
    let response = answered.unwrap_or_else(|_| {
        Refusal::new(ErrorCode::GenericTimeout, "the request took too long").into_response()
    });
    let response = error::written(response, rest.hub.clock.now());
    let status = response.status().as_str().to_owned();
    metrics::counter!(HTTP_REQUESTS, "status" => status).increment(1);
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
