//! Exports and imports by the hub, to and from folders of its own.

use std::time::Duration;

use fanfare_client::{
    BulkItem, ConfigurationsBlob, Device, ExportOptions, ImportOptions, RegistryClient,
    TransferJob, TransferKind, TransferStatus,
};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::{ADDRESS, assert_refused};
use crate::rig::{HANGS_AFTER, Rig};

#[tokio::test]
async fn a_fleet_goes_out_and_comes_back() {
    let rig = Rig::start(ADDRESS).await;
    let hub = rig.owner().await;
    let registry = hub.registry();
    let door = BulkItem::from(Device::new("door-1")).tags(json!({"building": "43"}));
    assert!(registry.bulk(&[door]).await.unwrap().is_all_done());
    let before = registry.get_device("door-1").await.unwrap();

    let options = ExportOptions {
        blob_name: Some("doors.txt".to_owned()),
        configurations: ConfigurationsBlob::Usual,
        ..ExportOptions::default()
    };
    let export = registry
        .export_devices_to_blob("file:out", options)
        .await
        .unwrap();
    assert_eq!(export.kind, TransferKind::Export);
    let export = ended(&registry, export).await;
    assert_eq!(
        (export.status, export.progress),
        (TransferStatus::Completed, 100)
    );
    assert_eq!(export.other["includeConfigurations"], true);
    assert_eq!(
        export.output_blob_container_uri.unwrap().expose(),
        "file:out"
    );

    // A line of the export reads as an item, and goes back as one.
    let folder = rig.options().data_dir.join("blobs");
    let lines = std::fs::read_to_string(folder.join("out/doors.txt")).unwrap();
    let item: BulkItem = serde_json::from_str(lines.trim()).unwrap();
    assert_eq!(
        (&*item.id, item.tags.as_ref()),
        ("door-1", Some(&json!({"building": "43"})))
    );
    registry.delete_device("door-1", None).await.unwrap();
    assert!(registry.bulk(&[item]).await.unwrap().is_all_done());
    let after = registry.get_device("door-1").await.unwrap();
    assert_eq!(after.primary_key(), before.primary_key());

    registry.delete_device("door-1", None).await.unwrap();
    let options = ImportOptions {
        blob_name: Some("doors.txt".to_owned()),
        ..ImportOptions::default()
    };
    let import = registry.import_devices_from_blob("file:out", "file:log", options);
    let import = ended(&registry, import.await.unwrap()).await;
    assert_eq!(
        (import.kind, import.status),
        (TransferKind::Import, TransferStatus::Completed)
    );
    assert!(import.end_time >= import.start_time && import.end_time.is_some());
    let after = registry.get_device("door-1").await.unwrap();
    assert_eq!(after.primary_key(), before.primary_key());
    let twin = hub.twins().get("door-1").await.unwrap();
    assert_eq!(twin.tags["building"], "43");

    let known = registry.transfer_jobs().await.unwrap();
    let known: Vec<_> = known.iter().map(|job| &job.job_id).collect();
    assert_eq!(known, [&import.job_id, &export.job_id]);
    rig.stop().await;
}

#[tokio::test]
async fn a_transfer_that_has_ended_or_cannot_be_is_refused() {
    let rig = Rig::start(ADDRESS).await;
    let registry = rig.owner().await.registry();
    let export = registry.export_devices_to_blob("file:out", None).await;
    let export = ended(&registry, export.unwrap()).await;
    assert!(export.failure_reason.is_none());
    let late = registry.cancel_transfer_job(&export.job_id).await;
    assert_refused(late, 405, "OperationNotAllowedInCurrentState");
    assert_refused(
        registry.cancel_transfer_job("none").await,
        404,
        "JobNotFound",
    );
    assert_refused(registry.transfer_job("none").await, 404, "JobNotFound");
    let nowhere = registry.export_devices_to_blob("ftp://x/y", None).await;
    assert_refused(nowhere, 400, "ArgumentInvalid");
    rig.stop().await;
}

/// The job once it has ended. There is no signal to wait for: the contract has the document alone.
async fn ended(registry: &RegistryClient, job: TransferJob) -> TransferJob {
    let look = async {
        loop {
            let now = registry.transfer_job(&job.job_id).await.unwrap();
            if now.status.is_terminal() {
                return now;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(HANGS_AFTER, look).await.expect("a transfer ends")
}
