//! Reads the user name of CONNECT: `{host}/{d}[/{m}]/?api-version=..&..`. compat: MQTT-1

use crate::percent;

/// What a device says about itself when it connects. Whether it is true, the token tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Username {
    /// The hub's host as the device knows it, possibly with a port.
    pub host: String,
    /// The device.
    pub device: String,
    /// The module.
    pub module: Option<String>,
    /// The API version, if it names one.
    pub api_version: Option<String>,
    /// The model it implements.
    pub model_id: Option<String>,
    /// Which SDK it is.
    pub client_type: Option<String>,
}

impl Username {
    /// Reads a user name. The path is not percent-decoded, since no SDK encodes it; values of the query are,
    /// where they can be. Unknown keys are ignored.
    ///
    /// # Errors
    /// [`ParseUsernameError`] when it is too long or names no host or no device.
    pub fn parse(text: &str) -> Result<Self, ParseUsernameError> {
        if text.len() > USERNAME_BYTES_MAX {
            return Err(ParseUsernameError::TooLong);
        }
        let (path, query) = split_query(text);
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut segments = path.split('/');
        let mut segment = || segments.next();
        let (host, device, module) = (segment(), segment(), segment());
        let rest = segment();
        let whole = [host, device, Some(module.unwrap_or("none"))]
            .iter()
            .all(|part| part.is_some_and(|part| !part.is_empty()));
        let (Some(host), Some(device), None, true) = (host, device, rest, whole) else {
            return Err(ParseUsernameError::Path);
        };
        let mut read = Self {
            host: host.to_owned(),
            device: device.to_owned(),
            module: module.map(str::to_owned),
            api_version: None,
            model_id: None,
            client_type: None,
        };
        read.read_query(query);
        Ok(read)
    }

    /// The client id that belongs to this user name: `{d}` or `{d}/{m}`.
    pub fn client_id(&self) -> String {
        match &self.module {
            Some(module) => format!("{}/{module}", self.device),
            None => self.device.clone(),
        }
    }

    fn read_query(&mut self, query: &str) {
        for part in query.split('&') {
            let Some((name, value)) = part.split_once('=') else {
                continue;
            };
            // Node does not encode the model id, so what does not decode is meant as it stands.
            let value = percent::decode(value).unwrap_or_else(|| value.to_owned());
            match name {
                "api-version" => self.api_version = Some(value),
                "model-id" => self.model_id = Some(value),
                "DeviceClientType" => self.client_type = Some(value),
                _ => {}
            }
        }
    }
}

/// Longest user name worth reading.
pub const USERNAME_BYTES_MAX: usize = 4_096;

/// Why a user name cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseUsernameError {
    /// Longer than [`USERNAME_BYTES_MAX`].
    #[error("the user name is longer than {USERNAME_BYTES_MAX} bytes")]
    TooLong,
    /// The part before `?` is not `host/device` or `host/device/module`.
    #[error("the user name does not begin with host/device or host/device/module")]
    Path,
}

/// Path and query; old samples write the query as a last segment without `?`.
fn split_query(text: &str) -> (&str, &str) {
    if let Some((path, query)) = text.split_once('?') {
        return (path, query);
    }
    match text.rsplit_once('/') {
        Some((path, query)) if query.starts_with("api-version=") => (path, query),
        _ => (text, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_sdks_send_is_read() {
        let node = Username::parse(
            "localhost:18883/dev1/?api-version=2021-04-12&model-id=dtmi:com:x;1&DeviceClientType=azure-iot-device%2F1.18.4%20(node%20v20.20.2)",
        )
        .unwrap();
        assert_eq!(
            (node.host.as_str(), node.device.as_str()),
            ("localhost:18883", "dev1")
        );
        assert_eq!(node.module, None);
        assert_eq!(node.api_version.as_deref(), Some("2021-04-12"));
        assert_eq!(node.model_id.as_deref(), Some("dtmi:com:x;1"));
        assert_eq!(
            node.client_type.as_deref(),
            Some("azure-iot-device/1.18.4 (node v20.20.2)")
        );
        assert_eq!(node.client_id(), "dev1");

        let module = Username::parse("h/dev1/m1/?api-version=2019-10-01&x&y=%zz").unwrap();
        assert_eq!(module.module.as_deref(), Some("m1"));
        assert_eq!(module.client_id(), "dev1/m1");
    }

    #[test]
    fn the_query_and_its_marks_may_be_missing() {
        for (text, version) in [
            ("h/d", None),
            ("h/d/", None),
            ("h/d/?", None),
            ("h/d?api-version=1", Some("1")),
            ("h/d/api-version=1&x=2", Some("1")),
            ("h/d/?x=2&api-version=1", Some("1")),
        ] {
            let read = Username::parse(text).unwrap();
            assert_eq!(
                (read.device.as_str(), read.module.as_deref()),
                ("d", None),
                "{text}"
            );
            assert_eq!(read.api_version.as_deref(), version, "{text}");
        }
    }

    #[test]
    fn texts_without_host_or_device_are_refused() {
        for text in [
            "",
            "h",
            "h/",
            "/d",
            "//",
            "h//?x",
            "h/d/m/x",
            "h/d//?x=1",
            "?api-version=1",
        ] {
            assert_eq!(
                Username::parse(text),
                Err(ParseUsernameError::Path),
                "{text}"
            );
        }
        let long = format!("h/{}", "d".repeat(USERNAME_BYTES_MAX));
        assert_eq!(Username::parse(&long), Err(ParseUsernameError::TooLong));
    }
}
