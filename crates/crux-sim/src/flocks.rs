//! Flocking alone in the invented world: the step function without facts and services, small enough to try every order
//! of a few events.

use crate::invariants::{Flocking, Rules};
use crate::world::{In, Mixer, Node, Out, Weather, World};
use crux_core::flock::message::{Datagram, Message};
use crux_core::flock::view::View;
use crux_core::flock::{Alarm, Apart, Config, Flock, Input, Output};
use crux_core::wire::{Frame, encode_datagram};
use crux_names::{Boot, Duration, FulcrumId, Member, Time};
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;

/// A flocking machine with the record of what it installed.
#[derive(Debug)]
pub struct Bird {
    /// The machine.
    pub flock: Flock,
    /// Every view that it installed, with the moment.
    pub installed: Vec<(Time, View)>,
    /// Identities of which it saw two lives.
    pub clones: usize,
    /// Its address book as it last wanted it kept.
    pub book: Vec<(FulcrumId, SocketAddr)>,
    /// The book is not kept: in a large world each of its copies would cost as much as all that flocking itself keeps.
    pub slim: bool,
    /// What it sent, if that is measured.
    pub meter: Option<Meter>,
    /// Of whom it gave alarm, and why.
    pub alarms: Vec<(FulcrumId, Alarm)>,
    /// It wants to begin anew.
    pub starts_over: bool,
    /// When it laid down the lead because it was at fault itself.
    pub handed_over: Vec<Time>,
}

/// What a fulcrum sent.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    /// Bytes of datagrams and frames as they are encoded.
    pub sent: u64,
    /// Datagrams and frames.
    pub packets: u64,
    /// Those that it received and acknowledges by a packet of its own, for nothing of its own follows on them.
    pub acknowledged: u64,
}

impl Node for Bird {
    type Datagram = Datagram;
    type Frame = Message;

    fn handle(&mut self, now: Time, input: In<Datagram, Message>, out: &mut Vec<Out<Datagram, Message>>) {
        if let Some(meter) = &mut self.meter {
            let answered =
                matches!(input, In::Datagram(_, Datagram::Ack { .. } | Datagram::Witness { .. }) | In::Frame(..));
            meter.acknowledged += u64::from(answered);
        }
        let input = match input {
            In::Wake => Input::Wake,
            In::LinkUp(member, addr, dialed) => Input::LinkUp { member, addr, dialed },
            In::LinkDown(member) => Input::LinkDown { member },
            In::ProcessGone(member) => Input::ProcessGone(member),
            In::DialFailed(addr, myself) => Input::DialFailed { addr, myself, refused: false, why: "no answer".into() },
            In::Datagram(from, datagram) => Input::Datagram { from, datagram },
            In::Frame(from, message) => Input::Message { from, message },
        };
        self.input(now, input, out);
    }

    fn deadline(&self) -> Time {
        self.flock.deadline()
    }

    fn digest_datagram(datagram: &Datagram) -> u64 {
        let mut mixer = Mixer::new(1);
        std::mem::discriminant(datagram).hash(&mut mixer);
        mixer.finish()
    }

    fn digest_frame(message: &Message) -> u64 {
        let mut mixer = Mixer::new(2);
        std::mem::discriminant(message).hash(&mut mixer);
        mixer.finish()
    }
}

impl Flocking for Bird {
    fn flock(&self) -> &Flock {
        &self.flock
    }

    fn message(frame: &Message) -> Option<Message> {
        Some(frame.clone())
    }

    fn datagram(datagram: &Datagram) -> Option<Datagram> {
        Some(datagram.clone())
    }
}

impl Bird {
    /// A fulcrum that has installed nothing but its own first view.
    #[must_use]
    pub fn new(flock: Flock) -> Self {
        Self {
            flock,
            installed: Vec::new(),
            clones: 0,
            book: Vec::new(),
            slim: false,
            meter: None,
            alarms: Vec::new(),
            starts_over: false,
            handed_over: Vec::new(),
        }
    }

    /// Gives the machine an input that does not come from the network.
    pub fn input(&mut self, now: Time, input: Input, out: &mut Vec<Out<Datagram, Message>>) {
        let mut wishes = Vec::new();
        self.flock.handle(now, input, &mut wishes);
        for wish in wishes {
            match wish {
                Output::Dial(addr) => out.push(Out::Dial(addr)),
                Output::CloseLink { peer, .. } => out.push(Out::Close(peer)),
                Output::Datagram { to, datagram } => {
                    if let Some(meter) = &mut self.meter {
                        meter.sent += encode_datagram(&datagram).len() as u64;
                        meter.packets += 1;
                    }
                    out.push(Out::Datagram(to, datagram));
                }
                Output::Message { to, message } => {
                    if let Some(meter) = &mut self.meter {
                        meter.sent += Frame::Flock(message.clone()).encode().len() as u64;
                        meter.packets += 1;
                    }
                    out.push(Out::Frame(to, message));
                }
                Output::Installed { view, .. } => self.installed.push((now, view)),
                Output::Clone { .. } => self.clones += 1,
                Output::Book(book) if !self.slim => self.book = book,
                Output::Watch(peers) => out.push(Out::Watch(peers)),
                Output::Alarm { fulcrum, why } => self.alarms.push((fulcrum, why)),
                Output::StartsOver => self.starts_over = true,
                Output::HandsOver => self.handed_over.push(now),
                Output::Book(_) | Output::Stable(_) | Output::Held { .. } => {}
            }
        }
    }
}

