//! The hubs that have names: one file of the user's, read whole and written whole.
//!
//! It holds keys, so it lies in a folder of mode 0700 with mode 0600, and is refused when others could read it.
//! A write is a new file that takes the old one's place; a crash leaves the one or the other.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use fanfare_wire::Secret;
use serde::{Deserialize, Serialize};

use super::args::variable;
use crate::failure::Failure;

/// Every hub that has a name.
#[derive(Debug, Clone)]
pub(crate) struct Book {
    path: PathBuf,
    pages: Pages,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pages {
    /// The hub of commands that name none.
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(default)]
    hubs: BTreeMap<String, Entry>,
}

/// What is kept about a hub.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Entry {
    /// A hub anywhere.
    Remote(Remote),
    /// A hub on this machine; its key, port and CA are read each time, so they may change.
    Local(Local),
    /// A hub that is called with bearer tokens; they are read each time, since they do not live long.
    WithToken(WithToken),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Remote {
    pub(crate) connection_string: Secret,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
    /// The certificates themselves: the file they came from may go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_pem: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Local {
    pub(crate) data_dir: PathBuf,
    pub(crate) policy: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct WithToken {
    /// `HOST[:PORT]`.
    pub(crate) host: String,
    pub(crate) access_token_file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_pem: Option<String>,
}

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
const HEAD: &str =
    "# Hubs that `fanfare hub login` has named. It holds keys: keep it to yourself.\n";

impl Book {
    /// The user's book; an empty one when there is none yet.
    pub(crate) fn read() -> Result<Self, Failure> {
        let Some(folder) = config_folder() else {
            let path = PathBuf::new();
            let pages = Pages::default();
            return Ok(Self { path, pages });
        };
        Self::read_at(folder.join("hubs.toml"))
    }

    fn read_at(path: PathBuf) -> Result<Self, Failure> {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let pages = Pages::default();
                return Ok(Self { path, pages });
            }
            Err(error) => {
                let title = format!("{} cannot be read", path.display());
                return Err(Failure::usage(title).because(error));
            }
        };
        check_mode(&path)?;
        let pages = toml::from_str(&text).map_err(|error| unreadable(&path, &error))?;
        Ok(Self { path, pages })
    }

    /// The name of the hub that was chosen with `fanfare hub use`.
    pub(crate) fn current(&self) -> Option<&str> {
        self.pages.current.as_deref()
    }

    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.pages.hubs.get(name)
    }

    /// All hubs, by name.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.pages
            .hubs
            .iter()
            .map(|(name, entry)| (name.as_str(), entry))
    }

    /// Names a hub and chooses it when it is the first. Returns whether it is the one in use.
    pub(crate) fn keep(&mut self, name: &str, entry: Entry, choose: bool) -> bool {
        self.pages.hubs.insert(name.to_owned(), entry);
        if choose || self.pages.current.is_none() {
            self.pages.current = Some(name.to_owned());
        }
        self.current() == Some(name)
    }

    /// Chooses a hub.
    pub(crate) fn choose(&mut self, name: &str) -> Result<(), Failure> {
        if self.entry(name).is_none() {
            return Err(self.unknown(name, None));
        }
        self.pages.current = Some(name.to_owned());
        Ok(())
    }

    /// Forgets a hub. Returns whether it was the one in use.
    pub(crate) fn forget(&mut self, name: &str) -> Result<bool, Failure> {
        if self.pages.hubs.remove(name).is_none() {
            return Err(self.unknown(name, None));
        }
        let was_current = self.current() == Some(name);
        if was_current {
            self.pages.current = None;
        }
        Ok(was_current)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A name that is not in the book; `by` is what said it, where the person did not just now.
    pub(crate) fn unknown(&self, name: &str, by: Option<&str>) -> Failure {
        let known: Vec<&str> = self.pages.hubs.keys().map(String::as_str).collect();
        let by = by
            .map(|by| format!(", which {by} says"))
            .unwrap_or_default();
        let failure = Failure::usage(format!("no hub is named '{name}'{by}"));
        if known.is_empty() {
            return failure.try_this(format!("fanfare hub login {name} --connection-string -"));
        }
        failure.try_this(format!("one of these: {}", known.join(", ")))
    }

    /// Writes the book in the place of the old one.
    pub(crate) fn write(&self) -> Result<(), Failure> {
        let Some(folder) = self
            .path
            .parent()
            .filter(|path| !path.as_os_str().is_empty())
        else {
            return Err(Failure::usage("there is no home folder to keep hubs in")
                .try_this("export XDG_CONFIG_HOME=FOLDER"));
        };
        let text = toml::to_string(&self.pages).map_err(anyhow::Error::from)?;
        write_private(folder, &self.path, &format!("{HEAD}\n{text}")).map_err(|error| {
            Failure::not_done(format!("{} cannot be written", self.path.display())).because(error)
        })
    }
}

