//! Puts a node together: the one place that names a concrete adapter, and the owner of every task.
//!
//! A start either takes everything it needs (folder, ports, certificates, store) before anything is
//! announced, or says in one error what is missing. A stop goes the other way round: nothing new is taken,
//! the job engine awaits its answers while devices stay connected, then connections end.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use fanfare_auth::{
    bearer::{Bearer, IssuerLoops, TokenStartError},
    certificate::AnyCertificate,
};
use fanfare_blobs::{BlobPlaces, BlobSettings, S3Settings};
use fanfare_hub::{
    Engine, Hub,
    access::Policy,
    ids::{IdentityId, Term},
    limits,
    ports::{Clock, Entropy, StoreError},
    registry::Identity,
    transfers::{TransferParts, Transfers, runner::TransferRunner},
};
use fanfare_store::{
    Embedded,
    embedded::{Converted, KeyProgress, OpenError, StoreCopy},
};
use rustls::server::NoClientAuth;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    audit::{AuditFileError, AuditLog},
    auth::Access,
    backup::Progress,
    clock::SystemClock,
    config::Config,
    connection_string::host_with_port,
    core_dumps,
    data_dir::{DataDir, DataDirError, HubFile, store_file},
    device_ca,
    entropy::SystemEntropy,
    gate::Gate,
    listen::{ListenError, listen},
    mqtt::{self, Gateway},
    open_files,
    rest::{self, Rest},
    shutdown::{CONNECTIONS_WITHIN, ENGINE_WITHIN},
    throttle::Throttle,
    tls::{DeviceCa, Keeper, Reloaded, Reloader, Tls, TlsError, certificate_names},
    vault::{self, VaultError},
};

/// A running node.
pub struct Node {
    hub: Arc<Hub>,
    rest: Arc<Rest>,
    audit: Arc<AuditLog>,
    addresses: Addresses,
    host: HubFile,
    folder: DataDir,
    reloader: Reloader,
    engine: Tasks,
    https: Tasks,
    mqtt: Tasks,
}

