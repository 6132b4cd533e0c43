//! The settings of the audit log, and which settings it may repeat.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Checked;

/// What happens to the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditConfig {
    /// How much a change depends on it.
    pub mode: AuditMode,
    /// Bytes after which a file is full and the next begins.
    pub file_bytes: u64,
    /// Full files that are kept beside the one that is written.
    pub files: usize,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            mode: AuditMode::BestEffort,
            file_bytes: 64 * 1024 * 1024,
            files: 16,
        }
    }
}

/// How much a change depends on its line in the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditMode {
    /// Nothing is changed while lines cannot be written.
    Required,
    /// What cannot be written is counted, and changes go on.
    BestEffort,
    /// There is no audit log.
    Off,
}

impl AuditMode {
    const ALL: [(&str, Self); 3] = [
        ("required", Self::Required),
        ("best-effort", Self::BestEffort),
        ("off", Self::Off),
    ];
}

const FILE_BYTES_MIN: u32 = 64 * 1024;
const FILES_MAX: u32 = 10_000;

impl Checked<'_> {
    /// What the audit log is told.
    pub(super) fn audit(&mut self) -> AuditConfig {
        let mut config = AuditConfig::default();
        if let Some(word) = self.text("audit") {
            match AuditMode::ALL.iter().find(|(known, _)| *known == word) {
                Some((_, mode)) => config.mode = *mode,
                None => self.fault(
                    "audit",
                    &format!("must be required, best-effort or off, {word:?} is not"),
                ),
            }
        }
        if let Some(bytes) = self.number(
            "audit-file-bytes",
            FILE_BYTES_MIN,
            u32::MAX,
            "a number of bytes",
        ) {
            config.file_bytes = u64::from(bytes);
        }
        if let Some(files) = self.number("audit-files", 1, FILES_MAX, "a number of files") {
            config.files = files as usize;
        }
        config
    }

    /// Every setting that some layer gave, as it was given; of secrets, only that they were.
    pub(super) fn given(&self) -> BTreeMap<String, Value> {
        let shown = |(key, value): (&String, &figment::value::Value)| {
            let value = match is_secret(key) {
                true => Value::from("(a secret)"),
                false => serde_json::to_value(value).unwrap_or(Value::Null),
            };
            (key.clone(), value)
        };
        self.values.iter().map(shown).collect()
    }
}

/// Whether the value of a setting may not be shown. The path of a file with a secret may.
fn is_secret(key: &str) -> bool {
    let words = ["secret", "session-token", "passphrase", "password"];
    words.iter().any(|word| key.contains(word)) && !key.ends_with("-file")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{Config, Flags};

    #[test]
    fn what_was_given_is_told_without_secrets() {
        let variables = [
            ("FANFARE_S3_ACCESS_KEY_ID", "me"),
            ("FANFARE_S3_SECRET_ACCESS_KEY", "hush"),
            ("FANFARE_S3_SESSION_TOKEN", "hush"),
            ("FANFARE_AUDIT_FILES", "3"),
            ("FANFARE_AUDIT", "required"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let flags = Flags {
            bind: vec!["127.0.0.1".to_owned()],
            ..Flags::default()
        };
        let config = Config::from_layers(flags, variables).unwrap();
        let told = json!(config.given);
        assert!(!told.to_string().contains("hush"), "{told}");
        assert_eq!(told["s3-secret-access-key"], "(a secret)");
        assert_eq!(told["s3-access-key-id"], "me");
        assert_eq!(told["bind"], json!(["127.0.0.1"]));
        assert_eq!(config.audit.mode, AuditMode::Required);
        assert_eq!(config.audit.files, 3);
        assert_eq!(config.audit.file_bytes, AuditConfig::default().file_bytes);
    }

    #[test]
    fn what_cannot_be_is_a_fault() {
        for (name, value, start) in [
            ("FANFARE_AUDIT", "maybe", "audit must be required,"),
            ("FANFARE_AUDIT_FILES", "0", "audit-files must be"),
            ("FANFARE_AUDIT_FILE_BYTES", "9", "audit-file-bytes must be"),
        ] {
            let variables = [(name.to_owned(), value.to_owned())];
            let refused = Config::from_layers(Flags::default(), variables).unwrap_err();
            assert!(refused.faults[0].starts_with(start), "{refused}");
        }
    }
}
