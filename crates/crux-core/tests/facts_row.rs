//! A fulcrum's own row and the certificate that it is signed with: what a new certificate says counts at once, and no row
//! stands on an old one when its root goes.

mod common;
use bytes::Bytes;
use common::{Net, WALL, bloc, facts, id, member, operator};
use crux_core::facts::value::{Row, row_path};
use crux_core::facts::version::{Author, Checked, Sealed, Stamp, Statement};
use crux_core::facts::{Certificate, Config, Facts, Input, Output, ROWS_BYTES};
use crux_names::{Duration, Hash256, Time, Wall};
use prost::Message as _;
use std::collections::BTreeMap;

/// Of this root, with this zone.
fn certificate(root: &'static str, zone: &str, admission: u32) -> Certificate {
    let chain = vec![Bytes::from_static(b"leaf"), Bytes::from_static(root.as_bytes())];
    Certificate { labels: BTreeMap::from([("zone".into(), zone.into())]), admission, chain }
}

/// A row, signed with this certificate.
fn signed(by: &Author, with: &Certificate, value: Option<Bytes>, ancestors: Vec<Hash256>, wall: u64) -> Checked {
    let statement = Statement {
        bloc: bloc(),
        path: row_path(&member(0).id),
        value,
        ancestors,
        stamp: Stamp { wall, logical: 0 },
        author: by.clone(),
        nonce: Bytes::new(),
    };
    let sealed = Sealed { statement: statement.encode(), author_chain: with.chain.clone(), ..Sealed::default() };
    Checked::vouched(sealed.encode_to_vec().into()).unwrap()
}

/// A fulcrum whose node signs what it is asked to and whose disk keeps it.
struct One {
    facts: Facts,
    shows: Certificate,
    now: Time,
    signatures: u32,
}

impl One {
    fn new(shows: Certificate, loaded: Vec<Checked>) -> Self {
        let config = Config { bloc: bloc(), me: member(0).id, seed: 1, timers: 1000, certificate: shows.clone() };
        let mut one = Self { facts: Facts::new(config), shows, now: Time::from_millis(1000), signatures: 0 };
        one.tell(Input::Loaded { versions: loaded });
        one
    }

    fn tell(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let wall = Wall(WALL + self.now.as_nanos() / 1000);
            let mut outputs = Vec::new();
            self.facts.handle(self.now, wall, input, &mut outputs);
            for output in outputs {
                match output {
                    Output::Sign { path, value, ancestors, .. } => {
                        assert_eq!(path, row_path(&member(0).id));
                        let row = Row::decode(value.clone()).unwrap();
                        assert_eq!((&row.labels, row.admitted()), (&self.shows.labels, self.shows.admission));
                        self.signatures += 1;
                        let me = Author::Fulcrum(member(0).id);
                        inputs.push(Input::Signed(signed(&me, &self.shows, Some(value), ancestors, wall.0)));
                    }
                    Output::Persist { token, .. } => inputs.push(Input::Persisted { token, result: Ok(()) }),
                    _ => {}
                }
            }
        }
    }

    /// Half a minute goes by; how many signatures it took.
    fn wait(&mut self) -> u32 {
        let before = self.signatures;
        for _ in 0..30 {
            self.now = self.now + Duration::from_secs(1);
            self.tell(Input::Wake);
        }
        self.signatures - before
    }

    fn install(&mut self, certificate: Certificate) {
        self.shows = certificate.clone();
        self.tell(Input::Certificate(certificate));
    }

    /// The row in force and the chain that it stands on.
    fn row(&self) -> (Option<Row>, Vec<Bytes>) {
        let heads = self.facts.heads(&row_path(&member(0).id));
        assert_eq!(heads.len(), 1, "nothing stands beside it");
        let version = self.facts.by_id(&heads[0]).unwrap();
        let row = version.statement().value.clone().map(|value| Row::decode(value).unwrap());
        (row, Sealed::decode(version.sealed().clone()).unwrap().author_chain)
    }
}

