//! What hostile peers say to the service API over HTTP/2: frames made by hand.

use std::io;

use tokio::io::{AsyncWriteExt as _, split};

use super::target::{HostileTarget, Speech, until_end};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
/// END_STREAM and END_HEADERS.
const WHOLE: u8 = 5;
/// CANCEL.
const CANCEL: [u8; 4] = [0, 0, 0, 8];
/// `:method GET`, `:scheme https`, `:path /` by their numbers in the static table.
const GET_ROOT: [u8; 3] = [0x82, 0x87, 0x84];
/// Frames sent in one write.
const FRAMES_AT_ONCE: u32 = 64;
/// Writes after which a peer gives up.
const WRITES_MAX: u32 = 100_000;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    let mut frame = length.to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

pub(super) async fn rapid_reset(target: &HostileTarget, peer: usize) -> io::Result<()> {
    let stream = target.tls(Speech::Http2, peer).await?;
    let (mut read, mut write) = split(stream);
    write
        .write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat())
        .await?;
    let resets = async {
        for round in 0..WRITES_MAX {
            let mut frames = Vec::new();
            for number in 0..FRAMES_AT_ONCE {
                let stream = (round * FRAMES_AT_ONCE + number) * 2 + 1;
                frames.extend(frame(HEADERS, WHOLE, stream, &GET_ROOT));
                frames.extend(frame(RST_STREAM, 0, stream, &CANCEL));
            }
            if write.write_all(&frames).await.is_err() || write.flush().await.is_err() {
                return Ok(());
            }
        }
        Err(io::Error::other("the hub took every stream"))
    };
    tokio::select! {
        done = resets => done,
        () = until_end(&mut read) => Ok(()),
    }
}

pub(super) async fn ping_flood(target: &HostileTarget, peer: usize) -> io::Result<()> {
    let mut stream = target.tls(Speech::Http2, peer).await?;
    stream
        .write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat())
        .await?;
    let pings = frame(PING, 0, 0, &[7; 8]).repeat(FRAMES_AT_ONCE as usize);
    for _ in 0..WRITES_MAX {
        if stream.write_all(&pings).await.is_err() || stream.flush().await.is_err() {
            return Ok(());
        }
    }
    Err(io::Error::other("the hub answered every ping"))
}
