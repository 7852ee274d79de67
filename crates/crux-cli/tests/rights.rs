//! Every verb against everybody who may ask for it, at a real fulcrum's doors: the whole table of routes, read over its
//! API port and its socket. A route that nobody judged would be answered here to somebody it should not be.

mod help;
use crux_api::rights::{GRPC, Right, Route};
use crux_pki::{Bundle, Ca, Identity, IssueRequest, RoleKind, Scope, Scopes, Verb, client_config, unix_now};
use help::cluster::LIMIT;
use help::fulcrum::{Fulcrum, world};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

/// How somebody comes in.
#[derive(Clone)]
enum Way {
    Tls(Arc<ClientConfig>),
    Socket,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It did not get as far as asking.
    TurnedAway,
    /// It was told that it may not.
    Refused,
    /// It reached what it asked for.
    Answered,
}

/// Takes any server for the right one: only whom *it* lets in is asked here.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

fn without_certificate() -> Way {
    let mut provider = default_provider();
    provider.kx_groups = vec![kx_group::X25519MLKEM768];
    let config = ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions().unwrap();
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer));
    Way::Tls(Arc::new(config.with_no_client_auth()))
}

fn with(bundle: &Bundle) -> Way {
    let trust = Arc::new(bundle.trust().clone());
    Way::Tls(Arc::new(client_config(bundle, trust, &[RoleKind::Node], &[b"http/1.1"]).unwrap()))
}

