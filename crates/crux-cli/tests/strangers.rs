//! Who comes to a running `crux up` with a hand-made client: papers that must be refused (I1, I2), and a node of the bloc
//! that sends damaged frames (D4, D6).

mod help;
#[path = "help/stranger.rs"]
mod stranger;
use crux_fuzz::mutate::{self, Dice};
use crux_pki::{Bundle, Ca, unix_now};
use help::cluster::{LIMIT, names};
use help::fulcrum::{Fulcrum, until, world};
use serde_json::Value;
use std::net::SocketAddr;
use stranger::{Stranger, ended};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn mesh(fulcrum: &Fulcrum) -> SocketAddr {
    fulcrum.answers()["listens"]["mesh"].as_str().unwrap().parse().unwrap()
}

#[test]
fn bad_papers_are_refused_in_words_that_log_and_commands_of_the_fulcrum_say_too() {
    let world = world(&["n1", "n2"]);
    let n1 = Fulcrum::start(&world, "n1", "s1", &["--expect", "1"]);
    let to = mesh(&n1);
    let (ca, papers) = (Ca::open(&world.path("ca")).unwrap(), Bundle::load(&world.path("n2")).unwrap());
    let all = crux_pki::fuzz::shown(&ca, &"n2".parse().unwrap(), unix_now());
    let (bad, good): (Vec<_>, Vec<_>) = all.into_iter().partition(|shown| shown.refused.is_some());
    assert!(bad.len() >= 8 && good.len() >= 2);
    let runtime = runtime();
    for shown in &bad {
        let (name, words) = (shown.name, shown.refused.unwrap());
        let (addr, end) = runtime.block_on(async {
            let stranger = Stranger::new(&papers, Some(shown));
            (stranger.addr().to_string(), ended(stranger.dial(to).await).await)
        });
        assert!(end.contains(words), "the stranger about {name}: {end:?} does not say {words:?}");
        let line = |text: &str| text.lines().any(|line| line.contains(&addr) && line.contains(words));
        until(&format!("the log of {name}: {}", n1.log()), || line(&n1.log()).then_some(()));
        let flocks = n1.json("flocks").expect("an answer");
        let outside = flocks["outside"].as_array().unwrap().iter().find(|line| line["addr"] == addr.as_str());
        let reason = outside.unwrap_or_else(|| panic!("{name} at {addr}: {flocks:#}"))["reason"].as_str().unwrap();
        assert!(reason.contains(words), "flocks about {name}: {reason}");
        // A warning is no failure of the command: a stranger's affair is no fault here.
        let doctor = n1.json("doctor").expect("an answer");
        let told = doctor["findings"].as_array().unwrap().iter().any(|finding| {
            finding["state"] == "warning"
                && finding["subject"].as_str().unwrap().contains(&addr)
                && finding["text"].as_str().unwrap().contains(words)
        });
        assert!(told, "doctor about {name} at {addr}: {doctor:#}");
        let why = world.crux(&["--at", "s1/crux.sock", "why", "node", &addr, "-o", "json"]);
        assert!(why.done().contains(words), "why about {name}: {}", why.out);
        assert_eq!(n1.json("links").expect("an answer")["links"], Value::Array(vec![]), "{name}");
    }
    assert_eq!(n1.answers()["members"], names(&["n1"]));
    assert!(!n1.log().contains("linked with"), "{}", n1.log());
    // The same client with papers that are good is welcome.
    for (shown, boot) in good.iter().zip(unix_now()..) {
        runtime.block_on(async {
            let (connection, _frames) = Stranger::new(&papers, Some(shown)).link(to, boot).await;
            let its_frames = tokio::time::timeout(LIMIT, connection.accept_uni()).await;
            assert!(its_frames.is_ok_and(|stream| stream.is_ok()), "{} is no link", shown.name);
        });
        n1.says(&format!("linked with n2@{boot:x}"));
    }
    n1.stop();
}

/// Frames as peers send them, damaged; the same ones in every run.
fn damaged(number: usize) -> Vec<Vec<u8>> {
    let seeds = (crux_fuzz::named("frame").expect("the target of frames").seeds)();
    let mut dice = Dice::new(0xd006);
    let one = |dice: &mut Dice| match dice.below(8) {
        0 => (0..dice.below(400)).map(|_| dice.byte()).collect(),
        _ => mutate::mutate(&seeds[dice.below(seeds.len())], &seeds, dice),
    };
    (0..number).map(|_| one(&mut dice)).collect()
}

/// A node of the bloc that keeps coming back, each time in a newer life.
struct Hostile {
    stranger: Stranger,
    to: SocketAddr,
    boot: u64,
}

impl Hostile {
    async fn link(&mut self) -> (quinn::Connection, quinn::SendStream) {
        self.boot += 1;
        self.stranger.link(self.to, self.boot).await
    }
}

