//! What hostile peers say to the MQTT gateway.

use std::{io, time::Duration};

use fanfare_wire::sas::{SasGrant, sign};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::sleep,
};

use super::target::{HostileTarget, Speech, until_end};

/// The first bytes of a TLS record that announces more.
const HELLO_BEGINS: [u8; 6] = [0x16, 3, 1, 2, 0, 1];
/// Pause between two bytes of those who are slow.
pub(super) const BYTE_PAUSE: Duration = Duration::from_millis(200);

/// Half of them at either port.
pub(super) async fn half_open(target: &HostileTarget, peer: usize) -> io::Result<()> {
    let address = if (peer / 2).is_multiple_of(2) {
        target.https
    } else {
        target.mqtts
    };
    let mut stream = target.tcp(address, peer).await?;
    stream.write_all(&HELLO_BEGINS).await?;
    until_end(&mut stream).await;
    Ok(())
}

pub(super) async fn slow_connect(target: &HostileTarget, peer: usize) -> io::Result<()> {
    let mut stream = target.tls(Speech::Mqtt, peer).await?;
    for byte in connect(target, peer) {
        if stream.write_all(&[byte]).await.is_err() {
            return Ok(());
        }
        sleep(BYTE_PAUSE).await;
    }
    Err(io::Error::other("the hub waited for all of it"))
}

pub(super) async fn bad_connect(target: &HostileTarget, peer: usize) -> io::Result<()> {
    let mut stream = target.tls(Speech::Mqtt, peer).await?;
    stream.write_all(&connect(target, peer)).await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    // CONNACK, "not authorized".
    match answer {
        [0x20, 2, 0, 5] => Ok(()),
        other => Err(io::Error::other(format!("answered {other:02x?}"))),
    }
}

pub(super) async fn giant_packet(target: &HostileTarget, peer: usize) -> io::Result<()> {
    let mut stream = target.tls(Speech::Mqtt, peer).await?;
    stream
        .write_all(&[
            0x10, 0xff, 0xff, 0xff, 0x7f, 0, 4, b'M', b'Q', b'T', b'T', 4, 2,
        ])
        .await?;
    until_end(&mut stream).await;
    Ok(())
}

/// A CONNECT of a device that exists, signed with a key that is not its own.
fn connect(target: &HostileTarget, peer: usize) -> Vec<u8> {
    let HostileTarget {
        host_name, device, ..
    } = target;
    let grant = SasGrant {
        resource: &format!("{host_name}/devices/{device}"),
        key: "bm90IHRoZSBrZXkgb2YgYW55IGRldmljZQ==",
        policy: None,
        // Each has a token of its own, which no memory of another's helps against.
        expiry: 4_000_000_000 + peer as i64,
    };
    let password = sign(&grant).expect("the key is base64");
    let username = format!("{host_name}/{device}/?api-version=2021-04-12");
    // Name, user name and password; a clean session; 60 s.
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 0b1100_0010, 0, 60];
    for text in [device, &username, &password] {
        let length = u16::try_from(text.len()).expect("ids and tokens are short");
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(text.as_bytes());
    }
    let mut packet = vec![0x10];
    let mut left = body.len();
    loop {
        let digit = (left % 128) as u8;
        left /= 128;
        packet.push(digit | if left > 0 { 0x80 } else { 0 });
        if left == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}
