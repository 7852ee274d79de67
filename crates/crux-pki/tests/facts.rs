//! Facts with real certificates: what is believed, and each reason not to.

use bytes::Bytes;
use crux_core::facts::value::Row;
use crux_core::facts::version::{Author, BadVersion, Checked, Sealed, Stamp, Statement};
use crux_names::{BlocName, FulcrumId, NodeName, OperatorName, Wall};
use crux_pki::facts::{ACCEPTOR_CONTEXT, AUTHOR_CONTEXT, BadFact, Checker, Desk, check, countersign, seal, sign_row};
use crux_pki::{Bundle, Ca, IssueRequest, Refusal, RenewRequest, Role, Scope, Trust, fingerprint, unix_now};
use prost::Message;

const DAY: u64 = 86_400;

fn bloc() -> BlocName {
    "acme".parse().unwrap()
}

fn operator(name: &str) -> Role {
    Role::Operator(OperatorName::parse(name).unwrap())
}

fn node(name: &str) -> Role {
    Role::Node(NodeName::parse(name).unwrap())
}

struct World {
    ca: Ca,
    ann: Bundle,
    n1: Bundle,
    n2: Bundle,
    now: u64,
}

fn world() -> World {
    let mut ca = Ca::in_memory(bloc()).unwrap();
    let mut issue = |role| ca.issue(IssueRequest::new(role)).unwrap();
    let (ann, n1, n2) = (issue(operator("ann")), issue(node("n1")), issue(node("n2")));
    World { ca, ann, n1, n2, now: unix_now() }
}

fn statement(author: Author) -> Statement {
    Statement {
        bloc: bloc(),
        path: "horde/web".into(),
        value: Some(Bytes::from_static(b"\x08\x03")),
        ancestors: Vec::new(),
        stamp: Stamp { wall: 1, logical: 0 },
        author,
        nonce: Bytes::from_static(b"n"),
    }
}

fn anns() -> Statement {
    statement(Author::Operator("ann".parse().unwrap()))
}

fn id(text: &str) -> FulcrumId {
    text.parse().unwrap()
}

/// The sealed bytes after somebody's hand was in them.
fn tampered(sealed: &Bytes, hand: impl FnOnce(&mut Sealed)) -> Bytes {
    let mut parts = Sealed::decode(sealed.clone()).unwrap();
    hand(&mut parts);
    parts.encode_to_vec().into()
}

fn der(bundle: &Bundle) -> Vec<Bytes> {
    bundle.chain().iter().map(|der| Bytes::copy_from_slice(der)).collect()
}

/// What a forger does who has this bundle: signs any statement with it as if it were the author's.
fn signed_by(bundle: &Bundle, statement: &Statement) -> Sealed {
    let bytes = statement.encode();
    Sealed {
        author_chain: der(bundle),
        author_signature: Bytes::copy_from_slice(&bundle.signer().sign(AUTHOR_CONTEXT, &bytes)),
        statement: bytes,
        ..Sealed::default()
    }
}

fn accepted_by(bundle: &Bundle, mut sealed: Sealed) -> Bytes {
    let bytes = [&sealed.statement[..], &sealed.author_signature].concat();
    sealed.acceptor_chain = der(bundle);
    sealed.acceptor_signature = Bytes::copy_from_slice(&bundle.signer().sign(ACCEPTOR_CONTEXT, &bytes));
    sealed.encode_to_vec().into()
}

#[test]
fn what_an_operator_wants_is_accepted_once_and_believed_everywhere() {
    let world = world();
    let sealed = seal(&world.ann, &anns()).unwrap();
    let accepted = countersign(&world.n1, sealed.clone(), world.now).unwrap();
    assert_eq!(check(world.n2.trust(), accepted.sealed().clone()), Ok(accepted.clone()));
    assert_eq!(accepted.statement(), &anns());
    // Through another door it is the same version, also when the first door's signature comes along.
    for again in [sealed, accepted.sealed().clone()] {
        let other = countersign(&world.n2, again, world.now).unwrap();
        assert_eq!(other.id(), accepted.id());
        assert_ne!(other.sealed(), accepted.sealed());
        assert!(check(world.n1.trust(), other.sealed().clone()).is_ok());
    }
}

fn row_value(labels: &[(&str, &str)]) -> Bytes {
    let labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    Row { horde: "web".into(), labels, admission: 1, ..Row::default() }.encode_to_vec().into()
}

