//! For this crate's tests only: the supervisor that `crux supervise DIR` is, and a crux to kill, as a program that tests
//! can start. Cargo builds it for the tests and tells them its path.

use crux_core::facts::value::Manifest;
use crux_core::io::{Effect, Report, StartSpec};
use crux_core::services::instance::{Instance, Phase, ServiceRef};
use crux_node::effects::{Effects, EffectsConfig};
use crux_node::store::Store;
use prost::Message;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["supervise", dir] => crux_node::effects::supervise_main(dir.as_ref()),
        ["supervise", dir, number, timeout] => crux_node::effects::hook_main(dir.as_ref(), number, timeout),
        ["host", dir] => host(dir.as_ref()),
        _ => {
            eprintln!("usage: crux-test-supervisor supervise|host DIR");
            ExitCode::from(2)
        }
    }
}

/// Holds this state directory, starts one instance, prints its process id and waits to be killed.
#[tokio::main]
async fn host(state: &Path) -> ExitCode {
    let fulcrum = "n1".parse().expect("a name");
    let _store = Store::open(state, &"acme.example".parse().expect("a name"), &fulcrum).expect("the store opens");
    let (sender, mut reports) = tokio::sync::mpsc::channel(8);
    let config = EffectsConfig {
        state: state.to_owned(),
        exe: std::env::current_exe().expect("a path"),
        fulcrum,
        reports: sender,
        open: Arc::new(|_| Box::pin(async { Err(std::io::ErrorKind::NotConnected.into()) })),
        runtime: tokio::runtime::Handle::current(),
    };
    let (effects, _) = Effects::start(config).await.expect("the effects start");
    let manifest = Manifest { run: vec!["sleep".into(), "1000".into()], ..Manifest::default() }.encode_to_vec();
    let instance = Instance {
        id: "n1:7:1".parse().expect("an id"),
        of: ServiceRef { horde: "main".parse().expect("a name"), service: "web".parse().expect("a name") },
        slot: 1,
        revision: Manifest::revision(&manifest),
        phase: Phase::Pending,
        pid: None,
        started: None,
        ports: BTreeMap::new(),
        restarts: 0,
        why: String::new(),
        hook: String::new(),
    };
    effects.run(Effect::Start(StartSpec { instance, manifest: manifest.into(), env: BTreeMap::new() }));
    match reports.recv().await {
        Some(Report::Started { pid, .. }) => println!("{pid}"),
        other => println!("{other:?}"),
    }
    std::future::pending().await
}
