//! The thin driver: one loop, one closed event. It decides nothing; it carries what happened to the engine and what the
//! engine wants to the world.
//!
//! Every channel into the loop is bounded, each with its reason ([`Channels`]), so that whoever is too fast waits
//! instead of filling memory. Link events are drained before a timer fires: after a pause of the whole process (a
//! stopped container, a slept laptop) what the peers said meanwhile is heard before anybody is declared lost.

mod clock;
mod hands;
mod heard;
mod inbox;
mod lag;
mod order;

pub(crate) use clock::{Clock, wall};
pub(crate) use hands::Hands;
pub(crate) use inbox::{Inbox, Looked, check_loaded};

use crate::ask::{Ask, Now};
use crate::events::Events;
use crate::notify::Notifier;
use crux_core::engine::Engine;
use crux_core::flock::view::ViewId;
use crux_core::io::{Command, Input, Output, Reply, Report, RequestId};
use crux_link::LinkEvent;
use crux_names::{Boot, Member, NodeName};
use crux_pki::Bundle;
use lag::Lag;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Interval};
use tracing::{info, warn};

/// How long leaving may take, services included, before the process ends all the same.
const LEAVE: Duration = crux_api::routes::LEAVING;
/// The shortest sleep after a timer: an engine that wants to be woken at once, again and again, must not eat a core.
const BREATH: Duration = Duration::from_millis(1);

/// The next beat; never without an interval.
async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

/// Somebody wants the process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stop {
    /// Whether what runs here stops too.
    pub(crate) services: bool,
}

/// How many link events may wait: beyond that the links' own flow control holds the peers back.
pub(crate) const LINK_EVENTS: usize = 1024;
/// How many reports may wait: effects are few and slow, and none may be lost.
pub(crate) const REPORTS: usize = 256;
/// How many batches of checked facts may wait: more are not checked meanwhile.
pub(crate) const CHECKED: usize = 16;
/// How many questions of the API may wait: a flood of requests waits at the door and disturbs no flocking.
pub(crate) const ASKS: usize = 64;

/// Everything that comes in.
pub(crate) struct Channels {
    /// From the links; [`LINK_EVENTS`].
    pub(crate) links: mpsc::Receiver<LinkEvent>,
    /// From effects and the store; [`REPORTS`].
    pub(crate) reports: mpsc::Receiver<Report>,
    /// Facts whose signatures hold; [`CHECKED`].
    pub(crate) checked: mpsc::Receiver<Looked>,
    /// From the API; [`ASKS`].
    pub(crate) asks: mpsc::Receiver<Ask>,
    /// Addresses that seeds resolved to since the start; a handful.
    pub(crate) seeds: mpsc::Receiver<SocketAddr>,
    /// Addresses where somebody of the bloc may be; [`crate::seek::WAITING`].
    pub(crate) probes: mpsc::Receiver<SocketAddr>,
    /// Peers whose idle connections broke; [`crate::live::HINTS`].
    pub(crate) gone: mpsc::Receiver<Member>,
    /// The bundle that is installed; only the newest counts.
    pub(crate) identity: watch::Receiver<Arc<Bundle>>,
    /// Signals and, in a dev cluster, the leash; the second one ends the process at once.
    pub(crate) stops: mpsc::Receiver<Stop>,
}

/// Everything that can happen to a driver.
enum Event {
    Link(LinkEvent),
    Report(Report),
    Looked(Looked),
    Ask(Ask),
    Seed(SocketAddr),
    Probed(SocketAddr),
    Gone(Member),
    Installed(Arc<Bundle>),
    Stop(Stop),
    Timer,
}

/// Why a driver ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The fulcrum has left its flock, and its instances are as wanted.
    Finished,
    /// Asked twice, or leaving took too long.
    Forced,
    /// This peer knows a life of this fulcrum with this number: start again with a higher one.
    BootTooOld { node: NodeName, known: Boot },
    /// Nobody follows where this life was led: start again.
    StartsOver,
    /// The links have ended, which they do only when their socket broke.
    LinksEnded,
}

