//! Bulk calls: any number of changes, a hundred in a request, with an answer for each.
//!
//! Decides how items are cut into requests and which requests may be repeated. The requests go one after the other,
//! so that an end in the middle leaves a clear line between what was done and what was not.

mod item;
mod outcome;

use std::io;
use std::ops::Range;

use fanfare_wire::registry::ImportMode;
use serde::Serialize;
use serde_json::Value;

pub use item::{BulkItem, BulkProperties};
pub use outcome::{BulkInterrupted, BulkOutcome, RefusedItem};

use super::{Device, RegistryClient};
use crate::transport::{Call, Method, Repeat};
use crate::{Error, Etag, IdentityId};
use outcome::BulkReply;

/// Most items in one request of a bulk call; longer calls are cut into several. compat: REG-43
///
/// ```
/// let ids: Vec<String> = (0..250).map(|number| format!("door-{number}")).collect();
/// assert_eq!(ids.chunks(fanfare_client::BULK_ITEMS_MAX).len(), 3);
/// ```
pub const BULK_ITEMS_MAX: usize = 100;

/// Most bytes of JSON in one request, unless a single item has more. Half of what Fanfare takes; ours.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;

impl RegistryClient {
    /// Does every item, each by its own mode, and says what came of each. An item that is refused leaves the others
    /// alone. Requests whose items all may be done twice are repeated after a lost reply, others are not.
    ///
    /// # Errors
    /// [`BulkInterrupted`] when a request as a whole is refused or gets no reply; it says which items were done, which
    /// may have been, and which were not sent.
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// use fanfare_client::{BulkItem, Device};
    /// use serde_json::json;
    /// let outcome = registry
    ///     .bulk(&[
    ///         BulkItem::from(Device::new("door-1")).tags(json!({"building": "43"})),
    ///         BulkItem::twin("door-2", None).desired(json!({"locked": true})),
    ///         BulkItem::delete("door-3", None),
    ///     ])
    ///     .await?;
    /// assert!(outcome.is_all_done(), "{:?}", outcome.refused);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn bulk(&self, items: &[BulkItem]) -> Result<BulkOutcome, BulkInterrupted> {
        let mut progress = Progress::new(items.len());
        while let Some(range) = progress.next(|from| next_request(items, from)) {
            let part = &items[range.clone()];
            let repeat = match part.iter().all(BulkItem::may_be_repeated) {
                true => Repeat::Always,
                false => Repeat::Refused,
            };
            let call = self.hub.call(Method::POST, "/devices");
            let reply = ask(call.json(&part).repeat(repeat)).await;
            let ids: Vec<_> = part.iter().map(BulkItem::identity).collect();
            progress.answered(range, &ids, reply)?;
        }
        Ok(progress.outcome)
    }

    /// Creates devices; one that exists is refused and stays as it is.
    ///
    /// # Errors
    /// As [`Self::bulk`].
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// use fanfare_client::Device;
    /// let outcome = registry.create_devices(&[Device::new("door-1"), Device::new("door-2")]).await?;
    /// assert!(outcome.is_all_done(), "{:?}", outcome.refused);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_devices(&self, devices: &[Device]) -> Result<BulkOutcome, BulkInterrupted> {
        self.bulk(&with_mode(devices, ImportMode::Create)).await
    }

    /// Changes devices, whatever version they have; one that does not exist is refused.
    ///
    /// # Errors
    /// As [`Self::bulk`].
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// use fanfare_client::IdentityStatus;
    /// let door = registry.get_device("door-1").await?.status(IdentityStatus::Disabled, "stolen");
    /// registry.update_devices(&[door]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn update_devices(&self, devices: &[Device]) -> Result<BulkOutcome, BulkInterrupted> {
        self.bulk(&with_mode(devices, ImportMode::Update)).await
    }

    /// As [`Self::update_devices`], but one whose etag is no longer the given one is refused.
    ///
    /// # Errors
    /// As [`Self::bulk`].
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// use fanfare_client::IdentityStatus;
    /// let door = registry.get_device("door-1").await?.status(IdentityStatus::Disabled, "stolen");
    /// registry.update_devices_if_unchanged(&[door]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn update_devices_if_unchanged(
        &self,
        devices: &[Device],
    ) -> Result<BulkOutcome, BulkInterrupted> {
        self.bulk(&with_mode(devices, ImportMode::UpdateIfMatchETag))
            .await
    }

    /// Deletes devices, whatever version they have; one that does not exist is refused.
    ///
    /// # Errors
    /// As [`Self::bulk`].
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// registry.delete_devices(&["door-1", "door-2"]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_devices<S: AsRef<str>>(
        &self,
        device_ids: &[S],
    ) -> Result<BulkOutcome, BulkInterrupted> {
        let ids = device_ids.iter();
        let items: Vec<_> = ids.map(|id| BulkItem::delete(id.as_ref(), None)).collect();
        self.bulk(&items).await
    }

    /// As [`Self::delete_devices`], but one whose etag is no longer the given one is refused.
    ///
    /// # Errors
    /// As [`Self::bulk`].
    ///
    /// ```no_run
    /// # async fn example(registry: fanfare_client::RegistryClient) -> Result<(), fanfare_client::Error> {
    /// let door = registry.get_device("door-1").await?;
    /// registry.delete_devices_if_unchanged(&[door]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_devices_if_unchanged(
        &self,
        devices: &[Device],
    ) -> Result<BulkOutcome, BulkInterrupted> {
        let items: Vec<_> = devices
            .iter()
            .map(|device| BulkItem::delete(&device.device_id, device.etag.clone()))
            .collect();
        self.bulk(&items).await
    }
}

