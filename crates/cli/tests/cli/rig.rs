//! A hub, simulated devices, and `fanfare` run beside them as a person would run it.
//!
//! What differs from run to run (ports, ids, times, folders) is replaced by a word in brackets before a
//! snapshot is compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use fanfare_cli::fleet::{Behaviour, DeviceSpec, Fleet, FleetOptions, FleetTarget, new_key};
use fanfare_cli::hub_process::{HubOptions, HubProcess, free_port};
use fanfare_client::{BulkItem, HubClient};
use serde_json::Value;
use snapbox::{Assert, Data, Redactions};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// Nothing here takes this long; a test that hangs says so.
const PATIENCE: Duration = Duration::from_secs(60);

/// A hub, its devices, and a home folder for whoever uses the command line.
pub(crate) struct Scene {
    hub: Option<HubProcess>,
    options: HubOptions,
    fleet: Option<Fleet>,
    runtime: Runtime,
    connection_string: String,
    scratch: TempDir,
}

impl Scene {
    /// Starts a hub on `address`, free ports.
    pub(crate) fn start(address: &str) -> Self {
        let scratch = tempfile::Builder::new()
            .prefix("fanfare-cli-")
            .tempdir()
            .unwrap();
        let bind: IpAddr = address.parse().unwrap();
        let options = HubOptions {
            program: program(),
            data_dir: scratch.path().join("data"),
            log_file: scratch.path().join("serve.log"),
            bind,
            host_name: bind.to_string(),
            https_port: free_port(bind).unwrap(),
            mqtts_port: free_port(bind).unwrap(),
            mqtt_plain_port: Some(free_port(bind).unwrap()),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (hub, connection_string) = runtime.block_on(async {
            let hub = HubProcess::start(options.clone(), PATIENCE).await.unwrap();
            let text = hub.options().connection_string("iothubowner").await;
            (hub, text.unwrap())
        });
        Self {
            hub: Some(hub),
            options,
            fleet: None,
            runtime,
            connection_string,
            scratch,
        }
    }

    /// A folder that is gone after the test; commands run in it.
    pub(crate) fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// How the hub runs.
    pub(crate) fn options(&self) -> &HubOptions {
        &self.options
    }

    /// The host of connection strings, with its port.
    pub(crate) fn host(&self) -> String {
        format!("{}:{}", self.options.host_name, self.options.https_port)
    }

    /// The connection string of `iothubowner`.
    pub(crate) fn connection_string(&self) -> &str {
        &self.connection_string
    }

    /// A client of the hub with every right.
    pub(crate) fn client(&self) -> HubClient {
        self.runtime
            .block_on(self.options.client("iothubowner"))
            .unwrap()
    }

    /// Runs a future of the client's.
    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime
            .block_on(timeout_of(future))
            .expect("it ends in time")
    }

    /// Registers devices with their tags and connects those that are meant to be online.
    pub(crate) fn devices<'a>(
        &mut self,
        devices: impl IntoIterator<Item = (&'a str, Value, Behaviour)>,
    ) {
        let address = self.options.mqtt_plain().unwrap();
        let _inside = self.runtime.enter();
        let target = FleetTarget::plain(&*self.options.host_name, address);
        let mut fleet = Fleet::new(target, FleetOptions::default());
        let mut new = Vec::new();
        for (id, tags, behaviour) in devices {
            let (id, key) = (id.to_owned(), new_key());
            let spec = DeviceSpec { id, key, behaviour };
            new.push(BulkItem::from(spec.identity()).tags(tags));
            fleet.add(spec);
        }
        let online = fleet.specs().filter(|spec| spec.connects()).count();
        let registry = self.client().registry();
        let outcome = self.wait(registry.bulk(&new)).unwrap();
        assert!(outcome.is_all_done(), "{outcome:?}");
        fleet.start_all();
        self.wait(fleet.wait_online(online));
        self.fleet = Some(fleet);
    }

    /// `kill -9` of the hub; [`Self::start_again`] brings it back on the same ports.
    pub(crate) fn kill_hub(&mut self) {
        let hub = self.hub.take().expect("the hub runs");
        self.runtime.block_on(hub.kill()).unwrap();
    }

    /// Starts the hub again after [`Self::kill_hub`].
    pub(crate) fn start_again(&mut self) {
        let hub = self
            .runtime
            .block_on(HubProcess::start(self.options.clone(), PATIENCE));
        self.hub = Some(hub.unwrap());
    }

    /// `fanfare ARGUMENTS` with the hub's connection string and CA in the environment.
    pub(crate) fn fanfare(&self, arguments: &[&str]) -> Ran {
        self.fanfare_with(arguments, "", &[])
    }

    /// As [`Self::fanfare`], with something on standard input and more environment variables; an empty value
    /// removes the variable.
    pub(crate) fn fanfare_with(
        &self,
        arguments: &[&str],
        input: &str,
        environment: &[(&str, &str)],
    ) -> Ran {
        let mut child = self
            .command(arguments, environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().expect("it is piped");
        // A command that does not read its input may be gone already.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        Ran {
            line: command_line(arguments),
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            redactions: self.redactions(),
        }
    }

    /// The command that [`Self::fanfare_with`] runs, for tests that need it while it runs.
    pub(crate) fn command(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new(program());
        command
            .args(arguments)
            .current_dir(self.folder())
            .env_clear();
        for (name, value) in self.environment(environment) {
            command.env(name, value);
        }
        command
    }

