//! What a client other than `crux` may send: signed rightly by an operator, and without sense; forged; or signed by somebody
//! who may not write it. A real fulcrum's door refuses it with the place, the cause and the next step, and changes nothing.

mod help;
use bytes::Bytes;
use crux_api::json::{ErrorDoc, from_hex, to_hex};
use crux_api::routes::WriteRequest;
use crux_core::facts::rule::{Rule, RuleFact, rule_path};
use crux_core::facts::value::{
    Cordon, Expulsion, HORIZON_MIN, Horde, Horizon, Labels, Manifest, Place, Row, muster_path,
};
use crux_core::facts::version::{AUTHOR_CONTEXT, Author, Sealed, Stamp, Statement};
use crux_names::{BlocName, Hash256};
use crux_pki::{Bundle, Ca, Identity, IssueRequest, Role, Scope, Scopes, unix_now};
use help::World;
use help::cluster::names;
use help::fulcrum::{Fulcrum, until, world};
use jiff::Timestamp;
use prost::Message;
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

const DAY: u64 = 86_400;

/// A fact to be written: its path, and its value unless it is deleted.
type Fact<'a> = (&'a str, Option<Vec<u8>>);

/// A client that somebody made by hand.
struct Client {
    socket: PathBuf,
    signer: Bundle,
    /// Who wrote it, as its statements say; not asked of the certificate.
    author: Author,
    bloc: BlocName,
    nonce: u8,
    /// What the next write knows of and replaces: a deletion wins over whatever does not know of it.
    replaces: Vec<Hash256>,
}

impl Client {
    /// Of whom the certificate says it is.
    fn new(socket: PathBuf, signer: Bundle) -> Self {
        let author = match signer.identity().role.clone() {
            Role::Operator(name) => Author::Operator(name),
            Role::Node(node) => Author::Fulcrum(node.as_str().parse().unwrap()),
            other => panic!("{other} is no author"),
        };
        Self::claiming(socket, signer, author)
    }

    fn claiming(socket: PathBuf, signer: Bundle, author: Author) -> Self {
        let bloc = signer.identity().bloc.clone();
        Self { socket, signer, author, bloc, nonce: 0, replaces: Vec::new() }
    }

    /// Signed by whoever this is, whatever the statement says.
    fn seal(&mut self, (path, value): &Fact<'_>) -> Sealed {
        self.nonce += 1;
        // The later of two writes is the later one by its stamp too, whoever signed it.
        let now = Timestamp::now();
        let statement = Statement {
            bloc: self.bloc.clone(),
            path: (*path).to_owned(),
            value: value.clone().map(Bytes::from),
            ancestors: self.replaces.clone(),
            stamp: Stamp { wall: now.as_microsecond().try_into().unwrap(), logical: 0 },
            author: self.author.clone(),
            nonce: vec![self.nonce].into(),
        };
        let statement = statement.encode();
        Sealed {
            author_chain: chain(&self.signer),
            author_signature: Bytes::copy_from_slice(&self.signer.signer().sign(AUTHOR_CONTEXT, &statement)),
            statement,
            ..Sealed::default()
        }
    }

    /// Sends these in one request. The status, and what came with it.
    fn send(&self, versions: &[Sealed]) -> (u16, String) {
        let versions = versions.iter().map(|sealed| to_hex(&sealed.encode_to_vec())).collect();
        let body = serde_json::to_string(&WriteRequest { versions }).unwrap();
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        let head = "POST /v1/facts HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split_whitespace().nth(1).unwrap().parse().unwrap();
        (status, answer)
    }

