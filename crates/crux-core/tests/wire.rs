//! The bytes of frames and datagrams: what is written is read again, nothing that comes can harm, and the bytes do not
//! change unnoticed (`vectors.txt`).

use bytes::Bytes;
use crux_core::facts::ranges::RangeSet;
use crux_core::facts::version::{Author, Stamp, Statement, VERSION_MAX};
use crux_core::flock::message::{Accusation, Answer, AskReply, Datagram, Message as Flock, ProposalId};
use crux_core::flock::view::{BadView, EPOCH_STEP, Headed, Seat, View, ViewId};
use crux_core::hash::sha256;
use crux_core::services::access::{self, By, Listed};
use crux_core::services::instance::{Instance, InstanceId, Phase, ServiceRef};
use crux_core::services::message::Message as Service;
use crux_core::services::plan::{Entry, Plan, PlanId, Shortfall};
use crux_core::services::verdict::{Beat, Checkup, Health, Verdict};
use crux_core::services::yurt::Program;
use crux_core::wire::{BadFrame, DATAGRAM_MAX, FRAME_MAX, Frame, IDS_MAX, decode_datagram, encode_datagram};
use crux_names::{BlocName, Boot, Duration, FulcrumId, Hash256, HordeName, Member, Wall};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

fn bloc() -> BlocName {
    "acme".parse().unwrap()
}

fn id(text: &str) -> FulcrumId {
    text.parse().unwrap()
}

fn member(text: &str, boot: u64) -> Member {
    Member { id: id(text), boot: Boot(boot) }
}

fn seat(text: &str, boot: u64) -> Seat {
    Seat { member: member(text, boot), addr: "10.0.0.1:4433".parse().unwrap(), visitor: false }
}

fn view(epoch: u64) -> View {
    let roster = vec![seat("n1", 7), seat("n2/b", 8)];
    View::make(&bloc(), epoch, roster, "red-fox".into(), 3, &[]).unwrap()
}

fn view_id() -> ViewId {
    ViewId { epoch: 9, leader: id("n1"), hash: *b"0123456789abcdef" }
}

fn of_service() -> ServiceRef {
    ServiceRef { horde: "web".parse().unwrap(), service: "api".parse().unwrap() }
}

fn instance_id() -> InstanceId {
    InstanceId { fulcrum: id("n2/b"), boot: Boot(8), counter: 3 }
}

fn instance() -> Instance {
    Instance {
        id: instance_id(),
        of: of_service(),
        slot: 2,
        revision: sha256(b"manifest"),
        phase: Phase::Running,
        pid: Some(4711),
        started: Some(Wall(1_700_000_000_000_000)),
        ports: [("http".to_owned(), 8080)].into(),
        restarts: 1,
        why: "exit code 3".into(),
        hook: String::new(),
    }
}

