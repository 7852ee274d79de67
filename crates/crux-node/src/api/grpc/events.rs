//! `crux.v1.Events`: at a fulcrum's door everything that it tells, on an instance's socket what that instance is told of its
//! own horde.

use super::super::{Door, OfInstance, show};
use super::Refusal;
use crux_api::grpc::events_server::Events;
use crux_api::grpc::{Event, EventsRequest, Presence};
use crux_core::io::{Telling, Word};
use std::collections::VecDeque;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

pub(super) struct EventsRpc(pub(super) Door);

type Feed = mpsc::Sender<Result<Event, Status>>;

#[tonic::async_trait]
impl Events for EventsRpc {
    type WatchStream = ReceiverStream<Result<Event, Status>>;

    async fn watch(&self, request: Request<EventsRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let own = request.extensions().get::<OfInstance>().cloned();
        let after = request.into_inner().after;
        let door = self.0.clone();
        // A slow reader is waited for; what is kept meanwhile is bounded where it is kept.
        let (feed, events) = mpsc::channel(1);
        match own {
            None => drop(tokio::spawn(all(door, after, feed))),
            Some(own) => {
                let words = door.effects.words(&own.id).ok_or_else(|| {
                    Status::unavailable(format!("instance {} is not here any more; start it again", own.id))
                })?;
                tokio::spawn(told(door, own, words, after, feed));
            }
        }
        Ok(Response::new(ReceiverStream::new(events)))
    }
}

/// Ends with the driver: whoever follows asks the next life.
async fn over(door: &Door) -> Status {
    let mut changed = door.asker.changed();
    while changed.changed().await.is_ok() {}
    Refusal::going_down().into()
}

async fn all(door: Door, after: u64, feed: Feed) {
    let mut newest = door.events.follow();
    let mut cursor = door.events.resume(Some(after));
    let over = over(&door);
    tokio::pin!(over);
    loop {
        newest.mark_unchanged();
        for stamped in door.events.after(cursor) {
            cursor = stamped.cursor;
            let event = Event {
                cursor,
                at: show::moment(stamped.at),
                node: door.me.id.to_string(),
                event: stamped.event.kind.to_owned(),
                subject: stamped.event.subject.clone(),
                text: stamped.event.text.clone(),
                presence: None,
            };
            if feed.send(Ok(event)).await.is_err() {
                return;
            }
        }
        tokio::select! {
            changed = newest.changed() => if changed.is_err() { return },
            () = feed.closed() => return,
            why = &mut over => return drop(feed.send(Err(why)).await),
        }
    }
}

async fn told(door: Door, own: OfInstance, mut words: watch::Receiver<VecDeque<Telling>>, after: u64, feed: Feed) {
    let last = words.borrow().back().map_or(0, |telling| telling.number);
    let mut cursor = if after > last { 0 } else { after };
    let over = over(&door);
    tokio::pin!(over);
    loop {
        let news: Vec<Telling> =
            words.borrow_and_update().iter().filter(|telling| telling.number > cursor).cloned().collect();
        for telling in news {
            cursor = telling.number;
            if feed.send(Ok(event(&door, &own, &telling))).await.is_err() {
                return;
            }
        }
        tokio::select! {
            // The instance has ended.
            changed = words.changed() => if changed.is_err() { return },
            () = feed.closed() => return,
            why = &mut over => return drop(feed.send(Err(why)).await),
        }
    }
}

fn event(door: &Door, own: &OfInstance, telling: &Telling) -> Event {
    let names = |ids: &[crux_names::FulcrumId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (horde, present, absent) = (own.of.horde.to_string(), names(&telling.present), names(&telling.absent));
    let text = match telling.word {
        Word::Parted => format!("horde {horde} misses home members: {}", absent.join(", ")),
        Word::Rejoined => format!("horde {horde} has all its home members here again"),
    };
    Event {
        cursor: telling.number,
        at: show::moment(telling.at),
        node: door.me.id.to_string(),
        event: telling.word.as_str().to_owned(),
        subject: horde.clone(),
        text,
        presence: Some(Presence { horde, present, absent }),
    }
}
