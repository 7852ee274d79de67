//! The page's port: what a program without a certificate is told, and what nobody gets there.

mod help;
use help::fulcrum::{Fulcrum, until, world};
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Generous: what is waited for takes milliseconds.
const LIMIT: Duration = Duration::from_secs(60);

/// An answer, taken apart.
struct Answer {
    code: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    /// The code of the error that it tells.
    fn error(&self) -> String {
        let error: Value = serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{}\n{}", self.head, self.body));
        assert_eq!(error["kind"], "Error");
        assert!(!error["next"].as_str().unwrap().is_empty());
        error["code"].as_str().unwrap().to_owned()
    }
}

/// Sends these bytes and reads until the end; `None` if the connection ends without an answer.
fn send(addr: &str, bytes: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    // The other side may have heard enough before it has heard all.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.split_whitespace().nth(1)?.parse().ok()?;
    Some(Answer { code, head: head.to_owned(), body: body.to_owned() })
}

/// A request with these lines after its first, and no body.
fn ask(addr: &str, first: &str, lines: &[(&str, &str)]) -> Answer {
    let mut request = format!("{first} HTTP/1.1\r\nconnection: close\r\n");
    for (name, value) in lines {
        request += &format!("{name}: {value}\r\n");
    }
    send(addr, format!("{request}\r\n").as_bytes()).expect("an answer")
}

/// As a program of this machine asks.
fn get(addr: &str, path: &str) -> Answer {
    ask(addr, &format!("GET {path}"), &[("host", addr)])
}

/// Where a fulcrum answers programs.
fn page(fulcrum: &Fulcrum<'_>) -> String {
    fulcrum.answers()["listens"]["page"].as_str().expect("a page's port").to_owned()
}

/// What no answer is without.
#[track_caller]
fn strict(answer: &Answer) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-frame-options", "DENY"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{}", answer.head);
    }
    let policy = answer.header("content-security-policy").unwrap_or_default();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{}", answer.head);
    assert_eq!(answer.header("access-control-allow-origin"), None, "{}", answer.head);
}

