//! A hub as a child process: start it, wait until it is ready, end it kindly or not.
//!
//! Used by the demo, the benchmarks and the kill test, which treat the hub as anybody else would: through its
//! flags, its files and its ports.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use fanfare_client::{ClientOptions, Credential, HealthProbe, HubClient, Trust};
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process, setrlimit};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// Pause between two looks at a hub that is starting.
const READY_PAUSE: Duration = Duration::from_millis(20);
/// A drained hub is gone within 10 s of SIGTERM; this is when we stop believing it.
const TERMINATE_WITHIN: Duration = Duration::from_secs(15);

/// How to run a hub.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// The `fanfare` program.
    pub program: PathBuf,
    /// The hub's data folder; made by the hub.
    pub data_dir: PathBuf,
    /// Where its output goes, appended.
    pub log_file: PathBuf,
    /// Address to listen on.
    pub bind: IpAddr,
    /// Host name its certificate and tokens carry.
    pub host_name: String,
    /// HTTPS port.
    pub https_port: u16,
    /// MQTT port with TLS.
    pub mqtts_port: u16,
    /// MQTT port without TLS, where wanted.
    pub mqtt_plain_port: Option<u16>,
}

impl HubOptions {
    /// `https://HOST:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("https://{}:{}", self.host_name, self.https_port)
    }

    /// What a client needs to trust this hub.
    ///
    /// # Errors
    /// When the CA file cannot be read.
    pub fn client_options(&self) -> anyhow::Result<ClientOptions> {
        let trust = Trust::Only(self.ca_pem()?);
        Ok(ClientOptions {
            trust,
            port: Some(self.https_port),
            ..ClientOptions::default()
        })
    }

    /// The certificate of the hub's CA, PEM.
    ///
    /// # Errors
    /// When the file cannot be read, for example because the hub never started.
    pub fn ca_pem(&self) -> anyhow::Result<Vec<u8>> {
        let path = self.data_dir.join("ca.pem");
        std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Address of the plain MQTT port.
    ///
    /// # Errors
    /// When the hub has none.
    pub fn mqtt_plain(&self) -> anyhow::Result<SocketAddr> {
        let port = self
            .mqtt_plain_port
            .context("the hub has no plain MQTT port")?;
        Ok(SocketAddr::new(self.bind, port))
    }

    /// Asks `fanfare connection-string` for the connection string of a policy.
    ///
    /// # Errors
    /// When the program cannot be run or refuses.
    pub async fn connection_string(&self, policy: &str) -> anyhow::Result<String> {
        let output = Command::new(&self.program)
            .args(["connection-string", "--policy", policy, "--data-dir"])
            .arg(&self.data_dir)
            .output()
            .await
            .context("cannot run fanfare connection-string")?;
        ensure!(
            output.status.success(),
            "fanfare connection-string: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// A client of this hub with the rights of `policy`.
    ///
    /// # Errors
    /// As [`Self::connection_string`], or when the CA file cannot be read.
    pub async fn client(&self, policy: &str) -> anyhow::Result<HubClient> {
        let text = self.connection_string(policy).await?;
        let credential = Credential::from_connection_string(&text)?;
        Ok(HubClient::new(
            &self.endpoint(),
            credential,
            self.client_options()?,
        )?)
    }
}

/// A hub that runs as our child. Dropping it kills it.
#[derive(Debug)]
pub struct HubProcess {
    child: Child,
    options: HubOptions,
}

impl HubProcess {
    /// Starts a hub; it is not ready yet.
    ///
    /// # Errors
    /// When the program cannot be run or the log file cannot be opened.
    pub fn spawn(options: HubOptions) -> anyhow::Result<Self> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&options.log_file)?;
        let mut command = Command::new(&options.program);
        // The hub reads these as settings and refuses what it does not know; it gets its own below.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FANFARE_") {
                command.env_remove(name);
            }
        }
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(&options.data_dir)
            .args([
                "--bind",
                &options.bind.to_string(),
                "--host-name",
                &options.host_name,
            ])
            .args(["--https-port", &options.https_port.to_string()])
            .args(["--mqtts-port", &options.mqtts_port.to_string()]);
        if let Some(port) = options.mqtt_plain_port {
            command.args(["--mqtt-plain-port", &port.to_string()]);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own: Ctrl-C in the terminal is ours to pass on.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", options.program.display()))?;
        Ok(Self { child, options })
    }

    /// Starts a hub and waits until it is ready.
    ///
    /// # Errors
    /// As [`Self::spawn`] and [`Self::wait_ready`].
    pub async fn start(options: HubOptions, within: Duration) -> anyhow::Result<Self> {
        let mut hub = Self::spawn(options)?;
        hub.wait_ready(within).await?;
        Ok(hub)
    }

    /// Waits until `GET /health/ready` answers 200.
    ///
    /// # Errors
    /// When the hub ends before it is ready, or is not ready in time; the end of its log is in the error.
    pub async fn wait_ready(&mut self, within: Duration) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut probe = None;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "the hub ended with {status}:\n{}",
                    log_tail(&self.options.log_file)
                );
            }
            if probe.is_none() {
                // The CA appears early, but not before the process.
                probe = self
                    .options
                    .client_options()
                    .and_then(|options| Ok(HealthProbe::new(&self.options.endpoint(), options)?))
                    .ok();
            }
            if let Some(probe) = &probe
                && probe.is_ready().await
            {
                return Ok(());
            }
            if started.elapsed() > within {
                bail!(
                    "the hub is not ready after {within:?}:\n{}",
                    log_tail(&self.options.log_file)
                );
            }
            sleep(READY_PAUSE).await;
        }
    }

    /// How it was started.
    #[must_use]
    pub fn options(&self) -> &HubOptions {
        &self.options
    }

    /// Process id; `None` once it ended.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until the hub ends by itself.
    ///
    /// # Errors
    /// When the system cannot say.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        Ok(self.child.wait().await?)
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// SIGTERM, then waits for the drained hub to end.
    ///
    /// # Errors
    /// When the hub does not end in time (it is killed then).
    pub async fn terminate(mut self) -> anyhow::Result<ExitStatus> {
        let pid = self
            .pid()
            .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM).context("cannot send SIGTERM to the hub")?;
        }
        match timeout(TERMINATE_WITHIN, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => {
                self.child.kill().await?;
                bail!("the hub did not end within {TERMINATE_WITHIN:?} of SIGTERM and was killed")
            }
        }
    }
}

