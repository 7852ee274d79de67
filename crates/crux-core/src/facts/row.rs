//! This fulcrum's own row: what it says of itself. Whatever else stands there, an older life's words or a restored
//! disk's, is replaced; the node signs, so there is one author and no conflict to keep.
//!
//! A row is believed by the certificate that signed it. So when another one is installed, the row is signed again with it,
//! before the root of the old one may go; labels and admission in it are always those of the certificate that signs.

use super::disk::Purpose;
use super::record::Record;
use super::value::{Row, row_path};
use super::version::{Author, Checked, Sealed};
use super::{Facts, Output, RETRY, authority};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use crux_names::{Duration, Hash256, Time, Wall};
use prost::Message;

/// After this long without an answer the signature is asked for again.
const SIGNING: Duration = Duration::from_secs(10);

/// How many rows are taken in that one node wrote: as many fulcrums as anybody would run on it.
const ROWS_MAX: usize = 64;
/// How many versions of a row may stand side by side. An honest fulcrum replaces all that it knows with each.
const HEADS_MAX: usize = 8;
/// How many bytes, sealed, may stand under all rows of one node. The largest row that a certificate permits (32 labels of 126
/// bytes, in the row and in its chain) has some twelve thousand, so that each of as many fulcrums may have one.
pub const ROWS_BYTES: usize = 1 << 20;

/// What a fulcrum shows for itself: what its row must agree with, and what it is signed with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its admission number.
    pub admission: u32,
    /// Its chain in DER, leaf first.
    pub chain: Vec<Bytes>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct OwnRow {
    /// The winner that was looked at last, and whether an older certificate of this fulcrum signed it.
    looked: Option<(Hash256, bool)>,
    wanted: Option<Bytes>,
    /// What was last given to be signed.
    asked: Option<Bytes>,
    /// A signature or a write is under way, until it is asked for again.
    busy: Option<Time>,
    /// Not to be signed before. Two fulcrums with one identity must not fight at full speed.
    not_before: Time,
}

impl Facts {
    pub(super) fn set_row(&mut self, row: Row) {
        self.row.wanted = Some(self.fitted(row));
    }

    /// Another certificate is shown from now on.
    pub(super) fn set_certificate(&mut self, certificate: Certificate) {
        self.config.certificate = certificate;
        self.row.looked = None;
        if let Some(row) = self.row.wanted.take().and_then(|value| Row::decode(value).ok()) {
            self.set_row(row);
        }
    }

    /// A row's bytes, with what its reader holds against the certificate.
    fn fitted(&self, row: Row) -> Bytes {
        let Certificate { labels, admission, .. } = self.config.certificate.clone();
        Row { labels, admission, ..row }.encode_to_vec().into()
    }

    /// Looks who signed the row that stands, once for each. What an older life left is signed again as it is.
    pub(super) fn look_at_row(&mut self) {
        let winner = self.store.record(&row_path(&self.config.me)).and_then(Record::winner);
        let behind = self.row_behind().filter(|_| winner.is_none() && self.row.wanted.is_none());
        if let Some(row) = behind.and_then(|version| Row::decode(version.statement().value.clone()?).ok()) {
            // It stood there for longer than anybody remembers, and its fulcrum lives.
            self.set_row(row);
            return;
        }
        let Some(winner) = winner.filter(|winner| matches!(winner.statement().author, Author::Fulcrum(_))) else {
            self.row.looked = None;
            return;
        };
        let id = winner.id();
        if self.row.looked.is_some_and(|(looked, _)| looked == id) {
            return;
        }
        let sealed = Sealed::decode(winner.sealed().clone()).unwrap_or_default();
        let older = sealed.author_chain != self.config.certificate.chain;
        let left = winner.statement().value.clone().filter(|_| older && self.row.wanted.is_none());
        self.row.looked = Some((id, older));
        if let Some(row) = left.and_then(|value| Row::decode(value).ok()) {
            self.set_row(row);
        }
    }

    fn row_stands(&self) -> bool {
        let record = self.store.record(&row_path(&self.config.me));
        match (&self.row.wanted, record.and_then(|record| Some((record, record.winner()?)))) {
            (None, _) => true,
            (Some(_), None) => false,
            (wanted, Some((record, winner))) => {
                let older = self.row.looked.is_some_and(|(_, older)| older);
                winner.statement().value == *wanted && record.heads().len() == 1 && !older
            }
        }
    }

    /// Why one more version of a row is not taken in from a peer, if a node has written too much: in rows, in versions of
    /// one or in bytes. It is judged at this door and not when versions merge: to drop a head, or one path for another, is
    /// no union any more, and order would matter. So two fulcrums may keep different ones of what is too much, and their
    /// digests differ until the node or an operator replaces it; that hurts nobody's facts but the node's own. Operators'
    /// versions, which clean up, come in. What was replaced has a bound of its own (`record`).
    pub(super) fn too_much(&self, version: &Checked) -> Option<authority::Refusal> {
        let statement = version.statement();
        let Author::Fulcrum(author) = &statement.author else { return None };
        let record = self.store.record(&statement.path);
        if self.store.keeps(&version.id()) || record.is_some_and(|record| record.covered().contains(&version.id())) {
            return None;
        }
        let prefix = format!("row/{}/", author.node);
        let by_node = |head: &&Checked| matches!(head.statement().author, Author::Fulcrum(_));
        let (mut rows, mut bytes) = (0, version.size());
        for (_, row) in self.store.records_under(&prefix) {
            rows += 1;
            bytes += row.heads().iter().filter(by_node).map(Checked::size).sum::<usize>();
        }
        let heads = record.map_or(&[][..], Record::heads);
        let replaced = || heads.iter().filter(|head| statement.ancestors.contains(&head.id()));
        let freed: usize = replaced().filter(by_node).map(Checked::size).sum();
        let why = if record.is_none() && rows >= ROWS_MAX {
            "its node has 64 rows already; forget those of fulcrums that are no more"
        } else if replaced().next().is_none() && heads.len() >= HEADS_MAX {
            "8 versions of this row stand side by side already; its fulcrum has to replace them"
        } else if bytes - freed > ROWS_BYTES && version.size() > freed {
            "the rows of its node have a mebibyte already; forget those of fulcrums that are no more"
        } else {
            return None;
        };
        Some(authority::Refusal::TooMuch(why))
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
        let not_before = Wall(self.quarantine.horizon());
        out.push(Output::Sign { path, value, ancestors, not_before });
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

    pub(super) fn row_written(&mut self, now: Time, wall: Wall, version: Checked, out: &mut Vec<Output>) {
        self.row.busy = None;
        self.push_to_all(now, core::slice::from_ref(&version), out);
        self.merge(wall, version, out);
    }

    pub(super) fn row_failed(&mut self, now: Time) {
        self.row.busy = Some(now + RETRY);
    }
}
