//! Bearer tokens: fetched once for many calls, once anew after a 401, and never waited for without a bound.
//!
//! The hub takes no bearer tokens, so the proxy answers in its place.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fanfare_client::{
    AccessToken, BoxFuture, ClientOptions, Credential, CredentialError, Error, HubClient,
    TokenCredential,
};
use futures_util::future::join_all;

use crate::own_runtime::in_own_runtime;
use crate::proxy::{Fault, Http, Proxy};
use crate::rig::{Rig, in_an_hour};

const ADDRESS: &str = "127.0.0.86";
/// Calls that begin at once.
const CALLS: usize = 50;

/// Gives tokens `t-1`, `t-2`, .. that last an hour, or does what it is told instead.
#[derive(Debug)]
struct Source {
    asked: AtomicUsize,
    gives: Gives,
}

#[derive(Debug, Clone, Copy)]
enum Gives {
    Tokens,
    Refusals,
    Nothing,
}

impl Source {
    fn that(gives: Gives) -> Arc<Self> {
        let asked = AtomicUsize::new(0);
        Arc::new(Self { asked, gives })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl TokenCredential for Source {
    fn token<'a>(
        &'a self,
        scopes: &'a [&'a str],
    ) -> BoxFuture<'a, Result<AccessToken, CredentialError>> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        assert_eq!(scopes, ["https://iothubs.azure.net/.default"]);
        Box::pin(async move {
            match self.gives {
                Gives::Tokens => {
                    // Whoever asks beside this call gets a chance to.
                    tokio::task::yield_now().await;
                    let expires_on = in_an_hour();
                    Ok(AccessToken::new(format!("t-{number}"), expires_on))
                }
                Gives::Refusals => Err(CredentialError::new("nobody is signed in")),
                Gives::Nothing => pending().await,
            }
        })
    }
}

/// Makes [`CALLS`] calls at once through a proxy that answers them all by `answer` after `first`, and hands out the
/// results and the signatures that arrived.
async fn calls(
    source: &Arc<Source>,
    first: Option<Fault>,
    timeout: Duration,
) -> (Vec<Result<(), Error>>, Vec<String>) {
    let rig = Rig::start(ADDRESS).await;
    let proxy = Proxy::before(rig.options(), Http::Both).await;
    proxy.always(Fault::json(
        r#"{"jobId":"j","type":"scheduleUpdateTwin","status":"running"}"#,
    ));
    proxy.first(first);
    let options = ClientOptions {
        timeout,
        ..proxy.client_options()
    };
    let (endpoint, credential) = (proxy.endpoint(), Credential::token(Arc::clone(source)));
    let results = in_own_runtime("calls with tokens".to_owned(), move || async move {
        let hub = HubClient::new(&endpoint, credential, options).unwrap();
        let calls = (0..CALLS).map(|_| async { hub.jobs().get_job("j").await.map(drop) });
        join_all(calls).await
    })
    .await;
    proxy.wait_all_closed().await;
    let signatures = proxy
        .take_seen()
        .iter()
        .map(|request| {
            request
                .header("authorization")
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    proxy.stop().await;
    rig.stop().await;
    (results, signatures)
}

const LONG: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_calls_at_once_share_one_token() {
    let source = Source::that(Gives::Tokens);
    let (results, signatures) = calls(&source, None, LONG).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(source.asked(), 1);
    assert_eq!(signatures, vec!["Bearer t-1"; CALLS]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_token_is_replaced_once() {
    let source = Source::that(Gives::Tokens);
    let (results, signatures) = calls(&source, Some(Fault::unauthorized()), LONG).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(source.asked(), 2);
    assert_eq!(signatures.len(), CALLS + 1);
    assert!(
        signatures.contains(&"Bearer t-2".to_owned()),
        "{signatures:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_refuses_is_an_error_of_its_own() {
    let source = Source::that(Gives::Refusals);
    let (results, signatures) = calls(&source, None, LONG).await;
    assert!(
        signatures.is_empty(),
        "a request without a token: {signatures:?}"
    );
    for result in results {
        let error = result.expect_err("there is no token");
        assert!(matches!(error, Error::Credential(_)), "{error:?}");
        assert!(!error.may_have_been_done());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_ever_for_a_token() {
    let source = Source::that(Gives::Nothing);
    // However many wait, each is told within its own time: all of them one after the other would hang the test.
    let (results, signatures) = calls(&source, None, Duration::from_secs(2)).await;
    assert!(
        signatures.is_empty(),
        "a request without a token: {signatures:?}"
    );
    for result in results {
        let error = result.expect_err("there is no token");
        assert!(matches!(error, Error::Credential(_)), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_stays_refused_is_not_asked_for_again_and_again() {
    let rig = Rig::start(ADDRESS).await;
    let proxy = Proxy::before(rig.options(), Http::Both).await;
    proxy.always(Fault::unauthorized());
    let source = Source::that(Gives::Tokens);
    let credential = Credential::token(Arc::clone(&source));
    let (endpoint, options) = (proxy.endpoint(), proxy.client_options());
    let refused = in_own_runtime("a refused call".to_owned(), move || async move {
        let hub = HubClient::new(&endpoint, credential, options).unwrap();
        hub.jobs().get_job("j").await.map(drop)
    })
    .await;
    let error = refused.expect_err("the hub says no");
    assert_eq!(error.status(), Some(401));
    assert_eq!(source.asked(), 2);
    assert_eq!(proxy.take_seen().len(), 2);
    proxy.stop().await;
    rig.stop().await;
}