/// One frame of every kind and sub-kind, by name.
fn frames() -> Vec<(&'static str, Frame)> {
    let pid = || ProposalId { epoch: 10, proposer: member("n1", 7) };
    let second = Duration::from_millis(1500);
    let horde: HordeName = "web".parse().unwrap();
    let flock = Frame::Flock;
    let service = Frame::Service;
    let report = |answer| Frame::Flock(Flock::Report { id: pid(), answer });
    let reply = |reply| Frame::Flock(Flock::AskReply { asked: view_id(), reply });
    vec![
        ("flock.hello", flock(Flock::Hello { head: view(9).head, best: None })),
        ("flock.hints", flock(Flock::Hints { seats: vec![(id("n3"), "[::1]:9".parse().unwrap())] })),
        (
            "flock.alert",
            flock(Flock::Alert { view: view_id(), subject: member("n3", 1), accusation: Accusation::Broken }),
        ),
        ("flock.ask", flock(Flock::Ask { view: view(9) })),
        ("flock.ask-reply.accept", reply(AskReply::Accept)),
        ("flock.ask-reply.busy", reply(AskReply::Busy(second))),
        ("flock.ask-reply.redirect", reply(AskReply::Redirect(view(11).head))),
        (
            "flock.ask-reply.refuse",
            reply(AskReply::Refuse { pairs: vec![(member("n1", 7), member("n4", 2))], retry: second }),
        ),
        (
            "flock.propose",
            flock(Flock::Propose {
                id: pid(),
                parents: vec![view_id()].into(),
                candidates: vec![(seat("n1", 7), 0)].into(),
                deadline: second,
            }),
        ),
        ("flock.report.promised", report(Answer::Promised { unreached: vec![member("n3", 1)] })),
        ("flock.report.conflict", report(Answer::Conflict { have: view(12).head })),
        ("flock.report.busy", report(Answer::Busy { promised: pid(), remaining: second })),
        ("flock.abort", flock(Flock::Abort { id: pid() })),
        ("flock.install", flock(Flock::Install { id: Some(pid()), view: view(10) })),
        ("flock.install.pulled", flock(Flock::Install { id: None, view: view(10) })),
        ("flock.installed", flock(Flock::Installed { view: view_id() })),
        ("flock.pull", flock(Flock::Pull { view: view_id() })),
        ("flock.eject", flock(Flock::Eject { view: view(13) })),
        ("flock.stable-grant", flock(Flock::StableGrant { view: view_id(), seq: 5, lease: second })),
        ("flock.unstable", flock(Flock::Unstable { view: view_id(), seq: 5 })),
        ("flock.leave", flock(Flock::Leave)),
        (
            "flock.tidings",
            flock(Flock::Hello { head: view(9).head, best: Some((view(8).head, "10.0.0.9:1".parse().unwrap())) }),
        ),
        ("flock.heard", flock(Flock::Heard { view: view_id(), subject: member("n3", 1) })),
        ("flock.summon", flock(Flock::Summon { view: view_id() })),
        (
            "flock.alert.doubted",
            flock(Flock::Alert { view: view_id(), subject: member("n3", 1), accusation: Accusation::Doubted }),
        ),
        (
            "flock.ask-reply.held",
            flock(Flock::AskReply { asked: view_id(), reply: AskReply::Held(Duration::from_secs(30)) }),
        ),
        ("flock.ask-through", flock(Flock::AskThrough { view: view(9), to: id("n3") })),
        (
            "flock.apart",
            flock(Flock::Apart {
                ours: view_id(),
                theirs: view(9).id().clone(),
                pairs: vec![(member("n1", 7), member("n4", 2))],
                wait: second,
                held: true,
            }),
        ),
        ("service.ask-dean", service(Service::AskDean { view: view_id(), horde: horde.clone() })),
        (
            "service.dean-report",
            service(Service::DeanReport {
                horde: horde.clone(),
                obeys: Some(PlanId { view: view_id(), generation: 4 }),
                instances: vec![instance()],
            }),
        ),
        (
            "service.plan",
            service(Service::Plan(Plan {
                id: PlanId { view: view_id(), generation: 4 },
                horde: horde.clone(),
                by: id("n1"),
                entries: vec![Entry {
                    of: of_service(),
                    slot: 2,
                    revision: sha256(b"manifest"),
                    on: id("n2/b"),
                    instance: Some(instance_id()),
                    why: "runs there".into(),
                }],
                shortfalls: vec![Shortfall { of: of_service(), missing: 1, why: "two members".into() }],
                should: vec![(of_service(), 3)],
            })),
        ),
        (
            "service.beats",
            service(Service::Beats {
                horde: horde.clone(),
                beats: vec![Beat {
                    subject: instance_id(),
                    of: of_service(),
                    running: Some(second),
                    done: false,
                    check: Some(Checkup { age: second, failed: 2, detail: "503".into() }),
                    has_check: true,
                    check_every: Duration::ZERO,
                }],
            }),
        ),
        (
            "service.verdicts",
            service(Service::Verdicts {
                horde: horde.clone(),
                view: view_id(),
                verdicts: vec![Verdict {
                    subject: instance_id(),
                    of: of_service(),
                    health: Health::Late,
                    for_: second,
                    rule: "beat-age".into(),
                    why: "last beat 4.3 s ago, late after 4 s".into(),
                }],
            }),
        ),
        (
            "service.board",
            service(Service::Board { horde: horde.clone(), view: view_id(), instances: vec![instance()] }),
        ),
        ("service.offer", service(Service::Offer { horde: horde.clone(), stands_for: None, why: "wants 3".into() })),
        ("service.who", service(Service::Who { view: view_id(), programs: vec![program("")] })),
        ("service.forgotten", service(Service::Forgotten { instance: instance_id() })),
        (
            "service.offer.substitute",
            service(Service::Offer {
                horde: horde.clone(),
                stands_for: Some("n9/b".parse().unwrap()),
                why: "missed".into(),
            }),
        ),
        ("service.waits", service(Service::Waits { view: view_id(), waits: vec![(horde, "waits for 1".into())] })),
        ("service.who.waits", service(Service::Who { view: view_id(), programs: vec![program("not stable")] })),
        (
            "service.added",
            service(Service::Added {
                view: view_id(),
                version: 3,
                holds: 2,
                entries: Some(vec![access_entry(By::Instance(instance_id()))]),
            }),
        ),
        ("service.added.same", service(Service::Added { view: view_id(), version: 3, holds: 0, entries: None })),
        ("service.ask-added", service(Service::AskAdded { view: view_id() })),
        (
            "service.register",
            service(Service::Register {
                view: view_id(),
                version: 2,
                entries: vec![Listed { at: id("n2/b"), entry: access_entry(By::Operator("ann".parse().unwrap())) }],
            }),
        ),
        ("facts", Frame::Facts { sealed: vec![Bytes::from_static(b"sealed"), Bytes::from_static(b"\x00\xff")] }),
        ("facts.held", Frame::FactsHeld { ids: vec![sha256(b"a")] }),
        ("facts.digest", Frame::FactsDigest { digest: sha256(b"d"), count: 2 }),
        ("facts.ids", Frame::FactsIds { of: RangeSet::ALL, ids: vec![Hash256([1; 32]), Hash256([2; 32])] }),
        ("facts.ids.some", Frame::FactsIds { of: some_ranges(), ids: vec![Hash256([1; 32]), Hash256([2; 32])] }),
        ("facts.ranges", Frame::FactsRanges { hashes: (0..256).collect() }),
        ("facts.want", Frame::FactsWant { ids: vec![sha256(b"b"), sha256(b"a")] }),
    ]
}