fn write_private(folder: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(folder)?;
    let mut file = tempfile::Builder::new()
        .prefix(".hubs")
        .permissions(Permissions::from_mode(FILE_MODE))
        .tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// `$XDG_CONFIG_HOME/fanfare`, or `~/.config/fanfare`.
fn config_folder() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(variable("HOME")?).join(".config"));
    let base = variable("XDG_CONFIG_HOME").map(PathBuf::from);
    Some(
        base.filter(|path| path.is_absolute())
            .or_else(home)?
            .join("fanfare"),
    )
}

/// Keys that others can read are no secrets, and a folder they can write to lets them change the hub.
fn check_mode(path: &Path) -> Result<(), Failure> {
    let mode =
        |path: &Path| std::fs::metadata(path).map(|found| found.permissions().mode() & 0o777);
    let refused = |path: &Path, mode: u32, what: &str, right: u32| {
        Failure::usage(format!(
            "{} has mode {mode:04o}, so others on this machine can {what} it; it holds keys",
            path.display()
        ))
        .try_this(format!("chmod {right:o} {}", path.display()))
        .try_this("renew the keys, if others have used this machine")
    };
    let of_file = mode(path)?;
    if of_file & 0o077 != 0 {
        return Err(refused(path, of_file, "read", FILE_MODE));
    }
    if let Some(folder) = path.parent() {
        let of_folder = mode(folder)?;
        if of_folder & 0o022 != 0 {
            return Err(refused(folder, of_folder, "write to", FOLDER_MODE));
        }
    }
    Ok(())
}

/// toml's own rendering repeats the line at fault, which may be a key.
fn unreadable(path: &Path, error: &toml::de::Error) -> Failure {
    Failure::usage(format!("{} cannot be understood", path.display()))
        .because(error.message())
        .try_this("mend the file, or remove it and log in again")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(key: &str) -> Entry {
        Entry::Remote(Remote {
            connection_string: Secret::new(format!(
                "HostName=h;SharedAccessKeyName=p;SharedAccessKey={key}"
            )),
            port: Some(8443),
            ca_pem: Some("-----BEGIN\nabc\n".to_owned()),
        })
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_book_is_private_and_reads_back() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("config/fanfare/hubs.toml");
        let mut book = Book::read_at(path.clone()).unwrap();
        assert!(book.keep("lab", remote("a"), false), "the first is used");
        assert!(!book.keep("plant", remote("b"), false));
        let folder = "/srv/data".into();
        let policy = "iothubowner".to_owned();
        book.keep(
            "here",
            Entry::Local(Local {
                data_dir: folder,
                policy,
            }),
            false,
        );
        book.write().unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));

        let mut book = Book::read_at(path.clone()).unwrap();
        assert_eq!(book.current(), Some("lab"));
        let Some(Entry::Remote(plant)) = book.entry("plant") else {
            panic!("{book:?}")
        };
        assert!(plant.connection_string.expose().ends_with("=b"));
        assert_eq!(
            (plant.port, plant.ca_pem.as_deref()),
            (Some(8443), Some("-----BEGIN\nabc\n"))
        );
        assert!(matches!(book.entry("here"), Some(Entry::Local(_))));
        assert!(book.forget("lab").unwrap(), "it was in use");
        assert!(book.choose("lab").is_err());
        book.write().unwrap();
        let left: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "nothing else lies there: {left:?}");
    }

    #[test]
    fn a_book_that_others_can_read_or_replace_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("fanfare/hubs.toml");
        Book::read_at(path.clone()).unwrap().write().unwrap();
        let read = |file: u32, folder: u32| {
            std::fs::set_permissions(&path, Permissions::from_mode(file)).unwrap();
            std::fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(folder))
                .unwrap();
            Book::read_at(path.clone())
                .map(drop)
                .map_err(|failure| crate::diagnostic::plain(&failure))
        };
        assert!(read(0o600, 0o755).is_ok());
        let said = read(0o640, 0o700).unwrap_err();
        assert!(
            said.contains("0640") && said.contains("chmod 600"),
            "{said}"
        );
        let said = read(0o600, 0o770).unwrap_err();
        assert!(said.contains("chmod 700"), "{said}");
    }

    #[test]
    fn a_broken_book_is_told_without_its_keys() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("fanfare/hubs.toml");
        write_private(
            path.parent().unwrap(),
            &path,
            "[hubs.lab]\nconnection-string = c2VjcmV0",
        )
        .unwrap();
        let failure = Book::read_at(path).unwrap_err();
        let said = crate::diagnostic::plain(&failure);
        assert!(said.contains("cannot be understood"), "{said}");
        assert!(!said.contains("c2VjcmV0"), "{said}");
        assert!(!format!("{failure:?}").contains("c2VjcmV0"));
    }
}
