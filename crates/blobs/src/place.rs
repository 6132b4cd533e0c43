//! What a container's URI names. Pure: nothing is looked up, and every refusal names the part at fault.

use std::path::Path;

use fanfare_hub::ports::blobs::ContainerError;
use percent_encoding::percent_decode_str;
use reqwest::Url;

/// A container, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The parts of a path below the blob folder; at least one.
    Folder(Vec<String>),
    /// A container of an Azure Blob endpoint.
    Azure(AzureContainer),
    /// A bucket of the S3 endpoint.
    S3(Bucket),
}

/// A container of an Azure Blob endpoint.
#[derive(PartialEq, Eq)]
pub(crate) struct AzureContainer {
    /// Whether it is spoken to without TLS.
    pub(crate) is_plain: bool,
    /// The host, lower case, without the port.
    pub(crate) host: String,
    /// Everything before the container, without a slash at the end.
    pub(crate) endpoint: String,
    /// The storage account.
    pub(crate) account: String,
    /// The container in it.
    pub(crate) container: String,
    /// The decoded pairs of the signature.
    pub(crate) signature: Vec<(String, String)>,
}

impl std::fmt::Debug for AzureContainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AzureContainer")
            .field("endpoint", &self.endpoint)
            .field("account", &self.account)
            .field("container", &self.container)
            .finish_non_exhaustive()
    }
}

/// A bucket and what all its blobs' names begin with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// Its name.
    pub(crate) name: String,
    /// The prefix without slashes at its ends; may be empty.
    pub(crate) prefix: String,
}

fn fault<T>(part: &'static str, problem: impl Into<String>) -> Result<T, ContainerError> {
    Err(ContainerError {
        part,
        problem: problem.into(),
    })
}

impl Place {
    /// Takes a URI apart; `root` is where `file:` URIs are below.
    pub(crate) fn parse(uri: &str, root: &Path) -> Result<Self, ContainerError> {
        if uri.len() > URI_BYTES_MAX {
            return fault(
                "the URI",
                format!(
                    "has {} bytes, at most {URI_BYTES_MAX} are allowed",
                    uri.len()
                ),
            );
        }
        if uri.chars().any(|c| c.is_control() || c == ' ') {
            return fault(
                "the URI",
                "has a space or control character, which must be percent-encoded",
            );
        }
        let Some((scheme, rest)) = uri.split_once(':') else {
            return fault(
                "the scheme",
                "is missing, it must be file, https, http or s3",
            );
        };
        match scheme.to_ascii_lowercase().as_str() {
            "file" => folder(rest, root).map(Self::Folder),
            "https" | "http" => azure(uri).map(Self::Azure),
            "s3" => bucket(rest).map(Self::S3),
            _ => fault("the scheme", "must be file, https, http or s3"),
        }
    }
}

const URI_BYTES_MAX: usize = 4_096;

/// `file:reports/today`, or an absolute path that begins with the blob folder.
fn folder(rest: &str, root: &Path) -> Result<Vec<String>, ContainerError> {
    if rest.contains(['?', '#']) {
        return fault("the query", "is not allowed in a file URI");
    }
    let path = match rest.strip_prefix("//") {
        Some(with_host) if with_host.starts_with('/') => with_host,
        Some(_) => {
            return fault(
                "the host",
                "is not allowed in a file URI, which is file:FOLDER",
            );
        }
        None => rest,
    };
    let Ok(path) = percent_decode_str(path).decode_utf8() else {
        return fault("the path", "is not percent-encoded UTF-8");
    };
    let below = match path.starts_with('/') {
        false => Some(&*path),
        true => Path::new(&*path)
            .strip_prefix(root)
            .ok()
            .and_then(Path::to_str),
    };
    let Some(below) = below else {
        return fault(
            "the path",
            "is absolute and not in the folder blobs of the hub's data folder; \
             file:FOLDER names a folder in there",
        );
    };
    let parts: Vec<_> = below
        .trim_end_matches('/')
        .split('/')
        .map(str::to_owned)
        .collect();
    for part in &parts {
        match part.as_str() {
            "" => return fault("the path", "has an empty part"),
            "." | ".." => {
                return fault("the path", "has a part of dots, which could lead elsewhere");
            }
            part if part.chars().any(char::is_control) => {
                return fault("the path", "has a control character");
            }
            part if part.len() > PART_BYTES_MAX => {
                return fault(
                    "the path",
                    format!("has a part over {PART_BYTES_MAX} bytes"),
                );
            }
            _ => {}
        }
    }
    if parts.len() > PARTS_MAX {
        return fault("the path", format!("has more than {PARTS_MAX} parts"));
    }
    Ok(parts)
}

