//! A hub with its operator's certificate hears SIGHUP, and one without lives on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use fanfare_cli::hub_process::free_port;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustix::process::{Pid, Signal, kill_process};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStderr, Command},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 121));
/// Nothing here takes this long; a test that hangs says so.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_hangup_brings_the_new_certificate_and_cuts_nobody() {
    let scratch = tempfile::tempdir().unwrap();
    let first = write(scratch.path());
    let files = ["hub.pem", "hub-key.pem"].map(|name| path_of(&scratch, name));
    let mut hub = Hub::start(
        &scratch,
        &[
            "--tls-certificate-file",
            &files[0],
            "--tls-key-file",
            &files[1],
        ],
    )
    .await;
    let before = hub.connect(&first).await.unwrap();

    let second = write(scratch.path());
    hub.hang_up();
    hub.says("new connections get a new certificate").await;
    assert!(hub.connect(&first).await.is_err(), "the first one is gone");
    hub.answers(hub.connect(&second).await.unwrap()).await;
    hub.answers(before).await;

    fs::write(&files[1], "nothing").unwrap();
    hub.hang_up();
    hub.says("another one cannot be used").await;
    hub.answers(hub.connect(&second).await.unwrap()).await;
    hub.stop().await;
}

#[tokio::test]
async fn a_hangup_does_not_end_a_hub_that_has_nothing_to_read_again() {
    let scratch = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(&scratch, &[]).await;
    hub.hang_up();
    hub.says("is the one in use").await;
    hub.stop().await;
}

fn path_of(scratch: &TempDir, name: &str) -> String {
    scratch.path().join(name).to_str().unwrap().to_owned()
}

/// Writes a new certificate and its key; returns the certificate.
fn write(folder: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([ADDRESS.to_string()]).unwrap();
    fs::write(folder.join("hub.pem"), cert.pem()).unwrap();
    let key = folder.join("hub-key.pem");
    fs::write(&key, signing_key.serialize_pem()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    cert.der().clone()
}

/// A hub as a child process, whose log is read.
struct Hub {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    https: SocketAddr,
}

impl Hub {
    async fn start(scratch: &TempDir, settings: &[&str]) -> Self {
        let (https, mqtts) = (free_port(ADDRESS).unwrap(), free_port(ADDRESS).unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FANFARE_") {
                command.env_remove(name);
            }
        }
        let address = ADDRESS.to_string();
        let mut child = command
            .args(["serve", "--data-dir", &path_of(scratch, "data")])
            .args(["--bind", &address, "--host-name", &address])
            .args(["--https-port", &https.to_string()])
            .args(["--mqtts-port", &mqtts.to_string()])
            .args(settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = lines(child.stderr.take().unwrap());
        let mut hub = Self {
            child,
            log,
            https: SocketAddr::new(ADDRESS, https),
        };
        hub.says("the hub is ready").await;
        hub
    }

    /// Reads the log up to a line with this.
    async fn says(&mut self, text: &str) {
        let mut said = Vec::new();
        let wait = async {
            while let Some(line) = self.log.next_line().await.unwrap() {
                if line.contains(text) {
                    return true;
                }
                said.push(line);
            }
            false
        };
        let is_said = timeout(PATIENCE, wait).await;
        assert_eq!(is_said, Ok(true), "no {text:?} in {said:#?}");
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// A client that trusts this certificate alone.
    async fn connect(&self, trusted: &CertificateDer<'static>) -> std::io::Result<Connection> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.https).await?;
        let name = ServerName::from(ADDRESS);
        let connecting = TlsConnector::from(Arc::new(tls)).connect(name, stream);
        timeout(PATIENCE, connecting).await.unwrap()
    }

    /// Whether a request over this connection is answered.
    async fn answers(&self, connection: Connection) {
        use tokio::io::AsyncWriteExt as _;
        let mut connection = connection;
        let request = format!("GET /health/ready HTTP/1.1\r\nhost: {ADDRESS}\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = lines(connection);
        let first = timeout(PATIENCE, answer.next_line()).await.unwrap();
        assert_eq!(first.unwrap().unwrap(), "HTTP/1.1 200 OK");
    }

    async fn stop(mut self) {
        self.signal(Signal::TERM);
        let ended = timeout(PATIENCE, self.child.wait()).await.unwrap();
        assert!(ended.unwrap().success());
    }
}

type Connection = TlsStream<TcpStream>;

fn lines<R: AsyncRead + Unpin>(reader: R) -> Lines<BufReader<R>> {
    BufReader::new(reader).lines()
}
