//! What the engine wants, done: links, store, effects, and the signature under a row of this fulcrum's own.

use crate::effects::Effects;
use crate::live::Live;
use crate::papers::Papers;
use crate::store::Store;
use crux_core::io::{Input, Output, Report};
use crux_core::wire;
use crux_link::Links;
use crux_names::{FulcrumId, Wall};
use crux_pki::Bundle;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tracing::{error, warn};

/// Everything that the driver can act with.
pub(crate) struct Hands {
    /// This fulcrum.
    pub(crate) me: FulcrumId,
    /// Its identity, as it is installed now.
    pub(crate) identity: watch::Receiver<Arc<Bundle>>,
    /// What it shows, and whom it trusts.
    pub(crate) papers: Papers,
    /// Its links.
    pub(crate) links: Links,
    /// Its idle connections.
    pub(crate) live: Live,
    /// Its disk.
    pub(crate) store: Arc<Store>,
    /// Its processes and files.
    pub(crate) effects: Effects,
    /// Where the store's outcomes go.
    pub(crate) reports: mpsc::Sender<Report>,
}

impl Hands {
    /// Does one thing. What follows from it at once comes back as an input.
    pub(crate) fn execute(&self, output: Output, wall: Wall) -> Option<Input> {
        match output {
            Output::Dial(addr) => self.links.dial(addr),
            Output::CloseLink { peer, why } => self.links.close(&peer, &why),
            Output::Datagram { to, datagram } => {
                // Datagrams may be lost, and a frame without a link is lost with the link, whose end is told.
                self.links.send_datagram(&to, wire::encode_datagram(&datagram));
            }
            Output::Frame { to, frame } => {
                self.links.send_frame(&to, frame.encode());
            }
            Output::Persist { token, versions, drop } => {
                let reports = self.reports.clone();
                let versions = versions.iter().map(|version| (version.id(), version.sealed().clone())).collect();
                self.store.persist(token, versions, drop, move |token, result| {
                    // Called on the store's own thread, which may wait for the loop: the loop never waits for it.
                    let _ = reports.blocking_send(Report::Persisted { token, result });
                });
            }
            Output::Book(entries) => self.store.save_book(entries),
            Output::Sign { path, value, ancestors, not_before } => {
                let wall = wall.max(not_before);
                match crux_pki::facts::sign_row(&self.identity.borrow(), &self.me, &path, value, ancestors, wall) {
                    Ok(version) => return Some(Input::Report(Report::Signed { version })),
                    Err(cause) => error!("cannot sign this fulcrum's own row {path}: {cause}"),
                }
            }
            Output::Expelled(nodes) => {
                let own = self.identity.borrow().admission();
                if let Some(up_to) = nodes.get(&self.me.node).filter(|up_to| own <= **up_to) {
                    error!(
                        "this node was expelled, with its admissions up to {up_to}: nobody of the bloc links with it any more"
                    );
                    return None;
                }
                let told = self.papers.expel(nodes).map_err(|error| error.to_string());
                let told = told.and_then(|()| {
                    let reloaded = self.links.reload(self.papers.now(), self.papers.trust());
                    reloaded.map_err(|error| error.to_string())
                });
                if let Err(cause) = told {
                    error!("what is expelled is not refused at every door of this fulcrum: {cause}");
                }
            }
            Output::Effect(effect) => self.effects.run(effect),
            Output::Watch(peers) => self.live.watch(peers),
            // The driver keeps these for itself.
            Output::Reply { .. } | Output::Event(_) | Output::Changed | Output::StartsOver | Output::Finished => {
                warn!("an output that is the driver's own reached the hands");
            }
        }
        None
    }
}