const PART_BYTES_MAX: usize = 255;
const PARTS_MAX: usize = 16;

/// `https://ACCOUNT.blob.DOMAIN/CONTAINER?SIGNATURE`, or with the account first in the path where the host is
/// an address or names no account, as emulators have it.
fn azure(uri: &str) -> Result<AzureContainer, ContainerError> {
    let Ok(url) = Url::parse(uri) else {
        return fault("the URI", "is not one");
    };
    if !url.username().is_empty() || url.password().is_some() {
        return fault(
            "the host",
            "has a user name or password before it, which is not allowed",
        );
    }
    if url.fragment().is_some() {
        return fault("the fragment", "is not allowed");
    }
    let host = url.host_str().unwrap_or_default().to_owned();
    let mut parts: Vec<_> = url
        .path_segments()
        .map(|parts| parts.filter(|part| !part.is_empty()).collect())
        .unwrap_or_default();
    let mut endpoint = format!("{}://{host}", url.scheme());
    if let Some(port) = url.port() {
        endpoint.push_str(&format!(":{port}"));
    }
    let account = match host.split_once('.') {
        Some((account, domain)) if domain.starts_with("blob.") => account.to_owned(),
        _ if parts.len() < 2 => {
            return fault(
                "the path",
                "must be ACCOUNT/CONTAINER on a host that names no account",
            );
        }
        _ => {
            let account = parts.remove(0).to_owned();
            endpoint.push_str(&format!("/{account}"));
            account
        }
    };
    let [container] = parts[..] else {
        return fault("the path", "must name one container and nothing in it");
    };
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '$';
    if !container.chars().all(is_name) {
        return fault(
            "the path",
            "names a container with characters other than a-z, 0-9 and -",
        );
    }
    let signature: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let is_signed = signature
        .iter()
        .any(|(name, value)| name == "sig" && !value.is_empty());
    if !is_signed {
        return fault(
            "the query",
            "has no signature (sig); the hub opens Azure containers with a shared access signature only",
        );
    }
    Ok(AzureContainer {
        is_plain: url.scheme() == "http",
        host,
        endpoint,
        account,
        container: container.to_owned(),
        signature,
    })
}

