//! What hostile peers say to the service API over HTTP/1.1.

use std::io;

use tokio::{
    io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};
use tokio_rustls::client::TlsStream;

use super::{
    mqtt::BYTE_PAUSE,
    target::{HostileTarget, Speech, until_end},
};

const QUERY: &str = "/devices/query?api-version=2021-04-12";
/// Requests that one peer sends at once without reading an answer.
const UNREAD_REQUESTS: usize = 200;
/// Bytes of nested arrays: all that the route takes.
const DEEP_BYTES: usize = 1024 * 1024;
/// Bytes of headers after which a peer gives up: many times what fits.
const HEAD_BYTES: usize = 16 * 1024 * 1024;

pub(super) async fn slow_head(target: &HostileTarget, peer: usize) -> io::Result<()> {
    let mut stream = target.tls(Speech::Http1, peer).await?;
    let head = format!(
        "GET /health/live HTTP/1.1\r\nhost: {}\r\nx-slow: {}",
        target.host_name,
        "z".repeat(10_000)
    );
    for byte in head.bytes() {
        if stream.write_all(&[byte]).await.is_err() {
            return Ok(());
        }
        sleep(BYTE_PAUSE).await;
    }
    Err(io::Error::other("the hub waited for all of it"))
}

pub(super) async fn giant_body(target: &HostileTarget) -> io::Result<()> {
    let head = "content-length: 1099511627776\r\n\r\n{";
    let path = "/jobs/v2/giant?api-version=2021-04-12";
    refused(target, "PUT", path, (head.as_bytes(), b""), "413").await
}

pub(super) async fn giant_head(target: &HostileTarget, peer: usize) -> io::Result<()> {
    let mut stream = target.tls(Speech::Http1, peer).await?;
    let begin = format!(
        "GET /health/live HTTP/1.1\r\nhost: {}\r\n",
        target.host_name
    );
    stream.write_all(begin.as_bytes()).await?;
    let line = format!("x-giant: {}\r\n", "z".repeat(4_000));
    for _ in 0..HEAD_BYTES / line.len() {
        if stream.write_all(line.as_bytes()).await.is_err() {
            return Ok(());
        }
    }
    Err(io::Error::other("the hub took all of it"))
}

pub(super) async fn deep_json(target: &HostileTarget) -> io::Result<()> {
    let head = format!("content-length: {DEEP_BYTES}\r\n\r\n");
    let body = b"[".repeat(DEEP_BYTES);
    refused(target, "POST", QUERY, (head.as_bytes(), &body), "400").await
}

pub(super) async fn bomb(target: &HostileTarget) -> io::Result<()> {
    // The beginning of a gzip file; what follows nobody should look at.
    let body = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &[0; 65_536]].concat();
    let head = format!(
        "content-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    refused(target, "POST", QUERY, (head.as_bytes(), &body), "415").await
}

/// Pipelined requests for full pages; no answer is read to its end.
pub(super) async fn silent_reader(target: &HostileTarget) -> io::Result<()> {
    let mut stream = target.inside().await?;
    let body = "{\"query\":\"SELECT * FROM devices\"}";
    let rest = format!(
        "x-ms-max-item-count: 1000\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    ask(&mut stream, target, "POST", QUERY, rest.as_bytes()).await?;
    stream.flush().await?;
    // The beginning of the first answer, to know that it is one.
    let answer = status_of(&mut stream).await?;
    if answer != "200" {
        return Err(io::Error::other(format!("answered {answer}")));
    }
    let mut sent = 0;
    loop {
        let asked = ask(&mut stream, target, "POST", QUERY, rest.as_bytes()).await;
        if asked.is_err() || stream.flush().await.is_err() {
            return Ok(());
        }
        sent += 1;
        if sent > UNREAD_REQUESTS {
            // Enough for any buffer to be full; the rest only finds out when the hub has ended it.
            sleep(BYTE_PAUSE).await;
        }
    }
}

pub(super) async fn silent_follower(target: &HostileTarget) -> io::Result<()> {
    let mut stream = target.inside().await?;
    let path = format!("/fanfare/v1/jobs/{}/events", target.job);
    ask(&mut stream, target, "GET", &path, b"\r\n").await?;
    stream.flush().await?;
    // Whoever reads nothing hears of no end either: it stays until the attack is over.
    std::future::pending().await
}

/// Sends a request of an insider and wants one answer.
async fn refused(
    target: &HostileTarget,
    method: &str,
    path: &str,
    (head, body): (&[u8], &[u8]),
    status: &str,
) -> io::Result<()> {
    let mut stream = target.inside().await?;
    ask(&mut stream, target, method, path, head).await?;
    // The hub may answer, and end the connection, before it has all.
    let _ = stream.write_all(body).await;
    let _ = stream.flush().await;
    let answer = status_of(&mut stream).await?;
    if answer != status {
        return Err(io::Error::other(format!("answered {answer}")));
    }
    let _ = stream.shutdown().await;
    until_end(&mut stream).await;
    Ok(())
}

async fn ask(
    stream: &mut (impl AsyncWrite + Unpin),
    target: &HostileTarget,
    method: &str,
    path: &str,
    rest: &[u8],
) -> io::Result<()> {
    let HostileTarget {
        host_name, token, ..
    } = target;
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: {host_name}\r\nauthorization: {token}\r\n");
    stream.write_all(&[head.as_bytes(), rest].concat()).await
}

async fn status_of(stream: &mut TlsStream<TcpStream>) -> io::Result<String> {
    // "HTTP/1.1 413 "
    let mut line = [0; 13];
    stream.read_exact(&mut line).await?;
    Ok(String::from_utf8_lossy(&line[9..12]).into_owned())
}
