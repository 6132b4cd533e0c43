//! `fanfare twin`: one twin, shown, patched, replaced.

use clap::{Args, Subcommand, ValueEnum};
use fanfare_client::{Etag, IdentityId, Twin};
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::hub::HubArgs;
use crate::output::{self, Column, Format, OutputArgs, moment, show_one};
use crate::value_arg::ValueArg;

/// Arguments of `fanfare twin`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct TwinArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show a twin: tags, desired and reported properties.
    Show(ShowArgs),
    /// Merge into a twin; a member that is null goes.
    Patch(ChangeArgs),
    /// Overwrite tags or desired properties as a whole; a section that is not given stays.
    Replace(ChangeArgs),
}

#[derive(Debug, Args)]
struct WhichArgs {
    /// Which device.
    #[arg(value_name = "ID")]
    id: String,
    /// The twin of this module of it instead.
    #[arg(long, value_name = "ID")]
    module: Option<String>,
}

impl WhichArgs {
    fn identity(&self) -> IdentityId {
        IdentityId {
            device_id: self.id.clone(),
            module_id: self.module.clone(),
        }
    }
}

#[derive(Debug, Args)]
struct ShowArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Only this section.
    #[arg(long, value_enum)]
    section: Option<Section>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

#[derive(Debug, Args)]
struct ChangeArgs {
    #[command(flatten)]
    which: WhichArgs,
    #[command(flatten)]
    change: SectionArgs,
    /// Only if this is the twin's version still.
    #[arg(long, value_name = "ETAG")]
    etag: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct SectionArgs {
    /// Tags: a JSON object, @FILE or `-`; null empties them.
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    tags: Option<ValueArg>,
    /// Desired properties: a JSON object, @FILE or `-`; null empties them.
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    desired: Option<ValueArg>,
}

/// A part of a twin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Set by the service, hidden from the device.
    Tags,
    /// Set by the service for the device.
    Desired,
    /// Set by the device.
    Reported,
}

/// Runs `fanfare twin`.
///
/// # Errors
/// What went wrong, as it is to be told.
pub(crate) async fn run(args: TwinArgs) -> Result<(), Failure> {
    match args.verb {
        Verb::Show(args) => {
            let twins = args.hub.client()?.twins();
            let twin = twins.get(args.which.identity()).await?;
            show(&twin, args.section, &args.output)
        }
        Verb::Patch(args) => {
            let body = args.change.body()?;
            let twins = args.hub.client()?.twins();
            let etag = args.etag.as_deref().map(Etag::from);
            let patched = twins.patch(args.which.identity(), &body, etag).await;
            show(
                &patched.map_err(|error| refused(&args, error))?,
                None,
                &args.output,
            )
        }
        Verb::Replace(args) => {
            let body = args.change.body()?;
            let twins = args.hub.client()?.twins();
            let etag = args.etag.as_deref().map(Etag::from);
            let replaced = twins.replace(args.which.identity(), &body, etag).await;
            show(
                &replaced.map_err(|error| refused(&args, error))?,
                None,
                &args.output,
            )
        }
    }
}

impl SectionArgs {
    /// The sections as PATCH and PUT take them.
    fn body(&self) -> Result<Value, Failure> {
        if self.tags == Some(ValueArg::Stdin) && self.desired == Some(ValueArg::Stdin) {
            return Err(Failure::usage(
                "--tags and --desired cannot both be on standard input",
            ));
        }
        let mut body = Map::new();
        if let Some(tags) = &self.tags {
            body.insert("tags".to_owned(), section(tags, "--tags")?);
        }
        if let Some(desired) = &self.desired {
            let desired = section(desired, "--desired")?;
            body.insert("properties".to_owned(), json!({ "desired": desired }));
        }
        Ok(Value::Object(body))
    }
}

/// An object, or null, which is no mistake here.
fn section(value: &ValueArg, flag: &str) -> Result<Value, Failure> {
    match value.json(flag)? {
        read @ (Value::Null | Value::Object(_)) => Ok(read),
        other => ValueArg::Text(other.to_string())
            .object(flag)
            .map(Value::Object),
    }
}

fn refused(args: &ChangeArgs, error: fanfare_client::Error) -> Failure {
    let is_changed = error.status() == Some(412) && args.etag.is_some();
    let failure = Failure::from(error);
    if is_changed {
        return failure.try_this("`fanfare twin show` says which version it has now");
    }
    failure
}

