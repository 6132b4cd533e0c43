//! Keys go from one form to the other and back, whatever happens in between, and leave nothing behind.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use fanfare_hub::{
    access::{Policy, Rights},
    ids::{DeviceId, Etag, IdentityId},
    ports::store::{
        IdentityRow, IdentityScan, Keys, PolicyStore as _, QueryStore as _, RegistryStore as _,
        SessionStore as _, TwinStore as _,
    },
    registry::{
        Authentication, IdentitySettings, IdentityWrite, Made, Precondition, Status, SymmetricKey,
    },
    time::Timestamp,
};
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::*;

const NOW: Timestamp = Timestamp(1_927_857_906_123_456);
/// More than one batch takes.
const DEVICES: usize = 4_500;

fn master(byte: u8) -> MasterKey {
    MasterKey::File(Zeroizing::new([byte; 32]))
}

/// A key that is found again in raw bytes.
fn key_of(what: &str, number: usize) -> String {
    format!("{what}{number:06}KeyThatLiesNowhereElse")
}

fn settings(number: usize) -> IdentitySettings {
    IdentitySettings {
        status: Status::Enabled,
        status_reason: None,
        authentication: Authentication::Sas {
            primary: SymmetricKey::new(&key_of("first", number)),
            secondary: SymmetricKey::new(&key_of("second", number)),
        },
        edge: false,
        device_scope: None,
        parent_scopes: Vec::new(),
        managed_by: None,
    }
}

fn id(number: usize) -> IdentityId {
    IdentityId::device(DeviceId::parse(&format!("door-{number}")).unwrap())
}

fn put(number: usize, settings: IdentitySettings) -> IdentityWrite {
    IdentityWrite::Put {
        id: id(number),
        settings,
        made: Made::default(),
        modules: Vec::new(),
        precondition: Precondition::Any,
        twin: None,
    }
}

struct Scratch {
    _folder: TempDir,
    path: PathBuf,
}

impl Scratch {
    /// A store with devices and a policy, closed again; `vault` encrypts their keys, or nothing does.
    async fn with_devices(devices: usize, key: Option<&MasterKey>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub.db");
        let store = match key {
            Some(key) => {
                let (vault, _) = Embedded::encrypt_keys(&path, key, &mut |_| {}).unwrap();
                Embedded::open_inline_with(&path, vault).unwrap()
            }
            None => Embedded::open_inline(&path).unwrap(),
        };
        let writes = (0..devices).map(|number| put(number, settings(number)));
        let written = store.identity_write(writes.collect(), NOW).await.unwrap();
        assert!(written.iter().all(Result::is_ok));
        store.policy_seed(vec![policy()]).await.unwrap();
        Self {
            _folder: folder,
            path,
        }
    }

    /// Whether the text lies anywhere in the folder.
    fn holds(&self, text: &str) -> bool {
        let folder = self.path.parent().unwrap();
        std::fs::read_dir(folder).unwrap().any(|entry| {
            let content = std::fs::read(entry.unwrap().path()).unwrap();
            content
                .windows(text.len())
                .any(|window| window == text.as_bytes())
        })
    }

    fn holds_a_key(&self, devices: usize) -> bool {
        let texts =
            (0..devices).flat_map(|number| [key_of("first", number), key_of("second", number)]);
        // A few: the folder is searched whole for each.
        texts.step_by(1_201).any(|text| self.holds(&text)) || self.holds(POLICY_KEY)
    }

    fn encrypt(&self, key: &MasterKey) -> (Vault, Converted) {
        Embedded::encrypt_keys(&self.path, key, &mut |_| {}).unwrap()
    }

    fn open(&self, key: &MasterKey) -> Embedded {
        Embedded::open_inline_with(&self.path, self.encrypt(key).0).unwrap()
    }

    fn db(&self) -> Connection {
        Connection::open(&self.path).unwrap()
    }

    fn state(&self) -> Option<KeyState> {
        let standing = Embedded::key_standing(&self.path).unwrap();
        standing.map(|standing| standing.state)
    }
}

const POLICY_KEY: &str = "cG9saWN5IGtleSB0aGF0IGxpZXMgbm93aGVyZSBlbHNl";

fn policy() -> Policy {
    Policy {
        name: "service".into(),
        rights: Rights::SERVICE_CONNECT,
        primary: SymmetricKey::new(POLICY_KEY),
        secondary: SymmetricKey::new("c2Vjb25k"),
        etag: Etag(0),
    }
}

async fn check_devices(store: &Embedded, devices: impl IntoIterator<Item = usize>) {
    for number in devices {
        let found = store.identity_get(&id(number)).await.unwrap().unwrap();
        assert_eq!(found.settings, settings(number));
    }
    assert_eq!(
        store.policy_list().await.unwrap().policies.as_ref(),
        [policy()]
    );
}