#[test]
fn a_row_claims_only_the_labels_of_its_nodes_certificate() {
    let world = world();
    let value = row_value(&[("zone", "a")]);
    let row = sign_row(&world.n1, &id("n1"), "row/n1/0", value, vec![], Wall(7)).map(|row| row.sealed().clone());
    match row {
        // Refused where it is signed, or else by everybody who receives it.
        Err(why) => assert_eq!(why, BadFact::Labels),
        Ok(sealed) => assert_eq!(check(world.n2.trust(), sealed), Err(BadFact::Labels)),
    }
}

#[test]
fn a_node_signs_its_own_rows_and_needs_no_door() {
    let world = world();
    let row = |me: &str| sign_row(&world.n1, &id(me), "row/n1/0", row_value(&[]), vec![], Wall(7));
    for me in ["n1", "n1/b"] {
        let version = row(me).unwrap();
        assert_eq!(check(world.n2.trust(), version.sealed().clone()), Ok(version.clone()));
        assert_eq!(version.statement().author, Author::Fulcrum(id(me)));
    }
    assert_ne!(row("n1").unwrap().id(), row("n1").unwrap().id(), "two equal writes are two versions");
    assert!(matches!(row("n2"), Err(BadFact::NotOurs { .. })));
    // Not by way of a door, nor with somebody's countersignature.
    let sealed = row("n1").unwrap().sealed().clone();
    assert_eq!(countersign(&world.n1, sealed.clone(), world.now), Err(BadFact::NotAnOperators("node n1".into())));
    let countersigned = accepted_by(&world.n2, Sealed::decode(sealed).unwrap());
    assert_eq!(check(world.n1.trust(), countersigned), Err(BadFact::Surplus));
}

#[test]
fn an_operators_fact_without_a_countersignature_is_not_believed() {
    let world = world();
    let sealed = seal(&world.ann, &anns()).unwrap();
    assert_eq!(check(world.n1.trust(), sealed), Err(BadFact::NotAccepted));
}

#[test]
fn forged_signatures_are_refused() {
    let world = world();
    let good = countersign(&world.n1, seal(&world.ann, &anns()).unwrap(), world.now).unwrap().sealed().clone();
    let flip = |bytes: &Bytes| {
        let mut bytes = bytes.to_vec();
        bytes[5] ^= 1;
        Bytes::from(bytes)
    };
    let check = |sealed| check(world.n2.trust(), sealed).unwrap_err();
    let author = tampered(&good, |parts| parts.author_signature = flip(&parts.author_signature));
    assert_eq!(check(author), BadFact::AuthorSignature);
    let acceptor = tampered(&good, |parts| parts.acceptor_signature = flip(&parts.acceptor_signature));
    assert_eq!(check(acceptor), BadFact::AcceptorSignature);
    let missing = tampered(&good, |parts| parts.acceptor_signature = Bytes::new());
    assert_eq!(check(missing), BadFact::AcceptorSignature);
    // Another value under the old signatures.
    let other = Statement { value: None, ..anns() };
    assert_eq!(check(tampered(&good, |parts| parts.statement = other.encode())), BadFact::AuthorSignature);
    // The countersignature of another statement.
    let second = Statement { nonce: Bytes::from_static(b"m"), ..anns() };
    let second = countersign(&world.n1, seal(&world.ann, &second).unwrap(), world.now).unwrap();
    let second = Sealed::decode(second.sealed().clone()).unwrap();
    let moved = tampered(&good, |parts| parts.acceptor_signature = second.acceptor_signature);
    assert_eq!(check(moved), BadFact::AcceptorSignature);
    // A signature made for one purpose is worth nothing for the other.
    let confused = tampered(&good, |parts| {
        parts.author_signature = Bytes::copy_from_slice(&world.ann.signer().sign(ACCEPTOR_CONTEXT, &parts.statement));
    });
    assert_eq!(check(confused), BadFact::AuthorSignature);
    assert_eq!(check(Bytes::from_static(b"\xff\xff")), BadFact::Malformed(BadVersion::Malformed));
}

