//! Devices' certificates, made here and by the `openssl` that people use: who gets in, who does not, and why not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod authority;
mod device;
mod guide;
mod handshake;
mod openssl;
mod rig;
