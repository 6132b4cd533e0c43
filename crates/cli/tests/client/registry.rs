//! What the registry, twins and methods calls do against a hub: every call once as it should go, and as it is most
//! likely refused. What the requests look like is the question of `shapes`.

use std::fmt::Debug;

use fanfare_client::Error;

mod bulk;
mod calls;
mod configurations;
mod identities;
mod transfers;

const ADDRESS: &str = "127.0.0.81";

/// Whether the call was refused with this status and code.
#[track_caller]
fn assert_refused<T: Debug>(result: Result<T, Error>, status: u16, code: &str) {
    let error = result.expect_err(code);
    assert_eq!(
        (error.status(), error.code()),
        (Some(status), Some(code)),
        "{error}"
    );
    assert!(error.number().is_some(), "{code} has a number");
    assert!(!error.may_have_been_done(), "{code} leaves nothing open");
}
