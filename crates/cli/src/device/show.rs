//! `fanfare device show`, and how an identity is shown wherever one is.

use clap::Args;
use fanfare_client::{Authentication, Device, IdentityId, Module};
use serde::Serialize;
use serde_json::{Value, json};

use super::credentials::connection_string;
use super::ids::checked;
use crate::failure::Failure;
use crate::hub::HubArgs;
use crate::output::{Column, Format, OutputArgs, Tone, moment, show_one};

/// Arguments of `fanfare device show`.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Which device.
    #[arg(value_name = "ID")]
    id: String,
    /// Show this module of it instead.
    #[arg(long, value_name = "ID")]
    module: Option<String>,
    /// Print keys and the connection string too.
    #[arg(long, alias = "show-keys")]
    keys: bool,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    hub: HubArgs,
}

/// Runs `fanfare device show`.
pub(super) async fn run(args: ShowArgs) -> Result<(), Failure> {
    checked(&args.id)?;
    args.module.as_deref().map(checked).transpose()?;
    let registry = args.hub.client()?.registry();
    let (document, modules) = match &args.module {
        Some(module) => (
            module_document(&registry.get_module(&args.id, module).await?)?,
            None,
        ),
        None => {
            let device = device_document(&registry.get_device(&args.id).await?)?;
            // The document does not name them; a person wants to know.
            let modules = match args.output.format {
                Format::Table => {
                    let modules = registry.list_modules(&args.id).await?;
                    Some(modules.into_iter().map(|module| module.module_id).collect())
                }
                _ => None,
            };
            (device, modules)
        }
    };
    let shown = Shown {
        document,
        modules,
        with_keys: args.keys,
    };
    shown.print(&args.output)
}

/// An identity as it is printed.
pub(super) struct Shown {
    /// The contract's document, keys included.
    pub(super) document: Document,
    /// Its modules, where they are known.
    pub(super) modules: Option<Vec<String>>,
    /// Whether keys are printed.
    pub(super) with_keys: bool,
}

/// The contract's document of an identity, and what of it makes a connection string.
pub(super) struct Document {
    value: Value,
    id: IdentityId,
    authentication: Option<Authentication>,
}

/// The document of a device.
pub(super) fn device_document(device: &Device) -> Result<Document, Failure> {
    Ok(Document {
        value: to_json(device)?,
        id: IdentityId::device(&device.device_id),
        authentication: device.authentication.clone(),
    })
}

/// The document of a module.
pub(super) fn module_document(module: &Module) -> Result<Document, Failure> {
    Ok(Document {
        value: to_json(module)?,
        id: IdentityId::module(&module.device_id, &module.module_id),
        authentication: module.authentication.clone(),
    })
}

fn to_json(document: &impl Serialize) -> Result<Value, Failure> {
    Ok(serde_json::to_value(document).map_err(anyhow::Error::from)?)
}

impl Shown {
    pub(super) fn print(self, output: &OutputArgs) -> Result<(), Failure> {
        let mut value = self.document.value;
        let is_device = self.document.id.module_id.is_none();
        if self.with_keys {
            let credentials = self.document.authentication.as_ref();
            let text = credentials.and_then(|all| connection_string(&self.document.id, all));
            value["connectionString"] = json!(text);
        } else if let Some(keys) = value.pointer_mut("/authentication/symmetricKey") {
            *keys = json!({"primaryKey": null, "secondaryKey": null});
        }
        let mut columns = columns(is_device, self.with_keys);
        if let Some(modules) = self.modules {
            value["modules"] = json!(modules.join(", "));
            columns.push(Column::new("modules").only_table());
        }
        show_one(output, columns, &value)
    }
}

fn columns(is_device: bool, with_keys: bool) -> Vec<Column> {
    let mut columns = vec![Column::new("deviceId").titled("device")];
    if is_device {
        columns.extend([
            Column::new("status").toned(status_tone),
            Column::new("statusReason").titled("reason"),
        ]);
    } else {
        columns.extend([
            Column::new("moduleId").titled("module"),
            Column::new("managedBy").titled("managed by"),
        ]);
    }
    columns.extend([
        Column::new("connectionState")
            .titled("connection")
            .toned(connection_tone),
        Column::new("connectionStateUpdatedTime")
            .titled("since")
            .shown(moment),
        Column::new("lastActivityTime")
            .titled("last activity")
            .shown(moment),
        Column::new("authentication").at("/authentication/type"),
        Column::new("primaryThumbprint")
            .titled("thumbprint")
            .at("/authentication/x509Thumbprint/primaryThumbprint")
            .only_csv(),
    ]);
    if is_device {
        columns.extend([
            Column::new("edge")
                .at("/capabilities/iotEdge")
                .shown(yes_or_no),
            Column::new("deviceScope").titled("scope"),
        ]);
    }
    columns.extend([
        Column::new("etag"),
        Column::new("generationId").titled("generation"),
    ]);
    if with_keys {
        columns.extend([
            Column::new("primaryKey")
                .titled("primary key")
                .at("/authentication/symmetricKey/primaryKey"),
            Column::new("secondaryKey")
                .titled("secondary key")
                .at("/authentication/symmetricKey/secondaryKey"),
            Column::new("connectionString").titled("connection string"),
        ]);
    }
    columns
}

fn yes_or_no(value: &Value) -> String {
    match value.as_bool() {
        Some(true) => "yes".to_owned(),
        _ => "no".to_owned(),
    }
}

/// Colour of a status.
pub(super) fn status_tone(text: &str) -> Tone {
    match text {
        "enabled" => Tone::Good,
        "disabled" => Tone::Bad,
        _ => Tone::Plain,
    }
}

/// Colour of a connection state.
pub(super) fn connection_tone(text: &str) -> Tone {
    match text {
        "Connected" => Tone::Good,
        _ => Tone::Dim,
    }
}
