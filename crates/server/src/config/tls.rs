//! The settings of TLS: an operator's own certificate, and what peers must speak at least.

use std::path::PathBuf;

use figment::value::{Num, Value};

use super::Checked;
use crate::tls::{CertificateFiles, FileRole, TlsConfig, TlsVersion};

impl Checked<'_> {
    /// The two files are read here already, so that what is wrong with them is told with every other fault.
    pub(super) fn tls(&mut self) -> TlsConfig {
        TlsConfig {
            files: self.certificate_files(),
            min_version: self.tls_min_version(),
        }
    }

    fn certificate_files(&mut self) -> Option<CertificateFiles> {
        let certificate = self.tls_file("tls-certificate-file");
        let key = self.tls_file("tls-key-file");
        let files = match (certificate, key) {
            (Some(certificate), Some(key)) => CertificateFiles { certificate, key },
            (Some(_), None) if !self.values.contains_key("tls-key-file") => {
                self.fault("tls-certificate-file", "needs tls-key-file beside it");
                return None;
            }
            (None, Some(_)) if !self.values.contains_key("tls-certificate-file") => {
                self.fault("tls-key-file", "needs tls-certificate-file beside it");
                return None;
            }
            _ => return None,
        };
        if let Err(refused) = files.read() {
            let key = match refused.role {
                FileRole::Certificate => "tls-certificate-file",
                FileRole::Key => "tls-key-file",
            };
            let problem = format!("{} {}", refused.path.display(), refused.problem);
            self.fault(key, &problem);
        }
        Some(files)
    }

    fn tls_file(&mut self, key: &str) -> Option<PathBuf> {
        let path = self.text(key)?;
        if path.is_empty() {
            self.fault(key, "is empty");
            return None;
        }
        Some(path.into())
    }

    fn tls_min_version(&mut self) -> TlsVersion {
        let key = "tls-min-version";
        let text = match self.values.get(key) {
            None => return TlsVersion::default(),
            Some(Value::String(_, text)) => text.clone(),
            // TOML's number looks the same.
            Some(Value::Num(_, Num::F64(number))) => number.to_string(),
            Some(_) => String::new(),
        };
        match text.as_str() {
            "1.2" => TlsVersion::V1_2,
            "1.3" => TlsVersion::V1_3,
            _ => {
                self.fault(key, "must be 1.2 or 1.3");
                TlsVersion::default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

    use super::*;
    use crate::config::{Config, Flags};

    fn load(
        certificate: Option<&Path>,
        key: Option<&Path>,
        file: &str,
    ) -> Result<TlsConfig, Vec<String>> {
        let scratch = tempfile::tempdir().unwrap();
        let config = scratch.path().join("fanfare.toml");
        fs::write(&config, file).unwrap();
        let flags = Flags {
            config: Some(config),
            tls_certificate_file: certificate.map(Path::to_owned),
            tls_key_file: key.map(Path::to_owned),
            ..Flags::default()
        };
        Config::from_layers(flags, [])
            .map(|config| config.tls)
            .map_err(|error| error.faults)
    }

    #[test]
    fn the_version_may_be_text_or_a_number() {
        for (file, version) in [
            ("", TlsVersion::V1_2),
            ("tls-min-version = \"1.2\"", TlsVersion::V1_2),
            ("tls-min-version = \"1.3\"", TlsVersion::V1_3),
            ("tls-min-version = 1.3", TlsVersion::V1_3),
        ] {
            assert_eq!(
                load(None, None, file).unwrap().min_version,
                version,
                "{file}"
            );
        }
        for file in [
            "tls-min-version = 1.1",
            "tls-min-version = 2",
            "tls-min-version = true",
        ] {
            let faults = load(None, None, file).unwrap_err();
            assert!(
                faults[0].starts_with("tls-min-version must be 1.2 or 1.3"),
                "{faults:?}"
            );
        }
    }

    #[test]
    fn both_files_or_none_and_every_fault_at_once() {
        let scratch = tempfile::tempdir().unwrap();
        let (certificate, key) = (scratch.path().join("c.pem"), scratch.path().join("k.pem"));
        let made = rcgen::generate_simple_self_signed(["hub.test".to_owned()]).unwrap();
        fs::write(&certificate, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let files = load(Some(&certificate), Some(&key), "")
            .unwrap()
            .files
            .unwrap();
        assert_eq!(
            (files.certificate, files.key),
            (certificate.clone(), key.clone())
        );

        for (one, other, start) in [
            (
                Some(&*certificate),
                None,
                "tls-certificate-file needs tls-key-file",
            ),
            (None, Some(&*key), "tls-key-file needs tls-certificate-file"),
            (
                Some(Path::new("")),
                Some(&*key),
                "tls-certificate-file is empty",
            ),
        ] {
            let faults = load(one, other, "").unwrap_err();
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].starts_with(start), "{faults:?}");
        }

        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let faults = load(
            Some(&certificate),
            Some(&key),
            "tls-min-version = \"1.0\"\nunits = 0",
        )
        .unwrap_err();
        let has = |start: &str| faults.iter().any(|fault| fault.starts_with(start));
        let of_key = format!("tls-key-file {} has mode 0644", key.display());
        assert!(
            has("tls-min-version") && has("units") && has(&of_key),
            "{faults:?}"
        );
    }
}