#[test]
fn nobody_signs_in_anothers_name() {
    let mut world = world();
    let bob = world.ca.issue(IssueRequest::new(operator("bob"))).unwrap();
    let check = |sealed| check(world.n2.trust(), sealed).unwrap_err();
    let as_ann =
        |certificate: &str| BadFact::OtherAuthor { says: "operator ann".into(), certificate: certificate.into() };
    // Another operator, and a node whose key was stolen, as Ann; also at the door.
    let role = |bundle: &Bundle| bundle.identity().role.to_string();
    for forger in [&bob, &world.n1] {
        let forged = signed_by(forger, &anns());
        assert_eq!(check(accepted_by(&world.n1, forged.clone())), as_ann(&role(forger)));
        let sealed = forged.encode_to_vec().into();
        assert_eq!(countersign(&world.n1, sealed, world.now), Err(as_ann(&role(forger))));
        assert!(matches!(seal(forger, &anns()), Err(BadFact::NotOurs { .. })));
    }
    // With Ann's certificate beside a forger's signature.
    let mut borrowed = signed_by(&world.n1, &anns());
    borrowed.author_chain = der(&world.ann);
    assert_eq!(check(accepted_by(&world.n1, borrowed)), BadFact::AuthorSignature);
    // A node as another node; an operator as a node.
    let others = statement(Author::Fulcrum(id("n2")));
    for forger in [&world.n1, &world.ann] {
        let sealed = signed_by(forger, &others).encode_to_vec().into();
        assert!(matches!(check(sealed), BadFact::OtherAuthor { .. }));
    }
    // An operator as the fulcrum that accepts its own statement.
    let own = accepted_by(&world.ann, signed_by(&world.ann, &anns()));
    assert!(matches!(check(own), BadFact::Acceptor(Refusal::WrongRole { .. })));
    let sealed = seal(&world.ann, &anns()).unwrap();
    assert!(matches!(countersign(&world.ann, sealed, world.now), Err(BadFact::NotOurs { .. })));
}

#[test]
fn other_blocs_and_other_roots_are_refused() {
    let world = world();
    // Of another bloc altogether.
    let mut other = Ca::in_memory("other".parse().unwrap()).unwrap();
    let foreign = other.issue(IssueRequest::new(operator("ann"))).unwrap();
    let theirs = Statement { bloc: "other".parse().unwrap(), ..anns() };
    let sealed = seal(&foreign, &theirs).unwrap();
    let expected = BadFact::OtherBloc { theirs: "other".into(), ours: "acme".into() };
    assert_eq!(countersign(&world.n1, sealed, world.now), Err(expected.clone()));
    assert_eq!(check(world.n1.trust(), accepted_by(&world.n1, signed_by(&world.ann, &theirs))), Err(expected));
    // Our bloc's name in the statement, theirs in the certificate.
    let sealed: Bytes = signed_by(&foreign, &anns()).encode_to_vec().into();
    assert!(matches!(countersign(&world.n1, sealed, world.now), Err(BadFact::Author(Refusal::OtherBloc { .. }))));
    // A CA that calls itself by our name.
    let mut false_ca = Ca::in_memory(bloc()).unwrap();
    let false_ann = false_ca.issue(IssueRequest::new(operator("ann"))).unwrap();
    let false_node = false_ca.issue(IssueRequest::new(node("n1"))).unwrap();
    let sealed = seal(&false_ann, &anns()).unwrap();
    let judged = countersign(&world.n1, sealed, world.now);
    assert!(matches!(judged, Err(BadFact::Author(Refusal::Untrusted))), "{judged:?}");
    let by_false_node = accepted_by(&false_node, signed_by(&world.ann, &anns()));
    let judged = check(world.n1.trust(), by_false_node);
    assert!(matches!(judged, Err(BadFact::Acceptor(Refusal::Untrusted))), "{judged:?}");
}

#[test]
fn the_door_judges_dates_and_nobody_after_it_does() {
    let mut world = world();
    let mut request = IssueRequest::new(operator("ann"));
    request.days = 1;
    let short = world.ca.issue_at(request, world.now).unwrap();
    let sealed = seal(&short, &anns()).unwrap();
    let late = countersign(&world.n1, sealed.clone(), world.now + 2 * DAY);
    assert!(matches!(late, Err(BadFact::Author(Refusal::Expired { .. }))), "{late:?}");
    let early = countersign(&world.n1, sealed.clone(), world.now - DAY / 2);
    assert!(matches!(early, Err(BadFact::Author(_))), "{early:?}");
    // Accepted in time, it is believed for ever: no clock is asked.
    let accepted: Checked = countersign(&world.n1, sealed, world.now + DAY / 2).unwrap();
    assert!(check(world.n2.trust(), accepted.sealed().clone()).is_ok());
}