/// The items that do `mode` to `devices`. Without an etag, a mode that compares one refuses everything: the empty
/// one fits no version.
fn with_mode(devices: &[Device], mode: ImportMode) -> Vec<BulkItem> {
    let items = devices.iter().map(|device| {
        let mut item = BulkItem::from(device.clone()).mode(mode);
        if mode == ImportMode::UpdateIfMatchETag {
            item.etag.get_or_insert_with(Etag::default);
        }
        item
    });
    items.collect()
}

/// Sends one request. The reply to one with refused items is a 400 of the same form. compat: REG-10
pub(super) async fn ask(call: Call<'_>) -> Result<BulkReply, Error> {
    let reply = call.also(400).reply().await?;
    let is_result =
        |body: &Value| body.get("isSuccessful").is_some() || body.get("errors").is_some();
    if reply.status == 400 && !reply.read::<Value>().is_ok_and(|body| is_result(&body)) {
        return Err(reply.into_refusal());
    }
    reply.read()
}

/// How far a bulk call has come.
pub(super) struct Progress {
    pub(super) outcome: BulkOutcome,
    items: usize,
}

impl Progress {
    pub(super) fn new(items: usize) -> Self {
        Self {
            outcome: BulkOutcome::default(),
            items,
        }
    }

    /// The items of the next request, which ends where `end` says; `None` when all are answered for.
    pub(super) fn next(&self, end: impl FnOnce(usize) -> usize) -> Option<Range<usize>> {
        let from = self.outcome.items;
        (from < self.items).then(|| from..end(from))
    }

    /// Takes in the reply to the request for `range`.
    pub(super) fn answered(
        &mut self,
        range: Range<usize>,
        ids: &[IdentityId],
        reply: Result<BulkReply, Error>,
    ) -> Result<(), BulkInterrupted> {
        match reply {
            Ok(reply) => {
                self.outcome.take(ids, reply);
                Ok(())
            }
            Err(source) => Err(BulkInterrupted {
                outcome: std::mem::take(&mut self.outcome),
                unanswered: range,
                items: self.items,
                source: Box::new(source),
            }),
        }
    }
}

/// Where the request that begins at `from` ends: after as many items and bytes as go into one.
fn next_request(items: &[BulkItem], from: usize) -> usize {
    let mut bytes = 0;
    let last = items.len().min(from + BULK_ITEMS_MAX);
    for (at, item) in items[from..last].iter().enumerate() {
        bytes += json_bytes(item);
        if bytes > REQUEST_BYTES_MAX && at > 0 {
            return from + at;
        }
    }
    last
}

/// Bytes of a value's JSON.
fn json_bytes(value: &impl Serialize) -> usize {
    struct Count(usize);

    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        // What is no JSON fails when it is sent.
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cuts(items: &[BulkItem]) -> Vec<usize> {
        let mut ends = Vec::new();
        let mut from = 0;
        while from < items.len() {
            from = next_request(items, from);
            ends.push(from);
        }
        ends
    }

    #[test]
    fn a_request_has_a_hundred_items_and_not_too_many_bytes() {
        let small = vec![BulkItem::delete("d", None); 250];
        assert_eq!(cuts(&small), [100, 200, 250]);
        let large = BulkItem::twin("d", None).tags(json!({"a": "x".repeat(REQUEST_BYTES_MAX / 3)}));
        assert_eq!(cuts(&vec![large; 5]), [2, 4, 5]);
        let huge = BulkItem::twin("d", None).tags(json!({"a": "x".repeat(REQUEST_BYTES_MAX)}));
        assert_eq!(cuts(&vec![huge; 2]), [1, 2]);
    }

    #[test]
    fn an_end_in_the_middle_tells_done_unanswered_and_unsent_apart() {
        let ids: Vec<IdentityId> = (0..100).map(|n| IdentityId::from(n.to_string())).collect();
        let mut progress = Progress::new(250);
        let range = progress.next(|from| from + 100).unwrap();
        progress
            .answered(range, &ids, Ok(BulkReply::default()))
            .unwrap();
        let range = progress.next(|from| from + 100).unwrap();
        let fault = Error::Argument("x".to_owned());
        let interrupted = progress.answered(range, &ids, Err(fault)).unwrap_err();
        assert_eq!(interrupted.outcome.done(), 100);
        assert_eq!(interrupted.unanswered, 100..200);
        assert_eq!(interrupted.unsent(), 200..250);
        let text = interrupted.to_string();
        assert_eq!(
            text,
            "100 of 250 items were answered for, then a request failed"
        );
        assert_eq!(Error::from(interrupted).to_string(), "x");
    }

    #[test]
    fn whoever_asks_for_unchanged_devices_always_sends_an_etag() {
        let [item] = &with_mode(&[Device::new("d")], ImportMode::UpdateIfMatchETag)[..] else {
            panic!("one item for one device");
        };
        assert_eq!(item.etag, Some(Etag::default()));
    }
}
