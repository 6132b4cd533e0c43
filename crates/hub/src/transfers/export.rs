//! Writes every identity as a line, each device's modules after it, in pages.
//!
//! A page is one read of devices in the order of ordinals and one of their modules, so a line shows its
//! identity and twin at one moment, but the file is no snapshot: a device made or changed while the export
//! runs may be there in either state, and a device that existed throughout is there exactly once. One read
//! for the whole file would see one moment, and would hold back the store's log for as long as somebody
//! else's network likes. compat: XFER-5

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use super::{
    BlobName, ContainerUri, Transfer,
    runner::{Interrupted, Progress, TransferRunner},
};
use crate::{
    ids::{DeviceId, Ordinal, Space},
    limits,
    ports::{
        StoreError,
        blobs::BlobWriter,
        store::{IdentityRow, IdentityScan, Keys},
    },
};

pub(super) async fn run(
    runner: &TransferRunner,
    job: &Transfer,
    output: &ContainerUri,
    blob: &BlobName,
    with_keys: bool,
) -> Result<(), Interrupted> {
    let parts = &runner.parts;
    let mut writer = parts.blobs.create(output, blob).await?;
    let total = parts.store.identity_count().await?.total;
    let mut progress = Progress::new(runner, job);
    let pages = Pages { runner, with_keys };
    let (mut after, mut done) = (None, 0);
    loop {
        let page = pages.devices(after).await?;
        let Some(last) = page.last else { break };
        done += page.lines.len() as u64;
        pages.write(page, &mut *writer).await?;
        progress.reach(done, total).await?;
        after = Some(last);
    }
    writer.finish().await?;
    match &job.request.configurations {
        Some(blob) => configurations(runner, output, blob).await,
        None => Ok(()),
    }
}

/// The configurations are few, and seen at one moment.
async fn configurations(
    runner: &TransferRunner,
    output: &ContainerUri,
    blob: &BlobName,
) -> Result<(), Interrupted> {
    let parts = &runner.parts;
    let mut writer = parts.blobs.create(output, blob).await?;
    let all = parts.hub.configurations.list(limits::CONFIGURATIONS_MAX);
    for configuration in all.await? {
        let mut line = Vec::new();
        parts.lines.write_configuration(configuration, &mut line);
        writer.write(line.into()).await?;
    }
    writer.finish().await?;
    Ok(())
}

/// Lines of identities as one read saw them.
#[derive(Default)]
struct Page {
    lines: Vec<(DeviceId, Vec<u8>)>,
    bytes: usize,
    last: Option<Ordinal>,
    is_cut: bool,
    fault: Option<StoreError>,
}

struct Pages<'a> {
    runner: &'a TransferRunner,
    with_keys: bool,
}

impl Pages<'_> {
    /// The devices after an ordinal, as many as a page holds.
    async fn devices(&self, after: Option<Ordinal>) -> Result<Page, StoreError> {
        let scan = IdentityScan {
            space: Space::Devices,
            after,
            devices: None,
        };
        self.scan(scan, limits::TRANSFER_PAGE_BYTES).await
    }

    /// A page with the modules of its devices between them.
    async fn write(&self, page: Page, writer: &mut dyn BlobWriter) -> Result<(), Interrupted> {
        let mut lines = page.lines;
        if !self.any_module().await? {
            writer.write(joined(lines)).await?;
            return Ok(());
        }
        let mut at_once = lines.len();
        while !lines.is_empty() {
            at_once = at_once.min(lines.len());
            let devices = lines[..at_once].iter().map(|(id, _)| id.clone()).collect();
            // A single device's modules are bounded by their number.
            let bytes_max = match at_once {
                1 => usize::MAX,
                _ => limits::TRANSFER_PAGE_BYTES,
            };
            let modules = self.modules(devices, bytes_max).await?;
            if modules.is_cut {
                at_once /= 2;
                continue;
            }
            let rest = lines.split_off(at_once);
            writer.write(woven(lines, modules)).await?;
            lines = rest;
        }
        Ok(())
    }

    async fn modules(&self, devices: Vec<DeviceId>, bytes_max: usize) -> Result<Page, StoreError> {
        let scan = IdentityScan {
            space: Space::Modules,
            after: None,
            devices: Some(devices),
        };
        self.scan(scan, bytes_max).await
    }

    /// Whether there is any module at all; most fleets have none.
    async fn any_module(&self) -> Result<bool, StoreError> {
        let scan = IdentityScan {
            space: Space::Modules,
            after: None,
            devices: None,
        };
        Ok(self.scan(scan, 0).await?.is_cut)
    }

    /// Encodes identities where they are read, until the page is full.
    async fn scan(&self, scan: IdentityScan, bytes_max: usize) -> Result<Page, StoreError> {
        let parts = &self.runner.parts;
        let rows_max = match scan.devices {
            None => limits::TRANSFER_PAGE_ROWS,
            Some(_) => usize::MAX,
        };
        let (lines, with_keys) = (parts.lines.clone(), self.with_keys);
        let keys = match with_keys {
            true => Keys::Shown,
            false => Keys::Withheld,
        };
        let found = Arc::new(Mutex::new(Page::default()));
        let page = found.clone();
        let visit = move |row: &dyn IdentityRow| {
            let mut page = page.lock().unwrap_or_else(PoisonError::into_inner);
            if page.bytes >= bytes_max || page.lines.len() >= rows_max {
                page.is_cut = true;
                return ControlFlow::Break(());
            }
            match row.twin(keys) {
                Ok(twin) => {
                    let mut line = Vec::new();
                    lines.write(&twin, with_keys, &mut line);
                    page.bytes += line.len();
                    page.last = Some(row.key().ordinal);
                    page.lines.push((twin.identity.id.device, line));
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    page.fault = Some(error);
                    ControlFlow::Break(())
                }
            }
        };
        parts.store.identity_scan(scan, Box::new(visit)).await?;
        let page = std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
        match page.fault {
            Some(error) => Err(error),
            None => Ok(page),
        }
    }
}

fn joined(lines: Vec<(DeviceId, Vec<u8>)>) -> Bytes {
    let mut text = Vec::with_capacity(lines.iter().map(|(_, line)| line.len()).sum());
    for (_, line) in lines {
        text.extend(line);
    }
    text.into()
}

/// Each device's line, then those of its modules in the order of their creation.
fn woven(devices: Vec<(DeviceId, Vec<u8>)>, modules: Page) -> Bytes {
    let mut text = Vec::new();
    let mut of_device: BTreeMap<DeviceId, Vec<u8>> = BTreeMap::new();
    for (device, line) in modules.lines {
        of_device.entry(device).or_default().extend(line);
    }
    for (device, line) in devices {
        text.extend(line);
        text.extend(of_device.remove(&device).unwrap_or_default());
    }
    text.into()
}
