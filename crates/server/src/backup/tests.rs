//! Backups of a folder on which a node ran.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::{Config, Flags, Node};

async fn used_folder(scratch: &Path) -> PathBuf {
    let flags = Flags {
        data_dir: Some(scratch.join("data")),
        bind: vec!["127.0.0.76".to_owned()],
        https_port: Some(0),
        mqtts_port: Some(0),
        ..Flags::default()
    };
    let config = Config::from_layers(flags, []).unwrap();
    Node::start(&config).await.unwrap().stop().await;
    config.data_dir
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn problem(error: &BackupError) -> String {
    error.to_string()
}

#[tokio::test]
async fn a_backup_is_private_whole_and_restored_as_it_was() {
    let scratch = tempfile::tempdir().unwrap();
    let data = used_folder(scratch.path()).await;
    let to = scratch.path().join("backup");
    let mut seen = Vec::new();
    let manifest = backup(&data, &to, &mut |progress| seen.push(progress)).unwrap();
    assert_eq!(seen.last().unwrap().done, seen.last().unwrap().total);
    assert_eq!((manifest.files.len(), manifest.store.term), (6, 1));
    assert_eq!((mode(&to), mode(&to.join("ca.pem"))), (0o700, 0o600));
    assert!(matches!(
        backup(&data, &to, &mut |_| {}),
        Err(BackupError::Exists(_))
    ));

    let fresh = scratch.path().join("deep/fresh");
    let restored = restore(&to, &fresh, &mut |_| {}).unwrap();
    assert_eq!(restored.manifest, manifest);
    // Ahead of any start since 2020.
    assert!(restored.term > 190_000_000, "{}", restored.term);
    for name in [
        "ca.pem",
        "ca-key.pem",
        "server.pem",
        "server-key.pem",
        "hub.toml",
    ] {
        let (was, is) = (data.join(name), fresh.join(name));
        assert_eq!(fs::read(&was).unwrap(), fs::read(&is).unwrap(), "{name}");
        assert_eq!(mode(&was), mode(&is), "{name}");
    }
    let left: Vec<_> = fs::read_dir(&fresh)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().contains("restoring"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(matches!(
        restore(&to, &fresh, &mut |_| {}),
        Err(BackupError::NotEmpty(_))
    ));
}

#[tokio::test]
async fn a_damaged_backup_leaves_the_folder_empty() {
    let scratch = tempfile::tempdir().unwrap();
    let data = used_folder(scratch.path()).await;
    let to = scratch.path().join("backup");
    backup(&data, &to, &mut |_| {}).unwrap();
    let fresh = scratch.path().join("fresh");
    let (store, whole) = (to.join(STORE), fs::read(to.join(STORE)).unwrap());
    let manifest = to.join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();

    let mut bent = whole.clone();
    bent[5_000] ^= 1;
    fs::write(&store, &bent).unwrap();
    let refused = restore(&to, &fresh, &mut |_| {}).unwrap_err();
    assert!(problem(&refused).contains("checksum"), "{refused}");
    fs::write(&store, &whole[1..]).unwrap();
    let refused = restore(&to, &fresh, &mut |_| {}).unwrap_err();
    assert!(problem(&refused).contains("bytes"), "{refused}");
    fs::write(&store, &whole).unwrap();
    for (change, said) in [
        (
            text.replace(
                "\"format\": 1,\n  \"fanfare\"",
                "\"format\": 2,\n  \"fanfare\"",
            ),
            "format 2",
        ),
        (text.replace("hub.toml", "../hub.toml"), "no hub has"),
        (text.replace("hub.toml", "ca.pem"), "twice"),
        (text.replace("fanfare.db", "server.db"), "no hub has"),
        ("{".to_owned(), "EOF"),
    ] {
        assert_ne!(change, text, "{said}");
        fs::write(&manifest, &change).unwrap();
        let refused = restore(&to, &fresh, &mut |_| {}).unwrap_err();
        assert!(problem(&refused).contains(said), "{refused}");
    }
    let left = fs::read_dir(&fresh).unwrap().count();
    assert_eq!(left, 1, "only the lock");
    fs::write(&manifest, &text).unwrap();
    restore(&to, &fresh, &mut |_| {}).unwrap();
}

#[tokio::test]
async fn only_a_hubs_folder_is_backed_up_and_only_an_empty_one_restored_into() {
    let scratch = tempfile::tempdir().unwrap();
    let to = scratch.path().join("backup");
    let refused = backup(&scratch.path().join("nothing"), &to, &mut |_| {}).unwrap_err();
    assert!(matches!(refused, BackupError::DataDir(_)), "{refused}");
    assert!(!to.exists());

    let data = used_folder(scratch.path()).await;
    backup(&data, &to, &mut |_| {}).unwrap();
    let taken = scratch.path().join("taken");
    let held = DataDir::lock(&taken).unwrap();
    let refused = restore(&to, &taken, &mut |_| {}).unwrap_err();
    assert!(problem(&refused).contains("in use"), "{refused}");
    drop(held);
    assert!(restore(&to, &taken, &mut |_| {}).is_ok());
}

#[test]
fn terms_follow_the_clock() {
    assert_eq!(floor(Timestamp(0)), Term(0));
    let moment = Timestamp(1_577_836_800_000_000 + 5_999_999);
    assert_eq!(floor(moment), Term(5));
}
