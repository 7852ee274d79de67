//! Everything as one text, at the moment of a scrape. Names are the contract's (`operator.md`): prefix `crux_`, base units,
//! no host names in names.

use super::meters::Labels;
use crate::api::Door;
use crux_core::picture::{HordeState, InstanceState, MemberState, Status};
use crux_link::{Counters, LinkInfo, Planes};
use crux_pki::{CertificateDer, Life, Summary, unix_now};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// A scrape that takes longer finds no loop behind it.
const PATIENCE: Duration = Duration::from_secs(5);

type Number = Gauge<f64, AtomicU64>;
type Numbers = Family<Labels, Number>;

/// The text.
pub(super) async fn text(door: &Door) -> Result<String, String> {
    let asked = tokio::time::timeout(PATIENCE, door.status()).await;
    let status = asked.map_err(|_| "the loop does not answer\n".to_owned())?;
    let status = status.map_err(|refusal| format!("{}\n", refusal.0.cause))?;
    let mut registry = Registry::with_prefix("crux");
    node(&mut registry, door);
    flock(&mut registry, door, &status);
    links(&mut registry, &door.links.links(), &door.links.counters());
    services(&mut registry, &status);
    facts(&mut registry, &status);
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|error| error.to_string())?;
    Ok(text)
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: f64) {
    let gauge = Number::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}

fn gauges(registry: &mut Registry, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, f64)>) {
    let family = Numbers::default();
    for (labels, value) in values {
        family.get_or_create(&labels).set(value);
    }
    registry.register(name, help, family);
}

fn counts(registry: &mut Registry, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) {
    let family: Family<Labels, Counter> = Family::default();
    for (labels, value) in values {
        family.get_or_create(&labels).inc_by(value);
    }
    registry.register(name, help, family);
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

fn node(registry: &mut Registry, door: &Door) {
    let build: Labels = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    registry.register("build", "Which crux this is", Info::new(build));
    let bundle = door.papers.now();
    let ends = [
        ("node", Some(bundle.life().1)),
        ("chain", first_end(bundle.chain().iter().skip(1))),
        ("root", first_end(bundle.trust().roots())),
        ("operator", door.meters.operators_end()),
    ];
    let ends = ends.into_iter().filter_map(|(kind, end)| Some((vec![("kind", kind.to_owned())], end? as f64)));
    let help = "When the first certificate of this kind ends, in Unix time";
    gauges(registry, "certificate_expiry_timestamp_seconds", help, ends);
    let help = "Which share of its life this node's certificate has behind it; warnings come at 1/2, 2/3 and 9/10";
    gauge(registry, "certificate_life_used_ratio", help, life_used(bundle.lifetime(), unix_now()));
    let help = "How long requests of the API took; a stream counts until it begins";
    registry.register("api_request_duration_seconds", help, door.meters.requests.clone());
}

fn flock(registry: &mut Registry, door: &Door, status: &Status) {
    let count = |state| status.roster.iter().filter(|line| line.state == state).count() as f64;
    let members = [("member", count(MemberState::Member)), ("suspect", count(MemberState::Suspect))];
    let members = members.map(|(state, count)| (vec![("state", state.to_owned())], count));
    gauges(registry, "flock_members", "Members of this fulcrum's flock", members);
    let leads = status.confab.leader == status.confab.me.id;
    gauge(registry, "flock_is_leader", "Whether this fulcrum leads its flock", flag(leads));
    gauge(registry, "flock_stable", "Whether the flock is complete as far as can be known", flag(status.confab.stable));
    if let Some(skew) = door.skew.ms() {
        let help = "How far the clock here is ahead of the middle of the peers'";
        gauge(registry, "clock_skew_seconds", help, skew as f64 / 1000.0);
    }
    gauge(registry, "flock_sick", "Whether this fulcrum itself is at fault of late", flag(status.sick));
    gauge(registry, "flock_siblings", "Other flocks of the bloc that are seen", status.siblings.len() as f64);
    let clones = status.clones.len() as f64;
    gauge(registry, "flock_clones", "Identities with which two nodes live, or did", clones);
    let count = |refused| status.outside.iter().filter(|line| line.who.refused == refused).count() as f64;
    let outside = [("refused", count(true)), ("silent", count(false))];
    let outside = outside.map(|(state, count)| (vec![("state", state.to_owned())], count));
    gauges(registry, "flock_outside", "Known addresses without a link, by whether somebody refuses there", outside);
    if let Some(expect) = status.expect {
        gauge(registry, "flock_expected_members", "Members that were expected by configuration", f64::from(expect));
    }
    let lost: Counter = Counter::default();
    lost.inc_by(door.audit.trouble().0);
    registry.register("audit_lost", "Entries of the audit log that the disk did not take", lost);
    registry.register("flock_changes", "Changes of the flock, by kind of event", door.meters.changes.clone());
}

fn first_end<'a>(certificates: impl Iterator<Item = &'a CertificateDer<'static>>) -> Option<u64> {
    certificates.filter_map(|der| Summary::of(der)).map(|summary| summary.not_after).min()
}

