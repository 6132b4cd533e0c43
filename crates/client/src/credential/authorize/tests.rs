//! Signatures and tokens: kept while good, made anew in time, by one caller only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Semaphore;

use super::*;
use crate::{AccessToken, BoxFuture};

const WITHIN: Duration = Duration::from_secs(5);

fn authorizer(credential: Credential) -> Authorizer {
    Authorizer::new(credential, "localhost".to_owned(), WITHIN).expect("a good credential")
}

fn text(header: &HeaderValue) -> &str {
    header.to_str().expect("headers of ours are text")
}

#[test]
fn a_signature_is_kept_until_it_nears_its_end() {
    let key = Secret::new("c2VjcmV0");
    let signer = authorizer(Credential::shared_access_key("service", key.expose()));
    let now = unix_now_s() + 10_000;
    let signed = |at| signer.signed("service", &key, at).expect("the key signs");
    let first = signed(now);
    assert!(text(&first).ends_with("&skn=service"), "{}", text(&first));
    assert!(first.is_sensitive());
    assert_eq!(signed(now + 2_999), first);
    assert_ne!(signed(now + 3_001), first);
}

#[test]
fn a_signature_of_the_future_is_made_anew() {
    let key = Secret::new("c2VjcmV0");
    let signer = authorizer(Credential::shared_access_key("service", key.expose()));
    let year_ahead = unix_now_s() + 365 * 86_400;
    let signed = |at| signer.signed("service", &key, at).expect("the key signs");
    let wrong = signed(year_ahead);
    let right = signed(year_ahead - 365 * 86_400);
    assert_ne!(right, wrong);
    assert_eq!(signed(year_ahead - 365 * 86_400), right);
}

#[test]
fn a_key_that_cannot_sign_is_refused_at_once() {
    let credential = Credential::shared_access_key("service", "not base64!");
    assert!(matches!(
        Authorizer::new(credential, "h".to_owned(), WITHIN),
        Err(Error::Setup(SetupError::Key(_)))
    ));
}

#[test]
fn a_ready_made_signature_is_not_sent_after_its_end() {
    let signature = "SharedAccessSignature sr=h&sig=c2Vj&se=1000";
    let credential = Credential::shared_access_signature(signature).expect("all fields");
    let signer = authorizer(credential);
    let expiry = Timestamp::from_micros(1_000_000_000);
    let header = signer.unexpired(expiry, 999).expect("a second is left");
    assert_eq!(text(&header), signature);
    let error = signer.unexpired(expiry, 1_000).expect_err("it has ended");
    assert_eq!(
        error.to_string(),
        "the shared access signature expired at 1970-01-01T00:16:40.0000000Z"
    );
    assert!(!error.can_retry_help() && !error.may_have_been_done());
}

#[test]
fn tokens_are_renewed_before_their_end() {
    for (life, renewed_after) in [(3_600, 3_300), (86_400, 86_100), (400, 200), (1, 1)] {
        let renew_at = token_renew_at(1_000, 1_000 + life);
        assert_eq!(renew_at, 1_000 + renewed_after, "{life}");
    }
}

/// Yields `token-1`, `token-2`, ..., one for each permit. A life of zero makes it fail.
#[derive(Debug)]
struct Source {
    fetches: AtomicU32,
    permits: Semaphore,
    life: Duration,
}

impl Source {
    fn new(permits: usize, life_s: u64) -> Arc<Self> {
        Arc::new(Self {
            fetches: AtomicU32::new(0),
            permits: Semaphore::new(permits),
            life: Duration::from_secs(life_s),
        })
    }

    fn fetches(&self) -> u32 {
        self.fetches.load(Ordering::SeqCst)
    }
}

impl TokenCredential for Source {
    fn token<'a>(
        &'a self,
        scopes: &'a [&'a str],
    ) -> BoxFuture<'a, Result<AccessToken, CredentialError>> {
        Box::pin(async move {
            assert_eq!(scopes, SCOPES);
            let number = self.fetches.fetch_add(1, Ordering::SeqCst) + 1;
            self.permits.acquire().await.expect("never closed").forget();
            if self.life.is_zero() {
                return Err(CredentialError::new("nobody is signed in"));
            }
            #[allow(
                clippy::disallowed_methods,
                reason = "tokens end by the system's clock"
            )]
            let expires_on = SystemTime::now() + self.life;
            Ok(AccessToken::new(format!("token-{number}"), expires_on))
        })
    }
}

