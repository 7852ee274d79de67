//! A fulcrum's own row and the certificate that it is signed with: what a new certificate says counts at once, and no row
//! stands on an old one when its root goes.

mod common;
use bytes::Bytes;
use common::{WALL, bloc, member, operator};
use crux_core::facts::value::{Row, row_path};
use crux_core::facts::version::{Author, Checked, Sealed, Stamp, Statement};
use crux_core::facts::{Certificate, Config, Facts, Input, Output};
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
