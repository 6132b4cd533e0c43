//! The settings of keys at rest: where the master key lies, if there is one.

use super::Checked;
use crate::vault::KeySource;

impl Checked<'_> {
    /// The file with the master key; none keeps keys as they are.
    pub(super) fn key_source(&mut self) -> Option<KeySource> {
        let key_file = self.path_of("key-file");
        let passphrase_file = self.path_of("passphrase-file");
        match (key_file, passphrase_file) {
            (Some(_), Some(_)) => {
                self.fault("passphrase-file", "cannot be given beside key-file");
                None
            }
            (Some(path), None) => Some(KeySource::KeyFile(path.into())),
            (None, Some(path)) => Some(KeySource::PassphraseFile(path.into())),
            (None, None) => None,
        }
    }

    fn path_of(&mut self, key: &str) -> Option<String> {
        let path = self.text(key)?;
        if path.is_empty() {
            self.fault(key, "is empty");
            return None;
        }
        Some(path)
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        config::{Config, Flags},
        vault::KeySource,
    };

    fn load(variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let variables = variables
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        Config::from_layers(Flags::default(), variables).map_err(|error| error.faults)
    }

    #[test]
    fn one_master_key_at_most_and_never_the_key_itself() {
        assert_eq!(load(&[]).unwrap().key_source, None);
        let config = load(&[("FANFARE_PASSPHRASE_FILE", "/run/secrets/hub")]).unwrap();
        let expected = KeySource::PassphraseFile("/run/secrets/hub".into());
        assert_eq!(config.key_source, Some(expected));
        let both = load(&[("FANFARE_PASSPHRASE_FILE", "a"), ("FANFARE_KEY_FILE", "b")]);
        assert!(both.unwrap_err()[0].starts_with("passphrase-file cannot be given"));
        assert!(load(&[("FANFARE_KEY_FILE", "")]).unwrap_err()[0].starts_with("key-file is empty"));
        let faults = load(&[("FANFARE_PASSPHRASE", "open sesame")]).unwrap_err();
        assert!(
            faults[0].starts_with("passphrase is not a setting"),
            "{faults:?}"
        );
        assert!(!faults[0].contains("sesame"), "{faults:?}");
    }
}
