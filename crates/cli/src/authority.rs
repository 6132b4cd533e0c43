//! `fanfare authority`: certificate authorities that vouch for devices, for whoever owns the hub.
//!
//! An uploaded authority vouches for nobody until its key is proven: a code from the hub becomes the common name of a
//! certificate that the authority signs. Each verb says which step is next.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fanfare_client::{Authority, Error, Etag};
use serde_json::Value;

use crate::confirm::ConfirmArgs;
use crate::failure::Failure;
use crate::hub::{HubArgs, addressed};
use crate::output::{self, Column, Format, OutputArgs, RowWriter, Tone, moment, show_one};
use crate::value_arg::{read_file, read_stdin};

/// Arguments of `fanfare authority`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true, after_help = STEPS)]
pub(crate) struct AuthorityArgs {
    #[command(subcommand)]
    verb: Verb,
}

const STEPS: &str = "\
From a certificate to devices that sign in with theirs:
  fanfare authority add acme acme.pem
  openssl req -new -newkey rsa:2048 -nodes -keyout proof.key -out proof.csr -subj \"/CN=$(fanfare authority code acme)\"
  openssl x509 -req -in proof.csr -CA acme.pem -CAkey acme.key -days 1 -out proof.pem
  fanfare authority verify acme proof.pem
  fanfare device create door-1 --auth x509-ca";

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the authorities.
    List(ListArgs),
    /// Show one authority.
    Show(ShowArgs),
    /// Upload the certificate of an authority.
    Add(AddArgs),
    /// Make a code that the proof of its key must carry, and print it alone.
    Code(CodeArgs),
    /// Prove that its key is at hand; from then on it vouches for devices.
    Verify(VerifyArgs),
    /// Delete an authority: devices that it vouched for are locked out.
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// Which authority.
    name: String,
    /// Print its certificate alone, PEM.
    #[arg(long)]
    certificate: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