#[tokio::test]
async fn many_calls_wait_for_one_token() {
    let source = Source::new(0, 3_600);
    let signer = Arc::new(authorizer(Credential::token(Arc::clone(&source))));
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let signer = Arc::clone(&signer);
            tokio::spawn(async move { signer.header().await.expect("a token comes") })
        })
        .collect();
    while source.fetches() == 0 {
        tokio::task::yield_now().await;
    }
    source.permits.add_permits(20);
    for call in calls {
        let header = call.await.expect("no panic");
        assert_eq!(text(&header), "Bearer token-1");
        assert!(header.is_sensitive());
    }
    assert_eq!(source.fetches(), 1);
}

#[tokio::test]
async fn many_calls_share_one_failure() {
    let source = Source::new(0, 0);
    let signer = Arc::new(authorizer(Credential::token(Arc::clone(&source))));
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let signer = Arc::clone(&signer);
            tokio::spawn(async move { signer.header().await.expect_err("none comes") })
        })
        .collect();
    // On one thread, nobody goes on before all have asked.
    while source.fetches() == 0 {
        tokio::task::yield_now().await;
    }
    source.permits.add_permits(20);
    for call in calls {
        let error = call.await.expect("no panic");
        assert!(matches!(error, Error::Credential(_)), "{error}");
    }
    assert_eq!(source.fetches(), 1);
    signer.header().await.expect_err("asked anew, in vain");
    assert_eq!(source.fetches(), 2);
}

#[tokio::test]
async fn a_fetch_that_is_given_up_does_not_block_the_next() {
    let source = Source::new(0, 3_600);
    let signer = Arc::new(authorizer(Credential::token(Arc::clone(&source))));
    let call = tokio::spawn({
        let signer = Arc::clone(&signer);
        async move { signer.header().await }
    });
    while source.fetches() == 0 {
        tokio::task::yield_now().await;
    }
    call.abort();
    assert!(call.await.expect_err("given up").is_cancelled());
    source.permits.add_permits(1);
    let header = signer.header().await.expect("the next one fetches");
    assert_eq!(text(&header), "Bearer token-2");
}

#[tokio::test]
async fn a_refused_token_is_fetched_anew_once_for_all_who_held_it() {
    let source = Source::new(9, 3_600);
    let signer = authorizer(Credential::token(Arc::clone(&source)));
    let first = signer.header().await.expect("a token comes");
    for _ in 0..2 {
        let next = signer.header_after(&first).await.expect("another comes");
        assert_eq!(text(&next.expect("a source has more")), "Bearer token-2");
    }
    assert_eq!(source.fetches(), 2);
}

#[tokio::test]
async fn a_refused_key_is_not_tried_again() {
    let signer = authorizer(Credential::shared_access_key("service", "c2VjcmV0"));
    let header = signer.header().await.expect("the key signs");
    assert!(
        signer
            .header_after(&header)
            .await
            .expect("no fault")
            .is_none()
    );
}

#[tokio::test]
async fn the_old_token_serves_while_no_new_one_comes() {
    let source = Source::new(9, 0);
    let signer = authorizer(Credential::token(Arc::clone(&source)));
    let old = |left_s| Held {
        header: HeaderValue::from_static("Bearer old"),
        expiry: unix_now_s() + left_s,
        renew_at: unix_now_s() - 1,
    };
    signer.hold(old(100));
    for _ in 0..3 {
        let header = signer.header().await.expect("the old one serves");
        assert_eq!(text(&header), "Bearer old");
    }
    // The first of the three tried and failed; the others leave the source in peace for a while.
    assert_eq!(source.fetches(), 1);

    signer.hold(old(-1));
    let error = signer.header().await.expect_err("it has ended");
    assert!(matches!(error, Error::Credential(_)), "{error}");
    assert!(error.can_retry_help());
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_is_given_up() {
    let signer = authorizer(Credential::token(Source::new(0, 3_600)));
    let error = signer.header().await.expect_err("nothing comes");
    let Error::Credential(error) = error else {
        panic!("{error}")
    };
    assert_eq!(error.to_string(), "no token within 5s");
}

/// Panics when it is asked first.
#[derive(Debug, Default)]
struct Fragile(AtomicU32);

impl TokenCredential for Fragile {
    fn token<'a>(
        &'a self,
        _: &'a [&'a str],
    ) -> BoxFuture<'a, Result<AccessToken, CredentialError>> {
        Box::pin(async move {
            assert!(self.0.fetch_add(1, Ordering::SeqCst) > 0, "not yet");
            Ok(AccessToken::new(
                "token",
                SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40),
            ))
        })
    }
}

#[tokio::test]
async fn a_source_that_panics_takes_nobody_elses_call() {
    let signer = Arc::new(authorizer(Credential::token(Fragile::default())));
    let call = tokio::spawn({
        let signer = Arc::clone(&signer);
        async move { signer.header().await }
    });
    assert!(call.await.expect_err("it panics").is_panic());
    let header = signer.header().await.expect("the next one fetches");
    assert_eq!(text(&header), "Bearer token");
}