    /// Writes these in one request. The status, and what came with it.
    fn write(&mut self, facts: &[Fact<'_>]) -> (u16, String) {
        let sealed: Vec<Sealed> = facts.iter().map(|fact| self.seal(fact)).collect();
        self.send(&sealed)
    }

    /// Refused with this, and with what to do next.
    fn refused(&mut self, facts: &[Fact<'_>], texts: &[&str]) {
        let error = refusal(&self.write(facts));
        for text in texts.iter().chain(&["nothing was changed"]) {
            assert!(error.cause.contains(text), "{text:?} is not in {error:?}");
        }
    }

    fn written(&mut self, facts: &[Fact<'_>]) {
        let (status, answer) = self.write(facts);
        assert!(matches!(status, 200 | 202), "{answer}");
    }
}

fn chain(bundle: &Bundle) -> Vec<Bytes> {
    bundle.chain().iter().map(|der| Bytes::copy_from_slice(der)).collect()
}

/// The error of a request that was refused.
fn refusal((status, answer): &(u16, String)) -> ErrorDoc {
    assert_eq!(*status, 403, "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let document = &body[body.find('{').unwrap()..=body.rfind('}').unwrap()];
    let error: ErrorDoc = serde_json::from_str(document).unwrap();
    assert!(!error.next.is_empty());
    error
}

fn load(world: &World, name: &str) -> Bundle {
    Bundle::load(&world.path(name)).unwrap()
}

/// A role as a certificate names it: `operator/bob`.
fn role(id: &str) -> Role {
    Identity::parse(&format!("spiffe://acme/{id}")).unwrap().role
}

fn list(world: &World, state: &str, prefix: &str) -> Vec<Value> {
    let socket = format!("{state}/crux.sock");
    let list = world.crux(&["--at", &socket, "facts", "list", prefix, "--deleted", "-o", "json"]);
    serde_json::from_str::<Value>(list.done()).unwrap()["facts"].as_array().unwrap().clone()
}

/// The versions of one fact that stand there.
fn standing(world: &World, state: &str, path: &str) -> Vec<Hash256> {
    let facts = list(world, state, path);
    let heads = facts.iter().filter(|fact| fact["path"] == path).flat_map(|fact| fact["heads"].as_array().unwrap());
    heads.map(|head| head["id"].as_str().unwrap().parse().unwrap()).collect()
}

fn audit(world: &World, state: &str) -> Vec<Value> {
    let socket = format!("{state}/crux.sock");
    let list = world.crux(&["--at", &socket, "audit", "-o", "json"]);
    serde_json::from_str::<Value>(list.done()).unwrap()["entries"].as_array().unwrap().clone()
}

/// The ADMIN flags that stand in rows.
fn flags(world: &World, state: &str) -> Vec<String> {
    let row = |fact: &Value| Row::decode(from_hex(fact["heads"][0]["value"].as_str()?).ok()?.as_slice()).ok();
    let flags = list(world, state, "row/").iter().filter_map(row).map(|row| row.admin).collect::<Vec<_>>();
    flags.into_iter().filter(|flag| !flag.is_empty()).collect()
}

/// The digest of all facts, as soon as these hold the same and nobody has more to say of itself.
fn at_rest(world: &World, fulcrums: &[&Fulcrum<'_>], admin: &[&str]) -> Value {
    until("all hold the same, and nothing is under way", || {
        let all: Vec<Value> = fulcrums.iter().map(|fulcrum| fulcrum.json("status")).collect::<Option<_>>()?;
        let same = all.iter().all(|status| status["facts"] == all[0]["facts"] && status["admin"] == names(admin));
        (same && flags(world, "s1") == vec!["ADMIN"; admin.len()]).then(|| all[0]["facts"]["digest"].clone())
    })
}

fn bytes(message: &impl Message) -> Option<Vec<u8>> {
    Some(message.encode_to_vec())
}

fn horde(want: u32, admits: &str, sets: &[(&str, &str)]) -> Option<Vec<u8>> {
    let sets = sets.iter().map(|(name, set)| ((*name).into(), (*set).into())).collect();
    Some(Horde { want, r#where: admits.into(), sets, ..Horde::default() }.encode_to_vec())
}

#[test]
fn what_makes_no_sense_is_refused_whoever_sends_it() {
    let world = world(&["n1"]);
    let fulcrum = Fulcrum::start(&world, "n1", "s1", &[]);
    fulcrum.answers();
    let mut client = Client::new(world.path("s1/crux.sock"), load(&world, "config/crux/profile"));
    let manifest = Manifest { service: "api".into(), run: vec!["true".into()], ..Manifest::default() }.encode_to_vec();
    let revision = Manifest::revision(&manifest);
    let muster = muster_path(&"api".parse().unwrap(), &revision);
    let place = |khan: &str| {
        Some(Place { revision: revision.0.into(), place: khan.into(), ..Place::default() }.encode_to_vec())
    };
    let good = place("pick(api, 0, ALL)");
    let good_place = good.clone().unwrap();
    client.refused(
        &[("place/main/api", good.clone())],
        &["place/main/api", "the catalogue has no manifest", "write muster/api/"],
    );
    client.written(&[(&muster, Some(manifest)), ("place/main/api", good.clone())]);
    client.refused(&[("place/web/api", good.clone())], &["place/web/api needs horde web", "crux horde create web"]);
    for (khan, says) in
        [("pick(api, 3, ALL", "line 1"), ("pick(db, 3, ALL)", "it picks db"), ("pick(api, 3, big)", "no set \"big\"")]
    {
        client.refused(&[("place/main/api", place(khan))], &["place/main/api: place: ", says]);
    }
    for (value, says) in [
        (horde(100_001, "", &[]), "may want 100000"),
        (horde(1, "zone=", &[]), "where \"zone=\""),
        (horde(1, "", &[("a", "b"), ("b", "a")]), "need each other"),
    ] {
        client.refused(&[("horde/web", value)], &["horde/web: ", says]);
    }
    client.written(&[("place/web/api", good), ("horde/web", horde(1, "zone=a", &[("big", "ALL")]))]);
    client.refused(&[("horde/web", None)], &["horde web still runs web/api", "--prune"]);
    client.refused(&[(&muster, None)], &["the manifest that main/api runs"]);
    client.written(&[("horde/web", None), ("place/web/api", None)]);
    // What this version has no means for is refused in the words of `crux`, and not taken as something else.
    for rejoin in ["restart", "hook", "keep-home"] {
        let place = Place { on_rejoin: rejoin.into(), ..Place::decode(good_place.as_slice()).unwrap() };
        let (status, answer) = client.write(&[("place/main/api", bytes(&place))]);
        assert_eq!(status, 400, "{answer}");
        for says in [
            "E202",
            "place/main/api: on_rejoin: ",
            rejoin,
            "is not yet supported in this version",
            "nothing was changed",
        ] {
            assert!(answer.contains(says), "{says}: {answer}");
        }
    }
    client.written(&[(
        "place/main/api",
        bytes(&Place { on_rejoin: "keep-newest".into(), ..Place::decode(good_place.as_slice()).unwrap() }),
    )]);
    // All or nothing: what makes sense beside what does not is not taken either.
    client.refused(&[("horde/db", horde(1, "", &[])), ("horde/web", horde(1, "zone=", &[]))], &["horde/web"]);
    let listed = world.crux(&["--at", "s1/crux.sock", "facts", "list"]);
    assert!(listed.done().contains("place/main/api") && !listed.out.contains("horde/db"), "{}", listed.out);
    fulcrum.stop();
}

/// Three doors, and all kinds of forgery at each, alone and beside a good write.
#[test]
fn what_is_forged_is_refused_with_its_reason_at_every_door_and_leaves_no_trace() {
    let world = world(&["n1", "n2", "n3"]);
    let one = Fulcrum::start(&world, "n1", "s1", &[]);
    let mesh = one.answers()["listens"]["mesh"].as_str().unwrap().to_owned();
    let two = Fulcrum::start(&world, "n2", "s2", &["--seed", &mesh]);
    let three = Fulcrum::start(&world, "n3", "s3", &["--seed", &mesh]);
    let all = [&one, &two, &three];
    let before = at_rest(&world, &all, &["n1", "n2", "n3"]);

    let issued_by = |bloc: &str| {
        let mut ca = Ca::in_memory(bloc.parse().unwrap()).unwrap();
        ca.issue(IssueRequest::new(role("operator/alice"))).unwrap()
    };
    let (other_bloc, other_ca) = (issued_by("other"), issued_by("acme"));
    let socket = world.path("s1/crux.sock");
    let mut alice = Client::new(socket.clone(), load(&world, "config/crux/profile"));
    let claims_alice = |signer: Bundle| Client::claiming(socket.clone(), signer, alice.author.clone());
    let (mut stranger, mut foreigner) = (claims_alice(other_ca), claims_alice(other_bloc));
    foreigner.bloc = "acme".parse().unwrap();
    let mut node = Client::new(socket.clone(), load(&world, "n1"));
    let mut node_as_alice = claims_alice(load(&world, "n1"));
    let bob = Ca::open(&world.path("ca")).unwrap().issue(IssueRequest::new(role("operator/bob"))).unwrap();
    let mut bob_as_alice = claims_alice(bob);
    let mut elsewhere = Client::new(socket, load(&world, "config/crux/profile"));
    elsewhere.bloc = "other".parse().unwrap();

    let wish = ("horde/x", horde(1, "", &[]));
    let good = |alice: &mut Client| alice.seal(&wish);
    let flipped = |bytes: &Bytes| {
        let mut bytes = bytes.to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        Bytes::from(bytes)
    };
    let signed = good(&mut alice);
    let wrong = "its author's signature is wrong";
    let forged: [(&str, Sealed, &str); 12] = [
        (
            "a flipped signature",
            Sealed { author_signature: flipped(&signed.author_signature), ..signed.clone() },
            wrong,
        ),
        ("no signature", Sealed { author_signature: Bytes::new(), ..signed.clone() }, wrong),
        ("half a signature", Sealed { author_signature: signed.author_signature.slice(..32), ..signed.clone() }, wrong),
        ("another statement's signature", Sealed { statement: good(&mut alice).statement, ..signed.clone() }, wrong),
        ("a changed statement", Sealed { statement: flipped(&signed.statement), ..signed.clone() }, wrong),
        ("another operator's certificate", bob_as_alice.seal(&wish), "operator alice wrote it, but the certificate"),
        ("no certificate", Sealed { author_chain: Vec::new(), ..signed.clone() }, "no certificate was shown"),
        ("a statement for another bloc", elsewhere.seal(&wish), "signed for bloc other, but this is bloc acme"),
        ("an operator of another bloc", foreigner.seal(&wish), "certificate of bloc other, but this is bloc acme"),
        ("an operator of another CA", stranger.seal(&wish), "signed by none of the trusted roots"),
        ("a node as the author", node.seal(&wish), "only what an operator signed is accepted at a door"),
        ("a node that says it is alice", node_as_alice.seal(&wish), "but the certificate with it is of node/n1"),
    ];
    for state in ["s1", "s2", "s3"] {
        alice.socket = world.path(state).join("crux.sock");
        for (what, sealed, says) in &forged {
            let beside = alice.seal(&("horde/beside", horde(1, "", &[])));
            let alone = ("this version is not accepted", vec![sealed.clone()]);
            for (which, versions) in [alone, ("version 2 of 2 is not accepted", vec![beside, sealed.clone()])] {
                let error = refusal(&alice.send(&versions));
                assert!(error.cause.contains(which), "{what}: {error:?}");
                assert!(error.cause.contains(says), "{what}: {says:?} is not in {error:?}");
            }
        }
        let junk = Sealed { statement: Bytes::from_static(b"\xff\xff"), ..signed.clone() };
        assert!(refusal(&alice.send(&[junk])).cause.contains("crux version"));
    }
    assert_eq!(at_rest(&world, &all, &["n1", "n2", "n3"]), before);
    for state in ["s1", "s2", "s3"] {
        assert_eq!(list(&world, state, "horde/"), Vec::<Value>::new(), "{state}");
        // Whom the forger named is not blamed for it in the audit log.
        let entries = audit(&world, state);
        let named: Vec<&Value> = entries.iter().filter(|entry| !entry["author"].is_null()).collect();
        assert!(named.len() > 20, "{entries:?}");
        assert!(named.iter().all(|entry| entry["outcome"] == "refused" && entry["claimed"] == true), "{named:?}");
        let shown = world.crux(&["--at", &format!("{state}/crux.sock"), "audit"]);
        assert!(shown.done().contains("claimed operator/alice (socket"), "{}", shown.out);
    }
    // The same, as it was signed, is taken: nothing else was wrong with it.
    let (status, answer) = alice.send(&[signed]);
    assert!(matches!(status, 200 | 202), "{answer}");
    let last = audit(&world, "s3").pop().unwrap();
    assert_eq!((&last["author"], &last["claimed"]), (&"operator/alice".into(), &false.into()), "{last}");
    assert_ne!(at_rest(&world, &all, &["n1", "n2", "n3"]), before);
    for fulcrum in [one, two, three] {
        fulcrum.stop();
    }
}

/// A horizon as far back as one may be.
fn horizon() -> Option<Vec<u8>> {
    bytes(&Horizon { before: unix_now() * 1_000_000 - HORIZON_MIN })
}

/// A path, a value, and what an operator who is not limited is told.
type Kind = (String, Option<Vec<u8>>, Option<&'static str>);

/// Every kind of path, written and deleted, each with what an operator who is not limited is told: nothing, for it is taken,
/// or why not.
fn every_kind(nonce: u8) -> Vec<Kind> {
    let manifest = Manifest { service: "api".into(), run: vec!["true".into()], ..Manifest::default() }.encode_to_vec();
    let revision = Manifest::revision(&manifest);
    let muster = muster_path(&"api".parse().unwrap(), &revision);
    let place = Place { revision: revision.0.into(), place: "pick(api, 0, ALL)".into(), ..Place::default() };
    let rule =
        Rule { client: "web/*".into(), endpoint: "data/db".into(), nonce: vec![nonce; 16].into(), ..Rule::default() };
    let rule = |removed| RuleFact { rule: rule.encode_to_vec().into(), removed };
    let rule_at = rule_path(&rule(false).id());
    let row = || bytes(&Row::default());
    let labels = Labels { labels: [("zone".to_owned(), "a".to_owned())].into() };
    let only_its_own = Some("a row is written only by its own fulcrum");
    let unknown = Some("no kind of fact");
    let all = [
        ("horde/web", horde(1, "", &[]), None),
        (muster.as_str(), Some(manifest), None),
        ("place/web/api", bytes(&place), None),
        ("place/web/api", None, None),
        (muster.as_str(), None, None),
        ("horde/web", None, None),
        ("row/n1/0", row(), only_its_own),
        ("row/n2/0", row(), only_its_own),
        ("row/n8/0", row(), only_its_own),
        ("row/n8/0", None, None),
        ("expel/n8", bytes(&Expulsion { up_to: 1, reason: "stolen".into() }), None),
        ("expel/n8", None, Some("an expulsion is not taken back")),
        ("cordon/n8/0", bytes(&Cordon { reason: "disk".into(), drain: true }), None),
        ("cordon/n8/0", None, None),
        ("label/n8", bytes(&labels), None),
        ("label/n8", None, None),
        (rule_at.as_str(), bytes(&rule(false)), None),
        (rule_at.as_str(), None, Some("a rule is not deleted but removed")),
        (rule_at.as_str(), bytes(&rule(true)), None),
        ("horizon", horizon(), None),
        ("horizon", None, None),
        ("ship/1", None, unknown),
        ("secret/db", Some(Vec::new()), unknown),
    ];
    all.into_iter().map(|(path, value, why)| (path.to_owned(), value, why)).collect()
}

/// Who writes, and why it is refused everything, unless it is not.
struct Writer {
    who: &'static str,
    client: Client,
    refused: &'static str,
}

#[test]
fn every_kind_of_fact_is_written_by_operators_alone_at_a_members_door_and_at_a_visitors() {
    let world = world(&["n1", "n2", "n3", "n9"]);
    let one = Fulcrum::start(&world, "n1", "s1", &[]);
    let mesh = one.answers()["listens"]["mesh"].as_str().unwrap().to_owned();
    let two = Fulcrum::start(&world, "n2", "s2", &["--seed", &mesh]);
    let visitor = Fulcrum::start(&world, "n9", "s9", &["--seed", &mesh, "--visitor"]);
    let all = [&one, &two, &visitor];
    at_rest(&world, &all, &["n1", "n2"]);
    let expel = ["--at", "s1/crux.sock", "node", "expel", "n3", "--admission", "1", "--reason", "stolen"];
    let expelled = world.crux(&expel);
    assert!(matches!(expelled.code, 0 | 6), "{}", expelled.err);

    let mut ca = Ca::open(&world.path("ca")).unwrap();
    let now = unix_now();
    let mut issue = |id: &str, at: u64, scopes: Option<&str>| {
        let scopes: Scopes =
            scopes.map(|text| Scope::parse_all(text).unwrap().into_iter().collect()).unwrap_or_default();
        ca.issue_at(IssueRequest { days: 1, scopes, ..IssueRequest::new(role(id)) }, at).unwrap()
    };
    let of_another_ca = Ca::in_memory("acme".parse().unwrap()).unwrap().issue(IssueRequest::new(role("operator/eve")));
    let socket = world.path("s1/crux.sock");
    let own = |bundle: Bundle| Client::new(socket.clone(), bundle);
    // Only operators and nodes can be named as authors: everybody else has to take the name of one.
    let named = |bundle: Bundle, operator: &str| {
        Client::claiming(socket.clone(), bundle, Author::Operator(operator.parse().unwrap()))
    };
    let node = "only what an operator signed is accepted at a door";
    let writers = [
        Writer { who: "a node at its own door", client: own(load(&world, "n1")), refused: node },
        Writer { who: "another member", client: own(load(&world, "n2")), refused: node },
        Writer { who: "a visitor", client: own(load(&world, "n9")), refused: node },
        Writer { who: "an expelled node", client: own(load(&world, "n3")), refused: node },
        Writer {
            who: "a node as an operator",
            client: named(load(&world, "n2"), "n2"),
            refused: "the certificate with it is of node/n2",
        },
        Writer {
            who: "an expelled node as an operator",
            client: named(load(&world, "n3"), "n3"),
            refused: "the certificate with it is of node/n3",
        },
        Writer {
            who: "a beacon",
            client: named(issue("beacon/watch", now, None), "watch"),
            refused: "the certificate with it is of beacon/watch",
        },
        Writer {
            who: "a workload",
            client: named(issue("horde/web/api", now, None), "api"),
            refused: "the certificate with it is of horde/web/api",
        },
        Writer {
            who: "an operator whose certificate has ended",
            client: own(issue("operator/old", now - 3 * DAY, None)),
            refused: "its author's certificate: certificate expired 2 days ago, at ",
        },
        Writer {
            who: "an operator whose certificate has not begun",
            client: own(issue("operator/soon", now + 3_600, None)),
            refused: "its author's certificate: certificate not valid for another ",
        },
        Writer {
            who: "an operator of another CA",
            client: own(of_another_ca.unwrap()),
            refused: "signed by none of the trusted roots",
        },
    ];
    let before = at_rest(&world, &all, &["n1", "n2"]);
    for mut writer in writers {
        for state in ["s1", "s9"] {
            writer.client.socket = world.path(state).join("crux.sock");
            for (path, value, _) in every_kind(6) {
                let error = refusal(&writer.client.write(&[(path.as_str(), value)]));
                assert!(error.cause.contains(writer.refused), "{} writes {path}: {error:?}", writer.who);
            }
        }
    }
    assert_eq!(at_rest(&world, &all, &["n1", "n2"]), before);

    // Who is limited writes what it is limited to.
    let mut limited = own(issue("operator/bob", now, Some("horde@web")));
    let mut alice = own(load(&world, "config/crux/profile"));
    // A rule that was removed never comes back: at each door another one.
    for (state, nonce) in [("s1", 7), ("s9", 8)] {
        for client in [&mut limited, &mut alice] {
            client.socket = world.path(state).join("crux.sock");
        }
        // Deletions at the other door have come here: what is written without knowing of them loses.
        at_rest(&world, &all, &["n1", "n2"]);
        for (path, value, _) in every_kind(nonce) {
            let unknown = path.starts_with("ship/") || path.starts_with("secret/");
            limited.replaces = standing(&world, state, &path);
            let written = limited.write(&[(path.as_str(), value)]);
            if path == "horde/web" {
                assert!(matches!(written.0, 200 | 202), "{path}: {}", written.1);
            } else {
                let error = refusal(&written);
                let says = if unknown { "no kind of fact" } else { "is limited to horde@web, and this needs" };
                assert!(error.cause.contains(says), "{path}: {error:?}");
            }
        }
        // And who is not limited writes all that there is.
        for (path, value, why) in every_kind(nonce) {
            alice.replaces = standing(&world, state, &path);
            let written = alice.write(&[(path.as_str(), value)]);
            match why {
                None => assert!(matches!(written.0, 200 | 202), "{path}: {}", written.1),
                Some(why) => {
                    let error = refusal(&written);
                    assert!(error.cause.contains(why), "{path}: {error:?}");
                }
            }
        }
    }
    at_rest(&world, &all, &["n1", "n2"]);
    let (there, paths) = (list(&world, "s9", ""), |facts: &[Value]| {
        facts.iter().map(|fact| fact["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    });
    assert_eq!(paths(&there), paths(&list(&world, "s1", "")));
    for (path, _, why) in every_kind(8).into_iter().filter(|(path, ..)| !path.starts_with("row/n")) {
        let stands = there.iter().any(|fact| fact["path"] == path.as_str());
        assert_eq!(stands, why != Some("no kind of fact"), "{path}");
    }
    for fulcrum in [visitor, two, one] {
        fulcrum.stop();
    }
}

/// What `crux` itself says before it sends anything, and the door to whoever sends it all the same.
#[test]
fn an_operator_whose_certificate_is_not_valid_is_told_until_or_from_when_it_is_and_what_to_do() {
    let world = world(&["n1"]);
    let fulcrum = Fulcrum::start(&world, "n1", "s1", &[]);
    let addr = fulcrum.answers()["listens"]["api"].as_str().unwrap().to_owned();
    let mut ca = Ca::open(&world.path("ca")).unwrap();
    let mut issue = |name: &str, at: u64| {
        let request = IssueRequest { days: 1, ..IssueRequest::new(role(&format!("operator/{name}"))) };
        let bundle = ca.issue_at(request, at).unwrap();
        bundle.save(&world.path(name)).unwrap();
        bundle
    };
    let (old, soon) = (issue("old", unix_now() - 3 * DAY), issue("soon", unix_now() + 3_600));
    let moment = |unix: u64| Timestamp::from_second(unix.try_into().unwrap()).unwrap().to_string();
    let (end, begin) = (moment(old.lifetime().not_after), moment(soon.lifetime().not_before));
    let before = at_rest(&world, &[&fulcrum], &["n1"]);
    let write = "horde create web --want 1";
    for at in [addr.as_str(), "s1/crux.sock"] {
        let asked = |operator: &str, words: &str| {
            let words = format!("--at {at} --as {operator} {words}");
            world.crux(&words.split(' ').collect::<Vec<_>>())
        };
        let next = "next: crux ca issue --ca DIR --operator old --out BUNDLE";
        asked("old", write).failed(4, "E401", &["certificate expired 2 days ago, at", &end, next]);
        asked("soon", write).failed(
            4,
            "E401",
            &["certificate not valid for another ", &begin, "next: crux ca inspect"],
        );
        if at == addr {
            asked("old", "status").failed(4, "E401", &[&end, next]);
            asked("soon", "status").failed(4, "E401", &[&begin]);
        }
    }
    for (bundle, date) in [(old, end), (soon, begin)] {
        let error =
            refusal(&Client::new(world.path("s1/crux.sock"), bundle).write(&[("horde/web", horde(1, "", &[]))]));
        assert!(error.cause.contains(&date) && error.next.contains("crux ca issue --operator"), "{error:?}");
    }
    assert_eq!(at_rest(&world, &[&fulcrum], &["n1"]), before);
    fulcrum.stop();
}