#[derive(Debug, Args)]
struct AddArgs {
    /// A name for it.
    name: String,
    /// The file with its certificate, PEM; `-` is standard input. Its private key stays where it is.
    #[arg(value_name = "FILE")]
    certificate: PathBuf,
    /// Put the certificate in place of the one that has the name; its key is to be proven again.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

#[derive(Debug, Args)]
struct CodeArgs {
    /// Which authority.
    name: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// Which authority.
    name: String,
    /// The file with a certificate that it signed and whose common name is the code, PEM; `-` is standard input.
    #[arg(value_name = "FILE")]
    proof: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

#[derive(Debug, Args)]
struct DeleteArgs {
    /// Which authority.
    name: String,
    /// Only if this is its version still.
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    #[command(flatten)]
    confirm: ConfirmArgs,
    #[command(flatten)]
    hub: HubArgs,
}

/// Runs `fanfare authority`.
///
/// # Errors
/// What went wrong, as it is to be told.
pub(crate) async fn run(args: AuthorityArgs) -> Result<(), Failure> {
    match args.verb {
        Verb::List(args) => list(&args).await,
        Verb::Show(args) => show(&args).await,
        Verb::Add(args) => add(&args).await,
        Verb::Code(args) => code(&args).await,
        Verb::Verify(args) => verify(&args).await,
        Verb::Delete(args) => delete(&args).await,
    }
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let authorities = args.hub.client()?.authorities().list().await?;
    let columns = vec![
        Column::new("name").whole(),
        Column::new("subject"),
        verified(),
        Column::new("expiry").titled("until").shown(moment),
        Column::new("thumbprint").only_csv(),
        Column::new("thumbprintSha256").only_csv(),
    ];
    let mut rows = RowWriter::start(&args.output, columns)
        .when_none("No authority was uploaded: fanfare authority add NAME FILE");
    for authority in &authorities {
        rows.push(&to_json(authority)?)?;
    }
    rows.finish().map(drop)
}

async fn show(args: &ShowArgs) -> Result<(), Failure> {
    let authorities = args.hub.client()?.authorities();
    let authority = authorities.get(&args.name).await.map_err(told)?;
    if args.certificate {
        let pem = authority.certificate.unwrap_or_default();
        return output::line(pem.trim_end());
    }
    print(&authority, &args.output)
}

async fn add(args: &AddArgs) -> Result<(), Failure> {
    let certificate = certificate(&args.certificate)?;
    let authorities = args.hub.client()?.authorities();
    let added = match args.replace {
        true => authorities.replace(&args.name, &certificate, None).await,
        false => authorities.create(&args.name, &certificate).await,
    };
    let added = added.map_err(|error| match error.code() {
        Some("AuthorityAlreadyExists") if !args.replace => {
            told(error).try_this("--replace, if this certificate is to take the old one's place")
        }
        _ => told(error),
    })?;
    print(&added, &args.output)?;
    if args.output.format == Format::Table && !added.is_verified {
        output::line(&format!(
            "\nIt vouches for no device yet. Next: prove that its key is at hand, with the code of fanfare authority code {}{}",
            args.name,
            args.hub.spelled()
        ))?;
    }
    Ok(())
}

async fn code(args: &CodeArgs) -> Result<(), Failure> {
    let authorities = args.hub.client()?.authorities();
    let made = authorities.make_code(&args.name).await.map_err(told)?;
    match (&made.verification_code, args.output.format) {
        (Some(code), Format::Table) => output::line(code),
        _ => print(&made, &args.output),
    }
}

async fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let proof = certificate(&args.proof)?;
    let authorities = args.hub.client()?.authorities();
    let verified = authorities.verify(&args.name, &proof).await;
    let verified = verified.map_err(|error| match error.code() {
        Some("InvalidOperation") => {
            told(error).try_this(format!("fanfare authority code {}", args.name))
        }
        Some("ArgumentInvalid") => told(error).try_this(
            "a certificate that the authority signed, whose common name is the newest code",
        ),
        _ => told(error),
    })?;
    print(&verified, &args.output)
}

async fn delete(args: &DeleteArgs) -> Result<(), Failure> {
    let authorities = args.hub.client()?.authorities();
    let authority = authorities.get(&args.name).await.map_err(told)?;
    let hub = addressed().map_or("", |hub| hub.endpoint.trim_start_matches("https://"));
    args.confirm.ask(&format!(
        "Delete authority {} ({}) of {hub}; devices that it vouches for are locked out",
        authority.name, authority.subject
    ))?;
    let etag = args.etag.as_deref().map_or(authority.etag, Etag::from);
    authorities.delete(&args.name, etag).await.map_err(told)?;
    output::line(&format!("Deleted authority {}.", args.name))
}

fn print(authority: &Authority, output: &OutputArgs) -> Result<(), Failure> {
    let columns = vec![
        Column::new("name"),
        Column::new("subject"),
        verified(),
        Column::new("expiry").titled("until").shown(moment),
        Column::new("thumbprint").titled("SHA-1"),
        Column::new("thumbprintSha256").titled("SHA-256"),
        Column::new("created").shown(moment),
        Column::new("updated").shown(moment),
        Column::new("etag"),
    ];
    show_one(output, columns, &to_json(authority)?)
}

fn verified() -> Column {
    let shown = |value: &Value| match value.as_bool() {
        Some(true) => "yes".to_owned(),
        _ => "no".to_owned(),
    };
    let toned = |text: &str| match text {
        "yes" => Tone::Good,
        _ => Tone::Waiting,
    };
    Column::new("isVerified")
        .titled("verified")
        .shown(shown)
        .toned(toned)
}

fn to_json(authority: &Authority) -> Result<Value, Failure> {
    Ok(serde_json::to_value(authority).map_err(anyhow::Error::from)?)
}

/// The text of a certificate. A private key never leaves this machine, whoever mixes up the files.
fn certificate(path: &Path) -> Result<String, Failure> {
    let text = match path.to_str() {
        Some("-") => read_stdin()?,
        _ => read_file(path)?,
    };
    let name = path.display();
    if text.contains("PRIVATE KEY-----") {
        let title = format!("{name} has a private key, which is nobody's business");
        return Err(Failure::usage(title).try_this("the file with the certificate alone"));
    }
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        let title = format!("{name} has no certificate in PEM");
        return Err(Failure::usage(title)
            .try_this("openssl x509 -inform der -in FILE -out FILE.pem, if it is DER"));
    }
    Ok(text)
}

fn told(error: Error) -> Failure {
    let (status, is_absent) = (error.status(), error.code() == Some("AuthorityNotFound"));
    let failure = Failure::from(error);
    match status {
        _ if is_absent => {
            failure.try_this("fanfare authority list shows the authorities there are")
        }
        Some(412) => failure.try_this("`fanfare authority show` says which version it has now"),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_is_not_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        for (text, want) in [
            (
                "-----BEGIN CERTIFICATE-----\n-----BEGIN EC PRIVATE KEY-----\n",
                "has a private key",
            ),
            ("0\u{1}", "has no certificate"),
        ] {
            std::fs::write(&path, text).unwrap();
            let refused = certificate(&path).unwrap_err().to_string();
            assert!(refused.contains(want), "{refused}");
        }
    }
}