#[test]
fn a_chain_is_bounded() {
    let world = world();
    let good = countersign(&world.n1, seal(&world.ann, &anns()).unwrap(), world.now).unwrap().sealed().clone();
    let long = tampered(&good, |parts| {
        let leaf = parts.author_chain[0].clone();
        parts.author_chain.extend(vec![leaf; 9]);
    });
    assert_eq!(check(world.n1.trust(), long), Err(BadFact::Malformed(BadVersion::TooLong)));
    let none = tampered(&good, |parts| parts.author_chain.clear());
    assert_eq!(check(world.n1.trust(), none), Err(BadFact::Author(Refusal::NoCertificate)));
}

/// A door that judges nothing and signs whatever it is given.
fn accepted_blindly(door: &Bundle, operator: &Bundle, statement: &Statement) -> Bytes {
    accepted_by(door, signed_by(operator, statement))
}

#[test]
fn a_limited_operator_writes_what_its_certificate_names_and_no_door_can_let_it_do_more() {
    let mut world = world();
    let mut limited = |name: &str, scopes: &[&str]| {
        let scopes = scopes.iter().flat_map(|text| Scope::parse_all(text).unwrap()).collect();
        world.ca.issue(IssueRequest { scopes, ..IssueRequest::new(operator(name)) }).unwrap()
    };
    let bob = limited("bob", &["apply,horde@web", "forget"]);
    let renewed = world.ca.renew(&bob, RenewRequest::default()).unwrap();
    assert_eq!(renewed.scopes(), bob.scopes(), "a renewal keeps the limits");
    let muster = format!("muster/api/{}", "ab".repeat(32));
    let at = |path: &str, value: Option<&'static [u8]>| Statement {
        path: path.into(),
        value: value.map(Bytes::from_static),
        ..statement(Author::Operator("bob".parse().unwrap()))
    };
    for bundle in [&bob, &renewed] {
        for (statement, needs) in [
            (at("horde/web", Some(b"")), None),
            (at("place/web/api", None), None),
            (at(&muster, Some(b"")), None),
            (at("row/n7/0", None), None),
            (at("horde/db", Some(b"")), Some("horde@db")),
            (at("place/db/api", Some(b"")), Some("apply@db")),
            (at("place/db/api", None), Some("apply@db")),
            (at("place/ADMIN/api", None), Some("apply@ADMIN")),
            (at(&muster, None), Some("apply")),
            (at("expel/n7", Some(b"")), Some("expel")),
            (at("tomorrow/1", Some(b"")), Some("a path that can be judged")),
        ] {
            let accepted = countersign(&world.n1, seal(bundle, &statement).unwrap(), world.now);
            let laundered = check(world.n2.trust(), accepted_blindly(&world.n1, bundle, &statement));
            match needs {
                None => {
                    assert_eq!(
                        check(world.n2.trust(), accepted.unwrap().sealed().clone()).unwrap().statement(),
                        &statement
                    );
                    assert!(laundered.is_ok(), "{}", statement.path);
                }
                Some(needs) => {
                    for refused in [accepted.unwrap_err(), laundered.unwrap_err()] {
                        assert!(
                            matches!(&refused, BadFact::Scope { needs: said, .. } if said.starts_with(needs)),
                            "{refused}"
                        );
                        let text = refused.to_string();
                        assert!(text.contains("operator bob is limited to apply@web forget horde@web"), "{text}");
                    }
                }
            }
        }
    }
    // The same name with another certificate is not limited: the certificate decides, not the name.
    let free = world.ca.issue(IssueRequest::new(operator("bob"))).unwrap();
    assert!(countersign(&world.n1, seal(&free, &at("horde/db", Some(b""))).unwrap(), world.now).is_ok());
    let nodes = IssueRequest { scopes: bob.scopes().clone(), ..IssueRequest::new(node("n9")) };
    assert!(world.ca.issue(nodes).unwrap_err().to_string().contains("only an operator is limited"));
}

