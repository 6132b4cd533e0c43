//! What a node tells its operator: log lines on standard error, and numbers when they are asked for.
//!
//! Every metric is declared in [`metrics`] and every field of a log line in `docs/reference/logs.md`; tidy
//! holds both. Numbers are counted by whoever owns them ([`counts`] for the front ends, the hub's and the
//! store's measures for the rest) and brought together in [`scrape`]. Log lines never carry credentials,
//! tokens or payloads.

pub mod counts;
pub mod metrics;
pub mod page;
mod process;
pub mod scrape;

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

pub use self::counts::{
    COUNTS, ConnectionCount, FrontEnd, RequestCounts, SignInResult, TurnedAway,
};
use crate::config::{Config, LogFormat};

/// Writes log lines as the configuration says. The first call of a process counts; later ones change
/// nothing.
///
/// # Errors
/// The filter's text, when it is none.
pub fn log(config: &Config) -> Result<(), LogFilterError> {
    let filter = EnvFilter::try_new(&config.log_filter)
        .map_err(|error| LogFilterError(config.log_filter.clone(), error.to_string()))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // Fails only when a subscriber is there already, which then stays.
    let _ = match config.log_format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    Ok(())
}

/// The text is no filter.
#[derive(Debug, thiserror::Error)]
#[error("log-filter {0:?} cannot be used: {1}")]
pub struct LogFilterError(String, String);
