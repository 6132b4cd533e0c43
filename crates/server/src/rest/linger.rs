//! Takes in the rest of a small body whose request was answered without it.
//!
//! Many clients send a request's head and then its body, in two steps. On HTTP/1.1 a connection whose body nobody has
//! read ends with the answer, and a client that is still writing then may see a broken connection instead of the
//! refusal. So the rest of a small body is awaited for a moment and thrown away. A large one, one without a
//! length, and one that its sender holds back until it is asked for are not worth it.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::http::{Version, header::EXPECT};
use http_body_util::BodyExt as _;
use hyper::{
    Request,
    body::{Body, Frame, SizeHint},
};
use tokio::time::timeout;

/// Bytes of a body that is awaited. Ours.
const BYTES_MAX: u64 = 64 * 1024;
/// How long it is awaited. Ours.
const WITHIN: Duration = Duration::from_secs(1);

/// A request's body, for as long as somebody wants it.
pub(super) struct Lent<B>(Arc<Mutex<B>>);

/// What is left of it after the answer.
pub(super) struct Left<B>(Arc<Mutex<B>>);

/// Lends a request's body; nothing is left of those that are not worth awaiting.
pub(super) fn lend<B: Body>(request: Request<B>) -> (Request<Lent<B>>, Option<Left<B>>) {
    let size = request.body().size_hint().upper();
    let is_worth_it = request.version() < Version::HTTP_2
        && size.is_some_and(|size| (1..=BYTES_MAX).contains(&size))
        && !request.headers().contains_key(EXPECT);
    let (head, body) = request.into_parts();
    let body = Arc::new(Mutex::new(body));
    let left = is_worth_it.then(|| Left(body.clone()));
    (Request::from_parts(head, Lent(body)), left)
}

impl<B: Body + Unpin> Left<B> {
    /// Returns when the body is over, or a moment has passed, or somebody has it still.
    pub(super) async fn discard(self) {
        self.discard_within(WITHIN).await;
    }

    async fn discard_within(self, within: Duration) {
        let Some(body) = Arc::into_inner(self.0) else {
            return;
        };
        let mut body = body.into_inner().unwrap_or_else(PoisonError::into_inner);
        let over = async { while let Some(Ok(_)) = body.frame().await {} };
        // Too late means the connection ends, as it would have without waiting.
        let _ = timeout(within, over).await;
    }
}

impl<B> Lent<B> {
    fn lock(&self) -> MutexGuard<'_, B> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Body + Unpin> Body for Lent<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut *self.lock()).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::Bytes;
    use tokio::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A body of some length whose parts come through a channel.
    struct Sent(Receiver<Bytes>, u64);

    impl Body for Sent {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0
                .poll_recv(cx)
                .map(|part| part.map(|part| Ok(Frame::data(part))))
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.1)
        }
    }

    fn request(size: u64) -> (Sender<Bytes>, Request<Sent>) {
        let (sender, receiver) = channel(1);
        (sender, Request::new(Sent(receiver, size)))
    }

    #[tokio::test]
    async fn a_body_that_nobody_read_is_taken_in_to_its_end() {
        let (sender, request) = request(6);
        let (lent, left) = lend(request);
        drop(lent);
        let sending = async move {
            // One part fits into the channel: the others wait until somebody takes it.
            for _ in 0..3 {
                sender.send(Bytes::from_static(b"ab")).await.unwrap();
            }
        };
        tokio::join!(left.unwrap().discard_within(Duration::MAX), sending);
    }

    #[tokio::test]
    async fn one_that_never_comes_holds_nobody_up_for_long() {
        let (_sender, request) = request(6);
        let (lent, left) = lend(request);
        drop(lent);
        left.unwrap().discard_within(Duration::from_millis(1)).await;
    }

    #[tokio::test]
    async fn one_that_somebody_reads_is_left_to_them() {
        let (sender, request) = request(6);
        let (lent, left) = lend(request);
        left.unwrap().discard_within(Duration::MAX).await;
        sender.send(Bytes::from_static(b"abcdef")).await.unwrap();
        drop(sender);
        let read = lent.into_body().collect().await.unwrap();
        assert_eq!(read.to_bytes(), "abcdef");
    }

    #[test]
    fn what_is_not_worth_it_is_not_awaited() {
        assert!(lend(request(0).1).1.is_none());
        assert!(lend(request(BYTES_MAX).1).1.is_some());
        assert!(lend(request(BYTES_MAX + 1).1).1.is_none());
        let (_, mut asking) = request(6);
        asking
            .headers_mut()
            .insert(EXPECT, "100-continue".parse().unwrap());
        assert!(lend(asking).1.is_none());
        let (_, mut stream) = request(6);
        *stream.version_mut() = Version::HTTP_2;
        assert!(lend(stream).1.is_none());
    }
}
