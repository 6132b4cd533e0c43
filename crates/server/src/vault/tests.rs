//! A data folder whose keys become encrypted, are backed up, change their master key, and become plain again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fs, os::unix::fs::PermissionsExt as _};

use tempfile::TempDir;

use super::*;
use crate::{
    Config, Flags, Node, StartError, backup,
    connection_string::{self, ConnectionStringError},
};

/// A folder for data and keys, and what a node is told about both.
struct Scene {
    scratch: TempDir,
}

impl Scene {
    fn new() -> Self {
        Self {
            scratch: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    fn key(&self, name: &str) -> KeySource {
        let path = self.path(name);
        if !path.exists() {
            generate(&path).unwrap();
        }
        KeySource::KeyFile(path)
    }

    async fn start(&self, data_dir: PathBuf, key: Option<&KeySource>) -> Result<(), StartError> {
        let flags = Flags {
            data_dir: Some(data_dir),
            bind: vec!["127.0.0.96".to_owned()],
            https_port: Some(0),
            mqtts_port: Some(0),
            key_file: key.map(|key| key.path().to_owned()),
            ..Flags::default()
        };
        let config = Config::from_layers(flags, []).unwrap();
        Node::start(&config).await?.stop().await;
        Ok(())
    }

    fn owner_key(&self, key: Option<&KeySource>) -> Result<String, ConnectionStringError> {
        let string = connection_string::of_policy(&self.data(), key, "iothubowner")?;
        Ok(string.split_once("SharedAccessKey=").unwrap().1.to_owned())
    }

    /// Whether a file of a folder, or of one in it, holds the text.
    fn holds(folder: &Path, text: &str) -> bool {
        fs::read_dir(folder).unwrap().any(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() {
                return Self::holds(&path, text);
            }
            let content = fs::read(path).unwrap();
            content
                .windows(text.len())
                .any(|window| window == text.as_bytes())
        })
    }
}

fn text_of(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", text_of(source)),
        None => error.to_string(),
    }
}