/// A port for a listener of the hub, and why it is not the standard one.
#[derive(Debug, Clone)]
pub struct PortChoice {
    /// The port.
    pub port: u16,
    /// "443 is taken" or "443 is not permitted", when `port` is another.
    pub reason: Option<String>,
}

/// Takes `standard` on `bind` if it can be had, any free port otherwise.
///
/// # Errors
/// When the address has no free port at all.
pub fn choose_port(bind: IpAddr, standard: u16) -> anyhow::Result<PortChoice> {
    let refused = match TcpListener::bind((bind, standard)) {
        Ok(_) => {
            return Ok(PortChoice {
                port: standard,
                reason: None,
            });
        }
        Err(error) => error,
    };
    let why = match refused.kind() {
        std::io::ErrorKind::AddrInUse => "is taken".to_owned(),
        std::io::ErrorKind::PermissionDenied => "is not permitted to this user".to_owned(),
        _ => format!("cannot be had ({refused})"),
    };
    let port = free_port(bind)?;
    Ok(PortChoice {
        port,
        reason: Some(format!("port {standard} {why}, using {port}")),
    })
}

/// Lets this process have as many files open as its system allows; each connection is one.
///
/// # Errors
/// When the system refuses.
pub fn raise_open_files() -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot have more files open")
}

/// A port that is free now.
///
/// # Errors
/// When the address cannot be listened on.
pub fn free_port(bind: IpAddr) -> anyhow::Result<u16> {
    let listener =
        TcpListener::bind((bind, 0)).with_context(|| format!("cannot listen on {bind}"))?;
    Ok(listener.local_addr()?.port())
}

/// The last lines of a hub's output.
fn log_tail(path: &Path) -> String {
    const LINES: usize = 20;
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
