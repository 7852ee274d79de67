//! Looks after all links at short intervals: replaces their keys, and cuts those that may not go on. QUIC does none of it.

use crate::conn::{Conn, Note};
use crate::dial;
use crate::identity::Identity;
use crate::links::Inner;
use crate::live::Live;
use crate::wire::Code;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// How often links are looked at, unless their keys live shorter than 20 times that.
const TICK: Duration = Duration::from_secs(1);
const TICK_MIN: Duration = Duration::from_millis(20);

/// After so many links others may run: when roots were exchanged, each costs two signatures.
const BREATH: usize = 64;
/// Keys that are younger than this share of their period are not replaced for any reason: peers may ask for it.
const YOUNG: u32 = 64;

/// How often links are looked at when their keys live so long.
pub(crate) fn tick(period: Duration) -> Duration {
    (period / 20).clamp(TICK_MIN, TICK)
}

/// Runs until the shutdown.
pub(crate) async fn keep(inner: Arc<Inner>) {
    let mut over = inner.over.subscribe();
    loop {
        let pause = tick(inner.renewals().period);
        tokio::select! {
            biased;
            _ = over.wait_for(|over| *over) => return,
            () = inner.look.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
        let (now, wall, identity) = (Instant::now(), inner.wall(), inner.identity());
        for (n, live) in inner.registry.all().into_iter().enumerate() {
            if live.is_up() {
                look(&inner, &live, &identity, now, wall);
            }
            if n % BREATH == BREATH - 1 {
                tokio::task::yield_now().await;
            }
        }
    }
}

fn look(inner: &Arc<Inner>, live: &Live, identity: &Arc<Identity>, now: Instant, wall: u64) {
    let conn = live.current();
    let renewals = inner.renewals();
    let age = now.saturating_duration_since(conn.born);

    if conn.trusted_by() < identity.generation {
        match identity.verify(&conn.quic, wall) {
            Ok(_) => conn.trust(identity.generation),
            // The end of its life has words of its own, below.
            Err(crux_pki::Refusal::Expired { .. }) => {}
            Err(refusal) => return live.close(Code::Untrusted, &format!("the peer is no longer trusted: {refusal}")),
        }
    }
    // The last second still counts (RFC 5280), as it does in the path's validation.
    if conn.info.not_after < wall {
        return live.close(Code::Expired, &format!("the certificate of {} has ended", live.member.id.node));
    }
    if conn.ends() < wall {
        return live.close(Code::Expired, &format!("the certificate of {} has ended", inner.me.id.node));
    }
    if age >= conn.limit(&renewals) {
        let why = "the link's keys have reached their greatest age and could not be replaced";
        return live.close(Code::Stale, why);
    }
    if let Some(older) = live.older() {
        retire(live, &older, now, older.limit(&renewals));
    }

    let changed = !conn.own.shows_the_same(identity);
    if live.dialed {
        let due = renewals.period.mul_f64(conn.renew_at as f64 / 1_000.0);
        let early = (changed || conn.wanted.load(Ordering::Relaxed)) && age >= renewals.period / YOUNG;
        if (early || age >= due) && live.may_succeed().is_ok() && live.begin_renewal(now) {
            tokio::spawn(dial::renew(inner.clone(), live.clone()));
        }
    } else if changed && !conn.asked.load(Ordering::Relaxed) && conn.note(Note::PleaseRenew) {
        conn.asked.store(true, Ordering::Relaxed);
    }
}

/// Lets a connection go on which nothing more is under way, or whose keys are too old.
fn retire(live: &Live, older: &Arc<Conn>, now: Instant, limit: Duration) {
    if now.saturating_duration_since(older.born) >= limit {
        if older.frames_are_through() {
            older.retire("its keys have reached their greatest age; a bulk transfer on it must begin again");
            live.forget(older);
        } else {
            live.close(Code::Slow, "frames under old keys were not taken until those had to go");
        }
        return;
    }
    if !older.is_quiet(now) {
        return;
    }
    if !older.done.load(Ordering::Relaxed) {
        older.done.store(older.note(Note::Done), Ordering::Relaxed);
    } else if older.peer_done.load(Ordering::Relaxed) {
        older.retire("its keys were replaced");
        live.forget(older);
    }
}