/// The loop's state.
pub(crate) struct Driver {
    engine: Engine,
    clock: Clock,
    hands: Hands,
    inbox: Inbox,
    events: Events,
    changed: watch::Sender<u64>,
    notifier: Notifier,
    expect: Option<u32>,
    /// The view whose members' lives the links were told of.
    told_lives: Option<ViewId>,
    waiting: BTreeMap<RequestId, oneshot::Sender<Reply>>,
    requests: RequestId,
    /// Inputs that follow from outputs at once, so that handling never nests.
    next: VecDeque<Input>,
    lag: Lag,
    leaving: Option<Instant>,
    end: Option<End>,
}

impl Driver {
    /// A driver of this engine with these hands.
    #[expect(clippy::too_many_arguments, reason = "each is a different thing, and there is one caller")]
    pub(crate) fn new(
        engine: Engine,
        clock: Clock,
        hands: Hands,
        inbox: Inbox,
        events: Events,
        changed: watch::Sender<u64>,
        notifier: Notifier,
        expect: Option<u32>,
    ) -> Self {
        Self {
            engine,
            clock,
            hands,
            inbox,
            events,
            changed,
            notifier,
            expect,
            told_lives: None,
            waiting: BTreeMap::new(),
            requests: 0,
            next: VecDeque::new(),
            lag: Lag::default(),
            leaving: None,
            end: None,
        }
    }