/// The head of what comes back, and for a document its body.
async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> std::io::Result<String> {
    stream.write_all(request.as_bytes()).await?;
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    // A stream of gRPC does not end by itself.
    while !request.contains("application/grpc") || !String::from_utf8_lossy(&text).contains("\r\n\r\n") {
        match stream.read(&mut piece).await {
            Ok(0) => break,
            Ok(read) => text.extend_from_slice(&piece[..read]),
            // Who closes without goodbye has answered all the same.
            Err(_) if text.windows(4).any(|window| window == b"\r\n\r\n") => break,
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

struct Doors {
    addr: String,
    socket: std::path::PathBuf,
}

impl Doors {
    async fn ask(&self, way: &Way, request: &str) -> Outcome {
        let asked = async {
            match way {
                Way::Socket => exchange(&mut tokio::net::UnixStream::connect(&self.socket).await?, request).await,
                Way::Tls(config) => {
                    let stream = tokio::net::TcpStream::connect(&self.addr).await?;
                    let name = ServerName::try_from("crux.invalid").unwrap();
                    exchange(&mut TlsConnector::from(config.clone()).connect(name, stream).await?, request).await
                }
            }
        };
        let answer = tokio::time::timeout(LIMIT, asked).await.expect("an answer comes").unwrap_or_default();
        match answer.split_whitespace().nth(1) {
            None => Outcome::TurnedAway,
            Some("403") if answer.contains("\"E401\"") => Outcome::Refused,
            Some(_) if answer.contains("grpc-status: 7\r\n") => Outcome::Refused,
            Some(_) => {
                let unknown = ["there is no GET /", "there is no POST /", "there is no PUT /", "grpc-status: 12"];
                assert!(unknown.iter().all(|text| !answer.contains(text)), "{request}{answer}");
                Outcome::Answered
            }
        }
    }
}

/// A request that reaches the route and does nothing: whatever is done takes JSON, and this is none.
fn harmless(route: Route) -> String {
    let path = route.path().replace("{sha256}", &"00".repeat(32));
    let body = if route.method() == "GET" { "" } else { "[7" };
    let (method, size) = (route.method(), body.len());
    format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {size}\r\n\r\n{body}"
    )
}

fn grpc(path: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\nte: trailers\r\ncontent-length: 5\r\n\r\n\0\0\0\0\0"
    )
}

fn scopes(text: &str) -> Scopes {
    Scope::parse_all(text).unwrap().into_iter().collect()
}

#[test]
fn nobody_does_what_its_certificate_does_not_permit() {
    let world = world(&["n1", "n9"]);
    let fulcrum = Fulcrum::start(&world, "n1", "s1", &[]);
    let addr = fulcrum.answers()["listens"]["api"].as_str().unwrap().to_owned();
    let doors = Doors { addr, socket: world.path("s1/crux.sock") };
    let mut ca = Ca::open(&world.path("ca")).unwrap();
    // Certificates whose life is over, or has not begun.
    let mut operator_at = |name: &str, moment: u64| {
        let role = Identity::parse(&format!("spiffe://acme/operator/{name}")).unwrap().role;
        ca.issue_at(IssueRequest { days: 1, ..IssueRequest::new(role) }, moment).unwrap()
    };
    let (old, soon) = (operator_at("old", unix_now() - 3 * 86_400), operator_at("soon", unix_now() + 3_600));
    let mut issue = |id: &str, scopes: Scopes| {
        let role = Identity::parse(&format!("spiffe://acme/{id}")).unwrap().role;
        ca.issue(IssueRequest { scopes, ..IssueRequest::new(role) }).unwrap()
    };
    let mut stranger = Ca::in_memory("acme".parse().unwrap()).unwrap();
    let eve = stranger.issue(IssueRequest::new(Identity::parse("spiffe://acme/operator/eve").unwrap().role)).unwrap();
    let load = |name: &str| Bundle::load(&world.path(name)).unwrap();

    // Who it is, how it comes, and what it may do of each right.
    type May = Box<dyn Fn(Right) -> Outcome>;
    let mut callers: Vec<(String, Way, May)> = Vec::new();
    let always = |outcome| -> May { Box::new(move |_| outcome) };
    callers.push(("no certificate".into(), without_certificate(), always(Outcome::TurnedAway)));
    callers.push(("an operator of another CA".into(), with(&eve), always(Outcome::TurnedAway)));
    callers.push(("an operator whose certificate has ended".into(), with(&old), always(Outcome::TurnedAway)));
    callers.push(("an operator whose certificate has not begun".into(), with(&soon), always(Outcome::TurnedAway)));
    let beacon = issue("beacon/watch", Scopes::default());
    callers.push(("a beacon".into(), with(&beacon), always(Outcome::TurnedAway)));
    let workload = issue("horde/web/api", Scopes::default());
    callers.push(("a workload".into(), with(&workload), always(Outcome::TurnedAway)));
    callers.push(("a node".into(), with(&load("n9")), always(Outcome::Refused)));
    callers.push(("the node itself".into(), with(&load("n1")), always(Outcome::Refused)));
    callers.push(("an operator".into(), with(&load("config/crux/profile")), always(Outcome::Answered)));
    let unnamed: May =
        Box::new(|right| if matches!(right, Right::Named(_)) { Outcome::Refused } else { Outcome::Answered });
    callers.push(("the local socket".into(), Way::Socket, unnamed));
    let every = Verb::ALL.iter().map(|verb| verb.as_str().to_owned());
    for (n, text) in every.chain(["@db".into(), "horde@web".into(), "apply@web".into()]).enumerate() {
        let scopes = scopes(&text);
        let bundle = issue(&format!("operator/o{n}"), scopes.clone());
        // Written out, not asked of the code under test: reads and signatures are for all, a verb for its own.
        let may: May = Box::new(move |right| {
            let may = match right {
                Right::Read | Right::Signed => true,
                Right::Verb(verb) => text == verb.as_str(),
                Right::Files => matches!(text.as_str(), "@db" | "apply" | "apply@web" | "restore"),
                Right::AnyHorde(verb) | Right::Named(verb) => {
                    text == "@db" || text.split('@').next() == Some(verb.as_str())
                }
            };
            if may { Outcome::Answered } else { Outcome::Refused }
        });
        callers.push((format!("an operator limited to {scopes}"), with(&bundle), may));
    }

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for (who, way, may) in &callers {
            for route in Route::ALL {
                let outcome = doors.ask(way, &harmless(*route)).await;
                assert_eq!(outcome, may(route.right()), "{who} asks for {} {}", route.method(), route.path());
            }
            for (path, right) in GRPC {
                assert_eq!(doors.ask(way, &grpc(path)).await, may(*right), "{who} asks for {path}");
            }
        }
    });
    // After all of that it is as it was.
    assert_eq!(fulcrum.answers()["node"], "n1");
    fulcrum.stop();
}

#[test]
fn what_a_limited_operator_wants_elsewhere_is_refused_with_what_it_lacks() {
    let world = world(&["n1"]);
    let fulcrum = Fulcrum::start(&world, "n1", "s1", &[]);
    let addr = fulcrum.answers()["listens"]["api"].as_str().unwrap().to_owned();
    let crux = |words: &str| world.crux(&words.split(' ').collect::<Vec<_>>());
    crux("ca issue --ca ca --operator bob --out bob --no-profile --scope apply,horde@web").done();
    for at in [addr.as_str(), "s1/crux.sock"] {
        let bob = |words: &str| crux(&format!("--at {at} --as bob {words}"));
        let refused = |words: &str, needs: &str| {
            let said = format!("operator bob is limited to apply@web horde@web, and this needs {needs}");
            bob(words).failed(4, "E401", &[&said, "next: crux ca inspect BUNDLE shows its scopes"]);
        };
        refused("horde create db --want 1", "horde@db");
        refused("node expel n7 --reason gone --admission 1", "expel");
        refused("run --name api --count 1 sleep 9", "apply@main");
        assert_eq!(bob("horde list -o name").done().lines().filter(|name| *name == "db").count(), 0);
        let made = bob("horde create web --want 1");
        assert!(matches!(made.code, 0 | 6) || made.err.contains("exists"), "{}", made.err);
    }
    // Node-local verbs at the port need the verb too, and the socket's owner needs none.
    crux(&format!("--at {addr} --as bob down")).failed(
        4,
        "E401",
        &["limited to apply@web horde@web, and this needs down"],
    );
    assert!(Path::new(&world.path("s1/crux.sock")).exists());
    crux("--at s1/crux.sock down").done();
}

