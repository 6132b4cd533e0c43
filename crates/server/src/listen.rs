//! Takes the node's ports: all of them before anything is announced, or one clear error.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait in the kernel until they are accepted; it may hold fewer (`net.core.somaxconn`). Ours.
const BACKLOG: u32 = 4_096;

/// A port could not be taken; says what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {purpose}: {reason}")]
pub struct ListenError {
    address: SocketAddr,
    purpose: &'static str,
    reason: String,
}

/// Takes `port` on every address; with 0 each address has a free port of its own.
///
/// # Errors
/// The first address where it cannot be had.
pub(crate) async fn listen(
    bind: &[IpAddr],
    port: u16,
    purpose: &'static str,
    flag: &'static str,
) -> Result<Vec<TcpListener>, ListenError> {
    let mut listeners = Vec::with_capacity(bind.len());
    for address in bind {
        let address = SocketAddr::new(*address, port);
        let listener = bind_one(address).map_err(|error| ListenError {
            address,
            purpose,
            reason: reason(&error, address, flag),
        })?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A port whose last connections are still fading away is free.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn reason(error: &io::Error, address: SocketAddr, flag: &str) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "the port is taken; stop the program that has it, or choose another port with {flag} or \
             another address with --bind"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "this user may not use port {port}; allow it to the program with \
             setcap 'cap_net_bind_service=+ep' FANFARE, or to the machine with \
             sysctl net.ipv4.ip_unprivileged_port_start={port}, or choose a port above 1023 with {flag}"
        ),
        io::ErrorKind::AddrNotAvailable => {
            format!(
                "{} is not an address of this machine; see --bind",
                address.ip()
            )
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_names_the_way_out() {
        let bind = [IpAddr::from([127, 0, 0, 11])];
        let first = listen(&bind, 0, "HTTPS", "--https-port").await.unwrap();
        let port = first[0].local_addr().unwrap().port();
        let refused = listen(&bind, port, "HTTPS", "--https-port")
            .await
            .unwrap_err()
            .to_string();
        for part in [
            &format!("127.0.0.11:{port}"),
            "is taken",
            "--https-port",
            "--bind",
        ] {
            assert!(refused.contains(part), "{refused}");
        }
    }

    #[test]
    fn a_forbidden_port_names_the_three_ways_out() {
        let refused = io::Error::from(io::ErrorKind::PermissionDenied);
        let text = reason(
            &refused,
            SocketAddr::from(([127, 0, 0, 1], 443)),
            "--https-port",
        );
        for part in [
            "setcap 'cap_net_bind_service=+ep'",
            "net.ipv4.ip_unprivileged_port_start=443",
            "--https-port",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
