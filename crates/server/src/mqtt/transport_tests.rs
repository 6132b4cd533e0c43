//! A peer that does not read: what is kept, in which order it leaves, and where it ends.

use std::{future::poll_fn, time::Duration};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::TcpListener,
};
use tokio_rustls::TlsConnector;

use super::*;

trait Peer: AsyncRead + Unpin + Send {}
impl<T: AsyncRead + Unpin + Send> Peer for T {}

fn tls_configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

async fn pair(with_tls: bool) -> (Outgoing, Box<dyn Peer>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (server, _) = listener.accept().await.unwrap();
    if !with_tls {
        let (incoming, outgoing) = accept(server, None).await.unwrap();
        drop(incoming);
        return (outgoing, Box::new(client));
    }
    let (server_config, client_config) = tls_configs();
    let connector = TlsConnector::from(client_config);
    let name = "localhost".try_into().unwrap();
    let (client, accepted) = tokio::join!(
        connector.connect(name, client),
        accept(server, Some(server_config))
    );
    let (_, outgoing) = accepted.unwrap();
    (outgoing, Box::new(client.unwrap()))
}

/// Packet number `at`, in pieces, of varying length.
fn packet(at: u32) -> Vec<u8> {
    let length = 1_000 + (at as usize * 7_919) % 30_000;
    let mut bytes = at.to_be_bytes().to_vec();
    bytes.extend((length as u32).to_be_bytes());
    bytes.resize(length, at as u8);
    bytes
}

fn send(outgoing: &mut Outgoing, at: u32) -> Result<(), SendError> {
    let bytes = packet(at);
    let (head, rest) = bytes.split_at(5);
    let (middle, tail) = rest.split_at(300);
    outgoing.send(&[head, middle, tail])
}

async fn flush(outgoing: &mut Outgoing) {
    poll_fn(|cx| outgoing.poll_flush(cx)).await.unwrap();
}

#[tokio::test]
async fn what_the_socket_refuses_waits_and_nothing_overtakes_it() {
    for with_tls in [false, true] {
        let (mut outgoing, mut peer) = pair(with_tls).await;
        let mut sent = 0;
        while outgoing.backlog_bytes() == 0 {
            send(&mut outgoing, sent).unwrap();
            sent += 1;
        }
        for _ in 0..3 {
            send(&mut outgoing, sent).unwrap();
            sent += 1;
        }
        let reading = tokio::spawn(async move {
            for at in 0..=sent {
                let expected = packet(at);
                let mut bytes = vec![0; expected.len()];
                peer.read_exact(&mut bytes).await.unwrap();
                assert!(
                    bytes == expected,
                    "packet {at} arrives whole and in its turn"
                );
            }
        });
        flush(&mut outgoing).await;
        assert_eq!(outgoing.backlog_bytes(), 0);
        assert_eq!(
            outgoing.backlog.capacity(),
            0,
            "an idle connection holds no buffer"
        );
        send(&mut outgoing, sent).unwrap();
        flush(&mut outgoing).await;
        tokio::time::timeout(Duration::from_secs(10), reading)
            .await
            .unwrap()
            .unwrap();
    }
}

#[tokio::test]
async fn a_peer_that_never_reads_fills_the_backlog_to_its_bound_only() {
    for with_tls in [false, true] {
        let (mut outgoing, _peer) = pair(with_tls).await;
        let refused = (0..).find_map(|at| send(&mut outgoing, at).err());
        assert!(matches!(refused, Some(SendError::TooSlow)));
        let waiting = outgoing.backlog_bytes();
        let packet_max = 32_000;
        assert!(
            (limits::BACKLOG_BYTES_MAX..limits::BACKLOG_BYTES_MAX + packet_max).contains(&waiting)
        );
        outgoing.close();
        assert!(matches!(send(&mut outgoing, 0), Err(SendError::Closed)));
        assert_eq!(outgoing.backlog.capacity(), 0);
    }
}

#[tokio::test]
async fn bytes_that_came_with_the_handshake_are_not_left_behind() {
    use tokio::io::AsyncWriteExt;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let (server_config, client_config) = tls_configs();
    let connecting = async {
        let name = "localhost".try_into().unwrap();
        let mut stream = TlsConnector::from(client_config)
            .connect_with(name, client, |session| {
                // Before the handshake: leaves with its last message.
                session.writer().write_all(&[0xc0, 0]).unwrap();
            })
            .await
            .unwrap();
        stream.flush().await.unwrap();
        stream
    };
    let (_stream, accepted) = tokio::join!(connecting, accept(server, Some(server_config)));
    let (mut incoming, mut outgoing) = accepted.unwrap();
    let packet = loop {
        if let Some(packet) = incoming.packets.next().unwrap() {
            break packet;
        }
        let fill = poll_fn(|cx| incoming.poll_fill(cx, |wire, to| outgoing.open(wire, to)));
        tokio::time::timeout(Duration::from_secs(10), fill)
            .await
            .unwrap()
            .unwrap();
    };
    assert_eq!(packet.packet_type(), 0xc0);
}
