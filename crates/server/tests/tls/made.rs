//! Certificates of tests, made by a library or by `openssl`, and the files they lie in.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::rig::NAME;

/// A certificate, its key, and what it was made of.
pub(crate) struct Made {
    pub(crate) pem: String,
    pub(crate) key: KeyPair,
    params: CertificateParams,
}

impl Made {
    /// One that vouches for itself.
    pub(crate) fn alone() -> Self {
        Self::of(leaf())
    }

    /// One for these seconds since 1970.
    pub(crate) fn within(seconds: std::ops::Range<i64>) -> Self {
        let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        let mut params = leaf();
        params.not_before = at(seconds.start);
        params.not_after = at(seconds.end);
        Self::of(params)
    }

    /// A root.
    pub(crate) fn root() -> Self {
        Self::of(authority("root"))
    }

    fn of(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, key, params }
    }

    /// An authority below this one.
    pub(crate) fn intermediate(&self) -> Self {
        self.issue(authority("intermediate"))
    }

    /// A server's certificate below this one.
    pub(crate) fn leaf(&self) -> Self {
        self.issue(leaf())
    }

    fn issue(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let pem = params.signed_by(&key, &issuer).unwrap().pem();
        Self { pem, key, params }
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()
    }
}

fn leaf() -> CertificateParams {
    let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "hub");
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// A folder with the two files that a node is told of.
pub(crate) struct Files {
    pub(crate) folder: TempDir,
}

impl Files {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    pub(crate) fn of(made: &Made) -> Self {
        let files = Self::new();
        files.write(&made.pem, &made.key.serialize_pem());
        files
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("hub.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("hub-key.pem")
    }

    pub(crate) fn write(&self, certificate: &str, key: &str) {
        self.write_certificate(certificate);
        self.write_key(key);
    }

    /// As programs do that must not be seen half-way: beside it, then in its place.
    pub(crate) fn write_certificate(&self, pem: &str) {
        put(&self.certificate(), pem, 0o644);
    }

    pub(crate) fn write_key(&self, pem: &str) {
        put(&self.key(), pem, 0o600);
    }

    /// Runs `openssl` in the folder.
    pub(crate) fn openssl(&self, arguments: &[&str]) {
        let made = Command::new("openssl")
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "openssl {arguments:?}: {said}");
        if let Ok(found) = fs::metadata(self.key()) {
            assert!(found.is_file());
            set_mode(&self.key(), 0o600);
        }
    }

    /// The first certificate in the file.
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.certificate()).unwrap()
    }
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn put(path: &Path, text: &str, mode: u32) {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, text).unwrap();
    set_mode(&fresh, mode);
    fs::rename(&fresh, path).unwrap();
}