fn at_home(certificate: &Certificate) -> Row {
    let (labels, admission) = (certificate.labels.clone(), certificate.admission);
    Row { horde: "web".into(), admin: "ADMIN".into(), labels, admission, ..Row::default() }
}

#[test]
fn another_certificate_has_the_row_signed_again_and_once() {
    let (old, new) = (certificate("old", "a", 1), certificate("new", "a", 1));
    let mut one = One::new(old.clone(), Vec::new());
    one.tell(Input::Row(at_home(&old)));
    assert_eq!((one.row(), one.wait()), ((Some(at_home(&old)), old.chain.clone()), 0));
    one.install(new.clone());
    one.wait();
    assert_eq!(one.row(), (Some(at_home(&new)), new.chain.clone()));
    assert_eq!((one.signatures, one.wait()), (2, 0));
}

#[test]
fn what_an_older_life_left_under_another_certificate_is_signed_again_as_it_was() {
    let (old, new) = (certificate("old", "a", 1), certificate("new", "a", 1));
    let me = Author::Fulcrum(member(0).id);
    let left = signed(&me, &old, Some(at_home(&old).encode_to_vec().into()), Vec::new(), WALL);
    let mut one = One::new(new.clone(), vec![left]);
    one.wait();
    assert_eq!(one.row(), (Some(at_home(&new)), new.chain.clone()));
    assert_eq!((one.signatures, one.wait()), (1, 0));
}

#[test]
fn labels_and_admission_are_those_of_the_certificate_that_signs() {
    let (first, second) = (certificate("root", "a", 1), certificate("root", "b", 2));
    let mut one = One::new(first.clone(), Vec::new());
    one.tell(Input::Row(at_home(&first)));
    one.install(second.clone());
    one.wait();
    assert_eq!(one.row().0, Some(at_home(&second)));
    // Who has not heard yet and writes the old ones meanwhile does no harm.
    one.tell(Input::Row(Row { horde: "db".into(), ..at_home(&first) }));
    one.wait();
    assert_eq!(one.row().0, Some(Row { horde: "db".into(), ..at_home(&second) }));
}

#[test]
fn what_an_operator_deleted_is_not_the_fulcrums_to_sign_again() {
    let (old, new) = (certificate("old", "a", 1), certificate("new", "a", 1));
    let me = Author::Fulcrum(member(0).id);
    let left = signed(&me, &old, Some(at_home(&old).encode_to_vec().into()), Vec::new(), WALL);
    let gone = signed(&operator(), &old, None, vec![left.id()], WALL + 1);
    let mut one = One::new(new, vec![left, gone]);
    assert_eq!(one.wait(), 0);
    assert_eq!(one.row().0, None);
}

/// How a row is made large.
#[derive(Clone, Copy)]
enum Pad {
    /// By a field of its value that this version does not know.
    Value(usize),
    /// By what stands around it.
    Chain(usize),
}

/// What node n9 signs of one of its fulcrums.
fn of_n9(fulcrum: u64, pad: Pad, ancestors: Vec<Hash256>, wall: u64) -> Checked {
    let of = id(&format!("n9/f{fulcrum}"));
    let (mut value, mut chain) = (Row { horde: "web".into(), ..Row::default() }.encode_to_vec(), Vec::new());
    match pad {
        Pad::Value(size) => prost::encoding::bytes::encode(100, &vec![7_u8; size], &mut value),
        Pad::Chain(size) => chain.push(vec![7; size].into()),
    }
    let statement = Statement {
        bloc: bloc(),
        path: row_path(&of),
        value: Some(value.into()),
        ancestors,
        stamp: Stamp { wall, logical: 0 },
        author: Author::Fulcrum(of),
        nonce: Bytes::new(),
    };
    let sealed = Sealed { statement: statement.encode(), author_chain: chain, ..Sealed::default() };
    Checked::vouched(sealed.encode_to_vec().into()).unwrap()
}

fn kept_of_n9(facts: &Facts) -> usize {
    let of = |version: &&Checked| version.statement().path.starts_with("row/n9/");
    facts.kept().filter(of).map(|version| version.sealed().len()).sum()
}

