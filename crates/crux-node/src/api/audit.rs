//! What operators did at this fulcrum: listed and followed.

use super::Door;
use super::answer::{Answer, Feed, Refusal, doc, line};
use axum::extract::{Query, State};
use crux_api::json::{AuditEntry, AuditList};
use crux_api::routes::EventsQuery;
use std::sync::Arc;

/// Reading files blocks, so it is done aside.
async fn after(door: &Door, cursor: u64) -> Result<Vec<Arc<AuditEntry>>, Refusal> {
    let audit = door.audit.clone();
    tokio::task::spawn_blocking(move || audit.after(cursor)).await.map_err(|_| Refusal::going_down())
}

/// `GET /v1/audit`.
pub(super) async fn audit(State(door): State<Door>, Query(query): Query<EventsQuery>) -> Answer {
    let mut cursor = query.after.unwrap_or(0);
    if query.watch.is_none() {
        let entries = after(&door, cursor).await?;
        return Ok(doc(AuditList { entries: entries.iter().map(|entry| (**entry).clone()).collect() }));
    }
    let (feed, response) = Feed::open();
    tokio::spawn(async move {
        let mut newest = door.audit.follow();
        // It ends with the driver, as every stream does: the log itself outlives it.
        let mut changed = door.asker.changed();
        loop {
            newest.mark_unchanged();
            let Ok(entries) = after(&door, cursor).await else { return };
            for entry in entries {
                cursor = entry.cursor.0;
                let Some(text) = line((*entry).clone()) else { return };
                if !feed.send(text, Some(cursor)).await {
                    return;
                }
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
