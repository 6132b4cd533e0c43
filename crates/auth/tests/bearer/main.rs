//! Bearer tokens against issuers that run: who gets in, who does not, and what becomes of it when an issuer fails, lies or
//! takes other keys.
//!
//! Time is a clock that stands until a test moves it, and every wait is for something that happens.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod encrypted;
mod good;
mod issuers;
mod lies;
mod rig;
mod rotation;
