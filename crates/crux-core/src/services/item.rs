//! An instance as its own fulcrum knows it: what others are told, and what only its picket, dean and heartbeat look at.

use super::instance::{Instance, Phase};
use super::known::Revision;
use crate::facts::value::Manifest;
use alloc::sync::Arc;
use crux_names::{Duration, Time};

/// One instance with what only its picket knows.
#[derive(Clone, Debug)]
pub struct Item {
    /// What others are told.
    pub instance: Instance,
    /// Whether an earlier life of this fulcrum started it.
    pub adopted: bool,
    /// A `once` that ended by itself, and whether it ended well. It fills its place for as long as a plan wants it.
    pub ended: Option<bool>,
    /// What it runs, as soon as the fact is here.
    pub(super) revision: Option<Arc<Revision>>,
    pub(super) running_since: Option<Time>,
    /// How long it had run when it was re-adopted: before this life of the fulcrum its clock did not go.
    pub(super) ran_before: Duration,
    pub(super) start_at: Time,
    pub(super) pause: Duration,
    pub(super) stop: bool,
    pub(super) gone_at: Option<Time>,
}

impl Item {
    /// Its manifest, if the fact is here.
    #[must_use]
    pub fn manifest(&self) -> Option<&Manifest> {
        self.revision.as_ref().map(|revision| &revision.manifest)
    }

    /// How long its process has run, in earlier lives of this fulcrum too.
    #[must_use]
    pub fn running(&self, now: Time) -> Option<Duration> {
        self.running_since
            .filter(|_| self.instance.phase == Phase::Running)
            .map(|since| now.since(since) + self.ran_before)
    }

    /// Whether it holds its place: it lives and is meant to, or it did what it was there to do once.
    #[must_use]
    pub fn fills(&self) -> bool {
        !self.stop && (self.ended.is_some() || !matches!(self.instance.phase, Phase::Stopping | Phase::Gone))
    }

    /// One that waits to be started, or that an earlier life started.
    pub(super) fn new(instance: Instance, adopted: bool, now: Time) -> Self {
        Self {
            instance,
            adopted,
            ended: None,
            revision: None,
            running_since: None,
            ran_before: Duration::ZERO,
            start_at: now,
            pause: Duration::ZERO,
            stop: false,
            gone_at: None,
        }
    }
}