    /// The environment of a person at a terminal with this hub chosen.
    pub(crate) fn environment(&self, more: &[(&str, &str)]) -> BTreeMap<String, String> {
        let ca = self.options.data_dir.join("ca.pem");
        let mut all = BTreeMap::from(
            [
                ("PATH", search_path()),
                ("HOME", self.folder().display().to_string()),
                ("TZ", "UTC".to_owned()),
                ("LANG", "C.UTF-8".to_owned()),
                ("SSL_CERT_FILE", ca.display().to_string()),
                ("IOTHUB_CONNECTION_STRING", self.connection_string.clone()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        for (name, value) in more {
            if value.is_empty() {
                all.remove(*name);
            } else {
                all.insert((*name).to_owned(), (*value).to_owned());
            }
        }
        all
    }

    /// Compares what is on a terminal with `snapshots/NAME.txt`; times that pass are replaced as well.
    #[track_caller]
    pub(crate) fn snapshot_screen(&self, name: &str, screen: &str) {
        let mut redactions = self.redactions();
        let passing = r"\bin (?<redacted>([0-9]+m )?[0-9]+(\.[0-9]+)?s)";
        redactions
            .insert("[TOOK]", regex::Regex::new(passing).unwrap())
            .unwrap();
        compare(name, format!("{screen}\n"), redactions);
    }

    /// What is different in every run.
    fn redactions(&self) -> Redactions {
        let mut redactions = Redactions::new();
        let host = &self.options.host_name;
        redactions
            .extend([
                ("[FOLDER]", self.folder().display().to_string()),
                ("[HUB]", format!("{host}:{}", self.options.https_port)),
                ("[MQTT]", format!("{host}:{}", self.options.mqtts_port)),
            ])
            .unwrap();
        for (word, pattern) in PATTERNS {
            redactions
                .insert(word, regex::Regex::new(pattern).unwrap())
                .unwrap();
        }
        redactions
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let (fleet, hub) = (self.fleet.take(), self.hub.take());
        self.runtime.block_on(async {
            if let Some(mut fleet) = fleet {
                fleet.stop_all().await;
            }
            if let Some(hub) = hub {
                // A test that failed should show its own failure, not this one.
                let _ = hub.terminate().await;
            }
        });
    }
}

async fn timeout_of<T>(future: impl Future<Output = T>) -> Result<T, tokio::time::error::Elapsed> {
    timeout(PATIENCE, future).await
}

/// Words for what differs from run to run, and what it looks like; the group is what is replaced.
const PATTERNS: [(&str, &str); 7] = [
    (
        "[TRACKING]",
        r"(?<redacted>[0-9a-f]{32}-G:[0-9]-TimeStamp:[0-9/]+ [0-9:]+)",
    ),
    (
        "[UUID]",
        r"(?<redacted>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})",
    ),
    (
        "[TIME]",
        r"(?<redacted>20[0-9]{2}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-5][0-9](:[0-5][0-9](\.[0-9]+)?)?(Z|[+-][0-9:]{5})?)",
    ),
    ("[THUMBPRINT_LONG]", r"\b(?<redacted>[0-9A-F]{64})\b"),
    ("[THUMBPRINT]", r"\b(?<redacted>[0-9A-F]{40})\b"),
    ("[KEY]", r"(?<redacted>[A-Za-z0-9+/]{43}=)"),
    ("[MS]", r"(?<redacted>[0-9]+(\.[0-9]+)?) ?(ms|µs)\b"),
];

/// One command that has run.
#[derive(Debug, Clone)]
pub(crate) struct Ran {
    line: String,
    /// Exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    redactions: Redactions,
}

impl Ran {
    /// Compares the command, its exit code and all it printed with `snapshots/NAME.txt`.
    #[track_caller]
    pub(crate) fn snapshot(&self, name: &str) -> &Self {
        let mut text = format!("$ {}\n", self.line);
        let code = self
            .code
            .map_or_else(|| "signal".to_owned(), |code| code.to_string());
        writeln!(text, "exit {code}").unwrap();
        for (stream, said) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !said.is_empty() {
                writeln!(text, "--- {stream}\n{}", said.trim_end_matches('\n')).unwrap();
            }
        }
        compare(name, text, self.redactions.clone());
        self
    }

    /// Fails with everything printed unless the exit code is `code`.
    #[track_caller]
    pub(crate) fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

#[track_caller]
fn compare(name: &str, text: String, redactions: Redactions) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cli/snapshots")
        .join(format!("{name}.txt"));
    Assert::new()
        .action_env("SNAPSHOTS")
        .normalize_paths(false)
        .redact_with(redactions)
        .eq(text, Data::read_from(&file, None));
}

/// The command as it would be typed.
fn command_line(arguments: &[&str]) -> String {
    let is_plain = |argument: &str| {
        !argument.is_empty()
            && argument
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_./:=@+,".contains(c))
    };
    let mut line = "fanfare".to_owned();
    for argument in arguments {
        if is_plain(argument) {
            write!(line, " {argument}").unwrap();
        } else {
            write!(line, " '{}'", argument.replace('\'', r"'\''")).unwrap();
        }
    }
    line
}

fn search_path() -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    path.to_string_lossy().into_owned()
}

fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_fanfare"))
}
