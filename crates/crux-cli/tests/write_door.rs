//! What a client other than `crux` may send: signed rightly by an operator, and without sense. A real fulcrum's door refuses it
//! with the place, the cause and the next step, and changes nothing.

mod help;
use bytes::Bytes;
use crux_api::json::{ErrorDoc, to_hex};
use crux_api::routes::WriteRequest;
use crux_core::facts::value::{Horde, Manifest, Place, muster_path};
use crux_core::facts::version::{Author, Stamp, Statement};
use crux_pki::facts::seal;
use crux_pki::{Bundle, Role, unix_now};
use help::fulcrum::{Fulcrum, world};
use prost::Message;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// A client that somebody made by hand.
struct Client {
    socket: PathBuf,
    operator: Bundle,
    nonce: u8,
}

impl Client {
    fn new(socket: PathBuf, profile: &Path) -> Self {
        Self { socket, operator: Bundle::load(profile).unwrap(), nonce: 0 }
    }

    /// Writes these in one request. The status, and what came with it.
    fn write(&mut self, facts: &[(&str, Option<Vec<u8>>)]) -> (u16, String) {
        let Role::Operator(name) = self.operator.identity().role.clone() else { panic!("no operator") };
        let mut versions = Vec::new();
        for (path, value) in facts {
            self.nonce += 1;
            let statement = Statement {
                bloc: self.operator.identity().bloc.clone(),
                path: (*path).to_owned(),
                value: value.clone().map(Bytes::from),
                ancestors: Vec::new(),
                stamp: Stamp { wall: unix_now() * 1_000_000, logical: u32::from(self.nonce) },
                author: Author::Operator(name.clone()),
                nonce: vec![self.nonce].into(),
            };
            versions.push(to_hex(&seal(&self.operator, &statement).unwrap()));
        }
        let body = serde_json::to_string(&WriteRequest { versions }).unwrap();
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        let head = "POST /v1/facts HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split_whitespace().nth(1).unwrap().parse().unwrap();
        (status, answer)
    }

    /// Refused with this, and with what to do next.
    fn refused(&mut self, facts: &[(&str, Option<Vec<u8>>)], texts: &[&str]) {
        let (status, answer) = self.write(facts);
        assert_eq!(status, 403, "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let document = &body[body.find('{').unwrap()..=body.rfind('}').unwrap()];
        let error: ErrorDoc = serde_json::from_str(document).unwrap();
        for text in texts.iter().chain(&["nothing was changed"]) {
            assert!(error.cause.contains(text), "{text:?} is not in {error:?}");
        }
        assert!(!error.next.is_empty());
    }

    fn written(&mut self, facts: &[(&str, Option<Vec<u8>>)]) {
        let (status, answer) = self.write(facts);
        assert!(matches!(status, 200 | 202), "{answer}");
    }
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
    let mut client = Client::new(world.path("s1/crux.sock"), &world.path("config/crux/profile"));
    let manifest = Manifest { service: "api".into(), run: vec!["true".into()], ..Manifest::default() }.encode_to_vec();
    let revision = Manifest::revision(&manifest);
    let muster = muster_path(&"api".parse().unwrap(), &revision);
    let place = |khan: &str| {
        Some(Place { revision: revision.0.into(), place: khan.into(), ..Place::default() }.encode_to_vec())
    };
    let good = place("pick(api, 0, ALL)");
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
    // All or nothing: what makes sense beside what does not is not taken either.
    client.refused(&[("horde/db", horde(1, "", &[])), ("horde/web", horde(1, "zone=", &[]))], &["horde/web"]);
    let listed = world.crux(&["--at", "s1/crux.sock", "facts", "list"]);
    assert!(listed.done().contains("place/main/api") && !listed.out.contains("horde/db"), "{}", listed.out);
    fulcrum.stop();
}
