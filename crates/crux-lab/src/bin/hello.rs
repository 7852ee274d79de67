//! A user's own program, as small as a web server can be: it answers every request with who it is, and says so in its
//! log. Run it with `crux run --count 3 --port http ./hello`.

use std::io::{Read, Write};
use std::net::TcpListener;

fn main() -> std::io::Result<()> {
    let tell = |key: &str| std::env::var(key).unwrap_or_else(|_| "?".into());
    let port = std::env::var("CRUX_PORT_HTTP").unwrap_or_else(|_| "0".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    println!("hello from {} instance {} on port {port}", tell("CRUX_NODE"), tell("CRUX_INSTANCE"));
    for connection in listener.incoming() {
        let mut connection = connection?;
        let mut request = [0; 1024];
        let read = connection.read(&mut request)?;
        println!("asked for {} bytes", read);
        let body = format!("hello from {}\n", tell("CRUX_NODE"));
        write!(connection, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())?;
    }
    Ok(())
}
