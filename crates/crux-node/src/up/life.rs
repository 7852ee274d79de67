//! One life of a fulcrum: from its boot number to the end of its driver.

use super::identity_watch::Watch;
use super::stops::Stops;
use super::{UpError, link_key};
use crate::anew::Anew;
use crate::api::{self, Door, OfInstance};
use crate::ask::Asker;
use crate::audit::Audit;
use crate::capacity;
use crate::dev;
use crate::driver::{ASKS, Channels, Clock, Driver, End, Hands, Inbox, LINK_EVENTS, REPORTS, check_loaded};
use crate::effects::{Effects, EffectsConfig, SOCKET, Serve};
use crate::events::Events;
use crate::live::{Find, HINTS, Live};
use crate::metrics::{self, Meters};
use crate::notify::Notifier;
use crate::page;
use crate::papers::Papers;
use crate::peers::Peers;
use crate::port::{self, Rooms};
use crate::seeds;
use crate::seek::{self, Multicast, Nowhere, Source};
use crate::skew::Skew;
use crate::store::{Store, StoreError};
use crate::turned_away::TurnedAway;
use crate::up::{Ports, UpConfig};
use crux_api::json::Listens;
use crux_core::engine::{self, Engine};
use crux_core::flock;
use crux_core::flock::discovery::Book;
use crux_core::io::{Command, Input, Reply, Report};
use crux_core::services::access::{self, Entry};
use crux_link::{BindError, FaultGate, LinkConfig, LinkEvent, Links};
use crux_names::{Boot, FulcrumId, Member};
use crux_pki::{Bundle, unix_now};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{info, warn};

/// What the store holds; nothing if the disk refuses, for that must not stop a start: peers have it too.
fn or_nothing<T>(what: &str, loaded: Result<Vec<T>, StoreError>) -> Vec<T> {
    loaded.unwrap_or_else(|error| {
        warn!("{what} cannot be read at the start: {error}; going on without, until peers tell it again");
        Vec::new()
    })
}

/// Where root's fulcrum is found without knowing its state directory.
const WELL_KNOWN: &str = "/run/crux/crux.sock";
/// How long a second life waits for the mesh port of the first, and how often it tries.
const REBIND: Duration = Duration::from_secs(10);
const REBIND_AGAIN: Duration = Duration::from_millis(50);
/// How long open requests may take to end after the driver.
const API_CLOSE: Duration = Duration::from_millis(500);