#[test]
fn what_was_done_and_what_was_refused_is_written_down() {
    let world = world(&["n1"]);
    let mut fulcrum = Fulcrum::start(&world, "n1", "s1", &[]);
    let addr = fulcrum.answers()["listens"]["api"].as_str().unwrap().to_owned();
    let crux = |words: &str| world.crux(&words.split(' ').collect::<Vec<_>>());
    crux("ca issue --ca ca --operator bob --out bob --no-profile --scope apply,horde@web").done();
    let mut follow = world.command();
    follow.args(["--at", "s1/crux.sock", "audit", "-w", "-o", "json"]).stdout(std::process::Stdio::piped());
    let mut follow = follow.spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();

    crux(&format!("--at {addr} --as bob horde create web --want 1"));
    crux(&format!("--at {addr} --as bob horde create db --want 1")).failed(4, "E401", &[]);
    crux("--at s1/crux.sock --as bob node expel n7 --reason gone --admission 1").failed(4, "E401", &[]);
    crux(&format!("--at {addr} --as bob down")).failed(4, "E401", &[]);
    crux("--at s1/crux.sock node forget n7").failed(3, "E300", &[]);
    let seen = ["by", "author", "verb", "targets", "outcome", "code"];
    let wanted: Vec<Value> = [
        json!(["operator/bob", "operator/bob", "horde", ["horde/web"], "done", null]),
        json!(["operator/bob", "operator/bob", "horde", ["horde/db"], "refused", "E401"]),
        json!(["socket", "operator/bob", "expel", ["expel/n7"], "refused", "E401"]),
        json!(["operator/bob", null, "down", ["/v1/down"], "refused", "E401"]),
        json!(["socket", null, "forget", ["n7"], "failed", "E300"]),
    ]
    .into();
    let shown = |entry: &Value| Value::from(seen.iter().map(|field| entry[*field].clone()).collect::<Vec<_>>());
    let list: Value = serde_json::from_str(crux("--at s1/crux.sock audit -o json").done()).unwrap();
    let entries = list["entries"].as_array().unwrap();
    assert_eq!(entries.iter().map(shown).collect::<Vec<_>>(), wanted);
    // Who is limited has signed all the same: only its signature is good, not its wish.
    assert!(entries.iter().all(|entry| entry["claimed"] == false), "{entries:?}");
    assert_eq!(entries[0]["facts"].as_array().unwrap().len(), 1);
    assert_eq!((&entries[0]["door"], &entries[0]["uid"]), (&"n1".into(), &Value::Null));
    assert!(entries[0]["from"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(entries[2]["uid"], rustix::process::getuid().as_raw());
    assert!(entries[1]["reason"].as_str().unwrap().contains("this needs horde@db"), "{}", entries[1]);
    // Followed it is the same, one document a line, and it resumes after a cursor; any operator may read it.
    for (entry, wanted) in entries.iter().zip(&wanted) {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!((&line["kind"], &shown(&line), &line["cursor"]), (&"AuditEntry".into(), wanted, &entry["cursor"]));
    }
    let rest = crux(&format!("--at {addr} --as bob audit --after 4"));
    assert!(rest.done().contains("forget   failed   n7: E300") && rest.out.lines().count() == 1, "{}", rest.out);

    crux("--at s1/crux.sock down").done();
    fulcrum.ends();
    drop(lines);
    let _ = follow.wait();
    let files: Vec<_> = std::fs::read_dir(world.path("s1/audit")).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let text = std::fs::read_to_string(&files[0]).unwrap();
    let last: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ends: Vec<_> = last[5..].iter().map(|entry| (&entry["verb"], &entry["outcome"])).collect();
    assert_eq!(ends, [(&"down".into(), &"begun".into()), (&"down".into(), &"done".into())]);
    // The next life goes on counting.
    let again = Fulcrum::start(&world, "n1", "s1", &[]);
    again.answers();
    crux("--at s1/crux.sock node forget n8").failed(3, "E300", &[]);
    let list: Value = serde_json::from_str(crux("--at s1/crux.sock audit -o json").done()).unwrap();
    assert_eq!(list["entries"].as_array().unwrap().len(), 8);
    assert_eq!(list["entries"][7]["cursor"], "8");
    again.stop();
}