/// `s3://BUCKET[/PREFIX]`.
fn bucket(rest: &str) -> Result<Bucket, ContainerError> {
    let Some(rest) = rest.strip_prefix("//") else {
        return fault("the URI", "must be s3://BUCKET or s3://BUCKET/PREFIX");
    };
    if rest.contains(['?', '#', '@']) {
        return fault(
            "the query",
            "is not allowed in an s3 URI; endpoint, region and keys are settings of the hub",
        );
    }
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    if !(3..=63).contains(&name.len()) || !name.chars().all(is_name) {
        return fault("the bucket", "must have 3 to 63 of a-z, 0-9, - and .");
    }
    let Ok(prefix) = percent_decode_str(prefix.trim_matches('/')).decode_utf8() else {
        return fault("the path", "is not percent-encoded UTF-8");
    };
    if !prefix.is_empty()
        && prefix
            .split('/')
            .any(|part| matches!(part, "" | "." | ".."))
    {
        return fault("the path", "has an empty part or one of dots");
    }
    Ok(Bucket {
        name: name.to_owned(),
        prefix: prefix.into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(uri: &str) -> Result<Place, ContainerError> {
        Place::parse(uri, Path::new("/data/blobs"))
    }

    #[test]
    fn folders_lie_below_the_root() {
        let folder = |parts: &[&str]| {
            Ok(Place::Folder(
                parts.iter().map(|part| part.to_string()).collect(),
            ))
        };
        assert_eq!(parse("file:a"), folder(&["a"]));
        assert_eq!(parse("FILE:a/b%20c/"), folder(&["a", "b c"]));
        assert_eq!(parse("file:///data/blobs/a/b"), folder(&["a", "b"]));
        assert_eq!(parse("file:/data/blobs/a"), folder(&["a"]));
        for (uri, part) in [
            ("file:", "the path"),
            ("file:/", "the path"),
            ("file:///data/blobs", "the path"),
            ("file:///etc/passwd", "the path"),
            ("file:///data/blobs/../fanfare.db", "the path"),
            ("file:..", "the path"),
            ("file:a/../../b", "the path"),
            ("file:a/%2e%2e/b", "the path"),
            ("file:a%2f..%2f..", "the path"),
            ("file:a//b", "the path"),
            ("file:a%00", "the path"),
            ("file:%ff", "the path"),
            ("file://host/a", "the host"),
            ("file:a?x=1", "the query"),
        ] {
            assert_eq!(parse(uri).unwrap_err().part, part, "{uri}");
        }
    }

    fn azure(uri: &str) -> AzureContainer {
        match parse(uri) {
            Ok(Place::Azure(azure)) => azure,
            other => panic!("{uri}: {other:?}"),
        }
    }

    #[test]
    fn azure_containers_come_in_two_styles() {
        let cloud = azure("https://acct.blob.core.windows.net/c-1?sv=1&sig=a%2Bb%3D");
        assert_eq!(cloud.endpoint, "https://acct.blob.core.windows.net");
        assert_eq!((&*cloud.account, &*cloud.container), ("acct", "c-1"));
        assert_eq!(cloud.signature[1], ("sig".to_owned(), "a+b=".to_owned()));
        assert!(!cloud.is_plain);
        let emulated = azure("http://127.0.0.1:10000/devstoreaccount1/c?sig=x");
        assert_eq!(emulated.endpoint, "http://127.0.0.1:10000/devstoreaccount1");
        assert_eq!(
            (&*emulated.account, &*emulated.container),
            ("devstoreaccount1", "c")
        );
        assert!(emulated.is_plain);
        assert!(!format!("{cloud:?}").contains("a+b="));
        for (uri, part) in [
            ("https://acct.blob.core.windows.net/c", "the query"),
            ("https://acct.blob.core.windows.net/c?sig=", "the query"),
            ("https://acct.blob.core.windows.net/?sig=x", "the path"),
            ("https://acct.blob.core.windows.net/c/d?sig=x", "the path"),
            ("https://acct.blob.core.windows.net/C_?sig=x", "the path"),
            ("https://example.com/c?sig=x", "the path"),
            (
                "https://me:pw@acct.blob.core.windows.net/c?sig=x",
                "the host",
            ),
            (
                "https://acct.blob.core.windows.net/c?sig=x#y",
                "the fragment",
            ),
            ("https://?sig=x", "the URI"),
            ("ftp://a/b", "the scheme"),
            ("nothing", "the scheme"),
            ("https://a b", "the URI"),
        ] {
            let refused = parse(uri).unwrap_err();
            assert_eq!(refused.part, part, "{uri}");
            assert!(!refused.to_string().contains("pw"), "{refused}");
        }
    }

    #[test]
    fn buckets_have_prefixes() {
        let bucket = |name: &str, prefix: &str| {
            Ok(Place::S3(Bucket {
                name: name.to_owned(),
                prefix: prefix.to_owned(),
            }))
        };
        assert_eq!(parse("s3://bucket"), bucket("bucket", ""));
        assert_eq!(
            parse("s3://my.bucket/a/b%20c/"),
            bucket("my.bucket", "a/b c")
        );
        for (uri, part) in [
            ("s3:bucket", "the URI"),
            ("s3://B", "the bucket"),
            ("s3://bucket/../x", "the path"),
            ("s3://key:secret@bucket", "the query"),
        ] {
            assert_eq!(parse(uri).unwrap_err().part, part, "{uri}");
        }
    }
}