/// Lives once.
#[expect(clippy::too_many_arguments, reason = "each is a different thing, and there is one caller")]
pub(super) async fn live(
    config: &UpConfig,
    me: &FulcrumId,
    papers: &Papers,
    store: &Arc<Store>,
    audit: &Audit,
    ports: &Ports,
    sources: &[Source],
    floor: Boot,
    anew: &Anew,
    stops: &mut Stops,
) -> Result<End, UpError> {
    let bundle = &papers.now();
    let boot = store.next_boot(unix_now(), floor);
    let member = Member { id: me.clone(), boot };
    let gate = config.dev_child.then(FaultGate::for_dev_cluster);
    if let Some(gate) = &gate {
        dev::obey_file(gate, &config.state);
    }
    let mut link_config = LinkConfig::new((**bundle).clone(), config.listen, boot);
    link_config.fulcrum = me.fulcrum.clone();
    link_config.gate = gate.clone();
    link_config.secret = Some(link_key::load(&config.state, me, bundle));
    let listening = |port: &Option<_>| port.as_ref().map(|bound| listening(bound, &ports.doors)).transpose();
    let (api, metrics, page) = (listening(&ports.api)?, listening(&ports.metrics)?, listening(&ports.page)?);
    link_config.api_port = api.as_ref().map_or(0, |(_, addr)| addr.port());
    let trust = link_config.trust.clone();
    // Before anybody can dial: while signatures are checked this thread hears nobody.
    let (versions, bad) = check_loaded(&trust, or_nothing("facts", store.load()));
    for cause in bad {
        warn!("a stored fact is not taken: {cause}; it is fetched again from peers if they have it");
    }
    let (links, link_events) = listen(link_config, floor).await?;
    let addr = links.local_addr();

    let (reports_in, reports) = mpsc::channel(REPORTS);
    let (asks_in, asks) = mpsc::channel(ASKS);
    let (changed_in, changed) = watch::channel(0);
    let (seeds_in, new_seeds) = mpsc::channel(8);
    let (probes_in, probes) = mpsc::channel(seek::WAITING);
    let (hints, gone) = mpsc::channel(HINTS);
    let live = Live::new(member.clone(), papers, finder(links.clone()), hints, ports.doors.clone());
    let meters = Meters::new();
    let events = Events::new(meters.clone(), member.boot);
    let asker = Asker::new(asks_in, changed);
    let anew_in = reports_in.clone();
    store.on_anew(move || {
        // Called on the store's own thread, as outcomes are.
        let _ = anew_in.blocking_send(Report::StoreAnew);
    });
    let peers = Peers::new(links.clone(), asker.clone(), ports.doors.clone());
    let exe = std::env::current_exe().map_err(|source| UpError::System { what: "find this program", source })?;
    let effects = EffectsConfig {
        state: config.state.clone(),
        exe,
        fulcrum: me.clone(),
        reports: reports_in.clone(),
        open: peers.opener(),
        runtime: ports.doors.clone(),
    };
    let (effects, adoption) = match ports.doors.spawn(Effects::start(effects)).await {
        Ok(started) => started?,
        Err(ended) => std::panic::resume_unwind(ended.into_panic()),
    };
    for warning in &adoption.warnings {
        warn!("{warning}");
    }
    peers.serve(effects.clone());
    let skew = Skew::new();
    let clocks = tokio::spawn(skew.clone().watch(links.clone(), peers.clone()));
    let turned_away = TurnedAway::default();
    let nowhere = Nowhere::default();
    let (inbox, checked) = Inbox::new(papers.follow(), peers.clone(), turned_away.clone(), anew.clone());

    let book = or_nothing("the address book", store.load_book());
    let seed_addrs = seeds::resolve(&config.seeds).await;
    let clock = Clock::start();
    let now = clock.now();
    let flock = flock::Config {
        bloc: bundle.identity().bloc.clone(),
        me: member.clone(),
        addr,
        seed: random_seed(bundle, boot),
        timers: timers(config.timers),
        expect: config.expect,
        seeds: seed_addrs.clone(),
        book: Arc::new(Book::new(book.iter().map(|entry| (entry.fulcrum.clone(), entry.addr)))),
        visitor: config.visitor,
    };
    let seen = book.into_iter().map(|entry| (entry.fulcrum, entry.seen)).collect();
    let certificate = crux_pki::facts::certificate(bundle);
    let capacity = Some(capacity::measure(&config.state, config.share));
    let engine = Engine::new(now.time, engine::Config { flock, certificate, capacity, seen });

    let (stop_api, stopped) = watch::channel(false);
    let door = Door {
        desk: Arc::default(),
        asker,
        glasses: Arc::default(),
        shares: false,
        events: events.clone(),
        me: member.clone(),
        papers: papers.clone(),
        store: store.clone(),
        effects: effects.clone(),
        peers,
        links: links.clone(),
        skew: skew.clone(),
        turned_away,
        nowhere: nowhere.clone(),
        audit: audit.clone(),
        meters: meters.clone(),
        listens: Listens {
            mesh: Some(addr.to_string()),
            api: api.as_ref().map(|(_, addr)| addr.to_string()),
            metrics: metrics.as_ref().map(|(_, addr)| addr.to_string()),
            page: page.as_ref().map(|(_, addr)| addr.to_string()),
        },
        state: config.state.clone(),
        faults: gate,
    };
    let router = api::router(door.clone());
    let mut doors = Vec::new();
    let (listeners, sockets) = listeners(config, &ports.doors)?;
    for listener in listeners {
        doors.push(ports.doors.spawn(api::serve(listener, router.clone(), stopped.clone())));
    }
    if let Some((listener, addr)) = api {
        let rooms = Rooms::new(papers, router.clone(), live.clone(), meters.clone());
        doors.push(ports.doors.spawn(port::serve(listener, rooms, stopped.clone())));
        info!("the API port is {addr}/tcp");
    }
    if let Some((listener, addr)) = page {
        doors.push(ports.doors.spawn(page::serve(listener, door.clone(), stopped.clone())));
        info!("programs of this machine are answered at http://{addr}/v1/confab");
    }
    if let Some((listener, addr)) = metrics {
        doors.push(ports.doors.spawn(metrics::serve(listener, Door { shares: true, ..door.clone() }, stopped.clone())));
        info!("metrics are at http://{addr}/metrics");
    }
    drop(router);
    let added = effects.remembered(&adoption.instances);
    effects.serve_sockets(instance_doors(door.clone(), ports.doors.clone(), stopped.clone()));
    let adder = tokio::spawn(add_again(door.asker.clone(), added));
    let resolver = tokio::spawn(seeds::watch(config.seeds.clone(), seed_addrs, seeds_in));
    let watching = Watch::new(config.identity.clone(), links.clone(), papers.clone());
    let watching = tokio::spawn(watching.run());
    let start = random_seed(bundle, boot);
    let mut seekers = vec![tokio::spawn(seek::sweep(sources.to_vec(), start, nowhere, probes_in.clone()))];
    if config.multicast {
        let bundle = bundle.clone();
        let salt = Arc::new(move |number| salt(&bundle, boot, number));
        let bloc = trust.bloc().clone();
        let multicast = Multicast { bloc, port: addr.port(), loopback: config.dev_child, salt };
        seekers.push(tokio::spawn(multicast.run(probes_in)));
    }
    info!("{member} of {} listens on {addr}", bundle.identity().bloc);

    let hands = Hands {
        me: me.clone(),
        identity: papers.follow(),
        papers: papers.clone(),
        links: links.clone(),
        live: live.clone(),
        store: store.clone(),
        effects,
        reports: reports_in,
    };
    let sockets_of = hands.effects.clone();
    drop(door);
    let driver = Driver::new(engine, clock, hands, inbox, events, changed_in, Notifier::from_env(), config.expect);
    let ended = adoption.known_ends();
    let adopted = Report::Adopted { instances: adoption.instances, ended, told: adoption.told };
    let first = vec![Input::Loaded { versions }, Input::Report(adopted)];
    // What was installed since this life looked is told it at once.
    let mut identity = papers.follow();
    identity.mark_changed();
    let mut channels = Channels {
        links: link_events,
        reports,
        checked,
        asks,
        seeds: new_seeds,
        probes,
        gone,
        identity,
        stops: stops.lend(),
    };
    let end = driver.run(first, &mut channels).await;
    stops.give_back(channels.stops);

    sockets_of.close_sockets();
    drop(sockets_of);
    adder.abort();
    resolver.abort();
    watching.abort();
    clocks.abort();
    seekers.iter().for_each(tokio::task::JoinHandle::abort);
    // Said to the peers, so that they do not take it for a death.
    live.end().await;
    // Its other end is only gone when every door is closed already.
    let _ = stop_api.send(true);
    for mut door in doors {
        if tokio::time::timeout(API_CLOSE, &mut door).await.is_err() {
            door.abort();
        }
    }
    links.shutdown().await;
    for socket in sockets {
        // A left-over would be replaced by the next start; without it commands say at once that nobody is there.
        let _ = std::fs::remove_file(socket);
    }
    Ok(end)
}