fn program(waits: &str) -> Program {
    Program { name: "dean".into(), started: Wall(7), waits: waits.into() }
}

fn access_entry(by: By) -> access::Entry {
    access::Entry {
        of: of_service(),
        name: "first".into(),
        addrs: vec!["10.0.0.7:80".into(), "[::1]:80".into()],
        labels: BTreeMap::from([("zone".into(), "a".into())]),
        by,
        since: Wall(7),
    }
}

/// The ranges of ids that begin with 1 and 2.
fn some_ranges() -> RangeSet {
    let mut bits = [0; 32];
    bits[0] = 0b110;
    RangeSet::read(&bits).unwrap()
}

fn datagrams() -> Vec<(&'static str, Datagram)> {
    let subject = || member("n3", 1);
    vec![
        ("datagram.ping", Datagram::Ping { seq: 1, view: Some(view_id()), heard: Some(0) }),
        ("datagram.ping.answered", Datagram::Ping { seq: 7, view: None, heard: Some(3) }),
        ("datagram.ping.missed", Datagram::Ping { seq: 7, view: None, heard: None }),
        ("datagram.ack", Datagram::Ack { seq: 1, view: Some(view_id()) }),
        ("datagram.ping-req", Datagram::PingReq { subject: subject() }),
        ("datagram.witness", Datagram::Witness { subject: subject(), heard: Some(Duration::from_millis(20)) }),
        ("datagram.witness.unheard", Datagram::Witness { subject: subject(), heard: None }),
    ]
}

