//! A runtime that a client has for itself, so that what it leaves behind can be counted.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::time::{sleep, timeout};

use crate::rig::HANGS_AFTER;

/// Pause between two looks at the tasks that are left; nobody tells when one ends.
const LOOK_PAUSE: Duration = Duration::from_millis(1);

/// Runs `call`, which owns its client, to its end; then everything the client had started must end by itself.
///
/// # Panics
/// When `call` hangs, or a task outlives it.
pub(crate) async fn in_own_runtime<F, T>(
    what: String,
    call: impl FnOnce() -> F + Send + 'static,
) -> T
where
    F: Future<Output = T>,
    T: Send + 'static,
{
    let run = move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let output = runtime.block_on(async { timeout(HANGS_AFTER, call()).await });
        let output = output.unwrap_or_else(|_| panic!("{what}: the call hangs"));
        let ended = runtime.block_on(async { timeout(HANGS_AFTER, no_task_is_left()).await });
        assert!(
            ended.is_ok(),
            "{what}: {} tasks outlive the client",
            runtime.metrics().num_alive_tasks()
        );
        output
    };
    match tokio::task::spawn_blocking(run).await {
        Ok(output) => output,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

async fn no_task_is_left() {
    while Handle::current().metrics().num_alive_tasks() > 0 {
        sleep(LOOK_PAUSE).await;
    }
}

#[test]
fn a_task_that_is_left_is_counted() {
    let runtime = Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { drop(tokio::spawn(std::future::pending::<()>())) });
    assert_eq!(runtime.metrics().num_alive_tasks(), 1);
}
