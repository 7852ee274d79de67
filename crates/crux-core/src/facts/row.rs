//! This fulcrum's own row: what it says of itself. Whatever else stands there, an older life's words or a restored
//! disk's, is replaced; the node signs, so there is one author and no conflict to keep.

use super::disk::Purpose;
use super::value::{Row, row_path};
use super::version::Checked;
use super::{Facts, Output, RETRY, authority};
use alloc::vec::Vec;
use bytes::Bytes;
use crux_names::{Duration, Time, Wall};
use prost::Message;

/// After this long without an answer the signature is asked for again.
const SIGNING: Duration = Duration::from_secs(10);

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
