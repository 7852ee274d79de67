//! Seeds: host names are looked up again and again, for an address may change while a fulcrum runs.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::mpsc;
use tracing::{info, warn};

/// How often host names are looked up again.
const AGAIN: Duration = Duration::from_secs(30);
/// How long one lookup may take: a dead resolver must not stop a start.
const LOOKUP: Duration = Duration::from_secs(2);

/// Looks up every seed once. What does not resolve now is a warning with its name, not a stop: it is tried again.
pub(crate) async fn resolve(seeds: &[String]) -> Vec<SocketAddr> {
    let mut found = BTreeSet::new();
    for seed in seeds {
        found.extend(lookup(seed, true).await);
    }
    found.into_iter().collect()
}

/// Looks host names up every 30 s and sends each address that was not known before. Ends when nobody listens.
pub(crate) async fn watch(seeds: Vec<String>, known: Vec<SocketAddr>, new: mpsc::Sender<SocketAddr>) {
    let names: Vec<String> = seeds.into_iter().filter(|seed| seed.parse::<SocketAddr>().is_err()).collect();
    if names.is_empty() {
        return;
    }
    let mut known: BTreeSet<SocketAddr> = known.into_iter().collect();
    let mut silent: BTreeSet<String> = BTreeSet::new();
    loop {
        tokio::time::sleep(AGAIN).await;
        for name in &names {
            let found = lookup(name, !silent.contains(name)).await;
            if found.is_empty() {
                silent.insert(name.clone());
                continue;
            }
            silent.remove(name);
            for addr in found {
                if known.insert(addr) {
                    info!("seed {name} is now {addr}");
                    if new.send(addr).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

async fn lookup(seed: &str, warn_on_failure: bool) -> Vec<SocketAddr> {
    if let Ok(addr) = seed.parse() {
        return vec![addr];
    }
    let with_port = if seed.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        seed.to_owned()
    } else {
        format!("{seed}:{}", crate::MESH_PORT)
    };
    let why = match tokio::time::timeout(LOOKUP, tokio::net::lookup_host(&with_port)).await {
        Ok(Ok(addrs)) => return addrs.collect(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", LOOKUP.as_secs()),
    };
    if warn_on_failure {
        warn!("seed {seed:?} does not resolve: {why}; it is looked up again every {} s", AGAIN.as_secs());
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_are_taken_as_they_are_and_a_bad_name_is_no_stop() {
        let found = resolve(&["127.0.0.1:7".into(), "no-such-host.invalid:7".into(), "127.0.0.1:7".into()]).await;
        assert_eq!(found, ["127.0.0.1:7".parse().unwrap()]);
    }
}
