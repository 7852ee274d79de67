//! `crux doctor` on machines with a firewall of their own: what no link shows is found before the next dial is lost in it.

use crux_lab::{Lab, until};
use serde_json::Value;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const ALL: [usize; 3] = [0, 1, 2];

/// Rules for the packet filter on a machine itself.
fn wall(lab: &Lab, at: usize, rules: &str) {
    let mut command = lab.network().command(at, Path::new("nft"));
    let mut child = command.args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft starts");
    child.stdin.take().expect("its input").write_all(rules.as_bytes()).expect("nft reads its rules");
    assert!(child.wait().expect("nft's end").success(), "{rules}");
}

/// What is wrong with ports, as check, subject and text.
fn shut(lab: &Lab, at: usize) -> Vec<(String, String, String)> {
    let doctor = lab.json(at, &["doctor"]);
    let word = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    let findings = doctor["findings"].as_array().cloned().unwrap_or_default();
    let ports = findings.iter().filter(|it| word(it, "check").ends_with("-port") && word(it, "state") != "ok");
    ports.map(|it| (word(it, "check"), word(it, "subject"), word(it, "text"))).collect()
}

#[test]
fn a_firewall_that_only_lets_answers_in_is_found_from_both_sides_while_the_links_live_on() {
    let Some(mut lab) = Lab::or_skip(3) else { return };
    // It knows every flow from its beginning.
    wall(&lab, 1, "table inet wall {\n chain in {\n type filter hook input priority 0\n ct state new counter\n }\n}\n");
    lab.up_all();
    lab.await_flock(&ALL, true, LIMIT);
    for at in ALL {
        assert_eq!(shut(&lab, at), [], "n{}", at + 1);
    }
    wall(&lab, 1, "add rule inet wall in meta l4proto { tcp, udp } ct state new drop\n");
    for at in [0, 2] {
        let found = shut(&lab, at);
        let checks: Vec<&str> = found.iter().map(|(check, _, _)| check.as_str()).collect();
        assert_eq!(checks, ["mesh-port", "api-port"], "{found:?}");
        assert!(found.iter().all(|(_, who, text)| who == "n2" && text.contains("not reached from here")), "{found:?}");
    }
    let found = shut(&lab, 1);
    let who: Vec<(&str, &str)> = found.iter().map(|(check, who, _)| (check.as_str(), who.as_str())).collect();
    assert_eq!(who, [("mesh-port", "n1"), ("mesh-port", "n3"), ("api-port", "n1"), ("api-port", "n3")], "{found:?}");
    assert!(found.iter().all(|(_, _, text)| text.contains("not reached from there")), "{found:?}");
    assert!(lab.one_flock(&ALL, true), "the links live on: {}", lab.said(&ALL));
    wall(&lab, 1, "flush chain inet wall in\n");
    let well = until(LIMIT, || ALL.iter().all(|at| shut(&lab, *at).is_empty()));
    assert!(well.is_ok(), "{:?}", shut(&lab, 1));
}

/// A tunnel on the way to one machine: what it carries is enough for links at first, and then not for new ones.
#[test]
fn a_narrow_path_is_a_warning_and_one_that_carries_no_link_is_told_with_the_least_that_it_must_carry() {
    let Some(mut lab) = Lab::or_skip(3) else { return };
    let narrow = |most: u32| format!("add rule inet wall in meta l4proto udp meta length > {most} drop\n");
    wall(&lab, 1, "table inet wall {\n chain in {\n type filter hook input priority 0\n }\n}\n");
    wall(&lab, 1, &narrow(1_300));
    lab.up_all();
    lab.await_flock(&ALL, true, LIMIT);
    let warned = |at: usize| {
        let doctor = lab.json(at, &["doctor"]);
        let findings = doctor["findings"].as_array().cloned().unwrap_or_default();
        let of_mtu = findings.iter().filter(|it| it["check"] == "mtu" && it["state"] == "warning");
        of_mtu.map(|it| it["subject"].as_str().unwrap_or_default().to_owned()).collect::<Vec<String>>()
    };
    for (at, who) in [(0, vec!["n2"]), (1, vec!["n1", "n3"]), (2, vec!["n2"])] {
        // The search ends a while after the link began.
        let told = until(LIMIT, || warned(at) == who);
        assert!(told.is_ok(), "n{}: {:?}, not {who:?}", at + 1, warned(at));
    }
    wall(&lab, 1, &format!("flush chain inet wall in\n{}", narrow(1_220)));
    let told = until(LIMIT, || shut(&lab, 0).iter().any(|(check, who, _)| check == "mesh-port" && who == "n2"));
    assert!(told.is_ok(), "{}", lab.json(0, &["doctor"]));
    let doctor = lab.json(0, &["doctor"]).to_string();
    assert!(doctor.contains("see that 1,280 bytes get there (ping -4 -M do -s 1252"), "{doctor}");
}
