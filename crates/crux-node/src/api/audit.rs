//! What operators did at this fulcrum: listed and followed.

use super::Door;
use super::answer::{Answer, Feed, Refusal, doc, line};
use axum::extract::{Query, State};
use crux_api::json::AuditList;
use crux_api::routes::EventsQuery;

/// `GET /v1/audit`.
pub(super) async fn audit(State(door): State<Door>, Query(query): Query<EventsQuery>) -> Answer {
    let mut cursor = door.audit.resume(query.after);
    if query.watch.is_none() {
        let page = door.audit.page(cursor).await.ok_or_else(Refusal::going_down)?;
        let next = page.entries.last().filter(|_| page.more).map(|entry| entry.cursor);
        return Ok(doc(AuditList { entries: page.entries.iter().map(|entry| (**entry).clone()).collect(), next }));
    }
    let (feed, response) = Feed::open();
    tokio::spawn(async move {
        let mut newest = door.audit.follow();
        // It ends with the driver, as every stream does: the log itself outlives it.
        let mut changed = door.asker.changed();
        loop {
            newest.mark_unchanged();
            let Some(page) = door.audit.page(cursor).await else { return };
            for entry in page.entries {
                cursor = entry.cursor.0;
                let Some(text) = line((*entry).clone()) else { return };
                if !feed.send(text, Some(cursor)).await {
                    return;
                }
            }
            if page.more {
                continue;
            }
            loop {
                tokio::select! {
                    woken = newest.changed() => if woken.is_err() { return } else { break },
                    driver = changed.changed() => if driver.is_err() { return },
                    () = feed.closed() => return,
                }
            }
        }
    });
    Ok(response)
}