#[test]
fn a_program_without_a_certificate_is_told_names_and_status_and_nothing_else() {
    let world = world(&["n1"]);
    let n1 = Fulcrum::start(&world, "n1", "s", &["--page", "127.0.0.1:0"]);
    let addr = page(&n1);
    let here = [("host", addr.as_str())];

    let confab: Value = serde_json::from_str(&get(&addr, "/v1/confab").body).unwrap();
    assert_eq!((&confab["kind"], &confab["node"], &confab["bloc"]), (&"Confab".into(), &"n1".into(), &"acme".into()));
    let status: Value = serde_json::from_str(&get(&addr, "/v1/status").body).unwrap();
    assert_eq!((&status["kind"], &status["listens"]["page"]), (&"Status".into(), &addr.as_str().into()));
    // By every name that this machine has for itself.
    let port = addr.rsplit_once(':').unwrap().1;
    for name in ["localhost", "127.0.0.1", "[::1]"] {
        let answer = ask(&addr, "GET /v1/confab", &[("host", &format!("{name}:{port}"))]);
        assert_eq!(answer.code, 200, "{name}: {}", answer.body);
    }
    assert_eq!(get(&addr, "/livez").body, "ok\n");
    let ready = get(&addr, "/readyz?verbose");
    assert!(ready.code == 200 && ready.body.contains("[+]store takes writes"), "{}", ready.body);
    let about = get(&addr, "/");
    assert!(about.body.starts_with("n1 of bloc acme, crux ") && about.body.contains("/v1/confab"), "{}", about.body);
    assert!(about.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{}", about.head);

    let head = ask(&addr, "HEAD /v1/confab", &here);
    assert_eq!((head.code, head.body.as_str()), (200, ""));
    strict(&head);
    for path in ["/", "/v1/confab", "/v1/status", "/livez", "/readyz"] {
        let answer = get(&addr, path);
        assert_eq!(answer.code, 200, "{path}: {}", answer.body);
        strict(&answer);
    }
    for path in [
        "/v1/facts",
        "/v1/logs?service=main%2Fdemo",
        "/v1/audit",
        "/v1/ps",
        "/v1/nodes",
        "/v1/events",
        "/v1/files",
        "/v1/files/00",
        "/v1/doctor",
        "/v1/why?subject=flock",
        "/metrics",
        "/v1",
        "/v1/",
        "/v1/confab/",
        "/v1//confab",
        "/v1/%63onfab",
        "/../v1/facts",
        "/favicon.ico",
    ] {
        let answer = get(&addr, path);
        assert_eq!((answer.code, answer.error().as_str()), (404, "E300"), "{path}: {}", answer.body);
        strict(&answer);
    }
    // gRPC is for who has a certificate or the socket.
    let grpc = ask(&addr, "POST /crux.v1.Confab/Get", &[here[0], ("content-type", "application/grpc")]);
    assert_eq!(grpc.code, 405);
    n1.stop();
}

#[test]
fn a_watching_program_sees_who_comes_and_goes() {
    let world = world(&["n1", "n2"]);
    let n1 = Fulcrum::start(&world, "n1", "s1", &["--page", "127.0.0.1:0"]);
    let addr = page(&n1);
    let mesh = n1.answers()["listens"]["mesh"].as_str().unwrap().to_owned();
    let stream = TcpStream::connect(&addr).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut lines = BufReader::new(&stream).lines();
    (&stream).write_all(format!("GET /v1/confab?watch HTTP/1.1\r\nhost: {addr}\r\n\r\n").as_bytes()).unwrap();
    let mut members = || loop {
        let line = lines.next().expect("the stream goes on").unwrap();
        if let Some(data) = line.strip_prefix("data: ") {
            let confab: Value = serde_json::from_str(data).unwrap();
            break confab["members"].as_array().unwrap().len();
        }
    };
    assert_eq!(members(), 1);
    let n2 = Fulcrum::start(&world, "n2", "s2", &["--seed", &mesh]);
    while members() != 2 {}
    n2.stop();
    while members() != 1 {}
    n1.stop();
}

#[test]
fn another_site_is_not_answered_by_whatever_name_or_way_it_asks() {
    let world = world(&["n1"]);
    let n1 = Fulcrum::start(&world, "n1", "s", &["--page", "127.0.0.1:0"]);
    let addr = page(&n1);
    let port = addr.rsplit_once(':').unwrap().1;
    for host in
        ["evil.example", &format!("evil.example:{port}"), "127.0.0.1", &format!("127.0.0.1.evil.example:{port}"), ""]
    {
        for path in ["/v1/confab", "/v1/confab?watch", "/v1/status", "/livez", "/", "/v1/facts"] {
            let answer = ask(&addr, &format!("GET {path}"), &[("host", host)]);
            assert_eq!((answer.code, answer.error().as_str()), (403, "E401"), "{host} {path}: {}", answer.body);
            assert!(!answer.body.contains("acme"), "it says whose it is: {}", answer.body);
            strict(&answer);
        }
    }
    assert_eq!(ask(&addr, "GET /v1/confab", &[]).error(), "E205");
    assert_eq!(ask(&addr, "GET /v1/confab", &[("host", &addr), ("host", "evil.example")]).error(), "E205");
    let proxied = ask(&addr, "GET http://evil.example/v1/confab", &[("host", &addr)]);
    assert_eq!(proxied.error(), "E401");
    for origin in ["http://evil.example", "null", &format!("https://{addr}"), &format!("http://localhost:{port}")] {
        let answer = ask(&addr, "GET /v1/confab", &[("host", &addr), ("origin", origin)]);
        assert_eq!((answer.code, answer.error().as_str()), (403, "E401"), "{origin}");
        strict(&answer);
    }
    let own = format!("http://{addr}");
    assert_eq!(ask(&addr, "GET /v1/confab", &[("host", &addr), ("origin", &own)]).code, 200);
    let image = [("host", addr.as_str()), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")];
    assert_eq!(ask(&addr, "GET /v1/status", &image).error(), "E401");
    n1.stop();
}

#[test]
fn nothing_is_changed_and_no_body_is_read() {
    let world = world(&["n1"]);
    let n1 = Fulcrum::start(&world, "n1", "s", &["--page", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]);
    let addr = page(&n1);
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"] {
        for path in ["/v1/down", "/v1/facts", "/v1/confab", "/", "/v1/node/forget"] {
            let answer = ask(&addr, &format!("{method} {path}"), &[("host", &addr), ("content-length", "0")]);
            assert_eq!((answer.code, answer.error().as_str()), (405, "E401"), "{method} {path}");
            assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{}", answer.head);
            strict(&answer);
        }
    }
    // Who makes up methods makes up no series that are counted for ever.
    for number in 0..40 {
        assert_eq!(ask(&addr, &format!("MADEUP{number} /v1/confab"), &[("host", &addr)]).code, 405);
    }
    let metrics = n1.answers()["listens"]["metrics"].as_str().unwrap().to_owned();
    let counted = help::get(&metrics, "/metrics").1;
    assert!(counted.contains("method=\"other\"") && !counted.contains("MADEUP"), "{counted}");
    // Told before it has sent any of it, and it may stop.
    let began = Instant::now();
    let huge = ask(&addr, "GET /v1/confab", &[("host", &addr), ("content-length", "1000000000")]);
    assert_eq!(huge.error(), "E205");
    let chunked = ask(&addr, "POST /v1/down", &[("host", &addr), ("transfer-encoding", "chunked")]);
    assert_eq!(chunked.error(), "E205");
    assert!(began.elapsed() < LIMIT);
    assert!(n1.answers()["members"].is_array(), "it goes on");
    n1.stop();
}

/// Open descriptors of a process, and its resident memory in KiB.
fn weight(process: u32) -> (usize, u64) {
    let open = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count();
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    (open, line.split_whitespace().nth(1).unwrap().parse().unwrap())
}

#[test]
fn ten_thousand_that_say_nothing_keep_nobody_out_and_cost_little() {
    let world = world(&["n1"]);
    let n1 = Fulcrum::start(&world, "n1", "s", &["--page", "127.0.0.1:0"]);
    let addr = page(&n1);
    let (open_before, memory_before) = weight(n1.process.id());
    // As many as this process may hold; the oldest have been sent away long before.
    let mut held = VecDeque::new();
    let mut most = (0, 0);
    for number in 0..10_000_u32 {
        let mut slow = TcpStream::connect(&addr).unwrap();
        // Some say nothing, some never end what they say.
        if number.is_multiple_of(2) {
            let _ = slow.write_all(b"GET /v1/status?watch HTTP/1.1\r\nhost: ");
        }
        held.push_back(slow);
        if held.len() > 900 {
            held.pop_front();
        }
        if number.is_multiple_of(500) {
            assert_eq!(get(&addr, "/v1/confab").code, 200, "after {number}");
            let (open, memory) = weight(n1.process.id());
            most = (most.0.max(open), most.1.max(memory));
        }
    }
    let (open, memory) = most;
    assert!(open < open_before + 320, "{open} descriptors, {open_before} before");
    assert!(memory < memory_before + 32 * 1024, "{memory} KiB, {memory_before} before");
    // Their time ends too: nobody has to come and push them out.
    until("the silent ones are gone", || (weight(n1.process.id()).0 <= open_before + 8).then_some(()));
    n1.stop();
}

#[test]
fn long_heads_and_nonsense_are_refused_and_do_no_harm() {
    let world = world(&["n1"]);
    let n1 = Fulcrum::start(&world, "n1", "s", &["--page", "127.0.0.1:0"]);
    let addr = page(&n1);
    let (_, memory_before) = weight(n1.process.id());
    let line = "x".repeat(1 << 20);
    let many = (0..500).map(|number| format!("x{number}: y\r\n")).collect::<String>();
    for request in [
        format!("GET /v1/confab HTTP/1.1\r\nhost: {addr}\r\nx: {line}\r\n\r\n"),
        format!("GET /v1/confab HTTP/1.1\r\nhost: {addr}\r\n{many}\r\n"),
        format!("GET /{line} HTTP/1.1\r\nhost: {addr}\r\n\r\n"),
        format!("{line} / HTTP/1.1\r\nhost: {addr}\r\n\r\n"),
        "\0\u{1}\u{2}\u{16}\u{3}\u{1}rubbish\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ] {
        for _ in 0..8 {
            if let Some(answer) = send(&addr, request.as_bytes()) {
                assert!((400..500).contains(&answer.code), "{}", answer.head);
                assert!(!answer.body.contains("acme"), "{}", answer.body);
            }
        }
    }
    let (_, memory) = weight(n1.process.id());
    assert!(memory < memory_before + 32 * 1024, "{memory} KiB, {memory_before} before");
    assert_eq!(get(&addr, "/v1/confab").code, 200);
    n1.stop();
}

#[test]
fn a_busy_port_is_a_warning_and_none_is_none() {
    let world = world(&["n1"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let n1 = Fulcrum::start(&world, "n1", "s", &["--page", &addr]);
    assert_eq!(n1.answers()["listens"]["page"], Value::Null);
    n1.says("there is no page: TCP");
    n1.stop();
    let n1 = Fulcrum::start(&world, "n1", "s", &["--page", "off"]);
    assert_eq!(n1.answers()["listens"]["page"], Value::Null);
    n1.stop();
    let refused = world.run(&mut help::fulcrum::up(&world, "n1", "s", &["--page", "0.0.0.0:0"]));
    refused.failed(2, "E204", &["0.0.0.0:0 is no address of loopback", "ssh -L"]);
}
