//! Imports of more lines than are made together: what is kept in order, and what an end in between leaves.

use std::{fs, time::Duration};

use fanfare_hub::limits;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::harness::Hub;

/// Where the storage account of these tests listens.
const ADDRESS: &str = "127.0.0.74";
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs an import to its end; its document.
async fn import(hub: &Hub, container: &str) -> Value {
    let request = json!({"type": "import", "inputBlobContainerUri": container,
        "outputBlobContainerUri": "file:log"});
    let accepted = hub.done("POST", "/jobs/create", request).await;
    let path = format!("/jobs/{}", accepted["jobId"].as_str().unwrap());
    let ended = async {
        loop {
            let job = hub.done("GET", &path, Value::Null).await;
            if job["status"] != "enqueued" && job["status"] != "running" {
                return job;
            }
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap()
}

async fn devices(hub: &Hub) -> usize {
    let numbers = hub.done("GET", "/statistics/devices", Value::Null).await;
    numbers["totalDeviceCount"].as_u64().unwrap() as usize
}

/// compat: XFER-4
#[tokio::test]
async fn the_log_keeps_the_order_of_the_lines() {
    let hub = Hub::start().await;
    let lines = 3 * limits::TRANSFER_BATCH_LINES + 7;
    let is_bad = |line: &usize| line.is_multiple_of(7);
    let mut text = String::new();
    for line in 1..=lines {
        // Of the bad ones half cannot be read, and half are refused by the registry.
        let mode = if is_bad(&line) { "delete" } else { "create" };
        text += &match line % 14 {
            0 => "nonsense\n".to_owned(),
            _ => format!("{{\"id\":\"d-{line}\",\"importMode\":\"{mode}\"}}\n"),
        };
    }
    let folder = hub.folder.path().join("data/blobs/in");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("devices.txt"), text).unwrap();
    let done = import(&hub, "file:in").await;
    assert_eq!(done["status"], "completed", "{done}");

    let log = hub.folder.path().join("data/blobs/log/importErrors.log");
    let log = fs::read_to_string(log).unwrap();
    let logged = log.lines().map(|entry| {
        let entry: Value = serde_json::from_str(entry).unwrap();
        (
            entry["fanfare"]["line"].as_u64().unwrap() as usize,
            entry["errorCode"].as_u64().unwrap(),
        )
    });
    let code = |line| if line % 14 == 0 { 400_012 } else { 404_001 };
    let bad: Vec<_> = (1..=lines).filter(is_bad).collect();
    let expected = bad.iter().map(|line| (*line, code(*line)));
    assert!(logged.eq(expected), "{log}");
    assert_eq!(devices(&hub).await, lines - bad.len());
    hub.stop().await;
}

/// A storage account with one blob, of which it gives the first piece and then nothing more.
struct HalfOfABlob {
    text: String,
}

impl HalfOfABlob {
    async fn serve(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            // A hub that hangs up is no matter here.
            let _ = self.answer(stream).await;
        }
    }

    /// Answers one request and hangs up.
    async fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await?);
        }
        let request = String::from_utf8_lossy(&request).to_ascii_lowercase();
        let described = "Connection: close\r\nETag: \"1\"\r\nx-ms-version: 2019-12-12\r\n\
             Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\n";
        let total = self.text.len();
        let range = request
            .lines()
            .find_map(|line| line.split_once("range: bytes=")?.1.split_once('-'));
        let answer = match range {
            None => format!("HTTP/1.1 200 OK\r\n{described}Content-Length: {total}\r\n\r\n"),
            Some(("0", last)) => {
                let last: usize = last.parse().unwrap();
                let piece = &self.text[..=last];
                let bytes = piece.len();
                format!(
                    "HTTP/1.1 206 Partial Content\r\n{described}Content-Length: {bytes}\r\n\
                     Content-Range: bytes 0-{last}/{total}\r\n\r\n{piece}"
                )
            }
            Some(_) => {
                format!("HTTP/1.1 403 Forbidden\r\n{described}Content-Length: 0\r\n\r\n")
            }
        };
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    }
}

/// compat: XFER-7
#[tokio::test]
async fn what_was_read_before_the_blob_broke_off_is_made() {
    let hub = Hub::start().await;
    let line = |n: usize| {
        let pad = "x".repeat(3_000);
        format!("{{\"id\":\"d-{n:05}\",\"tags\":{{\"pad\":\"{pad}\"}}}}\n")
    };
    let text: String = (0..2_000).map(line).collect();
    let listener = TcpListener::bind((ADDRESS, 0)).await.unwrap();
    let uri = format!(
        "http://{}/account/container?sv=1&sig=x",
        listener.local_addr().unwrap()
    );
    let account = tokio::spawn(HalfOfABlob { text }.serve(listener));
    let failed = import(&hub, &uri).await;
    assert_eq!(failed["status"], "failed", "{failed}");
    // Whole batches of the first piece, which has 4 MiB.
    let batches = 4 * 1024 * 1024 / line(0).len() / limits::TRANSFER_BATCH_LINES;
    let expected = batches * limits::TRANSFER_BATCH_LINES;
    assert_eq!(devices(&hub).await, expected);
    let last = format!("/devices/d-{:05}", expected - 1);
    hub.done("GET", &last, Value::Null).await;
    account.abort();
    hub.stop().await;
}
