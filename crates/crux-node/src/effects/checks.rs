//! Health checks from outside: `http`, `tcp`, `exec`.

use crate::effects::journal::Home;
use crate::effects::processes::{kill_marked, raw};
use crux_core::facts::value::Check;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::Command;
use tokio::time::timeout;

/// A status line is longer than this only if it is none.
const STATUS_LINE_MAX: u64 = 1024;

/// Runs one check. Both results are sentences for people; `Err` is a check that failed.
pub(super) async fn run(
    home: &Home,
    check: &Check,
    ports: &BTreeMap<String, u16>,
    deadline: Duration,
) -> Result<String, String> {
    let port = || {
        ports
            .get(&check.port)
            .copied()
            .ok_or_else(|| format!("the check names port `{}`, which is not there", check.port))
    };
    let within = |kind: &str| format!("{kind} check: no answer within {} ms", deadline.as_millis());
    match check.kind.as_str() {
        "tcp" => {
            let port = port()?;
            timeout(deadline, connect(port))
                .await
                .map_err(|_| within("tcp"))?
                .map_err(|error| refused(port, &error))?;
            Ok(format!("port {port} is open"))
        }
        "http" => timeout(deadline, http(port()?, &check.path)).await.map_err(|_| within("http"))?,
        "exec" => exec(home, &check.command, deadline).await,
        other => Err(format!("this crux knows no `{other}` check: use http, tcp or exec")),
    }
}

/// Asks this fulcrum's own door what a program would ask first. `Err` says why it does not answer.
pub(super) async fn knock(door: &Path, deadline: Duration) -> Result<(), String> {
    let asked = async {
        let mut stream = UnixStream::connect(door).await?;
        let path = crux_api::routes::CONFAB;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut line = Vec::new();
        let mut reader = tokio::io::BufReader::new(stream).take(STATUS_LINE_MAX);
        tokio::io::AsyncBufReadExt::read_until(&mut reader, b'\n', &mut line).await?;
        Ok::<_, io::Error>(status(&line))
    };
    match timeout(deadline, asked).await {
        Ok(Ok(Some(200))) => Ok(()),
        Ok(Ok(Some(status))) => Err(format!("{}: it answers with status {status}", door.display())),
        Ok(Ok(None)) => Err(format!("{}: it does not answer in HTTP", door.display())),
        Ok(Err(error)) => Err(format!("{}: {error}", door.display())),
        Err(_) => Err(format!("{}: no answer within {} ms", door.display(), deadline.as_millis())),
    }
}

fn refused(port: u16, error: &io::Error) -> String {
    format!("port {port}: {error}")
}

/// A service may listen on one family only.
async fn connect(port: u16) -> io::Result<TcpStream> {
    match TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await {
        Ok(stream) => Ok(stream),
        Err(error) => TcpStream::connect(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await.map_err(|_| error),
    }
}

/// One GET, of which only the status counts.
async fn http(port: u16, path: &str) -> Result<String, String> {
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(format!("the check's path `{}` has spaces or control characters", path.escape_debug()));
    }
    let mut stream = connect(port).await.map_err(|error| refused(port, &error))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUser-Agent: crux\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(|error| refused(port, &error))?;
    let mut line = Vec::new();
    let mut reader = tokio::io::BufReader::new(stream).take(STATUS_LINE_MAX);
    tokio::io::AsyncBufReadExt::read_until(&mut reader, b'\n', &mut line)
        .await
        .map_err(|error| refused(port, &error))?;
    let status = status(&line).ok_or_else(|| format!("port {port} does not answer in HTTP"))?;
    let said = format!("GET {path} on port {port}: {status}");
    if (200..400).contains(&status) { Ok(said) } else { Err(said) }
}

/// The status of an answer that begins with this line.
pub(super) fn status(line: &[u8]) -> Option<u16> {
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_ascii_whitespace();
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

/// Runs in the instance's directory with the instance's environment. When it takes too long, it has failed, and it is
/// killed with what it forked.
async fn exec(home: &Home, command: &[String], deadline: Duration) -> Result<String, String> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let (program, arguments) = command.split_first().ok_or("the exec check has no command")?;
    let record = home.read().map_err(|error| format!("the instance's journal cannot be read: {error}"))?;
    let intent = record.intent.ok_or("the instance's journal has no intent")?;
    let mark = format!("{}.{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(&intent.env)
        .env("CRUX_CHECK", &mark)
        .current_dir(home.root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot run `{program}`: {error}"))?;
    let group = child.id().and_then(raw);
    let ended = timeout(deadline, child.wait()).await;
    if ended.is_err() {
        // Not reaped yet: the group's number is still its own.
        if let Some(group) = group {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        let marks =
            vec![format!("CRUX_CHECK={mark}").into_bytes(), format!("CRUX_INSTANCE={}", intent.id).into_bytes()];
        // Not waited for: a process that hangs in a dead mount does not die of a kill, and the verdict is due now.
        tokio::spawn(async move {
            let killed = tokio::task::spawn_blocking(move || kill_marked(&marks, 100));
            let _ = child.wait().await;
            let _ = killed.await;
        });
    }
    match ended {
        Ok(Ok(status)) if status.success() => Ok(format!("`{program}` exited 0")),
        Ok(Ok(status)) => Err(format!("`{program}`: {status}")),
        Ok(Err(error)) => Err(format!("`{program}`: {error}")),
        Err(_) => Err(format!("`{program}` took longer than {} ms and was killed", deadline.as_millis())),
    }
}