#[tokio::test]
async fn nothing_plain_is_left_and_everything_still_opens() {
    let scratch = Scratch::with_devices(DEVICES, None).await;
    assert!(scratch.holds_a_key(DEVICES), "the search finds keys");
    let mut seen = Vec::new();
    let key = master(1);
    let (_, converted) =
        Embedded::encrypt_keys(&scratch.path, &key, &mut |at| seen.push(at)).unwrap();
    let expected = Converted {
        identities: DEVICES as u64,
        policies: 1,
        ..Converted::default()
    };
    assert_eq!(converted, expected);
    assert_eq!(seen.last().unwrap().done, DEVICES as u64);
    assert_eq!(scratch.state(), Some(KeyState::Encrypted));
    assert!(!scratch.holds_a_key(DEVICES));

    let copy = scratch.path.with_file_name("copy.db");
    let copied = Embedded::copy(&scratch.path, &copy, &mut |_| {}).unwrap();
    assert_eq!(copied.keys.unwrap().id, key.id().unwrap());
    assert!(!scratch.holds_a_key(DEVICES), "the copy holds none either");

    let store = scratch.open(&key);
    check_devices(&store, (0..DEVICES).step_by(997)).await;
    let changed = IdentitySettings {
        status_reason: Some("moved".to_owned()),
        ..settings(DEVICES)
    };
    let written = store.identity_write(vec![put(5, changed), put(DEVICES, settings(DEVICES))], NOW);
    assert!(written.await.unwrap().iter().all(Result::is_ok));
    drop(store);
    assert!(
        !scratch.holds(&key_of("first", DEVICES)),
        "nor do later writes"
    );
    let again = scratch.encrypt(&key).1;
    assert_eq!(again, Converted::default(), "there is nothing left to do");
}

#[tokio::test]
async fn a_conversion_that_was_cut_goes_on_and_a_half_one_can_be_used() {
    let scratch = Scratch::with_devices(DEVICES, None).await;
    let key = master(1);
    let (vault, _) = scratch.encrypt(&key);
    // As a crash between two batches leaves it: the state, and rows in both forms.
    let db = scratch.db();
    db.execute("UPDATE vault SET state = 0, last = 999", [])
        .unwrap();
    for number in 1_000..1_100 {
        let plain = IdentityRecord::new(&settings(number), Timestamp::NEVER).seal();
        let name = format!("door-{number}");
        db.execute(
            "UPDATE identity SET record = ?1 WHERE device_id = ?2",
            (plain, name),
        )
        .unwrap();
    }
    db.execute(
        "UPDATE policy SET primary_key = ?1, secondary_key = 'c2Vjb25k'",
        [POLICY_KEY],
    )
    .unwrap();
    drop(db);
    drop(vault);
    assert!(scratch.holds(&key_of("first", 1_010)));
    let converted = scratch.encrypt(&key).1;
    assert_eq!((converted.identities, converted.policies), (100, 1));
    assert_eq!(scratch.state(), Some(KeyState::Encrypted));
    assert!(!scratch.holds(&key_of("first", 1_010)) && !scratch.holds(POLICY_KEY));
    check_devices(
        &scratch.open(&key),
        [0, 999, 1_000, 1_099, 1_100, DEVICES - 1],
    )
    .await;
}

const STORE_TO_CONVERT: &str = "FANFARE_TEST_STORE_TO_CONVERT";

/// Nothing by itself: the process that [`a_killed_conversion_goes_on`] starts, and kills after its first batch.
#[test]
fn convert_a_batch_and_wait() {
    let Some(path) = std::env::var_os(STORE_TO_CONVERT) else {
        return;
    };
    let wait = &mut |at: KeyProgress| {
        println!("converted {} of {}", at.done, at.total);
        // Until the end of the pipe, which is that of the test.
        let _ = std::io::stdin().read_line(&mut String::new());
    };
    let _ = Embedded::encrypt_keys(Path::new(&path), &master(1), wait);
}

#[tokio::test]
async fn a_killed_conversion_goes_on() {
    let scratch = Scratch::with_devices(DEVICES, None).await;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--nocapture",
            "embedded::keys::tests::convert_a_batch_and_wait",
        ])
        .env(STORE_TO_CONVERT, &scratch.path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let has_begun = lines.any(|line| line.unwrap().contains("converted 4096 of 4500"));
    // SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(has_begun);
    assert_eq!(scratch.state(), Some(KeyState::Encrypting));
    assert!(matches!(
        Embedded::open_inline(&scratch.path),
        Err(OpenError::Locked { .. })
    ));
    let converted = scratch.encrypt(&master(1)).1;
    assert_eq!(converted.identities, DEVICES as u64 - 4_096);
    assert!(!scratch.holds_a_key(DEVICES));
    check_devices(&scratch.open(&master(1)), [0, 4_095, 4_096, DEVICES - 1]).await;
}

