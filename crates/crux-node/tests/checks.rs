//! Health checks against real listeners and commands.
#![allow(missing_docs)]

mod common;

use common::{Rig, lines, runs, shell, until};
use crux_core::facts::value::Check;
use crux_core::io::{Effect, Report};
use crux_core::services::instance::InstanceId;
use crux_names::Duration;
use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

async fn check(rig: &mut Rig, id: &InstanceId, check: Check, port: u16, deadline: Duration) -> (bool, String) {
    let ports = BTreeMap::from([("http".to_owned(), port)]);
    rig.run(Effect::Check { id: id.clone(), check, ports, deadline });
    match rig.report().await {
        Report::CheckDone { id: about, ok, detail } => {
            assert_eq!(&about, id);
            (ok, detail)
        }
        other => panic!("{other:?}"),
    }
}

fn kind(kind: &str, path: &str) -> Check {
    Check { kind: kind.into(), port: "http".into(), path: path.into(), ..Check::default() }
}

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn http_and_tcp_ask_the_named_port() {
    let mut rig = Rig::new().await;
    let id: InstanceId = "n1:7:1".parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 1000];
                let n = stream.read(&mut request).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..n]).into_owned();
                match request.split(' ').nth(1) {
                    Some("/ok") => drop(stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await),
                    Some("/moved") => drop(stream.write_all(b"HTTP/1.0 302 Found\r\n\r\n").await),
                    Some("/bad") => drop(stream.write_all(b"HTTP/1.1 503 Busy\r\n\r\n").await),
                    Some("/odd") => drop(stream.write_all(b"SSH-2.0-x\r\n").await),
                    // The hanging one keeps its connection.
                    _ => std::future::pending().await,
                }
            });
        }
    });
    assert_eq!(
        check(&mut rig, &id, kind("http", "/ok"), port, LONG).await,
        (true, format!("GET /ok on port {port}: 204"))
    );
    assert!(check(&mut rig, &id, kind("http", "moved"), port, LONG).await.0);
    assert_eq!(check(&mut rig, &id, kind("http", "/bad"), port, LONG).await.1, format!("GET /bad on port {port}: 503"));
    assert!(check(&mut rig, &id, kind("http", "/odd"), port, LONG).await.1.contains("not answer in HTTP"));
    let (ok, why) = check(&mut rig, &id, kind("http", "/hang"), port, SHORT).await;
    assert!(!ok && why.contains("within 200 ms"), "{why}");
    assert!(!check(&mut rig, &id, kind("http", "/x\r\nEvil: 1"), port, LONG).await.0);
    assert!(check(&mut rig, &id, kind("tcp", ""), port, LONG).await.0);
    let other = Check { port: "grpc".into(), ..kind("tcp", "") };
    assert!(check(&mut rig, &id, other, port, LONG).await.1.contains("`grpc`"));
    assert!(check(&mut rig, &id, kind("dns", ""), port, LONG).await.1.contains("no `dns` check"));
    // Bound and given back: nobody listens there.
    let shut = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    assert!(!check(&mut rig, &id, kind("tcp", ""), shut, LONG).await.0);
    assert!(!check(&mut rig, &id, kind("http", "/"), shut, LONG).await.0);
}

#[tokio::test]
async fn exec_runs_where_the_instance_runs() {
    let mut rig = Rig::new().await;
    let (id, pid) = rig.start(&shell("echo up > up; exec sleep 1000")).await;
    lines(rig.root(&id).join("up"), 1).await;
    let exec = |script: &str| Check {
        kind: "exec".into(),
        command: vec!["sh".into(), "-c".into(), script.into()],
        ..Check::default()
    };
    assert!(check(&mut rig, &id, exec("test -e up && test \"$CRUX_SERVICE\" = web"), 1, LONG).await.0);
    let (ok, why) = check(&mut rig, &id, exec("exit 3"), 1, LONG).await;
    assert!(!ok && why.contains('3'), "{why}");
    let script = "(setsid sh -c 'echo $$ > escaped; exec sleep 1000' &); exec sleep 1000";
    let (ok, why) = check(&mut rig, &id, exec(script), 1, Duration::from_secs(1)).await;
    assert!(!ok && why.contains("was killed"), "{why}");
    let escaped: u32 = lines(rig.root(&id).join("escaped"), 1).await[0].parse().unwrap();
    until("what it forked is gone", || (!runs(escaped)).then_some(())).await;
    assert!(runs(pid), "the instance itself is not touched");
}
