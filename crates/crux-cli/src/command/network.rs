//! `crux links` and `crux flocks`: who reaches whom, and which flocks there are.

use super::{Ctx, show};
use crate::Outcome;
use crate::output::{Format, names, or_dash, table};
use crux_api::json::{FlockList, LinkList, Reach, ReachState};
use crux_api::routes;
use std::collections::BTreeMap;

pub(crate) async fn links(ctx: &Ctx) -> Outcome {
    ctx.show(routes::LINKS, |list: &LinkList, format| match format {
        Format::Name => {
            let up = list.links.iter().filter(|line| line.state == ReachState::Up);
            let lines: Vec<String> = up.map(|line| format!("{} {}", line.from, line.to)).collect();
            names(lines.iter().map(String::as_str))
        }
        Format::Wide => ends(list),
        _ => pairs(list),
    })
    .await
}

fn number(value: Option<f64>, unit: &str, digits: usize) -> String {
    value.map_or_else(String::new, |value| format!("{value:.digits$}{unit}"))
}

/// Every end of every link.
fn ends(list: &LinkList) -> String {
    let rows = list.links.iter().map(|line| {
        [
            line.from.clone(),
            line.to.clone(),
            show::word(&line.state),
            or_dash(line.addr.as_deref()),
            line.dialed.map_or_else(String::new, |dialed| if dialed { "out" } else { "in" }.to_owned()),
            number(line.age_s, "s", 0),
            number(line.rtt_ms, "ms", 1),
            number(line.rekey_s, "s", 0),
            or_dash(line.datagram),
        ]
    });
    let broken = list.broken.iter().map(|[a, b]| {
        let mut row = [const { String::new() }; 9];
        (row[0], row[1], row[2]) = (a.clone(), b.clone(), "broken".to_owned());
        row
    });
    table(["FROM", "TO", "STATE", "ADDRESS", "DIALLED", "AGE", "RTT", "REKEY", "DATAGRAM"], rows.chain(broken))
}

/// Every pair once; where its two ends differ, the worse word.
fn pairs(list: &LinkList) -> String {
    if list.links.is_empty() && list.broken.is_empty() {
        return "this fulcrum is alone in its flock; crux flocks shows the others".to_owned();
    }
    let mut pairs: BTreeMap<(&str, &str), Vec<&Reach>> = BTreeMap::new();
    for line in &list.links {
        let pair = if line.from < line.to { (&*line.from, &*line.to) } else { (&*line.to, &*line.from) };
        pairs.entry(pair).or_default().push(line);
    }
    let rows = pairs.into_iter().map(|((a, b), ends)| {
        let state = |wanted| ends.iter().any(|end| end.state == wanted);
        let word = match (state(ReachState::Down), state(ReachState::Up)) {
            (true, true) => "one-way",
            (true, false) => "down",
            (false, true) => "up",
            (false, false) => "unknown",
        };
        let first = ends.iter().find(|end| end.state == ReachState::Up);
        let value = |of: fn(&Reach) -> Option<f64>| first.and_then(|end| of(end));
        [
            a.to_owned(),
            b.to_owned(),
            word.to_owned(),
            number(value(|end| end.age_s), "s", 0),
            number(value(|end| end.rtt_ms), "ms", 1),
            number(value(|end| end.rekey_s), "s", 0),
        ]
    });
    let none = String::new;
    let broken = list.broken.iter().map(|[a, b]| [a.clone(), b.clone(), "broken".to_owned(), none(), none(), none()]);
    table(["FULCRUM", "WITH", "STATE", "AGE", "RTT", "REKEY"], rows.chain(broken))
}

pub(crate) async fn flocks(ctx: &Ctx) -> Outcome {
    ctx.show(routes::FLOCKS, |list: &FlockList, format| match format {
        Format::Name => {
            let others = list.siblings.iter().map(|sibling| sibling.flock.as_str());
            names([list.flock.flock.as_str()].into_iter().chain(others))
        }
        _ => text(list),
    })
    .await
}

fn text(list: &FlockList) -> String {
    let own = &list.flock;
    let size = match own.expect {
        Some(expect) => format!("{}/{expect}", own.members.len() - own.visitors.len()),
        None => own.members.len().to_string(),
    };
    let word = if own.stable { "stable" } else { "unstable" };
    let here = [own.flock.clone(), own.leader.clone(), size, word.to_owned(), own.members.join(" ")];
    let rows = [here].into_iter().chain(list.siblings.iter().map(show::sibling_row));
    let flocks = table(["FLOCK", "LEADER", "SIZE", "STATE", "MEMBERS OR WHY APART"], rows);
    show::parts([flocks, show::outside_table(&list.outside)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_shown_once_with_the_worse_word() {
        let line = |from: &str, to: &str, state| Reach {
            from: from.to_owned(),
            to: to.to_owned(),
            state,
            addr: None,
            dialed: None,
            age_s: (state == ReachState::Up).then_some(3.2),
            rtt_ms: None,
            rekey_s: None,
            datagram: None,
        };
        let links = vec![
            line("n1", "n2", ReachState::Up),
            line("n2", "n1", ReachState::Up),
            line("n1", "n3", ReachState::Up),
            line("n3", "n1", ReachState::Down),
            line("n2", "n3", ReachState::Unknown),
        ];
        let text = pairs(&LinkList { links, broken: vec![["n1".to_owned(), "n4".to_owned()]] });
        let lines: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["n1", "n2", "up", "3s", "-", "-"]);
        assert_eq!(lines[1][2], "one-way");
        assert_eq!(lines[2][2], "unknown");
        assert_eq!(lines[3], ["n1", "n4", "broken", "-", "-", "-"]);
        assert_eq!(lines.len(), 4);
    }
}
