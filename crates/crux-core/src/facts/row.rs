//! This fulcrum's own row: what it says of itself. Whatever else stands there, an older life's words or a restored
//! disk's, is replaced; the node signs, so there is one author and no conflict to keep.

use super::disk::Purpose;
use super::value::{Row, row_path};
use super::version::{Author, Checked};
use super::{Facts, Output, RETRY, authority};
use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;
use crux_names::{Duration, Time, Wall};
use prost::Message;

/// After this long without an answer the signature is asked for again.
const SIGNING: Duration = Duration::from_secs(10);

/// How many rows are taken in that one node wrote: as many fulcrums as anybody would run on it.
const ROWS_MAX: usize = 64;
/// How many versions of a row may stand side by side. An honest fulcrum replaces all that it knows with each.
const HEADS_MAX: usize = 8;

#[derive(Clone, Debug, Default)]
pub(super) struct OwnRow {
    wanted: Option<Bytes>,
    /// What was last given to be signed.
    asked: Option<Bytes>,
    /// A signature or a write is under way, until it is asked for again.
    busy: Option<Time>,
    /// Not to be signed before. Two fulcrums with one identity must not fight at full speed.
    not_before: Time,
}

impl Facts {
    pub(super) fn set_row(&mut self, row: &Row) {
        self.row.wanted = Some(row.encode_to_vec().into());
    }

    fn row_stands(&self) -> bool {
        let record = self.store.record(&row_path(&self.config.me));
        match (&self.row.wanted, record.and_then(|record| Some((record, record.winner()?)))) {
            (None, _) => true,
            (Some(_), None) => false,
            (wanted, Some((record, winner))) => winner.statement().value == *wanted && record.heads().len() == 1,
        }
    }

    /// Why one more version of a row is not taken in from a peer, if a node has written too much. It is judged at this
    /// door and not when versions merge: to drop a head, or one path for another, is no union any more, and order would
    /// matter. So two fulcrums may keep different ones of what is too much, and their digests differ until the node or an
    /// operator replaces it; that hurts nobody's facts but the node's own. Operators' versions, which clean up, come in.
    pub(super) fn too_much(&self, version: &Checked) -> Option<authority::Refusal> {
        let statement = version.statement();
        let Author::Fulcrum(author) = &statement.author else { return None };
        if self.store.keeps(&version.id()) {
            return None;
        }
        let Some(record) = self.store.record(&statement.path) else {
            let rows = self.store.records_under(&format!("row/{}/", author.node)).count();
            let why = "its node has 64 rows already; forget those of fulcrums that are no more";
            return (rows >= ROWS_MAX).then_some(authority::Refusal::TooMuch(why));
        };
        let late = record.covered().contains(&version.id());
        let replaces = record.heads().iter().any(|head| statement.ancestors.contains(&head.id()));
        let why = "8 versions of this row stand side by side already; its fulcrum has to replace them";
        (!late && !replaces && record.heads().len() >= HEADS_MAX).then_some(authority::Refusal::TooMuch(why))
    }

    pub(super) fn row_deadline(&self) -> Time {
        match self.row.busy {
            _ if self.row_stands() => Time::NEVER,
            Some(until) => until,
            None => self.row.not_before,
        }
    }

    pub(super) fn tend_row(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.row.busy.is_some_and(|until| until > now) || self.row_stands() {
            return;
        }
        let again = self.row.asked == self.row.wanted;
        if again && self.row.not_before > now {
            return;
        }
        let Some(value) = self.row.wanted.clone() else { return };
        let path = row_path(&self.config.me);
        let ancestors = self.store.record(&path).map(|record| record.ancestors(true)).unwrap_or_default();
        self.row.asked = Some(value.clone());
        self.row.busy = Some(now + SIGNING);
        self.row.not_before = now + RETRY;
        out.push(Output::Sign { path, value, ancestors });
    }

    pub(super) fn signed(&mut self, version: Checked, out: &mut Vec<Output>) {
        let statement = version.statement();
        let own = statement.path == row_path(&self.config.me);
        if own && authority::authorise(&self.config.bloc, statement).is_ok() {
            self.disk.persist(alloc::vec![version.clone()], Purpose::Row(version), out);
        } else {
            self.row.busy = None;
        }
    }

    pub(super) fn row_written(&mut self, wall: Wall, version: Checked, out: &mut Vec<Output>) {
        self.row.busy = None;
        for to in &self.others {
            Self::send_versions(to, core::iter::once(&version), out);
        }
        self.merge(wall, version, out);
    }

    pub(super) fn row_failed(&mut self, now: Time) {
        self.row.busy = Some(now + RETRY);
    }
}