/// What answers at instances' own sockets, for as long as this life.
fn instance_doors(door: Door, doors: Handle, stopped: watch::Receiver<bool>) -> Serve {
    Arc::new(move |listener, id, of| {
        let router = api::instance_router(door.clone(), OfInstance { id, of, adding: Arc::default() });
        doors.spawn(api::serve_own(listener, router, stopped.clone())).abort_handle()
    })
}

/// What instances had added under an earlier life is added again: they run on and need not know that crux was away. What
/// they add meanwhile stands: their sockets are open already.
async fn add_again(asker: Asker, added: Vec<Entry>) {
    for entry in added {
        let (of, by) = (entry.of.clone(), entry.by.clone());
        match asker.command(Command::Add { entry, life: access::LIFE_MAX, again: true }).await {
            Ok(Reply::Refused { why }) => warn!("what {by} had added for {of} is not added again: {why}"),
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// A port for one life, and where it is.
fn listening(bound: &std::net::TcpListener, doors: &Handle) -> Result<(TcpListener, SocketAddr), UpError> {
    let _there = doors.enter();
    let listener = bound.try_clone().and_then(TcpListener::from_std);
    let listener = listener.and_then(|listener| listener.local_addr().map(|addr| (listener, addr)));
    listener.map_err(|source| UpError::System { what: "listen at a TCP port", source })
}

/// Where a linked peer's API port is: it said the port, and its link the address.
fn finder(links: Links) -> Find {
    Arc::new(move |member| {
        let link = links.links().into_iter().find(|link| link.peer.member == *member)?;
        let mut addr = link.peer.addr;
        addr.set_port(link.peer.api_port);
        (addr.port() != 0).then_some(addr)
    })
}

/// Opens the mesh port. Where this is not the process's first life, the port may still be held by the one before: the
/// links that it closed are drained first.
async fn listen(config: LinkConfig, floor: Boot) -> Result<(Links, mpsc::Receiver<LinkEvent>), UpError> {
    let limit = Instant::now() + REBIND;
    loop {
        let (events_in, events) = mpsc::channel(LINK_EVENTS);
        match Links::bind(config.clone(), events_in).await {
            Ok(links) => return Ok((links, events)),
            Err(BindError::Busy { .. }) if floor != Boot(0) && Instant::now() < limit => {
                tokio::time::sleep(REBIND_AGAIN).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Where this process is found without its state directory, if it is root's and of no dev cluster.
pub(super) fn well_known(dev_child: bool) -> Option<&'static Path> {
    (!dev_child && rustix::process::geteuid().is_root()).then_some(Path::new(WELL_KNOWN))
}

/// The state directory's socket, and for root the well-known one. That one busy is a warning: a second fulcrum of a
/// machine is found by its state directory.
fn listeners(config: &UpConfig, doors: &Handle) -> Result<(Vec<UnixListener>, Vec<PathBuf>), UpError> {
    let _there = doors.enter();
    let own = config.state.join(SOCKET);
    let mut listeners = vec![api::open(&own)?];
    let mut sockets = vec![own];
    if let Some(path) = well_known(config.dev_child) {
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        match made.map_err(|e| e.to_string()).and_then(|()| api::open(path).map_err(|e| e.to_string())) {
            Ok(listener) => {
                listeners.push(listener);
                sockets.push(path.into());
            }
            Err(cause) => warn!("{WELL_KNOWN} is not served: {cause}; use --at {}", sockets[0].display()),
        }
    }
    Ok((listeners, sockets))
}

fn timers(scale: f64) -> u32 {
    // Checked to lie between 0.05 and 20.
    (scale * 1000.0).round() as u32
}

/// Another one for each announcement of each life of each node.
fn salt(bundle: &Bundle, boot: Boot, number: u64) -> [u8; 16] {
    let bytes = bundle.derive(&format!("crux announcement {boot} {number}"));
    let mut salt = [0; 16];
    salt.copy_from_slice(&bytes[..16]);
    salt
}

/// Different for each node and each life; it need not be secret.
fn random_seed(bundle: &Bundle, boot: Boot) -> u64 {
    let bytes = bundle.derive(&format!("crux engine seed {boot}"));
    u64::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]])
}
