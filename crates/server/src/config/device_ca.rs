//! The setting that names authorities for devices' certificates.

use std::path::PathBuf;

use super::Checked;

impl Checked<'_> {
    /// Files of certificates that may vouch for devices; what is in them is read at the start.
    pub(super) fn device_ca_files(&mut self) -> Vec<PathBuf> {
        let files = self.list("device-ca-file").unwrap_or_default();
        if files.iter().any(String::is_empty) {
            self.fault("device-ca-file", "is empty");
        }
        files.into_iter().map(PathBuf::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::config::{Config, Flags};

    fn load(files: &[&str], variable: Option<&str>) -> Result<Vec<PathBuf>, Vec<String>> {
        let flags = Flags {
            device_ca_file: files.iter().map(PathBuf::from).collect(),
            ..Flags::default()
        };
        let variables = variable.map(|value| ("FANFARE_DEVICE_CA_FILE".into(), value.to_owned()));
        Config::from_layers(flags, variables)
            .map(|config| config.device_ca_files)
            .map_err(|error| error.faults)
    }

    #[test]
    fn any_number_of_files_may_be_named() {
        let both = [PathBuf::from("a.pem"), PathBuf::from("b.pem")];
        assert_eq!(load(&[], None).unwrap(), [] as [PathBuf; 0]);
        assert_eq!(load(&["a.pem", "b.pem"], Some("c.pem")).unwrap(), both);
        assert_eq!(load(&[], Some("a.pem,b.pem")).unwrap(), both);
        let faults = load(&["a.pem", ""], None).unwrap_err();
        assert!(
            faults[0].starts_with("device-ca-file is empty"),
            "{faults:?}"
        );
    }
}
