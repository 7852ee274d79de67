//! The reads: each is a look at the engine and a document, once or, with `?watch`, whenever it changes.

use super::Door;
use super::answer::{Answer, Feed, Refusal, doc, line};
use super::show;
use crate::ask::Now;
use axum::extract::{Query, State};
use axum::response::Response;
use crux_api::json::{Code, Counter, Event, EventList, HordeList, Kind, NodeList, Ps, ServiceList};
use crux_api::routes::{EventsQuery, WatchQuery, WhyQuery};
use crux_core::engine::Engine;
use crux_core::picture::{self, Subject};
use serde::Serialize;
use std::sync::Arc;

/// `GET /v1/confab`.
pub(super) async fn confab(State(door): State<Door>, Query(query): Query<WatchQuery>) -> Answer {
    if query.watch.is_none() {
        return Ok(doc(show::confab(&*door.confab().await?)));
    }
    Ok(follow(door, |door| async move { Ok(show::confab(&*door.shared_confab().await?)) }))
}

/// `GET /v1/status`.
pub(super) async fn status(State(door): State<Door>, Query(query): Query<WatchQuery>) -> Answer {
    listed(door, &query, |door, status| {
        let own = door.own();
        show::status(status, own)
    })
    .await
}

/// `GET /v1/ps`.
pub(super) async fn ps(State(door): State<Door>, Query(query): Query<WatchQuery>) -> Answer {
    listed(door, &query, |_, status| Ps { services: show::services(status), instances: show::instances(status) }).await
}

/// `GET /v1/nodes`.
pub(super) async fn nodes(State(door): State<Door>, Query(query): Query<WatchQuery>) -> Answer {
    listed(door, &query, |door, status| NodeList {
        roster: show::roster(status, &door.link_table()),
        outside: show::outside(status, &door.turned_away.of_late(), &door.nowhere.now()),
        clones: status.clones.iter().map(show::twins).collect(),
    })
    .await
}

/// `GET /v1/hordes`.
pub(super) async fn hordes(State(door): State<Door>, Query(query): Query<WatchQuery>) -> Answer {
    listed(door, &query, |_, status| HordeList { hordes: show::hordes(status) }).await
}

/// `GET /v1/services`.
pub(super) async fn services(State(door): State<Door>, Query(query): Query<WatchQuery>) -> Answer {
    listed(door, &query, |_, status| ServiceList {
        services: show::services(status),
        access: show::access(&status.access),
        yurt: show::programs(status),
    })
    .await
}

/// `GET /v1/why`.
pub(super) async fn why(State(door): State<Door>, Query(query): Query<WhyQuery>) -> Answer {
    let subject =
        Subject::parse(&query.subject).map_err(|cause| Refusal::new(Code::Usage, cause, "crux why --help"))?;
    let of_me = match &subject {
        Subject::Node(id) => id.node == door.me.id.node,
        Subject::Flock => true,
        _ => false,
    };
    let addr = if let Subject::Address(addr) = &subject { Some(*addr) } else { None };
    let reasons = door.asker.look(move |engine, now| engine.why(now.time, now.wall, &subject)).await;
    let mut reasons = reasons.map_err(|_| Refusal::going_down())?;
    if reasons.is_empty() {
        let attempt = addr.and_then(|addr| door.turned_away.of_late().remove(&addr));
        reasons.extend(addr.zip(attempt).map(|(addr, attempt)| show::turned_away(addr, attempt, crate::wall())));
    }
    if of_me {
        let status = door.status().await?;
        let put_out = show::put_out(&status, &door.turned_away.of_late(), door.papers.now().admission());
        if let Some(put_out) = put_out {
            // It outweighs whatever else is said of it.
            reasons.retain(|reason| reason.state != "expelled");
            reasons.insert(0, show::why_put_out(&door.me.id, put_out));
        }
    }
    match show::why(&query.subject, &reasons, &door.me.id, crate::wall()) {
        Some(why) => Ok(doc(why)),
        None => Err(Refusal::new(
            Code::NotFound,
            format!("{} knows nothing of {:?}", door.me.id, query.subject),
            "crux status, crux ps or crux node list show what there is",
        )),
    }
}