fn life_used(life: Life, now: u64) -> f64 {
    let length = life.not_after.saturating_sub(life.not_before).max(1);
    now.saturating_sub(life.not_before) as f64 / length as f64
}

fn links(registry: &mut Registry, links: &[LinkInfo], counters: &Counters) {
    let rtt = links.iter().map(|link| {
        let labels = vec![("peer", link.peer.member.id.to_string())];
        (labels, link.rtt.as_secs_f64())
    });
    gauges(registry, "peer_rtt_seconds", "Round trip over the link to a peer", rtt);
    let help = "Attempts to make a link, by what came of them";
    counts(
        registry,
        "handshakes",
        help,
        counters.handshakes.iter().map(|(result, count)| (vec![("result", (*result).to_owned())], *count)),
    );
    let bytes = [("sent", &counters.tx_bytes), ("received", &counters.rx_bytes)];
    let bytes = bytes.into_iter().flat_map(|(direction, Planes { datagram, frame, bulk })| {
        [("datagram", *datagram), ("frame", *frame), ("bulk", *bulk)]
            .map(|(plane, count)| (vec![("direction", direction.to_owned()), ("plane", plane.to_owned())], count))
    });
    counts(registry, "link_bytes", "Payload bytes over links, by what carried them", bytes);
    let cuts = counters.cuts.iter().map(|(reason, count)| (vec![("reason", (*reason).to_owned())], *count));
    counts(registry, "link_cuts", "Links that were cut here, by reason", cuts);
    let help = "Strangers between their first packet and their welcome";
    gauge(registry, "handshakes_half_open", help, counters.half_open as f64);
}

fn services(registry: &mut Registry, status: &Status) {
    let hordes = status.hordes.iter().flat_map(|horde| {
        let name = horde.name.to_string();
        let counts =
            [("present", horde.present.len()), ("absent", horde.absent.len()), ("substitute", horde.substitutes.len())];
        counts.map(|(state, count)| (vec![("horde", name.clone()), ("state", state.to_owned())], count as f64))
    });
    gauges(registry, "horde_members", "Members of a horde", hordes);
    let whole = status
        .hordes
        .iter()
        .map(|horde| (vec![("horde", horde.name.to_string())], flag(horde.state == HordeState::Whole)));
    gauges(registry, "horde_whole", "Whether a horde has every member that it should have", whole);
    let labels = |of: &crux_core::services::instance::ServiceRef| -> Labels {
        vec![("horde", of.horde.to_string()), ("service", of.service.to_string())]
    };
    let desired = status.services.iter().filter_map(|line| Some((labels(&line.of), f64::from(line.should?))));
    gauges(registry, "service_desired", "Instances that should run on this side", desired);
    let ready = status.services.iter().map(|line| (labels(&line.of), f64::from(line.ready)));
    gauges(registry, "service_ready", "Instances that are believed ready", ready);
    let restarts: Family<Labels, Counter> = Family::default();
    for line in status.instances.iter().filter(|line| line.state != InstanceState::Gone) {
        restarts.get_or_create(&labels(&line.of)).inc_by(u64::from(line.restarts));
    }
    registry.register("service_restarts", "Restarts of the instances that are known", restarts);
}

fn facts(registry: &mut Registry, status: &Status) {
    let facts = &status.facts;
    let counts = [("in-force", facts.count), ("conflicted", facts.conflicts), ("quarantined", facts.quarantined)];
    let counts = counts.map(|(state, count)| (vec![("state", state.to_owned())], f64::from(count)));
    gauges(registry, "facts", "Facts held here", counts);
}