#[tokio::test]
async fn the_first_start_with_a_key_encrypts_everything_and_later_ones_need_it() {
    let scene = Scene::new();
    scene.start(scene.data(), None).await.unwrap();
    let text = scene.owner_key(None).unwrap();
    let pem = fs::read_to_string(scene.data().join("ca-key.pem")).unwrap();
    let pem_line = pem.lines().nth(1).unwrap();
    assert!(Scene::holds(&scene.data(), &text), "the search finds keys");
    assert!(Scene::holds(&scene.data(), pem_line));
    assert_eq!(status(&scene.data()).unwrap().store, None);

    let key = scene.key("hub.key");
    scene.start(scene.data(), Some(&key)).await.unwrap();
    assert!(!Scene::holds(&scene.data(), &text));
    assert!(!Scene::holds(&scene.data(), pem_line));
    let now = status(&scene.data()).unwrap();
    assert_eq!(now.store.unwrap().state, KeyState::Encrypted);
    assert_eq!(now.files, [("ca-key.pem", true), ("server-key.pem", true)]);
    for name in PRIVATE_FILES {
        let mode = fs::metadata(scene.data().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(scene.owner_key(Some(&key)).unwrap(), text);
    scene.start(scene.data(), Some(&key)).await.unwrap();

    let missing = text_of(&scene.start(scene.data(), None).await.unwrap_err());
    assert!(
        missing.contains("--key-file or FANFARE_KEY_FILE"),
        "{missing}"
    );
    let other = scene.key("other.key");
    let wrong = text_of(&scene.start(scene.data(), Some(&other)).await.unwrap_err());
    assert!(wrong.contains("the key file holds key"), "{wrong}");
    for key in [None, Some(&other)] {
        assert!(matches!(
            scene.owner_key(key),
            Err(ConnectionStringError::Vault(_))
        ));
    }
    scene.start(scene.data(), Some(&key)).await.unwrap();
}

#[tokio::test]
async fn a_backup_holds_no_plain_key_and_says_what_it_needs() {
    let scene = Scene::new();
    let key = scene.key("hub.key");
    scene.start(scene.data(), Some(&key)).await.unwrap();
    let text = scene.owner_key(Some(&key)).unwrap();
    let to = scene.path("backup");
    let manifest = backup::backup(&scene.data(), &to, &mut |_| {}).unwrap();
    let needs = manifest.keys.unwrap();
    assert_eq!(needs.kind, "key file");
    assert_eq!(
        Some(needs.key_id),
        key.read().unwrap().id().map(|id| id.to_string())
    );
    assert!(!Scene::holds(&to, &text));

    // The folder goes on under another key; the backup stays as it was.
    let new = scene.key("new.key");
    change(&scene.data(), &key, &new).unwrap();
    assert!(scene.start(scene.data(), Some(&key)).await.is_err());
    scene.start(scene.data(), Some(&new)).await.unwrap();
    assert_eq!(scene.owner_key(Some(&new)).unwrap(), text);
    let restored = scene.path("restored");
    backup::restore(&to, &restored, &mut |_| {}).unwrap();
    assert!(check(&restored, Some(&new)).is_err());
    check(&restored, Some(&key)).unwrap();
    scene.start(restored, Some(&key)).await.unwrap();
}

#[tokio::test]
async fn keys_become_plain_again_and_a_cut_in_between_loses_nothing() {
    let scene = Scene::new();
    let key = scene.key("hub.key");
    scene.start(scene.data(), Some(&key)).await.unwrap();
    let text = scene.owner_key(Some(&key)).unwrap();
    // As a crash after the files and before the store leaves it.
    let vault = peek(&scene.data(), Some(&key)).unwrap();
    assert_eq!(
        convert_files(&scene.data(), &vault, private_file::decrypt).unwrap(),
        2
    );
    scene.start(scene.data(), Some(&key)).await.unwrap();
    assert!(
        status(&scene.data())
            .unwrap()
            .files
            .iter()
            .all(|(_, is_encrypted)| *is_encrypted)
    );

    let done = decrypt(&scene.data(), &key, &mut |_, _| {}).unwrap();
    assert_eq!((done.policies, done.files), (5, 2));
    assert_eq!(scene.owner_key(None).unwrap(), text);
    scene.start(scene.data(), None).await.unwrap();
    let refused = text_of(&decrypt(&scene.data(), &key, &mut |_, _| {}).unwrap_err());
    assert!(refused.contains("not encrypted"), "{refused}");
    let empty = scene.path("empty");
    assert!(matches!(status(&empty), Err(VaultError::NoStore(_))));
    assert!(matches!(
        encrypt(&empty, &key, &mut |_, _| {}),
        Err(VaultError::NoStore(_))
    ));
    assert!(!empty.exists(), "asking makes nothing");
}

#[tokio::test]
async fn exchanged_and_damaged_private_files_are_refused() {
    let scene = Scene::new();
    let key = scene.key("hub.key");
    scene.start(scene.data(), Some(&key)).await.unwrap();
    let [ca, server] = PRIVATE_FILES.map(|name| scene.data().join(name));
    let content = fs::read_to_string(&ca).unwrap();
    fs::copy(&server, &ca).unwrap();
    let refused = text_of(&scene.start(scene.data(), Some(&key)).await.unwrap_err());
    assert!(
        refused.contains("ca-key.pem") && refused.contains("does not open"),
        "{refused}"
    );
    let place = content.len() / 2;
    let other = if &content[place..=place] == "A" {
        "B"
    } else {
        "A"
    };
    let mut damaged = content.clone();
    damaged.replace_range(place..=place, other);
    fs::write(&ca, damaged).unwrap();
    assert!(scene.start(scene.data(), Some(&key)).await.is_err());
    fs::write(&ca, content).unwrap();
    scene.start(scene.data(), Some(&key)).await.unwrap();
}

#[tokio::test]
async fn nothing_is_converted_under_a_running_hub() {
    let scene = Scene::new();
    scene.start(scene.data(), None).await.unwrap();
    let running = DataDir::lock(&scene.data()).unwrap();
    let key = scene.key("hub.key");
    let refused = encrypt(&scene.data(), &key, &mut |_, _| {}).unwrap_err();
    assert!(
        matches!(refused, VaultError::DataDir(DataDirError::InUse(_))),
        "{refused}"
    );
    assert_eq!(status(&scene.data()).unwrap().store, None);
    drop(running);
    let done = encrypt(&scene.data(), &key, &mut |_, _| {}).unwrap();
    assert_eq!((done.policies, done.files, done.leftover), (5, 2, None));
}