/// What an author signs: its bytes are its id, and are kept for ever.
fn statement() -> Statement {
    Statement {
        bloc: bloc(),
        path: "place/web/api".into(),
        value: Some(Bytes::from_static(b"value")),
        ancestors: vec![Hash256([1; 32]), Hash256([2; 32])],
        stamp: Stamp { wall: 1_700_000_000_000_000, logical: 3 },
        author: Author::Operator("ann".parse().unwrap()),
        nonce: Bytes::from_static(b"nonce"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Every name with its bytes. A peer of an older version speaks the bytes of this file: a line may be added, none
/// changed.
#[test]
fn the_bytes_are_those_of_the_vectors() {
    let mut lines = String::new();
    for (name, frame) in frames() {
        writeln!(lines, "{name} {}", hex(&frame.encode())).unwrap();
    }
    for (name, datagram) in datagrams() {
        writeln!(lines, "{name} {}", hex(&encode_datagram(&datagram))).unwrap();
    }
    writeln!(lines, "facts.statement {}", hex(&statement().encode())).unwrap();
    writeln!(lines, "facts.statement.id {}", sha256(&statement().encode())).unwrap();
    let fixed = include_str!("vectors.txt");
    let fixed: Vec<&str> = fixed.lines().filter(|line| !line.starts_with('#')).collect();
    for (line, fixed) in lines.lines().zip(&fixed) {
        assert_eq!(line, *fixed, "these are the bytes now:\n{lines}");
    }
    assert_eq!(lines.lines().count(), fixed.len(), "these are the bytes now:\n{lines}");
}

#[test]
fn what_is_written_is_read_again() {
    for (name, frame) in frames() {
        assert_eq!(Frame::decode(frame.encode(), &bloc()), Ok(frame), "{name}");
    }
    for (name, datagram) in datagrams() {
        let bytes = encode_datagram(&datagram);
        assert!(bytes.len() <= DATAGRAM_MAX);
        assert_eq!(decode_datagram(bytes), Ok(datagram), "{name}");
    }
}

#[test]
fn a_newer_peers_kinds_are_told_apart_from_broken_bytes() {
    let decode = |bytes: &[u8]| Frame::decode(Bytes::copy_from_slice(bytes), &bloc());
    // Field 99 with two bytes in it: as a frame, as a flocking message, as a service message, as a datagram.
    let unknown = [0x9a, 0x06, 0x02, 0x01, 0x02];
    assert_eq!(decode(&unknown), Err(BadFrame::Unknown));
    assert_eq!(decode(&[&[0x0a, 0x05][..], &unknown].concat()), Err(BadFrame::Unknown));
    assert_eq!(decode(&[&[0x12, 0x05][..], &unknown].concat()), Err(BadFrame::Unknown));
    assert_eq!(decode_datagram(Bytes::copy_from_slice(&unknown)), Err(BadFrame::Unknown));
    // A field beside a known kind is skipped.
    let leave = Frame::Flock(Flock::Leave);
    assert_eq!(decode(&[&leave.encode()[..], &unknown].concat()), Ok(leave));
    assert_eq!(decode(&[0xff; 8]), Err(BadFrame::Malformed));
    assert_eq!(decode_datagram(Bytes::from_static(&[0xff; 8])), Err(BadFrame::Malformed));
}

#[test]
fn views_of_other_blocs_or_with_other_rosters_are_refused() {
    let frame = Frame::Flock(Flock::Ask { view: view(9) });
    let other: BlocName = "other".parse().unwrap();
    assert_eq!(Frame::decode(frame.encode(), &other), Err(BadFrame::View(BadView::OtherBloc)));
    let mut swapped = view(9);
    let mut seats = swapped.roster.to_vec();
    seats.swap(0, 1);
    swapped.roster = seats.into();
    let frame = Frame::Flock(Flock::Install { id: None, view: swapped });
    assert_eq!(Frame::decode(frame.encode(), &bloc()), Err(BadFrame::View(BadView::Roster)));
    // A header keeps its bytes, and with them its id, though a field in it is unknown here.
    let mut bytes = view(9).head.bytes.to_vec();
    bytes.extend([0x9a, 0x06, 0x01, 0x07]);
    let head = Headed::decode(bytes.into()).unwrap();
    let frame = Frame::Flock(Flock::Hello { head: head.clone().into(), best: None });
    assert_eq!(
        Frame::decode(frame.encode(), &bloc()),
        Ok(Frame::Flock(Flock::Hello { head: head.into(), best: None }))
    );
}

#[test]
fn lengths_and_lists_are_bounded() {
    let decode = |frame: Frame| Frame::decode(frame.encode(), &bloc());
    assert_eq!(Frame::decode(vec![0; FRAME_MAX + 1].into(), &bloc()), Err(BadFrame::TooLong));
    assert_eq!(decode_datagram(vec![0; DATAGRAM_MAX + 1].into()), Err(BadFrame::TooLong));
    assert_eq!(decode(Frame::Facts { sealed: vec![vec![0; VERSION_MAX + 1].into()] }), Err(BadFrame::TooLong));
    assert_eq!(decode(Frame::Facts { sealed: vec![Bytes::new(); 20_000] }), Err(BadFrame::TooLong));
    let ids = |count: usize| -> Vec<Hash256> {
        (0..count as u64)
            .map(|n| {
                let mut id = [0; 32];
                id[..8].copy_from_slice(&n.to_be_bytes());
                Hash256(id)
            })
            .collect()
    };
    assert!(decode(Frame::FactsIds { of: RangeSet::ALL, ids: ids(IDS_MAX) }).is_ok());
    assert_eq!(decode(Frame::FactsWant { ids: ids(IDS_MAX + 1) }), Err(BadFrame::TooLong));
    let unsorted = Frame::FactsIds { of: RangeSet::ALL, ids: vec![Hash256([2; 32]), Hash256([1; 32])] };
    assert_eq!(decode(unsorted), Err(BadFrame::Malformed));
    let elsewhere = Frame::FactsIds { of: some_ranges(), ids: vec![Hash256([3; 32])] };
    assert_eq!(decode(elsewhere), Err(BadFrame::Malformed), "an id of a range that the list does not speak of");
    for count in [0, 255, 257] {
        assert_eq!(decode(Frame::FactsRanges { hashes: vec![7; count] }), Err(BadFrame::Malformed));
    }
    let long = Program { name: "x".repeat(5000), ..program("") };
    let long = Frame::Service(Service::Who { view: view_id(), programs: vec![long] });
    assert_eq!(decode(long), Err(BadFrame::TooLong));
    let astray = Flock::Propose {
        id: ProposalId { epoch: 1, proposer: member("n1", 1) },
        parents: vec![view_id()].into(),
        candidates: vec![(seat("n1", 1), 1)].into(),
        deadline: Duration::ZERO,
    };
    assert_eq!(decode(Frame::Flock(astray)), Err(BadFrame::Malformed));
}

/// A healthminder puts its own words around a check's, a proctor around an instance's, and sends them to everybody: however
/// long those are, what comes of it is read.
#[test]
fn what_is_said_in_others_words_is_cut_where_it_would_be_too_long() {
    let words = "\u{e4}".repeat(5000);
    let verdict = Verdict {
        subject: instance_id(),
        of: of_service(),
        health: Health::Late,
        for_: Duration::ZERO,
        rule: words.clone(),
        why: words.clone(),
    };
    let entry = Entry {
        of: of_service(),
        slot: 1,
        revision: Hash256([1; 32]),
        on: id("n1"),
        instance: None,
        why: words.clone(),
    };
    let plan = Plan {
        id: PlanId { view: view_id(), generation: 1 },
        horde: HordeName::main(),
        by: id("n1"),
        entries: vec![entry],
        shortfalls: vec![Shortfall { of: of_service(), missing: 1, why: words.clone() }],
        should: Vec::new(),
    };
    let horde = HordeName::main();
    let why = words.clone();
    let board = vec![Instance { why: words.clone(), ..instance() }];
    for message in [
        Service::Verdicts { horde: horde.clone(), view: view_id(), verdicts: vec![verdict] },
        Service::Plan(plan),
        Service::Board { horde: horde.clone(), view: view_id(), instances: board },
        Service::Who { view: view_id(), programs: vec![program(&words)] },
        Service::Waits { view: view_id(), waits: vec![(horde.clone(), words)] },
        Service::Offer { horde, stands_for: None, why },
    ] {
        let read = Frame::decode(Frame::Service(message).encode(), &bloc());
        let Ok(Frame::Service(read)) = read else { panic!("{read:?}") };
        assert!(format!("{read:?}").contains(&"\u{e4}".repeat(2048)), "no more is lost than must be");
    }
}

/// The largest flock of the design, with names and addresses as they are: it merges ten thousand that were alone.
#[test]
fn a_flock_of_ten_thousand_can_be_said() {
    let seats: Vec<Seat> = (0..10_000_u16)
        .map(|n| Seat {
            member: member(&format!("n{n}.rack{}.site-a", n % 300), 1_790_000_000 + u64::from(n)),
            addr: format!("10.200.{}.{}:2789", n / 250, n % 250).parse().unwrap(),
            visitor: false,
        })
        .collect();
    let alone = |seat: &Seat| ViewId { epoch: 1, leader: seat.member.id.clone(), hash: [7; 16] };
    let view = View::make(&bloc(), 9, seats.clone(), "red-fox".into(), 3, &[]).unwrap();
    let seen = |seat: &Seat| (seat.member.id.clone(), seat.addr);
    for frame in [
        Flock::Install { id: None, view },
        Flock::Hints { seats: seats.iter().map(seen).collect() },
        Flock::Propose {
            id: ProposalId { epoch: 9, proposer: seats[0].member.clone() },
            parents: seats.iter().take(4_000).map(alone).collect::<Vec<_>>().into(),
            candidates: seats.iter().cloned().map(|seat| (seat, 0)).collect::<Vec<_>>().into(),
            deadline: Duration::ZERO,
        },
    ] {
        let frame = Frame::Flock(frame);
        let bytes = frame.encode();
        assert!(bytes.len() <= FRAME_MAX, "{} bytes", bytes.len());
        assert_eq!(Frame::decode(bytes, &bloc()), Ok(frame));
    }
}

/// What is kept of a frame, a header or a fact, does not keep all of the frame in memory.
/// Entries as small as they may be, but for their numbers of addresses and labels, at as many doors as it takes to fill
/// the register and more.
fn full_register(shapes: &[(usize, usize)]) -> Vec<Listed> {
    let mut carried = Vec::new();
    for door in 0..80 {
        for number in 0..access::DOOR_ENTRIES {
            let (addrs, labels) = shapes[(door + number) % shapes.len()];
            let entry = access::Entry {
                of: ServiceRef { horde: "h".parse().unwrap(), service: "s".parse().unwrap() },
                name: if number == 0 { String::new() } else { format!("{number:x}") },
                addrs: vec!["a".into(); addrs],
                labels: (0..labels).map(|label| (format!("{label:x}"), String::new())).collect(),
                by: By::Operator("o".parse().unwrap()),
                since: Wall(u64::MAX),
            };
            assert_eq!(entry.check(), Ok(()));
            carried.push(Listed { at: id(&format!("n{door}")), entry });
        }
    }
    access::Register::new(crux_names::Time::ZERO, &carried).all()
}

fn register_is_read(entries: Vec<Listed>) {
    let frame = Frame::Service(Service::Register { view: view_id(), version: 1, entries });
    let bytes = frame.encode();
    assert!(bytes.len() <= FRAME_MAX, "{}", bytes.len());
    assert!(Frame::decode(bytes, &bloc()) == Ok(frame));
}

/// A review's find: the seat told a register that every reader refused, and so all cut their links to it.
#[test]
fn whatever_the_register_tells_is_a_good_frame() {
    for addrs in [1, 8, 16] {
        for labels in [0, 1, 11, 12, 16] {
            let all = full_register(&[(addrs, labels)]);
            assert!(all.len() > access::DOOR_ENTRIES, "{addrs} addresses and {labels} labels: {}", all.len());
            register_is_read(all);
        }
    }
}

#[test]
fn what_is_read_holds_nothing_of_the_frame() {
    for (name, frame) in frames() {
        // A field that nobody knows, of a hundred kilobytes.
        let mut bytes = frame.encode().to_vec();
        bytes.extend([0x9a, 0x06, 0xa0, 0x8d, 0x06]);
        bytes.resize(bytes.len() + 100_000, 7);
        let bytes = Bytes::from(bytes);
        let read = Frame::decode(bytes.clone(), &bloc());
        assert!(bytes.is_unique(), "{name} is a piece of its frame");
        assert_eq!(read, Ok(frame), "{name}");
    }
}

fn any_member() -> impl Strategy<Value = Member> {
    ("[a-z][a-z0-9]{0,8}(/[a-z]{1,3})?", any::<u64>()).prop_map(|(id, boot)| member(&id, boot))
}

fn any_seat() -> impl Strategy<Value = Seat> {
    (any_member(), any::<std::net::SocketAddr>()).prop_map(|(member, addr)| {
        // A flow label and a scope are no part of an address that travels.
        Seat { member, addr: std::net::SocketAddr::new(addr.ip(), addr.port()), visitor: false }
    })
}

fn any_view() -> impl Strategy<Value = View> {
    // A view without parents may not be further on than one step.
    (0..=EPOCH_STEP, vec(any_seat(), 1..9), "[a-z]{1,9}-[a-z]{1,9}", any::<u32>()).prop_map(
        |(epoch, mut roster, name, reign)| {
            // Nobody stands in a roster twice.
            let mut seen = BTreeSet::new();
            roster.retain(|seat: &Seat| seen.insert(seat.member.id.clone()));
            View::make(&bloc(), epoch, roster, name, reign, &[]).unwrap()
        },
    )
}

fn any_duration() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_nanos)
}

fn any_instance() -> impl Strategy<Value = Instance> {
    (
        (any_member(), any::<u64>(), any::<u32>(), any::<[u8; 32]>()),
        prop_oneof![Just(Phase::Pending), Just(Phase::Starting), Just(Phase::Stopping), Just(Phase::Gone)],
        (of(any::<u32>()), of(any::<u64>()), btree_map("[a-z]{1,5}", any::<u16>(), 0..4), any::<u32>(), ".{0,40}"),
    )
        .prop_map(|((member, counter, slot, revision), phase, (pid, started, ports, restarts, why))| Instance {
            id: InstanceId { fulcrum: member.id, boot: member.boot, counter },
            of: of_service(),
            slot,
            revision: Hash256(revision),
            phase,
            pid,
            started: started.map(Wall),
            ports,
            restarts,
            hook: if restarts % 2 == 0 { String::new() } else { why.clone() },
            why,
        })
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let proposal = || (any::<u64>(), any_member()).prop_map(|(epoch, proposer)| ProposalId { epoch, proposer });
    prop_oneof![
        (of(proposal()), any_view()).prop_map(|(id, view)| Frame::Flock(Flock::Install { id, view })),
        (proposal(), vec(any_seat(), 1..9), any_view(), any_duration()).prop_map(|(id, seats, view, deadline)| {
            let candidates = seats.into_iter().map(|seat| (seat, 0)).collect::<Vec<_>>().into();
            Frame::Flock(Flock::Propose { id, parents: vec![view.id().clone()].into(), candidates, deadline })
        }),
        (vec((any_member(), any_member()), 0..5), any_duration(), any_view()).prop_map(|(pairs, retry, view)| {
            Frame::Flock(Flock::AskReply { asked: view.id().clone(), reply: AskReply::Refuse { pairs, retry } })
        }),
        (vec(any_instance(), 0..9), any_view()).prop_map(|(instances, view)| {
            let obeys = Some(PlanId { view: view.id().clone(), generation: instances.len() as u64 });
            Frame::Service(Service::DeanReport { horde: HordeName::main(), obeys, instances })
        }),
        vec(vec(any::<u8>(), 0..300), 0..9)
            .prop_map(|sealed| Frame::Facts { sealed: sealed.into_iter().map(Bytes::from).collect() }),
        vec(any::<[u8; 32]>(), 0..40).prop_map(|ids| Frame::FactsWant { ids: ids.into_iter().map(Hash256).collect() }),
        vec(any::<u64>(), 256).prop_map(|hashes| Frame::FactsRanges { hashes }),
        (vec(any::<[u8; 32]>(), 0..40), any::<[u8; 32]>()).prop_map(|(ids, bits)| {
            let of = RangeSet::read(&bits).unwrap();
            let ids: BTreeSet<Hash256> = ids.into_iter().map(Hash256).filter(|id| of.has(id)).collect();
            Frame::FactsIds { of, ids: ids.into_iter().collect() }
        }),
        (any::<[u8; 32]>(), any::<u32>())
            .prop_map(|(digest, count)| Frame::FactsDigest { digest: Hash256(digest), count }),
    ]
}

proptest! {
    #[test]
    fn frames_round_trip(frame in any_frame()) {
        prop_assert_eq!(Frame::decode(frame.encode(), &bloc()), Ok(frame));
    }

    #[test]
    fn datagrams_round_trip(subject in any_member(), heard in of(any_duration()), seq in any::<u64>(), view in any_view()) {
        for datagram in [
            Datagram::Witness { subject, heard },
            Datagram::Ping { seq, view: (seq % 3 != 0).then(|| view.id().clone()), heard: (seq % 2 == 0).then_some(seq / 2) },
        ] {
            prop_assert_eq!(decode_datagram(encode_datagram(&datagram)), Ok(datagram));
        }
    }

    #[test]
    fn no_bytes_panic(bytes in vec(any::<u8>(), 0..400)) {
        let _ = Frame::decode(bytes.clone().into(), &bloc());
        let _ = decode_datagram(bytes.into());
    }

    /// Bytes that are nearly right get further into the decoder. What still decodes must survive its own round trip.
    #[test]
    fn no_damage_panics(which in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let frames = frames();
        let mut bytes = which.get(&frames).1.encode().to_vec();
        let place = at.index(bytes.len());
        bytes[place] ^= 1 << bit;
        for bytes in [bytes[..cut.index(bytes.len())].to_vec(), bytes] {
            if let Ok(frame) = Frame::decode(bytes.into(), &bloc()) {
                prop_assert_eq!(Frame::decode(frame.encode(), &bloc()), Ok(frame));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn a_register_of_any_entries_is_a_good_frame(shapes in vec((1..=access::ADDRS_MAX, 0..=access::LABELS_MAX), 1..6)) {
        register_is_read(full_register(&shapes));
    }
}