/// Decision 20: whoever has a node's key and the key of an operator whose certificate has ended cannot write anything of now,
/// with or without the node's expulsion. What it can do is what stands last: write as of a time when that operator still
/// could.
#[test]
fn a_door_that_lies_lets_an_operator_write_nothing_after_its_end() {
    let mut world = world();
    let old = world.ca.issue(IssueRequest { days: 1, ..IssueRequest::new(operator("ann")) }).unwrap();
    let end = world.n1.trust().verify_chain(old.chain(), world.now).unwrap().own_end();
    let at = |wall: u64| Statement { stamp: Stamp { wall: wall * 1_000_000, logical: 0 }, ..anns() };
    let lied = |wall: u64| check(world.n2.trust(), accepted_by(&world.n1, signed_by(&old, &at(wall))));
    for (wall, late) in [(end + 62, 1), (end + 400 * DAY, 400 * DAY - 61)] {
        let refused = lied(wall).unwrap_err();
        assert_eq!(refused, BadFact::Late { author: "operator ann".into(), late });
        assert!(refused.to_string().contains("whoever accepted it did not look"), "{refused}");
        // An honest door says so too, and long after the end it says that the certificate has ended.
        let sealed = seal(&old, &at(wall)).unwrap();
        assert_eq!(countersign(&world.n1, sealed.clone(), end), Err(refused));
        assert!(matches!(countersign(&world.n1, sealed, end + DAY), Err(BadFact::Author(Refusal::Expired { .. }))));
    }
    // What an honest door takes in the last second, from a client whose clock is ahead by as much as may be, stands.
    let last = countersign(&world.n1, seal(&old, &at(end + 60)).unwrap(), end).unwrap();
    assert!(check(world.n2.trust(), last.sealed()).is_ok());
    // The bound of all this: as of then, and long after it.
    assert!(lied(end).is_ok());
    // Expelling the one that lied takes back nothing that it let in, for nobody can tell that from what it let in rightly.
    let expelled = [(NodeName::parse("n1").unwrap(), 9)].into();
    let after = world.n2.trust().clone().refusing(std::sync::Arc::new(expelled));
    assert!(check(&after, accepted_by(&world.n1, signed_by(&old, &at(end)))).is_ok());
}

/// A checker gives the same answer as one that remembers nothing, however often it is asked.
fn agree(checker: &mut Checker, trust: &Trust, sealed: &Bytes) -> Result<Checked, BadFact> {
    let fresh = check(trust, sealed.clone());
    for _ in 0..2 {
        assert_eq!(checker.check(trust, sealed.clone()), fresh);
    }
    fresh
}

#[test]
fn a_remembered_chain_vouches_for_nothing_but_itself() {
    let mut world = world();
    let bob = world.ca.issue(IssueRequest::new(operator("bob"))).unwrap();
    let good = countersign(&world.n1, seal(&world.ann, &anns()).unwrap(), world.now).unwrap().sealed().clone();
    let trust = world.n2.trust();
    let mut checker = Checker::new();
    agree(&mut checker, trust, &good).unwrap();
    assert_eq!(checker.known(), 2, "the author's and the acceptor's");
    // Signatures are verified each time.
    let flipped = |bytes: &Bytes| [&[bytes[0] ^ 1], &bytes[1..]].concat().into();
    let author = tampered(&good, |parts| parts.author_signature = flipped(&parts.author_signature));
    assert_eq!(agree(&mut checker, trust, &author), Err(BadFact::AuthorSignature));
    let acceptor = tampered(&good, |parts| parts.acceptor_signature = flipped(&parts.acceptor_signature));
    assert_eq!(agree(&mut checker, trust, &acceptor), Err(BadFact::AcceptorSignature));
    // Names and roles too: a good chain in the wrong place.
    assert!(matches!(
        agree(&mut checker, trust, &accepted_by(&world.n1, signed_by(&bob, &anns()))),
        Err(BadFact::OtherAuthor { .. })
    ));
    let own = accepted_by(&world.ann, signed_by(&world.ann, &anns()));
    assert!(matches!(agree(&mut checker, trust, &own), Err(BadFact::Acceptor(Refusal::WrongRole { .. }))));
    // Any other byte is another chain: of the certificate's own signature, which the leaf's content does not show; of what is
    // beside the leaf; where one certificate ends and the next begins.
    let last = tampered(&good, |parts| {
        let mut leaf = parts.author_chain[0].to_vec();
        *leaf.last_mut().unwrap() ^= 1;
        parts.author_chain[0] = leaf.into();
    });
    assert!(matches!(agree(&mut checker, trust, &last), Err(BadFact::Author(_))));
    let joined = tampered(&good, |parts| {
        let leaf = parts.author_chain.remove(0);
        parts.author_chain = vec![leaf.slice(..20), leaf.slice(20..)];
    });
    assert!(matches!(agree(&mut checker, trust, &joined), Err(BadFact::Author(_))));
    let none = tampered(&good, |parts| parts.author_chain.clear());
    assert_eq!(agree(&mut checker, trust, &none), Err(BadFact::Author(Refusal::NoCertificate)));
    agree(&mut checker, trust, &good).unwrap();
}

