//! The examples of programs, as they stand in the repository and in the book, against real fulcrums.

mod help;
use help::cluster::{Cluster, names};
use help::fulcrum::{Fulcrum, until, world};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Generous: what is waited for takes a second or two.
const LIMIT: Duration = Duration::from_secs(90);

/// The Rust example, which is built with the workspace, beside the program that is tested.
fn example() -> Command {
    let path = Path::new(env!("CARGO_BIN_EXE_crux")).with_file_name("examples").join("confab");
    assert!(path.exists(), "{} is missing: build and test with --workspace", path.display());
    Command::new(path)
}

fn in_book(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/book/src/examples").join(name)
}

/// Whether this machine has that program; if not, the test says so.
fn has(program: &str) -> bool {
    let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !there {
        eprintln!("SKIPPED: there is no {program} on this machine");
    }
    there
}

/// A program that prints lines.
struct Program {
    process: Child,
    lines: Receiver<String>,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (line, lines) = channel();
        let out = BufReader::new(process.stdout.take().unwrap());
        let err = BufReader::new(process.stderr.take().unwrap());
        let other = line.clone();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|text| line.send(text)));
        std::thread::spawn(move || err.lines().map_while(Result::ok).try_for_each(|text| other.send(text)));
        Self { process, lines }
    }

    /// Waits until it prints a line like this.
    #[track_caller]
    fn says(&self, what: &str, wanted: impl Fn(&str) -> bool) {
        let mut said = Vec::new();
        loop {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) if wanted(&line) => return,
                Ok(line) => said.push(line),
                Err(_) => panic!("it did not say {what}; it said {said:#?}"),
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Every example, reaching n1 by every way that it knows.
fn programs(cluster: &Cluster, page: &str, api: &str) -> Vec<(&'static str, Command)> {
    let socket = cluster.socket("n1");
    let dev: Value =
        serde_json::from_slice(&std::fs::read(cluster.home.path().join("crux/dev.json")).unwrap()).unwrap();
    let page = format!("http://{page}");
    let with = |mut command: Command, words: &[&str]| {
        command.args(words);
        command
    };
    let socket = socket.to_str().unwrap();
    let mut all = vec![
        ("Rust at the page's port", with(example(), &[&page])),
        ("Rust at the socket", with(example(), &[socket])),
        ("Rust at the API port", with(example(), &[api, dev["operator"].as_str().unwrap()])),
    ];
    if has("python3") {
        let python = || with(Command::new("python3"), &["-u", in_book("confab.py").to_str().unwrap()]);
        all.push(("Python at the page's port", with(python(), &[&page])));
        all.push(("Python at the socket", with(python(), &[socket])));
    }
    if has("curl") {
        let shell = with(Command::new("sh"), &[in_book("confab.sh").to_str().unwrap(), &page]);
        all.push(("a shell at the page's port", shell));
    }
    all
}

#[test]
fn every_example_sees_a_split_and_a_heal_by_every_way() {
    let cluster = Cluster::up(3);
    let all = ["n1", "n2", "n3"];
    let status = cluster.until("n1", "a whole flock", |status| status["members"] == names(&all));
    let listens = |port: &str| status["listens"][port].as_str().expect("it listens").to_owned();
    let told = format!("programs ask n1 at http://{}/v1/confab", listens("page"));
    assert!(cluster.said.iter().any(|line| line.contains(&told)), "{told} in {:#?}", cluster.said);
    // Each node has a port of its own.
    let ports: Vec<Value> = all.map(|node| cluster.status(node).unwrap()["listens"]["page"].clone()).into();
    assert!(ports.iter().all(Value::is_string) && ports[0] != ports[1] && ports[1] != ports[2], "{ports:?}");
    let running: Vec<(&str, Program)> = programs(&cluster, &listens("page"), &listens("api"))
        .into_iter()
        .map(|(name, mut command)| (name, Program::start(&mut command)))
        .collect();
    // The shell prints the list as JSON has it.
    let has = |line: &str, wanted: &[&str]| {
        line.contains(" leads ")
            && all.iter().all(|name| line.rsplit(" leads ").next().unwrap().contains(name) == wanted.contains(name))
    };
    for (name, program) in &running {
        program.says(&format!("{name}: three members"), |line| has(line, &all));
    }
    cluster.ok(&["lab", "split", "n1,n2/n3"]);
    for (name, program) in &running {
        program.says(&format!("{name}: its part"), |line| has(line, &["n1", "n2"]));
    }
    cluster.ok(&["lab", "heal"]);
    for (name, program) in &running {
        program.says(&format!("{name}: three members again"), |line| has(line, &all));
    }
}

#[test]
fn every_example_goes_on_when_its_fulcrum_comes_back() {
    let world = world(&["n1"]);
    let n1 = Fulcrum::start(&world, "n1", "s", &["--page", "127.0.0.1:0"]);
    let page = n1.answers()["listens"]["page"].as_str().unwrap().to_owned();
    let url = format!("http://{page}");
    let socket = world.path("s/crux.sock");
    let mut running = vec![
        ("Rust at the page's port", Program::start(example().arg(&url))),
        ("Rust at the socket", Program::start(example().arg(&socket))),
    ];
    if has("python3") {
        let script = in_book("confab.py");
        running.push(("Python", Program::start(Command::new("python3").arg("-u").arg(&script).arg(&url))));
        running
            .push(("Python at the socket", Program::start(Command::new("python3").arg("-u").arg(script).arg(&socket))));
    }
    if has("curl") {
        running.push(("a shell", Program::start(Command::new("sh").arg(in_book("confab.sh")).arg(&url))));
    }
    for (name, program) in &running {
        program.says(&format!("{name}: who leads"), |line| line.starts_with("n1 leads "));
    }
    n1.stop();
    for (name, program) in &running {
        program.says(&format!("{name}: that it lost it"), |line| line.ends_with("trying again"));
    }
    let n1 = Fulcrum::start(&world, "n1", "s", &["--page", &page]);
    for (name, program) in &running {
        program.says(&format!("{name}: who leads again"), |line| line.starts_with("n1 leads "));
    }
    n1.stop();
}

#[test]
fn what_the_page_s_port_does_not_have_is_one_clear_error_of_the_client() {
    use crux_api::client::Client;
    use crux_api::json::{Code, FactList};
    let world = world(&["n1"]);
    let n1 = Fulcrum::start(&world, "n1", "s", &["--page", "127.0.0.1:0"]);
    let page = n1.answers()["listens"]["page"].as_str().unwrap().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = Client::at_page(&page);
        assert_eq!(client.confab().await.unwrap().node, "n1");
        assert_eq!(client.status().await.unwrap().listens.page.as_deref(), Some(page.as_str()));
        let error = client.get::<FactList>("/v1/facts").await.unwrap_err();
        assert_eq!(error.code, Code::NotFound, "{error}");
        assert!(error.cause.contains("/v1/facts at the page's port"), "{error}");
        assert_eq!(client.down(false).await.unwrap_err().code, Code::BadRequest, "nothing with a body");
        // What stands there about it is about what is there.
        let text = until("the description", || help_text(&page, "/v1/openapi.json"));
        let told: Value = serde_json::from_str(&text).unwrap();
        let paths: Vec<&String> = told["paths"].as_object().unwrap().keys().collect();
        assert_eq!(paths, ["/v1/confab", "/v1/openapi.json", "/v1/status"]);
    });
    n1.stop();
}

/// The body of a plain answer.
fn help_text(page: &str, path: &str) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(page).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {page}\r\nconnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text.split_once("\r\n\r\n")?.1.to_owned())
}