/// Whether this fulcrum must take these bytes for a message that no version sends.
fn is_bad(frame: &[u8]) -> bool {
    use crux_core::wire::{BadFrame, Frame};
    let read = Frame::decode(frame.to_vec().into(), &"acme".parse().unwrap());
    read.is_err_and(|cause| cause != BadFrame::Unknown)
}

/// Sends each on a link and looks that the link ends for it if it must; how many times it did.
async fn damaged_frames(hostile: &mut Hostile) -> usize {
    let mut cut = 0;
    let (mut connection, mut frames) = hostile.link().await;
    for frame in damaged(300) {
        if connection.close_reason().is_some() {
            (connection, frames) = hostile.link().await;
        }
        let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
        // Who was cut for what it sent before cannot send this.
        let sent = frames.write_all(&[&length[..], &frame].concat()).await.is_ok();
        if is_bad(&frame) {
            let end = ended(Ok(connection.clone())).await;
            cut += usize::from(sent && end.contains("a message of it was not taken: "));
        }
    }
    cut
}

/// What breaks the rules of the streams themselves, each with the words that the link ends with.
async fn broken_streams(hostile: &mut Hostile) {
    let says = |end: &str, words: &str| assert!(end.contains(words), "{end:?} does not say {words:?}");
    let (connection, mut frames) = hostile.link().await;
    frames.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
    says(&ended(Ok(connection)).await, "a frame of more than 1 MiB");

    let (connection, mut frames) = hostile.link().await;
    frames.write_all(&[0, 0, 1, 0, 7]).await.unwrap();
    frames.reset(quinn::VarInt::from_u32(7)).unwrap();
    says(&ended(Ok(connection)).await, "broke off its stream of frames");

    let (connection, mut frames) = hostile.link().await;
    frames.write_all(&[0, 0, 1, 0, 7]).await.unwrap();
    frames.finish().unwrap();
    says(&ended(Ok(connection)).await, "broke off its stream of frames");

    let (connection, _frames) = hostile.link().await;
    connection.send_datagram(vec![0xff; 900].into()).unwrap();
    says(&ended(Ok(connection)).await, "a message of it was not taken: ");

    // Requests that are none: whoever asks is not answered, and that is all.
    let (connection, _frames) = hostile.link().await;
    for junk in damaged(8) {
        let (mut ask, mut answer) = connection.open_bi().await.unwrap();
        let _ = ask.write_all(&junk).await;
        let _ = ask.finish();
        let answered = tokio::time::timeout(LIMIT, answer.read_to_end(1 << 20)).await;
        assert!(answered.is_ok(), "a request that is none is held open for ever");
    }
}

/// What must not change in what a fulcrum says.
fn flock(status: &Value) -> Value {
    let keys = ["node", "boot", "flock", "view", "leader", "members", "facts"];
    keys.iter().map(|key| status[key].clone()).collect()
}

#[test]
fn damaged_frames_of_a_node_of_the_bloc_cost_it_its_links_and_the_flock_nothing() {
    let world = world(&["n1", "n2", "n3"]);
    let mut n1 = Fulcrum::start(&world, "n1", "s1", &[]);
    let to = mesh(&n1);
    let n2 = Fulcrum::start(&world, "n2", "s2", &["--seed", &to.to_string()]);
    let whole = |fulcrum: &Fulcrum| {
        let pair = |status: &Value| status["members"] == names(&["n1", "n2"]) && status["stable"] == true;
        fulcrum.json("status").filter(pair)
    };
    // Each has written its row for the last time, which is when it carries the flag.
    let agreed = || {
        let (one, two) = (whole(&n1)?, whole(&n2)?);
        let rest = [&one, &two].iter().all(|status| status["admin"] == names(&["n1", "n2"]));
        (rest && one["facts"]["digest"] == two["facts"]["digest"]).then_some([one, two])
    };
    let before = until("a flock of two that agrees", agreed);

    let papers = Bundle::load(&world.path("n3")).unwrap();
    let cut = runtime().block_on(async {
        let mut hostile = Hostile { stranger: Stranger::new(&papers, None), to, boot: unix_now() };
        let cut = damaged_frames(&mut hostile).await;
        broken_streams(&mut hostile).await;
        cut
    });
    // Else they were not damaged, or never arrived.
    assert!(cut >= 50, "{cut} links were cut for a message");

    let after = until("the flock of two", agreed);
    assert_eq!(after.each_ref().map(flock), before.each_ref().map(flock));
    assert!(n1.log().contains("a message from n3@"), "{}", n1.log());
    // And it still does what it is for.
    world.crux(&["--at", "s1/crux.sock", "horde", "create", "web", "--want", "1"]).done();
    until("a write reaches the other", || {
        let ran = world.crux(&["--at", "s2/crux.sock", "horde", "list", "-o", "name"]);
        (ran.code == 0 && ran.out.contains("web")).then_some(())
    });
    assert!(n1.process.try_wait().unwrap().is_none() && !n1.log().contains("panicked"), "{}", n1.log());
    n2.stop();
    n1.stop();
}
