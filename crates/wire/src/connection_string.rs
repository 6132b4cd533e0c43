//! Connection strings: `HostName=..;SharedAccessKeyName=..;SharedAccessKey=..` and the form of devices.
//!
//! SDKs refuse keys they do not know, so nothing else is ever printed. compat: AUTH-7

use std::fmt;
use std::str::FromStr;

use crate::Secret;

/// A connection string, taken apart. `Debug` hides the secrets; `Display` prints the whole string, which is
/// what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectionString {
    /// The hub's host, possibly with `:port`.
    pub host_name: String,
    /// The policy, in strings of the service API.
    pub policy: Option<String>,
    /// The device, in strings of devices and modules.
    pub device_id: Option<String>,
    /// The module, in strings of modules.
    pub module_id: Option<String>,
    /// The base64 key of the policy or the identity.
    pub key: Option<Secret>,
    /// A ready token instead of a key.
    pub signature: Option<Secret>,
    /// The host to open the connection to, when it is not the hub's.
    pub gateway_host_name: Option<String>,
    /// Whether the device shows a certificate instead of a key.
    pub x509: bool,
}

impl ConnectionString {
    /// The string of a shared access policy.
    pub fn service(host_name: &str, policy: &str, key: Secret) -> Self {
        Self {
            host_name: host_name.to_owned(),
            policy: Some(policy.to_owned()),
            key: Some(key),
            ..Self::default()
        }
    }

    /// The string of a device with a key.
    pub fn device(host_name: &str, device_id: &str, key: Secret) -> Self {
        Self {
            host_name: host_name.to_owned(),
            device_id: Some(device_id.to_owned()),
            key: Some(key),
            ..Self::default()
        }
    }

    /// Reads a connection string.
    ///
    /// # Errors
    /// [`ParseConnectionStringError`] when it is too long, has no host, or has an unknown, repeated or
    /// malformed part.
    pub fn parse(text: &str) -> Result<Self, ParseConnectionStringError> {
        use ParseConnectionStringError as Fault;
        if text.len() > CONNECTION_STRING_BYTES_MAX {
            return Err(Fault::TooLong);
        }
        let mut read = Self::default();
        let mut seen = Vec::new();
        for part in text.trim().split(';').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or(Fault::Part)?;
            if value.is_empty() {
                return Err(Fault::Part);
            }
            if seen.contains(&name) {
                return Err(Fault::Repeated);
            }
            seen.push(name);
            let value = value.to_owned();
            match name {
                "HostName" => read.host_name = value,
                "SharedAccessKeyName" => read.policy = Some(value),
                "SharedAccessKey" => read.key = Some(value.into()),
                "SharedAccessSignature" => read.signature = Some(value.into()),
                "DeviceId" => read.device_id = Some(value),
                "ModuleId" => read.module_id = Some(value),
                "GatewayHostName" => read.gateway_host_name = Some(value),
                "x509" => read.x509 = value.eq_ignore_ascii_case("true"),
                _ => return Err(Fault::Unknown),
            }
        }
        if read.host_name.is_empty() {
            return Err(Fault::NoHost);
        }
        Ok(read)
    }
}

/// Longest connection string worth reading: a whole token fits in it.
pub const CONNECTION_STRING_BYTES_MAX: usize = 8_192;

/// Why a text is not a connection string. Repeats none of it, since parts of it are secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseConnectionStringError {
    /// Longer than [`CONNECTION_STRING_BYTES_MAX`].
    #[error("the connection string is longer than {CONNECTION_STRING_BYTES_MAX} bytes")]
    TooLong,
    /// A part is not `Name=value`.
    #[error("a part of the connection string is not of the form Name=value")]
    Part,
    /// A name that is not one of the contract's.
    #[error("the connection string has a part with an unknown name")]
    Unknown,
    /// A name appears twice.
    #[error("the connection string repeats a part")]
    Repeated,
    /// There is no `HostName`.
    #[error("the connection string has no HostName")]
    NoHost,
}

impl fmt::Display for ConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostName={}", self.host_name)?;
        let parts = [
            ("DeviceId", self.device_id.as_deref()),
            ("ModuleId", self.module_id.as_deref()),
            ("SharedAccessKeyName", self.policy.as_deref()),
            ("SharedAccessKey", self.key.as_ref().map(Secret::expose)),
            (
                "SharedAccessSignature",
                self.signature.as_ref().map(Secret::expose),
            ),
            ("GatewayHostName", self.gateway_host_name.as_deref()),
            ("x509", self.x509.then_some("true")),
        ];
        for (name, value) in parts {
            if let Some(value) = value {
                write!(f, ";{name}={value}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for ConnectionString {
    type Err = ParseConnectionStringError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_print_and_read_back() {
        let service = ConnectionString::service("hub.test", "iothubowner", "a2V5PT0=".into());
        let text = service.to_string();
        assert_eq!(
            text,
            "HostName=hub.test;SharedAccessKeyName=iothubowner;SharedAccessKey=a2V5PT0="
        );
        assert_eq!(ConnectionString::parse(&text), Ok(service));

        let device = ConnectionString::device("localhost:8443", "d=1", "a2V5".into());
        let text = device.to_string();
        assert_eq!(
            text,
            "HostName=localhost:8443;DeviceId=d=1;SharedAccessKey=a2V5"
        );
        assert_eq!(ConnectionString::parse(&text), Ok(device));
    }

    #[test]
    fn every_part_reads_back() {
        let text = "HostName=h;DeviceId=d;ModuleId=m;SharedAccessSignature=SharedAccessSignature sr=h&sig=x%3D&se=1;GatewayHostName=g;x509=true";
        let read = ConnectionString::parse(text).unwrap();
        assert!(read.x509);
        assert_eq!(read.to_string(), text);
        assert!(ConnectionString::parse("HostName=h;").is_ok());
    }

    #[test]
    fn faults_are_told_apart() {
        use ParseConnectionStringError as Fault;
        for (text, want) in [
            ("", Fault::NoHost),
            ("DeviceId=d", Fault::NoHost),
            ("HostName", Fault::Part),
            ("HostName=", Fault::Part),
            ("HostName=h;Port=1", Fault::Unknown),
            ("HostName=h;HostName=h", Fault::Repeated),
        ] {
            assert_eq!(ConnectionString::parse(text), Err(want), "{text}");
        }
        let long = format!("HostName={}", "h".repeat(CONNECTION_STRING_BYTES_MAX));
        assert_eq!(ConnectionString::parse(&long), Err(Fault::TooLong));
    }

    #[test]
    fn debug_hides_the_key() {
        let printed = format!(
            "{:?}",
            ConnectionString::device("h", "d", "c2VjcmV0".into())
        );
        assert!(!printed.contains("c2VjcmV0"), "{printed}");
    }
}