/// Where a node listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// The service API.
    pub https: Vec<SocketAddr>,
    /// MQTT over TLS.
    pub mqtts: Vec<SocketAddr>,
    /// MQTT without TLS.
    pub mqtt_plain: Vec<SocketAddr>,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A port.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The keys that are encrypted.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The authorities of devices' certificates.
    #[error(transparent)]
    DeviceCa(#[from] device_ca::DeviceCaError),
    /// The issuers of bearer tokens.
    #[error(transparent)]
    Tokens(#[from] TokenStartError),
    /// The store's file.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store's content.
    #[error("the store cannot be read")]
    Store(#[from] StoreError),
    /// The audit log, which is required.
    #[error(transparent)]
    Audit(#[from] AuditFileError),
    /// The client of blob endpoints.
    #[error(transparent)]
    Blobs(#[from] fanfare_blobs::ClientError),
    /// The network.
    #[error("the network cannot be used")]
    Network(#[source] std::io::Error),
}

/// A part of the node ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
#[error("a part of the hub ended unexpectedly; what was acknowledged is safe, start it again")]
pub struct Broken;

impl Node {
    /// Starts a node; it serves when this returns.
    ///
    /// # Errors
    /// Whatever it needs and cannot have. Nothing runs then.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        Self::start_at(config, Arc::new(SystemClock)).await
    }

    /// The same with another clock: for tests that move time. Peers' patience is measured by the system's all the
    /// same.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_at(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let folder = DataDir::lock(&config.data_dir)?;
        core_dumps::forbid();
        let vault = vault::unlock(&folder, config.key_source.as_ref())?;
        let listeners = Listeners::take(config).await?;
        let addresses = listeners.addresses().map_err(StartError::Network)?;
        let names = certificate_names(&config.host_names, &config.bind);
        let tls = Tls::start(config, folder.path(), &vault, clock.now())?;
        let store = Arc::new(Embedded::open_with(&store_file(folder.path()), vault)?);
        let audit = AuditLog::open(folder.path(), &config.audit, clock.clone())?;
        let (hub, engine) = Hub::with_profile(
            store.clone(),
            clock,
            Arc::new(SystemEntropy),
            config.job_history,
            config.profile.clone(),
        );
        let throttle = Throttle::of(&hub.profile);
        hub.policies.load().await?;
        let device_ca = DeviceCa {
            in_use: device_ca::read(&config.device_ca_files)?,
            files: config.device_ca_files.clone(),
        };
        hub.authorities.load(device_ca.in_use.clone()).await?;
        let (keeper, reloader) = tls.keeper(store.vault().clone(), &hub, device_ca);
        let access = Access::new(names, hub.policies.clone())
            .with_local(config.local_auth)
            .with_authorities(hub.authorities.clone());
        let (access, issuers) = with_issuers(access, config, &hub)?;
        let access = Arc::new(access);
        let (transfers, runner) = transfers(config, folder.path(), &hub, &store)?;
        let rest = Rest::new(
            hub.clone(),
            transfers,
            access.clone(),
            throttle.clone(),
            store.clone(),
            tls.current().clone(),
            audit.clone(),
        );
        let gate = Gate::new(&config.gate.clone().within(open_files::raise()));
        let gateway = Gateway::new(hub.clone(), access).behind(gate.clone());
        let gateway = Arc::new(gateway.throttled(throttle));

        let host = hub_file(config, &addresses).map_err(StartError::Network)?;
        folder.put_hub_file(&host)?;
        let node = Self {
            engine: Tasks::engine(engine, runner, issuers, &audit, keeper),
            https: Tasks::https(listeners.https, &tls, &rest, &gate)?,
            mqtt: Tasks::mqtt(listeners.mqtts, listeners.mqtt_plain, &tls, &gateway)?,
            reloader,
            hub,
            rest,
            audit,
            addresses,
            host,
            folder,
        };
        node.audit.started(&config.given).await;
        node.rest.set_ready(true);
        tracing::info!(host.name = %node.host_name(), "the hub is ready");
        Ok(node)
    }

    /// The hub's services.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What a connection string calls it: the first host name, with the port unless it is 443.
    pub fn host_name(&self) -> String {
        host_with_port(&self.host)
    }

    /// The private CA's certificate, which clients must trust unless the hub has a certificate of the operator's.
    pub fn ca_pem(&self) -> PathBuf {
        self.folder.ca_pem()
    }

    /// The PEM file of the authority that clients must trust; nothing when their system's own do.
    pub fn trusted_ca(&self) -> Option<PathBuf> {
        self.host.trusted_ca(self.folder.path())
    }

    /// Reads certificate and authorities anew from the operator's files; nothing when the node has stopped.
    pub async fn reload(&self) -> Option<Reloaded> {
        self.reloader.reload().await
    }

    /// What asks for the same when the node is not at hand.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// A policy with its keys, as it is now.
    pub fn policy(&self, name: &str) -> Option<Policy> {
        let policies = self.hub.policies.snapshot();
        policies
            .iter()
            .find(|policy| &*policy.name == name)
            .cloned()
    }

    /// Runs until `requested` ends, or a part of the node does; then stops.
    ///
    /// # Errors
    /// A part ended by itself.
    pub async fn run(mut self, requested: impl Future<Output = ()>) -> Result<(), Broken> {
        let is_broken = tokio::select! {
            biased;
            () = requested => false,
            () = self.engine.any_ended() => true,
            () = self.https.any_ended() => true,
            () = self.mqtt.any_ended() => true,
        };
        self.stop().await;
        if is_broken { Err(Broken) } else { Ok(()) }
    }

    /// Stops within 10 s: dispatch at once, answers are awaited, all is committed.
    pub async fn stop(self) {
        tracing::info!("the hub is stopping");
        self.rest.stop();
        self.https.stop();
        self.hub.methods.close();
        self.engine.stop();
        // Devices stay connected meanwhile: their answers are what is awaited.
        self.engine
            .ended_within(ENGINE_WITHIN, "the job engine")
            .await;
        self.mqtt.stop();
        self.https
            .ended_within(CONNECTIONS_WITHIN, "the service API")
            .await;
        self.mqtt
            .ended_within(CONNECTIONS_WITHIN, "the MQTT gateway")
            .await;
        self.audit.stopped().await;
        tracing::info!("the hub has stopped");
    }
}

/// Why a store's file was not copied, or a copy not taken over.
pub use fanfare_store::embedded::CopyError;

/// Copies the store of a data folder, whether a node runs on it or not.
pub(crate) fn copy_store(
    data_dir: &Path,
    to: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<StoreCopy, CopyError> {
    Embedded::copy(&store_file(data_dir), to, &mut |copied| {
        progress(Progress {
            done: copied.done,
            total: copied.total,
        });
    })
}

/// Makes a copied store fit for a node, with a term of at least `floor`. Returns the term before and after.
pub(crate) fn adopt_store(path: &Path, floor: Term) -> Result<(Term, Term), CopyError> {
    Embedded::adopt_copy(path, floor)
}

/// The policies in a store's file, whether a node runs on it or not.
pub(crate) fn stored_policies(data_dir: &Path, vault: &Vault) -> Result<Vec<Policy>, StoreError> {
    Embedded::peek_policies(&store_file(data_dir), vault)
}

/// One identity in a store's file, whether a node runs on it or not.
pub(crate) fn stored_identity(
    data_dir: &Path,
    vault: &Vault,
    id: &IdentityId,
) -> Result<Option<Identity>, StoreError> {
    Embedded::peek_identity(&store_file(data_dir), vault, id)
}

pub(crate) use fanfare_store::{
    embedded::KeyStanding,
    vault::{KEY_BYTES, MasterKey, Vault},
};
/// What a store says of its keys, and what encrypts them.
pub use fanfare_store::{
    embedded::{KeyState, KeysError},
    vault::KeyKind,
};

/// What the store of a data folder or a backup says of its keys.
pub(crate) fn key_standing(folder: &Path) -> Result<Option<KeyStanding>, KeysError> {
    Embedded::key_standing(&store_file(folder))
}

/// What opens the keys in the store of a data folder or a backup. Changes nothing.
pub(crate) fn peek_vault(folder: &Path, key: Option<&MasterKey>) -> Result<Vault, KeysError> {
    Embedded::peek_vault(&store_file(folder), key)
}

/// Encrypts the keys in the store of a data folder, which may be new, and gives what opens them.
pub(crate) fn encrypt_keys(
    data_dir: &Path,
    key: &MasterKey,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Vault, Converted), KeysError> {
    let mut progress = |at: KeyProgress| progress(at.done, at.total);
    Embedded::encrypt_keys(&store_file(data_dir), key, &mut progress)
}

/// Decrypts the keys in the store of a data folder.
pub(crate) fn decrypt_keys(
    data_dir: &Path,
    key: &MasterKey,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Converted, KeysError> {
    let mut progress = |at: KeyProgress| progress(at.done, at.total);
    Embedded::decrypt_keys(&store_file(data_dir), key, &mut progress)
}

/// Puts the data key of a data folder's store under another master key.
pub(crate) fn change_master_key(
    data_dir: &Path,
    key: &MasterKey,
    new: &MasterKey,
) -> Result<KeyStanding, KeysError> {
    Embedded::change_master_key(&store_file(data_dir), key, new)
}

/// Import and export jobs over the places that the configuration allows.
fn transfers(
    config: &Config,
    data_dir: &Path,
    hub: &Arc<Hub>,
    store: &Arc<Embedded>,
) -> Result<(Arc<Transfers>, TransferRunner), StartError> {
    let s3 = config.blobs.s3.as_ref().map(|s3| S3Settings {
        endpoint: s3.endpoint.clone(),
        region: s3.region.clone(),
        access_key_id: s3.access_key_id.clone(),
        secret_access_key: s3.secret_access_key.expose().to_owned(),
        session_token: s3
            .session_token
            .as_ref()
            .map(|token| token.expose().to_owned()),
    });
    let blobs = BlobPlaces::new(BlobSettings {
        folder: std::path::absolute(data_dir.join("blobs")).map_err(StartError::Network)?,
        plain_hosts: config.blobs.plain_hosts.clone(),
        s3,
    })?;
    Ok(Transfers::new(TransferParts {
        hub: hub.clone(),
        store: store.clone(),
        entropy: Arc::new(SystemEntropy),
        blobs: Arc::new(blobs),
        lines: Arc::new(rest::Lines),
        history: config.job_history,
        active_max: limits::TRANSFERS_AT_ONCE,
    }))
}

/// Whose bearer tokens count, if anybody's, and what fetches their keys. The start does not wait for an issuer.
fn with_issuers(
    access: Access,
    config: &Config,
    hub: &Hub,
) -> Result<(Access, Option<IssuerLoops>), TokenStartError> {
    if config.tokens.issuers.is_empty() {
        return Ok((access, None));
    }
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let (bearer, loops) = Bearer::start(config.tokens.clone(), &hub.clock, &entropy)?;
    Ok((access.with_issuers(bearer), Some(loops)))
}

/// What commands beside the node must know of it.
fn hub_file(config: &Config, addresses: &Addresses) -> std::io::Result<HubFile> {
    let files = config.tls.files.as_ref();
    let certificate_file = files.map(|files| std::path::absolute(&files.certificate));
    Ok(HubFile {
        host_name: config.host_names.first().cloned().unwrap_or_default(),
        https_port: addresses
            .https
            .first()
            .map_or(config.https_port, SocketAddr::port),
        certificate_file: certificate_file.transpose()?,
    })
}

/// Every port of the node, taken.
struct Listeners {
    https: Vec<TcpListener>,
    mqtts: Vec<TcpListener>,
    mqtt_plain: Vec<TcpListener>,
}

impl Listeners {
    async fn take(config: &Config) -> Result<Self, ListenError> {
        let bind: &[IpAddr] = &config.bind;
        let mqtt_plain = match config.mqtt_plain_port {
            Some(port) => listen(bind, port, "MQTT without TLS", "--mqtt-plain-port").await?,
            None => Vec::new(),
        };
        Ok(Self {
            https: listen(bind, config.https_port, "HTTPS", "--https-port").await?,
            mqtts: listen(bind, config.mqtts_port, "MQTT over TLS", "--mqtts-port").await?,
            mqtt_plain,
        })
    }

    fn addresses(&self) -> std::io::Result<Addresses> {
        let of = |listeners: &[TcpListener]| -> std::io::Result<Vec<_>> {
            listeners.iter().map(TcpListener::local_addr).collect()
        };
        Ok(Addresses {
            https: of(&self.https)?,
            mqtts: of(&self.mqtts)?,
            mqtt_plain: of(&self.mqtt_plain)?,
        })
    }
}

/// Tasks that are told to stop together, and awaited.
struct Tasks {
    set: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Tasks {
    fn none() -> Self {
        Self {
            set: JoinSet::new(),
            stop: watch::Sender::new(false),
        }
    }

    fn engine(
        engine: Engine,
        transfers: TransferRunner,
        issuers: Option<IssuerLoops>,
        audit: &Arc<AuditLog>,
        certificate: Keeper,
    ) -> Self {
        let mut tasks = Self::none();
        let stop = || tasks.stop.subscribe();
        let (scheduler, upkeep) = (engine.scheduler.run(stop()), engine.upkeep.run(stop()));
        tasks.set.spawn(scheduler);
        tasks.set.spawn(upkeep);
        tasks.set.spawn(transfers.run(stop()));
        tasks.set.spawn(engine.reconciler.run(stop()));
        tasks.set.spawn(audit.clone().keep(stop()));
        tasks.set.spawn(certificate.run(stop()));
        if let Some(issuers) = issuers {
            tasks.set.spawn(issuers.run(stop()));
        }
        tasks
    }

    fn https(
        listeners: Vec<TcpListener>,
        tls: &Tls,
        rest: &Arc<Rest>,
        gate: &Arc<Gate>,
    ) -> Result<Self, TlsError> {
        let mut tasks = Self::none();
        let tls = tls.server_config(&[b"h2", b"http/1.1"], Arc::new(NoClientAuth))?;
        let router = rest::router(rest.clone());
        for listener in listeners {
            let stop = tasks.stop.subscribe();
            let (tls, router, gate) = (tls.clone(), router.clone(), gate.clone());
            tasks
                .set
                .spawn(rest::serve(listener, tls, router, gate, stop));
        }
        Ok(tasks)
    }

    fn mqtt(
        encrypted: Vec<TcpListener>,
        plain: Vec<TcpListener>,
        tls: &Tls,
        gateway: &Arc<Gateway>,
    ) -> Result<Self, TlsError> {
        let mut tasks = Self::none();
        let tls = tls.server_config(&[], Arc::new(AnyCertificate::new()))?;
        let encrypted = encrypted
            .into_iter()
            .map(|listener| (listener, Some(tls.clone())));
        let plain = plain.into_iter().map(|listener| (listener, None));
        for (listener, tls) in encrypted.chain(plain) {
            let stop = tasks.stop.subscribe();
            tasks
                .set
                .spawn(mqtt::serve(listener, tls, gateway.clone(), stop));
        }
        Ok(tasks)
    }

    fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Ends when one of the tasks has.
    async fn any_ended(&mut self) {
        if let Some(Err(error)) = self.set.join_next().await {
            tracing::error!(%error, "a task of the hub panicked");
        }
    }

    async fn ended_within(mut self, within: Duration, what: &str) {
        let all = async {
            while let Some(ended) = self.set.join_next().await {
                if let Err(error) = ended {
                    tracing::error!(%error, "a task of the hub panicked");
                }
            }
        };
        if tokio::time::timeout(within, all).await.is_err() {
            tracing::warn!("{what} did not end in time and was cut");
            self.set.shutdown().await;
        }
    }
}