    /// Runs until there is a reason to end. `first` are the inputs of the start: what the store held.
    pub(crate) async fn run(mut self, first: Vec<Input>, channels: &mut Channels) -> End {
        self.next.extend(first);
        self.settle();
        self.look_changed();
        let mut woken = Instant::now();
        // The one loop feeds the watchdog: should it stand still, the service manager starts crux anew.
        let mut feeding = self.notifier.watchdog().map(tokio::time::interval);
        while self.end.is_none() {
            let deadline = self.clock.instant(self.engine.deadline()).max(woken + BREATH);
            let deadline = self.leaving.map_or(deadline, |limit| deadline.min(limit));
            let event = tokio::select! {
                Some(stop) = channels.stops.recv() => Event::Stop(stop),
                event = channels.links.recv() => match event {
                    Some(event) => Event::Link(event),
                    None => return End::LinksEnded,
                },
                Some(report) = channels.reports.recv() => Event::Report(report),
                Some(looked) = channels.checked.recv() => Event::Looked(looked),
                Some(ask) = channels.asks.recv() => Event::Ask(ask),
                Some(addr) = channels.seeds.recv() => Event::Seed(addr),
                Some(addr) = channels.probes.recv() => Event::Probed(addr),
                Some(peer) = channels.gone.recv() => Event::Gone(peer),
                Ok(()) = channels.identity.changed() => Event::Installed(channels.identity.borrow_and_update().clone()),
                () = tick(&mut feeding) => {
                    self.notifier.alive();
                    continue;
                }
                () = tokio::time::sleep_until(deadline) => Event::Timer,
            };
            let began = Instant::now();
            if matches!(event, Event::Timer) {
                self.lag.late(began.saturating_duration_since(deadline));
                woken = began;
                // What the peers said before this moment is heard first, also what still lies in the socket.
                for event in heard::heard(&mut channels.links, LINK_EVENTS).await {
                    self.take(Event::Link(event));
                }
            }
            self.take(event);
            self.lag.busy(began.elapsed());
        }
        self.notifier.stopping();
        let end = self.end.unwrap_or(End::Finished);
        if matches!(end, End::Finished) {
            info!("{} has left its flock", self.hands.me);
        }
        end
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Link(event) => match self.inbox.link(event) {
                inbox::Taken::Input(input) => self.next.push_back(input),
                inbox::Taken::BootTooOld { node, known } => self.end = Some(End::BootTooOld { node, known }),
                inbox::Taken::Event(event) => self.tell(event),
                inbox::Taken::Cut { peer, why } => self.hands.links.close(&peer, &why),
                inbox::Taken::Nothing => {}
            },
            Event::Report(report) => self.next.push_back(Input::Report(report)),
            Event::Looked(looked) => self.next.extend(self.inbox.looked(looked)),
            Event::Ask(Ask::Look(look)) => look(&self.engine, self.clock.now()),
            Event::Ask(Ask::Command { command, reply }) => self.command(command, Some(reply)),
            Event::Seed(addr) => self.command(Command::Seed { addr }, None),
            Event::Probed(addr) => self.next.push_back(Input::Probed { addr }),
            Event::Gone(peer) => self.next.push_back(Input::ProcessGone { peer }),
            Event::Installed(bundle) => {
                self.next.push_back(Input::Certificate(crux_pki::facts::certificate(&bundle)));
            }
            Event::Stop(Stop { services }) if self.leaving.is_none() => {
                info!("going down{}", if services { " with the services" } else { "" });
                self.command(Command::Down { services }, None);
            }
            Event::Stop(_) => {
                warn!("asked to stop again: ending at once; the flock will notice by itself");
                self.end = Some(End::Forced);
            }
            Event::Timer => {
                if self.leaving.is_some_and(|limit| Instant::now() >= limit) {
                    warn!("leaving took longer than {} s: ending all the same", LEAVE.as_secs());
                    self.end = Some(End::Forced);
                }
                self.next.push_back(Input::Wake);
            }
        }
        self.settle();
    }

    fn tell(&self, event: crux_core::io::Event) {
        // An alarm is no news among others: it wants a person.
        match event.kind {
            "alarm" => warn!(kind = event.kind, subject = event.subject, "{}", event.text),
            kind => info!(kind, subject = event.subject, "{}", event.text),
        }
        self.events.push(wall(), event);
    }

    fn command(&mut self, command: Command, reply: Option<oneshot::Sender<Reply>>) {
        if matches!(command, Command::Down { .. } | Command::Leave) && self.leaving.is_none() {
            self.leaving = Some(Instant::now() + LEAVE);
        }
        self.requests += 1;
        let request = self.requests;
        if let Some(reply) = reply {
            // Those who gave up waiting are forgotten.
            self.waiting.retain(|_, waiting| !waiting.is_closed());
            self.waiting.insert(request, reply);
        }
        self.next.push_back(Input::Command { request, command });
    }

    /// Hands the engine what waits, and does what it wants, until nothing follows.
    fn settle(&mut self) {
        let mut outputs = Vec::new();
        let mut changed = false;
        while let Some(input) = self.next.pop_front() {
            let Now { time, wall } = self.clock.now();
            self.engine.handle(time, wall, input, &mut outputs);
            for output in outputs.drain(..) {
                match output {
                    Output::Reply { request, reply } => {
                        if let Some(waiting) = self.waiting.remove(&request) {
                            // Who asked may have gone meanwhile.
                            let _ = waiting.send(reply);
                        }
                    }
                    Output::Event(event) => self.tell(event),
                    Output::Changed => changed = true,
                    Output::StartsOver if self.inbox.may_start_over() => {
                        self.end = self.end.take().or(Some(End::StartsOver));
                    }
                    // Said again, if it must be.
                    Output::StartsOver => {}
                    Output::Finished => self.end = self.end.take().or(Some(End::Finished)),
                    output => self.next.extend(self.hands.execute(output, wall)),
                }
            }
        }
        if changed {
            self.look_changed();
        }
    }

    /// Tells watchers, and the service manager in a line.
    fn look_changed(&mut self) {
        self.changed.send_modify(|version| *version += 1);
        let Now { time, wall } = self.clock.now();
        let confab = self.engine.confab(time, wall);
        let size = confab.members.len();
        // The larger the flock, the longer the keys of links live.
        self.hands.links.set_members(size);
        if self.told_lives.as_ref() != Some(&confab.view) {
            // The heart takes no life that is older than one that was a member. Only the links can tell it so, and with it
            // which number to begin anew above.
            for seat in &self.engine.flock_room().view().roster {
                self.hands.links.know_boot(&seat.member);
            }
            self.told_lives = Some(confab.view.clone());
        }
        let full = self.engine.flock_room().view().roster.iter().filter(|seat| !seat.visitor).count();
        let below = self.expect.filter(|expect| full < *expect as usize);
        let warning = match (size, below) {
            (1, Some(expect)) => format!(" -- ALONE, {expect} expected"),
            (1, None) => " -- ALONE".to_owned(),
            (_, Some(expect)) => format!(" -- BELOW the expected {expect}"),
            (_, None) => String::new(),
        };
        let stable = if confab.stable { "" } else { ", not stable" };
        let members = crux_pki::count(size, "member");
        self.notifier.status(&format!("flock {}, {members}{stable}{warning}", confab.flock));
    }
}

#[cfg(test)]
mod tests;