/// The flocks of one world.
pub type Flocks = World<Bird>;

/// The member in a place, in a life.
///
/// # Panics
/// Never: the names are well formed.
#[must_use]
pub fn member(place: usize, boot: u64) -> Member {
    Member { id: format!("n{}", place + 1).parse().expect("a node name"), boot: Boot(boot) }
}

/// The address of a place.
#[must_use]
pub fn addr(place: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, u8::try_from(place / 250).unwrap_or(u8::MAX), (place % 250 + 1) as u8], 2789))
}

/// What a fulcrum in a place of a world of `size` is started with: its seeds are the others.
///
/// # Panics
/// Never: the bloc's name is well formed.
#[must_use]
pub fn config(place: usize, size: usize, boot: u64, seed: u64) -> Config {
    Config {
        bloc: "sim".parse().expect("a bloc name"),
        me: member(place, boot),
        addr: addr(place),
        seed: seed.wrapping_mul(1000).wrapping_add(place as u64 + boot * 77),
        timers: 1000,
        expect: None,
        seeds: (0..size).filter(|other| *other != place).map(addr).collect(),
        book: Arc::default(),
        visitor: false,
    }
}

/// A machine for a place in a world of `size`.
#[must_use]
pub fn bird(now: Time, place: usize, size: usize, boot: u64, seed: u64) -> Bird {
    Bird::new(Flock::new(now, config(place, size, boot, seed)))
}

/// So many fulcrums, all started now, in fine weather.
#[must_use]
pub fn flocks(size: usize, seed: u64, weather: Weather) -> Flocks {
    let mut world = World::new(seed, weather);
    // The rules look at what is said; in a large world that would cost more than the world.
    world.observing = size <= 64;
    for place in 0..size {
        let node = bird(world.now, place, size, 1, seed);
        world.add(member(place, 1), addr(place), node);
    }
    world
}

/// The groups in which the living are, each as sorted places, sorted; a place whose view names somebody who does not
/// agree appears in a group with a `!`.
#[must_use]
pub fn shape(world: &Flocks) -> String {
    let mut groups: Vec<String> = Vec::new();
    for slot in &world.slots {
        let Some(bird) = &slot.node else { continue };
        let view = bird.flock.view();
        let agreed = view.roster.iter().all(|seat| {
            world.slots.iter().any(|other| {
                other.member == seat.member
                    && other.node.as_ref().is_some_and(|bird| bird.flock.view().id() == view.id())
            })
        });
        let mut names: Vec<String> = view.roster.iter().map(|seat| seat.member.id.to_string()).collect();
        names.sort_by_key(|name| (name.len(), name.clone()));
        let group = format!("{}{}", names.join(","), if agreed { "" } else { "!" });
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups.sort();
    groups.join(" / ")
}

/// For how much longer the longest flap hold that anybody shows keeps flocks apart.
#[must_use]
pub fn longest_hold(world: &Flocks) -> Duration {
    let held = |bird: &Bird| {
        let siblings = bird.flock.status(world.now).siblings;
        let held = siblings.into_iter().filter(|sibling| sibling.apart == Apart::FlapHold);
        held.filter_map(|sibling| sibling.until).max()
    };
    world.slots.iter().filter_map(|slot| slot.node.as_ref()).filter_map(held).max().unwrap_or_default()
}

/// As [`until_shape`], but holds that are shown do not count: who broke off too often waits for longer.
///
/// # Errors
/// The shape that stood at the limit.
pub fn until_shape_but_holds(world: &mut Flocks, wanted: &str, limit: Duration) -> Result<Duration, String> {
    let begin = world.now;
    loop {
        let why = match until_shape(world, wanted, limit) {
            Ok(_) => return Ok(world.now.since(begin)),
            Err(why) => why,
        };
        let hold = longest_hold(world);
        // Ten minutes is the longest hold, and a few may follow each other.
        if hold.is_zero() || world.now.since(begin) > Duration::from_secs(1800) {
            return Err(why);
        }
        let end = world.now + hold;
        world.run_until(end, &mut |_| {});
    }
}

/// Runs until the shape is this, or the limit is over; says how long it took.
///
/// # Errors
/// The shape that stood at the limit.
pub fn until_shape(world: &mut Flocks, wanted: &str, limit: Duration) -> Result<Duration, String> {
    let begin = world.now;
    while world.now < begin + limit {
        if shape(world) == wanted {
            return Ok(world.now.since(begin));
        }
        let next = world.now + Duration::from_millis(20);
        world.run_until(next, &mut |_| {});
    }
    Err(format!("wanted {wanted}; after {limit:?} it is {}", shape(world)))
}

/// Lets the safety rules look at everybody to whom something happened.
///
/// # Panics
/// With the rule's name and what broke it.
pub fn check(world: &Flocks, rules: &mut Rules) {
    if let Err((rule, why)) = rules.look(world) {
        panic!("{rule}: at {}: {why}", world.now);
    }
}