#[tokio::test]
async fn decrypting_gives_the_plain_store_back_from_any_state() {
    let scratch = Scratch::with_devices(300, Some(&master(1))).await;
    assert!(!scratch.holds_a_key(300));
    // A decryption that was cut, and then one with the hub's start in between.
    scratch
        .db()
        .execute("UPDATE vault SET state = 2, last = 99", [])
        .unwrap();
    assert_eq!(scratch.encrypt(&master(1)).1.identities, 0);
    assert_eq!(scratch.state(), Some(KeyState::Encrypted));
    let converted = Embedded::decrypt_keys(&scratch.path, &master(1), &mut |_| {}).unwrap();
    assert_eq!((converted.identities, converted.policies), (300, 1));
    assert_eq!(scratch.state(), None);
    check_devices(&Embedded::open_inline(&scratch.path).unwrap(), 0..300).await;
    let refused = Embedded::decrypt_keys(&scratch.path, &master(1), &mut |_| {}).unwrap_err();
    assert!(matches!(refused, KeysError::Plain));
}

#[tokio::test]
async fn a_wrong_or_missing_key_changes_nothing() {
    let scratch = Scratch::with_devices(10, Some(&master(1))).await;
    let before = std::fs::read(&scratch.path).unwrap();
    let refused = Embedded::encrypt_keys(&scratch.path, &master(2), &mut |_| {}).unwrap_err();
    assert!(matches!(
        refused,
        KeysError::Unlock(UnlockError::OtherKey { .. })
    ));
    let refused = Embedded::decrypt_keys(&scratch.path, &master(2), &mut |_| {}).unwrap_err();
    assert!(matches!(refused, KeysError::Unlock(_)), "{refused}");
    let refused = Embedded::change_master_key(&scratch.path, &master(2), &master(3)).unwrap_err();
    assert!(matches!(refused, KeysError::Unlock(_)), "{refused}");
    let refused = Embedded::peek_vault(&scratch.path, None).unwrap_err();
    assert!(
        matches!(
            refused,
            KeysError::Needed {
                kind: KeyKind::File,
                ..
            }
        ),
        "{refused}"
    );
    assert!(matches!(
        Embedded::open_inline(&scratch.path),
        Err(OpenError::Locked { .. })
    ));
    assert!(std::fs::read(&scratch.path).unwrap() == before);
    check_devices(&scratch.open(&master(1)), 0..10).await;
}

#[tokio::test]
async fn another_master_key_opens_the_same_secrets() {
    let scratch = Scratch::with_devices(10, Some(&master(1))).await;
    let now = Embedded::change_master_key(&scratch.path, &master(1), &master(2)).unwrap();
    assert_eq!(
        (now.id, now.state),
        (master(2).id().unwrap(), KeyState::Encrypted)
    );
    assert!(Embedded::peek_vault(&scratch.path, Some(&master(1))).is_err());
    assert_eq!(scratch.encrypt(&master(2)).1, Converted::default());
    check_devices(&scratch.open(&master(2)), 0..10).await;
}

#[tokio::test]
async fn exchanged_and_damaged_secrets_are_refused_and_nobody_elses() {
    let scratch = Scratch::with_devices(4, Some(&master(1))).await;
    let db = scratch.db();
    // Two devices exchange what is theirs.
    let record = |name: &str| -> Vec<u8> {
        let select = "SELECT record FROM identity WHERE device_id = ?1";
        db.query_row(select, [name], |row| row.get(0)).unwrap()
    };
    let set = |name: &str, record: &[u8]| {
        db.execute(
            "UPDATE identity SET record = ?2 WHERE device_id = ?1",
            (name, record),
        )
        .unwrap();
    };
    let (first, second) = (record("door-0"), record("door-1"));
    set("door-0", &second);
    set("door-1", &first);
    // One has a flipped bit, with a frame that says it is right.
    let broken = IdentityRecord::open(&record("door-2")).unwrap();
    let broken = match broken.authentication {
        crate::embedded::registry::record::AuthenticationRecord::SealedSas(mut sealed) => {
            sealed[30] ^= 4;
            IdentityRecord {
                authentication: crate::embedded::registry::record::AuthenticationRecord::SealedSas(
                    sealed,
                ),
                ..broken
            }
        }
        _ => panic!("it is encrypted"),
    };
    set("door-2", &broken.seal());
    drop(db);
    let store = scratch.open(&master(1));
    for number in 0..3 {
        let refused = store.identity_get(&id(number)).await.unwrap_err();
        assert!(matches!(refused, StoreError::Corrupt(_)), "{refused}");
        let refused = store.session_open(&id(number)).await.err().unwrap();
        assert!(matches!(refused, StoreError::Corrupt(_)), "{refused}");
    }
    check_devices(&store, [3]).await;
    // What shows no keys works on, and so does deleting one of them and making it anew.
    assert_eq!(names_without_keys(&store).await, 4);
    let delete = IdentityWrite::Delete {
        id: id(2),
        precondition: Precondition::Any,
    };
    let written = store
        .identity_write(vec![delete, put(2, settings(2))], NOW)
        .await
        .unwrap();
    assert!(written.iter().all(Result::is_ok), "{written:?}");
    check_devices(&store, [2, 3]).await;
}

