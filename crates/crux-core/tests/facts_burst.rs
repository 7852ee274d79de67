//! More facts at once than the queue of a link holds: they are sent in pieces that it can hold, whatever makes them many.
//! The network of these tests ends a test whose queue is overrun, as a link ends then.

mod common;

use bytes::Bytes;
use common::{Net, WALL, horde, member, padded, version};
use crux_core::facts::value::Expulsion;
use crux_core::facts::version::Checked;
use crux_core::facts::{Input, Message, Output};
use crux_core::wire::Frame;
use crux_names::{Duration, Hash256, Wall};
use prost::Message as _;

const SECOND: Duration = Duration::from_secs(1);

fn large(count: u64, size: usize) -> Vec<Checked> {
    let one = |n| version(&format!("horde/h{n}"), padded(horde(1), size), vec![], WALL + n, n);
    (0..count).map(one).collect()
}

fn expulsions(of: &str, count: u64) -> Vec<Checked> {
    let value = || padded(Some(Expulsion { up_to: 1, ..Expulsion::default() }.encode_to_vec().into()), 2_200);
    (0..count).map(|n| version(&format!("expel/{of}{n}"), value(), vec![], WALL + n, n)).collect()
}

#[test]
fn a_newcomer_gets_hundreds_of_large_facts_over_a_link_that_holds_few_of_them() {
    let mut net = Net::new(3);
    let all = large(200, 100_000);
    for i in 0..2 {
        net.input(i, Input::Loaded { versions: all.clone() });
    }
    net.unite(&[0, 1]);
    net.settle();
    net.bytes = 0;
    net.unite(&[0, 1, 2]);
    net.run(SECOND);
    assert!(net.equal());
    assert_eq!((net.nodes[2].facts.count(), net.nodes[2].disk.len()), (200, 200));
    let sealed: u64 = all.iter().map(|version| version.sealed().len() as u64).sum();
    assert!(net.bytes < sealed * 11 / 10, "{} bytes were sent for {sealed} bytes of news", net.bytes);
}

#[test]
fn a_write_of_more_than_a_link_holds_reaches_all_and_is_acknowledged() {
    for others in [4, 300] {
        let mut net = Net::flock(4);
        // As many as are listed at once, and so many that ranges are compared.
        let small = (0..others).map(|n| version(&format!("horde/x{n}"), horde(1), vec![], WALL + n, n));
        let small: Vec<Checked> = small.collect();
        (0..4).for_each(|i| net.input(i, Input::Loaded { versions: small.clone() }));
        net.input(0, Input::Write { request: 1, versions: large(25, 85_000) });
        net.run(SECOND / 2);
        assert!(net.equal());
        assert_eq!(net.nodes[3].facts.count() as u64, 25 + others);
        assert!(matches!(net.written(0, 1), Some((2.., true))), "{:?}", net.written(0, 1));
    }
}

#[test]
fn many_writes_at_once_that_nobody_holds_yet_do_not_overrun_a_link() {
    let mut net = Net::flock(3);
    net.nodes[1].state = common::Disk::Slow;
    for (n, fact) in large(40, 100_000).into_iter().enumerate() {
        net.input(0, Input::Write { request: n as u64, versions: vec![fact] });
        // On this disk at once, and nothing has gone out yet.
        net.disk(0);
    }
    net.run(SECOND * 5);
    assert!(net.nodes[1].facts.digest() == net.nodes[0].facts.digest() && net.equal());
}

/// The paths of facts in the frames that wait from one to another.
fn said(net: &Net, from: usize, to: usize) -> Vec<String> {
    let facts = |bytes: &Bytes| match Frame::decode(bytes.clone(), &common::bloc()).unwrap() {
        Frame::Facts { sealed } => sealed,
        _ => Vec::new(),
    };
    let queue = net.queue.iter().filter(|(a, b, _)| (*a, *b) == (from, to));
    let sealed = queue.flat_map(|(_, _, bytes)| facts(bytes));
    sealed.map(|sealed| Checked::vouched(sealed).unwrap().statement().path.clone()).collect()
}

#[test]
fn a_thousand_expulsions_go_over_a_new_link_before_anything_else() {
    let mut net = Net::new(2);
    net.input(0, Input::Loaded { versions: [expulsions("a", 1_000), large(300, 1_000)].concat() });
    let rows = large(310, 1_000)[300..].to_vec();
    net.input(1, Input::Loaded { versions: [expulsions("b", 700), rows].concat() });
    net.link(0, 1);
    let has = |net: &Net, i: usize, of: &str| net.nodes[i].facts.paths().filter(|path| path.starts_with(of)).count();
    for _ in 0..100_000 {
        for (from, to, of, all) in [(0, 1, "expel/a", 1_000), (1, 0, "expel/b", 700)] {
            let other = said(&net, from, to).iter().any(|path| !path.starts_with("expel/"));
            let waiting = said(&net, from, to).iter().filter(|path| path.starts_with(of)).count();
            assert!(!other || has(&net, to, of) + waiting >= all, "n{from} sends something else first");
        }
        if !net.deliver() && !net.disk(0) && !net.disk(1) {
            break;
        }
    }
    net.run(SECOND * 2);
    assert!(net.equal());
    assert_eq!(net.nodes[1].facts.count(), 2_010);
}

/// A peer whose disk says nothing acknowledges nothing: it hears of all the same, more slowly.
#[test]
fn expulsions_go_on_to_a_peer_that_acknowledges_nothing() {
    let mut net = Net::new(2);
    net.input(0, Input::Loaded { versions: expulsions("a", 500) });
    net.nodes[1].state = common::Disk::Full;
    net.link(0, 1);
    net.run(SECOND * 20);
    assert!(net.equal());
}

/// What does not come, because somebody refuses its signature on the way, keeps nothing back that is good.
#[test]
fn large_facts_that_are_refused_on_the_way_keep_no_others_back() {
    let mut net = Net::new(2);
    let all = large(30, 100_000);
    net.input(0, Input::Loaded { versions: all.clone() });
    // The first five, as they are asked for: more than one answer holds.
    let mut ids: Vec<Hash256> = all.iter().map(Checked::id).collect();
    ids.sort();
    net.refuses.extend(&ids[..5]);
    net.link(0, 1);
    net.run(SECOND * 120);
    assert_eq!(net.nodes[1].facts.count(), 25);
}

/// However many ask at once, an answer is no larger.
#[test]
fn an_answer_is_a_piece_and_ends_with_a_digest() {
    let mut net = Net::new(1);
    let all = large(20, 100_000);
    net.input(0, Input::Loaded { versions: all.clone() });
    let mut out = Vec::new();
    let want = Message::Want(all.iter().map(Checked::id).collect());
    let input = Input::Message { from: member(5), message: want };
    net.nodes[0].facts.handle(net.now, Wall(WALL), input, &mut out);
    let frames = out.into_iter().filter_map(|output| match output {
        Output::Send { message, .. } => Some(Frame::from(message)),
        _ => None,
    });
    let frames: Vec<Frame> = frames.collect();
    assert!(matches!(frames.last(), Some(Frame::FactsDigest { .. })));
    let bytes: usize = frames.iter().map(|frame| frame.encode().len()).sum();
    assert!((100_000..300_000).contains(&bytes), "{bytes}");
}
