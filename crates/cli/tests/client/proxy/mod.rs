//! A proxy that ends the client's TLS, keeps a record of each request, passes it on to the real hub, and does on
//! the way whatever a script of [`Fault`]s says.
//!
//! It has a certificate authority of its own, as a hub's clients would see it: HTTP/1.1 and HTTP/2 on one port.

mod authority;
mod fault;
mod pass_on;
mod recorded;
mod serve;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use fanfare_cli::hub_process::HubOptions;
use fanfare_client::{ClientOptions, Trust};
use hyper::http::request::Parts;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub(crate) use self::fault::Fault;
pub(crate) use self::recorded::{Content, Recorded};

use self::authority::Authority;
use self::pass_on::Hub;
use crate::rig::HANGS_AFTER;

/// What the proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Http {
    One,
    Two,
    Both,
}

/// A running proxy. Dropping it cuts every connection.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

struct Shared {
    authority: Authority,
    state: Mutex<State>,
    open: watch::Sender<usize>,
    stop: CancellationToken,
}

struct State {
    hub: Hub,
    label: String,
    script: VecDeque<Fault>,
    always: Fault,
    has_events: bool,
    seen: Vec<Recorded>,
    passed_on: Vec<Recorded>,
    connections: usize,
}

impl Proxy {
    /// Listens on `bind` (port 0: any) in front of the hub of `options`.
    pub(crate) async fn start(bind: SocketAddr, options: &HubOptions, http: Http) -> Self {
        let listener = TcpListener::bind(bind).await.unwrap_or_else(|error| {
            panic!("the proxy cannot listen on {bind}: {error}; is another run of this test on?")
        });
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            authority: Authority::of(address.ip()),
            state: Mutex::new(State {
                hub: Hub::of(options),
                label: String::new(),
                script: VecDeque::new(),
                always: Fault::Pass,
                has_events: true,
                seen: Vec::new(),
                passed_on: Vec::new(),
                connections: 0,
            }),
            open: watch::Sender::new(0),
            stop: stop.clone(),
        });
        let acceptor = TlsAcceptor::from(shared.authority.server_config(http));
        let running = tokio::spawn(serve::accept(listener, acceptor, Arc::clone(&shared)));
        Self {
            address,
            shared,
            stop,
            running,
        }
    }

    /// A proxy on any port of `address`, HTTP/1.1 and HTTP/2.
    pub(crate) async fn before(options: &HubOptions, http: Http) -> Self {
        Self::start(SocketAddr::new(options.bind, 0), options, http).await
    }

    /// `https://HOST:PORT`.
    pub(crate) fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The certificate of the proxy's authority, PEM.
    pub(crate) fn ca_pem(&self) -> String {
        self.shared.authority.pem.clone()
    }

    /// Options of a client that trusts the proxy alone.
    pub(crate) fn client_options(&self) -> ClientOptions {
        ClientOptions {
            trust: Trust::Only(self.ca_pem().into_bytes()),
            port: Some(self.address.port()),
            ..ClientOptions::default()
        }
    }

    /// From now on requests go to this hub.
    pub(crate) fn point_at(&self, options: &HubOptions) {
        self.shared.state().hub = Hub::of(options);
    }

    /// What follows belongs to the call `name`.
    pub(crate) fn label(&self, name: &str) {
        name.clone_into(&mut self.shared.state().label);
    }

    /// The next requests meet these, one each; those after them pass.
    pub(crate) fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        let mut state = self.shared.state();
        state.script = faults.into_iter().collect();
        state.always = Fault::Pass;
    }

    /// Every request from now on meets this.
    pub(crate) fn always(&self, fault: Fault) {
        let mut state = self.shared.state();
        state.script.clear();
        state.always = fault;
    }

    /// The next request meets this, those after it what they met before.
    pub(crate) fn first(&self, fault: Option<Fault>) {
        self.shared.state().script.extend(fault);
    }

    /// From now on the proxy plays a hub that has no event streams: those requests meet 404.
    pub(crate) fn without_events(&self) {
        self.shared.state().has_events = false;
    }

    /// Faults of the script that met no request yet.
    pub(crate) fn faults_left(&self) -> usize {
        self.shared.state().script.len()
    }

    /// The requests that arrived since the last look, oldest first.
    pub(crate) fn take_seen(&self) -> Vec<Recorded> {
        std::mem::take(&mut self.shared.state().seen)
    }

    /// The requests that reached the hub since the last look, oldest first.
    pub(crate) fn take_passed_on(&self) -> Vec<Recorded> {
        std::mem::take(&mut self.shared.state().passed_on)
    }

    /// Connections that were ever accepted.
    pub(crate) fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// Waits until no connection is open.
    pub(crate) async fn wait_all_closed(&self) {
        let mut open = self.shared.open.subscribe();
        timeout(HANGS_AFTER, open.wait_for(|open| *open == 0))
            .await
            .expect("the client leaves no connection open")
            .expect("the sender lives in the proxy");
    }

    /// Stops listening, cuts every connection and waits for the last task.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The script's next fault, if it is one that needs no request.
    fn fault_before_http(&self) -> Option<Fault> {
        let mut state = self.state();
        if state.script.front().is_some_and(Fault::is_before_http) {
            return state.script.pop_front();
        }
        let always = state.script.is_empty() && state.always.is_before_http();
        always.then(|| state.always.clone())
    }

    fn next_fault(&self, path: &str) -> Fault {
        let mut state = self.state();
        if !state.has_events && path.ends_with("/events") {
            return Fault::refusal(404, "InvalidOperation");
        }
        let fault = state
            .script
            .pop_front()
            .unwrap_or_else(|| state.always.clone());
        assert!(
            !fault.is_before_http(),
            "{fault:?} needs a new connection; the client used an old one"
        );
        fault
    }

    fn saw(&self, head: &Parts, body: Content) {
        let mut state = self.state();
        let recorded = Recorded::of(state.label.clone(), head, body);
        state.seen.push(recorded);
    }
}