#[test]
fn what_is_remembered_ends_with_the_trust_that_found_it_good() {
    let world = world();
    let mut other = Ca::in_memory(bloc()).unwrap();
    let (ours, theirs) = (world.ca.root().clone(), other.root().clone());
    let foreign = other.issue(IssueRequest::new(operator("ann"))).unwrap();
    let good = countersign(&world.n1, seal(&world.ann, &anns()).unwrap(), world.now).unwrap().sealed().clone();
    let of_theirs = accepted_by(&world.n1, signed_by(&foreign, &anns()));
    let one = Trust::new(bloc(), [ours.clone()]).unwrap();
    let both = one.with_root(theirs.clone()).unwrap();
    let without = both.without_root(&fingerprint(&ours)).unwrap();
    let mut checker = Checker::new();
    for _ in 0..2 {
        agree(&mut checker, &one, &good).unwrap();
        assert_eq!(agree(&mut checker, &one, &of_theirs), Err(BadFact::Author(Refusal::Untrusted)));
        agree(&mut checker, &both, &good).unwrap();
        agree(&mut checker, &both, &of_theirs).unwrap();
        assert_eq!(checker.known(), 3);
        // Ours is gone: what it vouched for a moment ago it vouches for no more.
        assert_eq!(agree(&mut checker, &without, &good), Err(BadFact::Author(Refusal::Untrusted)));
        assert_eq!(agree(&mut checker, &without, &of_theirs), Err(BadFact::Acceptor(Refusal::Untrusted)));
    }
    // Who is expelled changes nothing: whether a fact of theirs counts is not judged by its chain.
    let expelled = one.clone().refusing(std::sync::Arc::new([(NodeName::parse("n1").unwrap(), 9)].into()));
    agree(&mut checker, &expelled, &good).unwrap();
    agree(&mut checker, &one, &good).unwrap();
    assert_eq!(checker.known(), 2);
}

#[test]
fn only_so_much_is_remembered() {
    let mut world = world();
    let mut checker = Checker::new();
    let mut facts = Vec::new();
    for _ in 0..140 {
        // Each certificate is another, also of the same name.
        let n1 = world.ca.issue(IssueRequest::new(node("n1"))).unwrap();
        facts.push(accepted_by(&n1, signed_by(&world.ann, &anns())));
    }
    for _ in 0..2 {
        for sealed in &facts {
            agree(&mut checker, world.n2.trust(), sealed).unwrap();
            assert!(checker.known() <= 128);
        }
    }
    // What does not belong to a good chain is nobody's burden.
    let mut fresh = Checker::new();
    let long = tampered(&facts[0], |parts| {
        let ballast = parts.author_chain[0].clone();
        while parts.acceptor_chain.len() < 6 {
            parts.acceptor_chain.push([&ballast[..], &[0; 8_000]].concat().into());
        }
    });
    let _: Result<Checked, BadFact> = agree(&mut fresh, world.n2.trust(), &long);
    assert!(fresh.known() <= 1);
}

#[test]
fn a_desk_judges_each_second_anew() {
    let mut world = world();
    let mut request = IssueRequest::new(operator("ann"));
    request.days = 1;
    let short = world.ca.issue_at(request, world.now).unwrap();
    let sealed = seal(&short, &anns()).unwrap();
    let of_node: Bytes = signed_by(&world.n2, &anns()).encode_to_vec().into();
    let mut desk = Desk::new();
    let end = world.now + DAY;
    for now in [world.now, world.now, end - 1, end + 1, end + 2 * DAY, world.now] {
        for _ in 0..2 {
            for one in [&sealed, &of_node] {
                let fresh = countersign(&world.n1, one.clone(), now);
                assert_eq!(desk.countersign(&world.n1, one.clone(), now), fresh, "at {now}");
            }
        }
    }
    assert!(desk.countersign(&world.n1, sealed.clone(), world.now).is_ok());
    // Another signature under the same chain, and who was expelled within the second.
    let forged = tampered(&sealed, |parts| parts.author_signature = Bytes::from(vec![7; 64]));
    assert_eq!(desk.countersign(&world.n1, forged, world.now), Err(BadFact::AuthorSignature));
    let refusing = world.n1.trust().clone().refusing(std::sync::Arc::new([(NodeName::parse("n2").unwrap(), 9)].into()));
    let strict = world.n1.clone().with_trust(refusing).unwrap();
    let fresh = countersign(&strict, of_node.clone(), world.now);
    assert!(matches!(fresh, Err(BadFact::Author(Refusal::Expelled { .. }))), "{fresh:?}");
    assert_eq!(desk.countersign(&strict, of_node, world.now), fresh);
}