/// Each names what it replaces and ancestors that never were, so that as evidence it says something that nothing else does.
#[test]
fn what_one_node_writes_of_itself_is_bounded_in_bytes() {
    let invented = |n: u64| -> Vec<Hash256> {
        (0..31_u64)
            .map(|i| Hash256([n.to_be_bytes(), i.to_be_bytes(), [1; 8], [9; 8]].concat().try_into().unwrap()))
            .collect()
    };
    for pad in [Pad::Value(100_000), Pad::Value(15_000), Pad::Chain(100_000)] {
        let mut facts = facts(0);
        let from = member(1);
        facts.handle(Time::ZERO, Wall(WALL), Input::Linked(from.clone()), &mut Vec::new());
        for fulcrum in 0..64 {
            let mut before = None;
            for n in 0..40_u64 {
                // Some side by side, the others in a row.
                let named = if n < 8 { Vec::new() } else { before.into_iter().collect() };
                let ancestors = named.into_iter().chain(invented(fulcrum * 40 + n)).collect();
                let version = of_n9(fulcrum, pad, ancestors, WALL + n);
                before = Some(version.id());
                let input = Input::Versions { from: from.clone(), versions: vec![version] };
                facts.handle(Time::ZERO, Wall(WALL), input, &mut Vec::new());
            }
        }
        let kept = kept_of_n9(&facts);
        assert!(kept <= ROWS_BYTES + 64 * (32 << 10), "{kept} bytes");
    }
}

/// Sixty-four fulcrums of one node, as large as their certificates' labels can make them, each with a long history.
#[test]
fn what_honest_fulcrums_say_fits() {
    let mut net = Net::flock(2);
    for fulcrum in 0..64 {
        let mut before: Vec<(Hash256, Vec<Hash256>)> = Vec::new();
        for n in 0..if fulcrum == 0 { 300 } else { 3 } {
            let ancestors = crux_core::facts::version::ancestors_of(&before);
            let version = of_n9(fulcrum, Pad::Chain(7_000), ancestors.clone(), WALL + n);
            before = vec![(version.id(), ancestors)];
            net.input(1, Input::Versions { from: member(0), versions: vec![version] });
        }
        net.settle();
        let last = before[0].0;
        assert_eq!(net.nodes[1].facts.heads(&row_path(&id(&format!("n9/f{fulcrum}")))), [last], "{fulcrum}");
    }
    net.run(Duration::from_secs(10));
    assert!(net.equal());
}

/// Two that kept different ones of what was too much agree as soon as an operator clears it away.
#[test]
fn what_was_too_much_is_over_when_it_is_replaced() {
    let mut net = Net::new(2);
    for i in 0..2 {
        for n in 0..40 {
            let n = if i == 0 { n } else { 39 - n };
            net.input(i, Input::Linked(member(7)));
            let version = of_n9(n % 20, Pad::Chain(100_000), Vec::new(), WALL + n);
            net.input(i, Input::Versions { from: member(7), versions: vec![version] });
            net.settle();
        }
        assert!(kept_of_n9(&net.nodes[i].facts) <= ROWS_BYTES);
    }
    net.unite(&[0, 1]);
    net.run(Duration::from_secs(10));
    let paths: Vec<String> = (0..20).map(|n| row_path(&id(&format!("n9/f{n}")))).collect();
    for (request, path) in paths.iter().enumerate() {
        for i in 0..2 {
            if net.nodes[i].facts.heads(path).is_empty() {
                continue;
            }
            let ancestors = net.nodes[i].facts.ancestors(path, true);
            let nonce = (2 * request + i) as u64;
            let gone = common::version(path, None, ancestors, WALL + 1000 + nonce, nonce);
            net.input(i, Input::Write { request: nonce, versions: vec![gone] });
            net.run(Duration::from_secs(2));
        }
    }
    net.run(Duration::from_secs(30));
    assert!(net.equal());
    assert_eq!(net.nodes[0].facts.rows().count(), 0);
}
