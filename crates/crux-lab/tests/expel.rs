//! A node is put out of the bloc while it streams, on real machines: the links that it has carry nothing any more, at once
//! or as soon as a split has healed, and nobody lets it in again, not even when all who had heard of it were killed.

use crux_lab::{Lab, Stream, names, now, until};
use serde_json::Value;
use std::time::Duration;

/// Generous: what is waited for takes seconds, on machines that are shared.
const LIMIT: Duration = Duration::from_secs(90);
/// So long nothing may come after the last packet for it to have been the last.
const QUIET: f64 = 3.0;
/// Within this the last packet goes on a machine that others keep busy. The promise is 2 s, and 5 s after the end of a split;
/// `cargo xtask figures --only expulsion` measures it.
const CUT: f64 = 30.0;

/// What the links of the metered machine carried so far, both ways.
fn carried(lab: &Lab) -> u64 {
    let octets = lab.network().metered();
    octets.sent + octets.received
}

/// Waits until its links, as it has them at that moment, carry so much more.
fn streams(lab: &Lab, stream: &Stream) {
    let (bytes, facts) = (carried(lab), stream.taken());
    let flows = until(LIMIT, || carried(lab) > bytes + 200_000 && stream.taken() > facts + 100);
    assert!(flows.is_ok(), "it does not stream: {} facts, {} bytes", stream.taken() - facts, carried(lab) - bytes);
}

/// Four machines that are one flock, of which this one streams over metered links.
fn streaming(out: usize) -> Option<(Lab, Stream)> {
    let mut lab = Lab::or_skip(4)?;
    lab.up_all();
    lab.await_flock(&[0, 1, 2, 3], true, LIMIT);
    let stream = Stream::start(lab.loader(), out);
    lab.network().meter_links(out);
    streams(&lab, &stream);
    Some((lab, stream))
}

/// Waits until nothing goes any more. Seconds from a moment to the last packet.
fn last_packet(lab: &Lab, begin: f64) -> f64 {
    let (mut bytes, mut last) = (carried(lab), now());
    let quiet = until(LIMIT, || {
        let seen = carried(lab);
        if seen != bytes {
            (bytes, last) = (seen, now());
        }
        now() - last > QUIET
    });
    assert!(quiet.is_ok(), "its links still carry something after {:.0} s", now() - begin);
    last - begin
}

/// That nobody of these has a link to the machine, and it has none to them, by what both sides say.
fn no_link(lab: &Lab, rest: &[usize], out: usize) {
    let name = format!("n{}", out + 1);
    for at in rest.iter().chain([&out]) {
        let list = lab.json(*at, &["links"]);
        let links = list["links"].as_array().unwrap_or_else(|| panic!("no links: {}", lab.said(&[*at])));
        let up = |link: &&Value| link["state"] == "up" && (link["from"] == *name || link["to"] == *name);
        assert_eq!(links.iter().find(up), None, "n{} says that a link is left", at + 1);
    }
}

/// That each of these knows of the expulsion, and that its view does not have the node.
fn out_for(lab: &Lab, rest: &[usize], out: usize) {
    let name = format!("n{}", out + 1);
    for at in rest {
        let status = lab.status(*at);
        let expelled = status["expelled"].as_array().cloned().unwrap_or_default();
        assert!(expelled.iter().any(|row| row["node"] == *name && row["reason"] == "stolen"), "{}", lab.said(&[*at]));
        assert_eq!(status["members"], Value::from(names(rest)));
    }
}

/// Waits until the machine reads in its own log what has become of it.
fn reads_it(lab: &Lab, out: usize) {
    let read = until(LIMIT, || lab.log(out).contains("was expelled"));
    assert!(read.is_ok(), "it does not read why: {}", lab.said(&[out]));
}

#[test]
fn a_streaming_node_is_cut_off_and_stays_out_when_all_who_know_of_it_are_killed() {
    let (rest, out) = ([0, 1, 2], 3);
    let Some((mut lab, stream)) = streaming(out) else { return };

    lab.network().meter_no_new_links();
    let begin = now();
    let said = lab.must_at(0, &["node", "expel", "n4", "--reason", "stolen"]);
    assert!(said.contains("n4 is expelled, with its admissions up to 1"), "{said}");
    let last = last_packet(&lab, begin);
    eprintln!("the last packet {last:.2} s after the command");
    assert!(last < CUT, "{last} s");
    lab.await_flock(&rest, false, LIMIT);
    eprintln!("out of every view {:.2} s after the command", lab.agreed_after(&rest, begin));
    out_for(&lab, &rest, out);
    reads_it(&lab, out);
    no_link(&lab, &rest, out);
    // It goes on alone, and what it is told stays with it.
    let before = stream.taken();
    let goes_on = until(LIMIT, || stream.taken() > before);
    assert!(goes_on.is_ok(), "an expelled node takes nothing at its own door: {}", lab.said(&[out]));
    drop(stream);

    // Whoever has heard of it is killed, all at once, while the expelled one lives and dials.
    for at in rest {
        lab.kill(at);
    }
    for at in rest {
        lab.up(at);
    }
    lab.await_flock(&rest, false, LIMIT);
    let (views, begin) = (rest.map(|at| lab.json(at, &["confab"])["view"].clone()), now());
    while now() - begin < QUIET {
        for at in rest {
            let confab = lab.json(at, &["confab"]);
            assert_eq!(confab["members"], Value::from(names(&rest)), "n{} lets it in: {views:?}", at + 1);
        }
    }
    out_for(&lab, &rest, out);
    no_link(&lab, &rest, out);
}

#[test]
fn a_node_that_is_expelled_in_the_other_part_of_a_split_is_cut_off_when_that_heals() {
    let (rest, out) = ([0, 1, 2], 3);
    let Some((lab, stream)) = streaming(out) else { return };

    // Where nobody has heard it lives on, and streams to whom it has.
    let (here, there) = ([0, 1], [2, out]);
    lab.network().split(&[&here[..], &there[..]]);
    lab.await_flock(&here, false, LIMIT);
    lab.await_flock(&there, false, LIMIT);
    lab.must_at(0, &["node", "expel", "n4", "--reason", "stolen"]);
    streams(&lab, &stream);
    assert_eq!(lab.json(2, &["confab"])["members"], Value::from(names(&there)));

    lab.network().meter_no_new_links();
    let begin = now();
    lab.network().heal();
    let last = last_packet(&lab, begin);
    eprintln!("the last packet {last:.2} s after the heal");
    assert!(last < CUT, "{last} s");
    lab.await_flock(&rest, false, LIMIT);
    eprintln!("out of every view {:.2} s after the heal", lab.agreed_after(&rest, begin));
    out_for(&lab, &rest, out);
    reads_it(&lab, out);
    no_link(&lab, &rest, out);
}
