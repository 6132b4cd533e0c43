//! What all examples are told: which hub, and whom to trust.

use anyhow::{Context as _, bail};
use fanfare_client::{ClientOptions, JobClient, Trust};

/// A client of the hub whose connection string is the next argument or in `IOTHUB_CONNECTION_STRING`, and the
/// arguments before it.
///
/// A hub with a certificate of its own needs its CA: `--ca-file PEM`, or the variable `SSL_CERT_FILE`, which the
/// library's default trust reads.
pub(crate) fn job_client<const BEFORE: usize>(
    usage: &'static str,
) -> anyhow::Result<(JobClient, [String; BEFORE])> {
    let mut options = ClientOptions::default();
    let mut words = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--ca-file" => {
                let path = arguments.next().context(usage)?;
                let pem = std::fs::read(&path).with_context(|| format!("cannot read {path}"))?;
                options.trust = Trust::SystemAnd(pem);
            }
            _ => words.push(argument),
        }
    }
    if words.len() == BEFORE {
        let text = std::env::var_os("IOTHUB_CONNECTION_STRING").context(usage)?;
        words.push(text.to_string_lossy().into_owned());
    }
    if words.len() != BEFORE + 1 {
        bail!(usage);
    }
    let text = words.pop().context(usage)?;
    let Ok(before) = words.try_into() else {
        bail!(usage)
    };
    Ok((JobClient::from_connection_string(&text, options)?, before))
}