/// `GET /v1/events`.
pub(super) async fn events(State(door): State<Door>, Query(query): Query<EventsQuery>) -> Answer {
    let show = move |door: &Door, stamped: &crate::events::Stamped| Event {
        cursor: Counter(stamped.cursor),
        at: show::moment(stamped.at),
        node: door.me.id.to_string(),
        event: stamped.event.kind.to_owned(),
        subject: stamped.event.subject.clone(),
        text: stamped.event.text.clone(),
    };
    let mut cursor = door.events.resume(query.after);
    if query.watch.is_none() {
        let events = door.events.after(cursor).iter().map(|stamped| show(&door, stamped)).collect();
        return Ok(doc(EventList { events }));
    }
    let (feed, response) = Feed::open();
    tokio::spawn(async move {
        let mut newest = door.events.follow();
        loop {
            newest.mark_unchanged();
            for stamped in door.events.after(cursor) {
                cursor = stamped.cursor;
                let Some(text) = line(show(&door, &stamped)) else { return };
                if !feed.send(text, Some(cursor)).await {
                    return;
                }
            }
            tokio::select! {
                changed = newest.changed() => if changed.is_err() { return },
                () = feed.closed() => return,
            }
        }
    });
    Ok(response)
}

/// A document made from the status, once or followed.
async fn listed<T, F>(door: Door, query: &WatchQuery, make: F) -> Answer
where
    T: Kind + Serialize + Send + 'static,
    F: Fn(&Door, &picture::Status) -> T + Clone + Send + Sync + 'static,
{
    if query.watch.is_none() {
        return Ok(doc(make(&door, &*door.status().await?)));
    }
    Ok(follow(door, move |door| {
        let make = make.clone();
        async move { Ok(make(&door, &*door.shared_status().await?)) }
    }))
}

/// Sends the document now and again whenever it reads differently, a few times a second at most. All who follow a kind of
/// document are sent the same one, so there is nothing in it that depends on who asks.
pub(super) fn follow<T, F, M>(door: Door, make: M) -> Response
where
    T: Kind + Serialize + Send + 'static,
    F: Future<Output = Result<T, Refusal>> + Send,
    M: Fn(Door) -> F + Send + Sync + 'static,
{
    follow_as(door, T::KIND, make)
}

/// As [`follow`]; a kind of which there are several has a key for each.
pub(super) fn follow_as<T, F, M>(door: Door, key: &'static str, make: M) -> Response
where
    T: Kind + Serialize + Send + 'static,
    F: Future<Output = Result<T, Refusal>> + Send,
    M: Fn(Door) -> F + Send + Sync + 'static,
{
    let (feed, response) = Feed::open();
    tokio::spawn(async move {
        let mut changed = door.asker.changed();
        let glass = door.glasses.texts(key);
        let mut last = Arc::default();
        loop {
            changed.mark_unchanged();
            let text = glass.see(async {
                let body = make(door.clone()).await?;
                line(body).ok_or_else(Refusal::going_down)
            });
            let text = tokio::select! {
                text = text => text,
                () = feed.closed() => return,
            };
            let Ok(text) = text else { return };
            if text != last {
                if !feed.send(text.to_string(), None).await {
                    return;
                }
                last = text;
            }
            tokio::select! {
                changed = changed.changed() => if changed.is_err() { return },
                () = feed.closed() => return,
            }
        }
    });
    response
}

impl Door {
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Engine, Now) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        self.asker.look(look).await.map_err(|_| Refusal::going_down())
    }

    /// Who is here, as the engine has it now; where looks are shared, a moment later.
    pub(crate) async fn confab(&self) -> Result<Arc<picture::Confab>, Refusal> {
        if self.shares {
            return self.shared_confab().await;
        }
        self.look(|engine, now| engine.confab(now.time, now.wall)).await.map(Arc::new)
    }

    /// Everything, as the engine has it now; where looks are shared, a moment later.
    pub(crate) async fn status(&self) -> Result<Arc<picture::Status>, Refusal> {
        if self.shares {
            return self.shared_status().await;
        }
        self.look(|engine, now| engine.status(now.time, now.wall)).await.map(Arc::new)
    }

    /// Who is here, by one look for all who ask meanwhile.
    pub(super) async fn shared_confab(&self) -> Result<Arc<picture::Confab>, Refusal> {
        self.glasses.confab.see(self.look(|engine, now| engine.confab(now.time, now.wall))).await
    }

    /// Everything, by one look for all who ask meanwhile.
    async fn shared_status(&self) -> Result<Arc<picture::Status>, Refusal> {
        self.glasses.status.see(self.look(|engine, now| engine.status(now.time, now.wall))).await
    }

    /// What of a status the engine does not know.
    pub(super) fn own(&self) -> show::Own {
        show::Own {
            certificate: self.certificate(),
            skew_ms: self.skew.ms(),
            store: self.store_state(),
            links: self.link_table(),
            listens: self.listens.clone(),
            turned_away: self.turned_away.of_late(),
            nowhere: self.nowhere.now(),
            admission: self.papers.now().admission(),
        }
    }
}
