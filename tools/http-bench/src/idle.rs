//! What a WebSocket costs that says nothing.

use std::io::{self, Read as _, Write};
use std::net::{SocketAddr, TcpStream};

use crate::server::Node;

/// The most that each may take.
const BYTES_MAX: f64 = 32.0 * 1024.0;

/// Sockets opened first, so that what is made once is not counted.
const WARM: usize = 200;

/// Opens `count` sockets on a node of its own, whose limits allow them, and prints what they took.
pub(crate) fn measure(out: &mut impl Write, count: usize) -> io::Result<()> {
    let most = (count + WARM + 64).to_string();
    let node = Node::start(&[
        ("BIZRA_HTTP__CONNECTIONS_MAX", &most),
        ("BIZRA_WS__SOCKETS_MAX", &most),
        ("BIZRA_WS__SOCKETS_PER_CLIENT_MAX", &most),
        ("BIZRA_WS__SILENT_SECONDS", "3600"),
    ])?;
    let open = |count: usize| -> io::Result<Vec<TcpStream>> {
        (0..count).map(|_| upgraded(node.address())).collect()
    };
    let warm = open(WARM)?;
    let before = node.resident_bytes()?;
    let sockets = open(count)?;
    let after = node.resident_bytes()?;
    let each = after.saturating_sub(before) as f64 / count as f64;
    let goal = if each <= BYTES_MAX { "met" } else { "MISSED" };
    writeln!(
        out,
        "{count} idle WebSockets: {:.1} KiB each; at most {:.0} KiB {goal}",
        each / 1024.0,
        BYTES_MAX / 1024.0
    )?;
    drop((warm, sockets));
    Ok(())
}

/// A socket that has been welcomed.
fn upgraded(address: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "GET /api/v1/ws HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )?;
    let mut said = Vec::new();
    let mut piece = [0; 1024];
    while !said.windows(7).any(|it| it == b"welcome") {
        let read = stream.read(&mut piece)?;
        if read == 0 {
            let said = String::from_utf8_lossy(&said).into_owned();
            return Err(io::Error::other(format!("no WebSocket: {said}")));
        }
        said.extend_from_slice(&piece[..read]);
    }
    Ok(stream)
}
