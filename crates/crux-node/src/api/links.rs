//! Who reaches whom: this fulcrum's own links, and what the other members say of theirs when they are asked.

use super::Door;
use super::answer::{Answer, Refusal, doc};
use super::read::follow;
use super::show;
use crate::peers::{AskSight, SeenLink, Sight};
use axum::extract::{Query, State};
use crux_api::json::{FlockList, LinkList, Reach, ReachState, Sibling};
use crux_api::routes::WatchQuery;
use crux_core::picture::Status;
use crux_names::Member;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::task::JoinSet;

/// How long a member may take to say what it sees.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// Most members that are asked: beyond that only this fulcrum's own links are told.
pub(super) const ASKED_MAX: usize = 256;

/// What members see, by member; an error for those that did not say.
pub(super) type Sights = BTreeMap<Member, Result<Sight, std::io::Error>>;

/// `GET /v1/links`.
pub(super) async fn links(State(door): State<Door>, Query(query): Query<WatchQuery>) -> Answer {
    if query.watch.is_none() {
        return Ok(doc(list(&door).await?));
    }
    Ok(follow(door, |door| async move { list(&door).await }))
}

async fn list(door: &Door) -> Result<LinkList, Refusal> {
    let status = door.status().await?;
    let sights = survey(door, &status, AskSight::default()).await;
    let broken: BTreeSet<[String; 2]> = siblings(&show::siblings_of(&status), &status, &sights)
        .into_iter()
        .filter_map(|sibling| sibling.pair)
        .collect();
    Ok(LinkList { links: reaches(&status, &sights), broken: broken.into_iter().collect() })
}

/// `GET /v1/flocks`.
pub(super) async fn flocks(State(door): State<Door>, Query(query): Query<WatchQuery>) -> Answer {
    if query.watch.is_none() {
        return Ok(doc(seen_flocks(&door).await?));
    }
    Ok(follow(door, |door| async move { seen_flocks(&door).await }))
}

async fn seen_flocks(door: &Door) -> Result<FlockList, Refusal> {
    let status = door.status().await?;
    let sights = survey(door, &status, AskSight::default()).await;
    let mut list = show::flocks(&status, &door.turned_away.of_late(), &door.nowhere.now());
    list.siblings = siblings(&list.siblings, &status, &sights);
    // Whom others see at the head of a flock is not in none.
    list.outside.retain(|line| !list.siblings.iter().any(|sibling| Some(&sibling.leader) == line.name.as_ref()));
    Ok(list)
}

/// Other flocks of the bloc: those that are seen from here, and those that only other members see. The end of a broken pair
/// that stays in the larger flock sees nothing of the other end's.
pub(super) fn siblings(own: &[Sibling], status: &Status, sights: &Sights) -> Vec<Sibling> {
    let mut all = own.to_vec();
    for sibling in sights.values().flatten().flat_map(|sight| &sight.siblings) {
        let known = all.iter().any(|other| other.leader == sibling.leader)
            || status.confab.members.iter().any(|member| member.to_string() == sibling.leader);
        if !known {
            all.push(sibling.clone());
        }
    }
    all
}

/// What each member sees, this one included; an error for those that did not say.
pub(super) async fn survey(door: &Door, status: &Status, ask: AskSight) -> Sights {
    let mut asked = JoinSet::new();
    let others = status.roster.iter().map(|line| &line.member).filter(|member| **member != door.me);
    for member in others.take(ASKED_MAX) {
        let (peers, member) = (door.peers.clone(), member.clone());
        asked.spawn(async move {
            // Who tries ports needs time for those that are shut.
            let patience = if ask.try_mesh { PATIENCE * 2 } else { PATIENCE };
            let sight = peers.sight_of(&member, ask, patience).await;
            (member, sight)
        });
    }
    let mut sights = BTreeMap::from([(door.me.clone(), Ok(door.peers.sight()))]);
    while let Some(answered) = asked.join_next().await {
        sights.extend(answered);
    }
    sights
}

/// One line for each ordered pair of members.
fn reaches(status: &Status, sights: &Sights) -> Vec<Reach> {
    let mut lines = Vec::new();
    for from in &status.confab.members {
        let sight = sights.iter().find(|(member, _)| member.id == *from).and_then(|(_, sight)| sight.as_ref().ok());
        for to in status.confab.members.iter().filter(|to| *to != from) {
            let (from, to) = (from.to_string(), to.to_string());
            let seen = sight.map(|sight| sight.links.iter().find(|link| link.to == to));
            lines.push(reach(from, to, seen));
        }
    }
    lines
}

fn reach(from: String, to: String, seen: Option<Option<&SeenLink>>) -> Reach {
    let state = match seen {
        None => ReachState::Unknown,
        Some(None) => ReachState::Down,
        Some(Some(_)) => ReachState::Up,
    };
    let link = seen.flatten();
    Reach {
        from,
        to,
        state,
        addr: link.map(|link| link.addr.to_string()),
        dialed: link.map(|link| link.dialed),
        age_s: link.map(|link| Duration::from_millis(link.age_ms).as_secs_f64()),
        rtt_ms: link.map(|link| Duration::from_micros(link.rtt_us).as_secs_f64() * 1000.0),
        rekey_s: link.and_then(|link| link.rekey_ms).map(|ms| Duration::from_millis(ms).as_secs_f64()),
        datagram: link.and_then(|link| link.datagram),
    }
}