fn show(twin: &Twin, only: Option<Section>, output: &OutputArgs) -> Result<(), Failure> {
    let value = serde_json::to_value(twin).map_err(anyhow::Error::from)?;
    match (output.format, only) {
        (Format::Table, None) => {
            show_one(output, head(twin.module_id.is_some()), &value)?;
            for section in [Section::Tags, Section::Desired, Section::Reported] {
                output::line("")?;
                output::line(&pretty(section, &value))?;
            }
            Ok(())
        }
        (Format::Table, Some(section)) => output::line(&pretty(section, &value)),
        (_, None) => show_one(output, columns(), &value),
        (Format::Csv, Some(section)) => {
            let name = section.title();
            show_one(
                output,
                vec![Column::new(name)],
                &json!({ name: section.of(&value) }),
            )
        }
        (_, Some(section)) => show_one(output, Vec::new(), section.of(&value)),
    }
}

impl Section {
    fn of(self, twin: &Value) -> &Value {
        let pointer = match self {
            Self::Tags => "/tags",
            Self::Desired => "/properties/desired",
            Self::Reported => "/properties/reported",
        };
        twin.pointer(pointer).unwrap_or(&Value::Null)
    }

    fn title(self) -> &'static str {
        match self {
            Self::Tags => "tags",
            Self::Desired => "desired",
            Self::Reported => "reported",
        }
    }
}

fn head(is_module: bool) -> Vec<Column> {
    let mut columns = vec![Column::new("deviceId").titled("device")];
    if is_module {
        columns.push(Column::new("moduleId").titled("module"));
    }
    columns.extend([
        Column::new("status"),
        Column::new("connectionState").titled("connection"),
        Column::new("lastActivityTime")
            .titled("last activity")
            .shown(moment),
        Column::new("version"),
        Column::new("etag"),
    ]);
    columns
}

fn columns() -> Vec<Column> {
    vec![
        Column::new("deviceId"),
        Column::new("moduleId"),
        Column::new("status"),
        Column::new("connectionState"),
        Column::new("lastActivityTime"),
        Column::new("version"),
        Column::new("etag"),
        Column::new("tags"),
        Column::new("desired").at("/properties/desired"),
        Column::new("reported").at("/properties/reported"),
    ]
}

/// A section for a person: its title with version and last change, and its members without what the hub keeps
/// beside them.
fn pretty(section: Section, twin: &Value) -> String {
    let mut members = section.of(twin).as_object().cloned().unwrap_or_default();
    let version = members.remove("$version");
    let metadata = members.remove("$metadata").unwrap_or_default();
    let mut title = section.title().to_owned();
    if let Some(version) = version {
        title.push_str(&format!("  version {version}"));
    }
    let changed = moment(&metadata["$lastUpdated"]);
    if !changed.is_empty() {
        title.push_str(&format!(", changed {changed}"));
    }
    let text = serde_json::to_string_pretty(&members).expect("JSON values can be written");
    format!("{title}\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(tags: Option<&str>, desired: Option<&str>) -> SectionArgs {
        let value = |text: &str| text.parse().unwrap();
        SectionArgs {
            tags: tags.map(value),
            desired: desired.map(value),
        }
    }

    #[test]
    fn absent_null_and_present_sections_differ() {
        let body = |tags, desired| args(tags, desired).body().unwrap();
        assert_eq!(body(Some(r#"{"a":1}"#), None), json!({"tags": {"a": 1}}));
        assert_eq!(
            body(None, Some("null")),
            json!({"properties": {"desired": null}})
        );
        assert!(args(Some("[1]"), None).body().is_err());
        assert!(args(Some("-"), Some("-")).body().is_err());
    }

    #[test]
    fn a_section_is_shown_without_what_the_hub_keeps() {
        let twin = json!({"properties": {"desired": {
            "a": 1, "$version": 4, "$metadata": {"$lastUpdated": "2031-02-03T04:05:06.1230000Z"}}}});
        let text = pretty(Section::Desired, &twin);
        assert_eq!(
            text,
            "desired  version 4, changed 2031-02-03 04:05:06Z\n{\n  \"a\": 1\n}"
        );
        assert_eq!(pretty(Section::Tags, &twin), "tags\n{}");
    }
}
