//! Direct methods: one call of one connected device or module, and its answer.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::transport::{Method, Repeat};
use crate::words::null_as_default;
use crate::{DeviceMethod, Error, HubClient, IdentityId};

/// The direct methods of one hub's devices. Cheap to clone.
///
/// ```no_run
/// use std::time::Duration;
/// use fanfare_client::{ClientOptions, DeviceMethod, MethodClient};
///
/// # async fn example(connection_string: &str) -> Result<(), fanfare_client::Error> {
/// let methods = MethodClient::from_connection_string(connection_string, ClientOptions::default())?;
/// let lock = DeviceMethod::new("lockDoor").response_timeout(Duration::from_secs(15));
/// let answer = methods.invoke("door-1", lock).await?;
/// println!("{}: {}", answer.status, answer.payload);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct MethodClient {
    hub: HubClient,
}

/// How long a device may take to answer when its caller does not say. The contract's.
const RESPONSE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// What the way to the hub and back may take beside the waits the hub was asked for. Ours.
const MARGIN: Duration = Duration::from_secs(15);

crate::hub::constructors_of!(MethodClient);

impl MethodClient {
    /// Calls a method of a device (`"door-1"`) or of a module on it (`("door-1", "lock")`) and waits for the answer,
    /// for as long as the method's two time-outs allow. Any answer is a success, whatever status the device gave.
    ///
    /// The call is never made a second time once the device may have heard of it.
    ///
    /// # Errors
    /// By their [`Error::code`]: `DeviceNotFound`, `ModuleNotFound` or, for one that did not connect in time,
    /// `DeviceNotOnline` (404), of which the device knows nothing; `GatewayTimeout` (504) without an answer in time and
    /// `GenericBadGateway` (502) for one that is no JSON, after which [`Error::may_have_been_done`] is true;
    /// `ArgumentInvalid` (400) for a time-out or payload that cannot be; or no reply.
    ///
    /// ```no_run
    /// # async fn example(methods: fanfare_client::MethodClient) -> Result<(), fanfare_client::Error> {
    /// use fanfare_client::DeviceMethod;
    /// match methods.invoke("door-1", DeviceMethod::new("lockDoor")).await {
    ///     Err(error) if error.code() == Some("DeviceNotOnline") => println!("asleep"),
    ///     other => println!("{}", other?.status),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn invoke(
        &self,
        id: impl Into<IdentityId>,
        method: DeviceMethod,
    ) -> Result<MethodResult, Error> {
        let method = complete(method);
        let waits = [method.response_timeout, method.connect_timeout];
        let wait = waits
            .into_iter()
            .flatten()
            .fold(MARGIN, Duration::saturating_add);
        let path = format!("{}/methods", id.into().path("twins"));
        let call = self.hub.call(Method::POST, path).json(&method);
        call.wait(wait).repeat(Repeat::Refused).read().await
    }
}

/// The call with both time-outs spelled out, as the Node SDK sends them.
fn complete(mut method: DeviceMethod) -> DeviceMethod {
    method
        .response_timeout
        .get_or_insert(RESPONSE_TIMEOUT_DEFAULT);
    method.connect_timeout.get_or_insert(Duration::ZERO);
    method
}

/// A device's answer to a direct method. Members this library does not name are in `other`.
///
/// ```
/// let reply = r#"{"status":404,"payload":{"reason":"no such door"}}"#;
/// let answer: fanfare_client::MethodResult = serde_json::from_str(reply)?;
/// assert_eq!((answer.status, &answer.payload["reason"]), (404, &"no such door".into()));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MethodResult {
    /// The device's own status, any integer.
    pub status: i64,
    /// The device's payload, null for none.
    #[serde(default, deserialize_with = "null_as_default")]
    pub payload: Value,
    /// Everything else in the reply.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl MethodResult {
    /// Reads the payload as `T`.
    ///
    /// # Errors
    /// When it has another form.
    ///
    /// ```
    /// use fanfare_client::MethodResult;
    ///
    /// let answer: MethodResult = serde_json::from_str(r#"{"status":200,"payload":[1,2]}"#)?;
    /// assert_eq!(answer.read::<Vec<u8>>()?, [1, 2]);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(&self.payload)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_is_spelled_out_as_the_node_sdk_does() {
        let plain = complete(DeviceMethod::new("m"));
        let want = json!({
            "methodName": "m", "payload": null, "responseTimeoutInSeconds": 30, "connectTimeoutInSeconds": 0,
        });
        assert_eq!(serde_json::to_value(plain).unwrap(), want);
        let full = DeviceMethod::new("m")
            .payload(json!({"a": 1}))
            .response_timeout(Duration::from_millis(14_001))
            .connect_timeout(Duration::from_secs(60));
        let want = json!({
            "methodName": "m", "payload": {"a": 1}, "responseTimeoutInSeconds": 15, "connectTimeoutInSeconds": 60,
        });
        assert_eq!(serde_json::to_value(complete(full)).unwrap(), want);
    }

    #[test]
    fn an_answer_survives() {
        let text = json!({"status": 404, "payload": null, "more": 1});
        let answer: MethodResult = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(serde_json::to_value(&answer).unwrap(), text);
        assert!(answer.read::<Option<u8>>().unwrap().is_none());
    }
}