#[tokio::test]
async fn a_policy_with_other_rights_or_a_plain_key_is_refused() {
    let scratch = Scratch::with_devices(1, Some(&master(1))).await;
    for tampering in [
        "UPDATE policy SET rights = 15",
        "UPDATE policy SET name = 'iothubowner'",
        "UPDATE policy SET secondary_key = primary_key",
        "UPDATE policy SET primary_key = 'bWluZQ=='",
    ] {
        let store = scratch.open(&master(1));
        let db = scratch.db();
        db.execute_batch("CREATE TEMP TABLE was AS SELECT * FROM policy")
            .unwrap();
        db.execute(tampering, []).unwrap();
        let refused = store.policy_list().await.err().unwrap();
        assert!(
            matches!(refused, StoreError::Corrupt(_)),
            "{tampering}: {refused}"
        );
        db.execute_batch("DELETE FROM policy; INSERT INTO policy SELECT * FROM was")
            .unwrap();
        assert!(store.policy_list().await.is_ok());
    }
    // A plain key of a device in an encrypted store is nobody's either.
    let plain = IdentityRecord::new(&settings(0), Timestamp::NEVER).seal();
    let store = scratch.open(&master(1));
    scratch
        .db()
        .execute("UPDATE identity SET record = ?1", [plain])
        .unwrap();
    let refused = store.identity_get(&id(0)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt(_)), "{refused}");
}

#[tokio::test]
async fn an_unreadable_identity_is_counted_and_stops_nobody() {
    let scratch = Scratch::with_devices(3, None).await;
    scratch
        .db()
        .execute(
            "UPDATE identity SET record = x'00' WHERE device_id = 'door-1'",
            [],
        )
        .unwrap();
    let converted = scratch.encrypt(&master(1)).1;
    assert_eq!((converted.identities, converted.damaged), (2, 1));
    check_devices(&scratch.open(&master(1)), [0, 2]).await;
}

#[tokio::test]
async fn a_reader_beside_it_is_not_a_failure_but_the_wiping_is_done_again() {
    let scratch = Scratch::with_devices(3, None).await;
    let reader = scratch.db();
    let moment = reader.unchecked_transaction().unwrap();
    let _: i64 = moment
        .query_row("SELECT count(*) FROM identity", [], |row| row.get(0))
        .unwrap();
    let converted = {
        // Nobody waits ten seconds for it in a test.
        let db = open_writer(&scratch.path).unwrap();
        db.busy_timeout(std::time::Duration::ZERO).unwrap();
        let data_key = DataKey::random();
        let lock = Lock::new(&data_key, &master(9)).unwrap();
        db.execute(INSERT_LOCK, (lock.to_bytes(), ENCRYPTING))
            .unwrap();
        let (vault, mut converted) = (Vault::new(&data_key), Converted::default());
        convert(&db, &vault, Form::Encrypted, &mut converted, &mut |_| {}).unwrap();
        converted.leftover = wipe(&db).err();
        converted
    };
    assert_eq!(converted.identities, 3);
    let problem = converted.leftover.unwrap();
    assert!(
        problem.contains("another program reads the store"),
        "{problem}"
    );
}

/// How many devices a scan shows that asks for no keys.
async fn names_without_keys(store: &Embedded) -> usize {
    let scan = IdentityScan {
        space: fanfare_hub::ids::Space::Devices,
        after: None,
        devices: None,
    };
    let seen = std::sync::Arc::new(std::sync::Mutex::new(0));
    let count = seen.clone();
    let visit = move |row: &dyn IdentityRow| {
        let twin = row.twin(Keys::Withheld).unwrap();
        assert_eq!(
            twin.identity.settings.authentication,
            Authentication::Sas {
                primary: SymmetricKey::withheld(),
                secondary: SymmetricKey::withheld(),
            }
        );
        *count.lock().unwrap() += 1;
        std::ops::ControlFlow::Continue(())
    };
    store.identity_scan(scan, Box::new(visit)).await.unwrap();
    assert!(store.twin_get(&id(3)).await.unwrap().is_some());
    *seen.lock().unwrap()
}
