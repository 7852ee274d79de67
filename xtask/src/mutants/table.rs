//! The mutants: each breaks one rule of the design's `flocking.md`.

use super::Mutant;
use super::Test::{Core, Run, Sim};

const ALERTS: &str = "crates/crux-core/src/flock/alerts.rs";
const BLAME: &str = "crates/crux-core/src/flock/blame.rs";
const CLIQUE: &str = "crates/crux-core/src/flock/clique.rs";
const CLONES: &str = "crates/crux-core/src/flock/clones.rs";
const EVIDENCE: &str = "crates/crux-core/src/flock/evidence.rs";
const STRAYS: &str = "crates/crux-core/src/flock/evidence/strays.rs";
const PACE: &str = "crates/crux-core/src/flock/discovery/pace.rs";
const INSTALL: &str = "crates/crux-core/src/flock/install.rs";
const LEASE: &str = "crates/crux-core/src/flock/lease.rs";
const TREE: &str = "crates/crux-core/src/flock/lease/tree.rs";
const MACHINE: &str = "crates/crux-core/src/flock/machine.rs";
const PROPOSE: &str = "crates/crux-core/src/flock/propose.rs";
const PROMISE: &str = "crates/crux-core/src/flock/promise.rs";
const SEEK: &str = "crates/crux-core/src/flock/seek.rs";
const APART: &str = "crates/crux-core/src/flock/apart.rs";
const TIMERS: &str = "crates/crux-core/src/flock/timers.rs";
const VERDICT: &str = "crates/crux-core/src/flock/verdict.rs";

/// Seeds that the sound tree passes: a few seconds.
const SWARM: &str = "--flock --seeds 80..200 --nodes 5 --stop-on-failure";
/// The same in worlds of other sizes: half a minute.
const WIDE: &str = "--flock --seeds 2..30 --stop-on-failure";

/// All of them, in the order of the design.
pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "consent",
        rule: "a member refuses a proposal that does not name its installed view among the parents",
        file: PROMISE,
        find: "        if !named || id.epoch",
        replace: "        if id.epoch",
        tests: &[Sim("flock_traps", "a_stale_ask_snatches_nobody"), Run(SWARM)],
    },
    Mutant {
        name: "promise-rises",
        rule: "promises only rise",
        file: PROMISE,
        find: "            if promise.id > id {",
        replace: "            if false {",
        tests: &[Sim("flock_traps", "promise"), Sim("flock_model", "all_pairs_work_at_first"), Run(SWARM), Run(WIDE)],
    },
    Mutant {
        name: "flock-consent",
        rule: "nobody but its leader takes single members out of a healthy flock",
        file: PROMISE,
        find: "        if !self.consents(&id.proposer, candidates) {",
        replace: "        if false {",
        tests: &[Sim("flock_hostile", "a_junior_does_not_snatch"), Run(SWARM)],
    },
    Mutant {
        name: "install-higher",
        rule: "install only what is higher than the own view",
        file: INSTALL,
        find: "        if *view.id() <= *self.view.id() {",
        replace: "        if *view.id() == *self.view.id() {",
        tests: &[Sim("flock_hostile", ""), Run(SWARM), Run(WIDE)],
    },
    Mutant {
        name: "install-contains-self",
        rule: "install only what contains self",
        file: INSTALL,
        find: "        if !view.has(&self.config.me) {",
        replace: "        if false {",
        tests: &[Sim("flock_hostile", ""), Run(SWARM), Run(WIDE)],
    },
    Mutant {
        name: "install-promised",
        rule: "only the proposer installs, to members that promised it",
        file: INSTALL,
        find: "                promised && id.proposer",
        replace: "                id.proposer",
        tests: &[Sim("flock_hostile", "nobody_proposed"), Sim("flock_traps", "promise"), Run(SWARM)],
    },
    Mutant {
        name: "pull-asked",
        rule: "a view without a proposal is taken only as the answer to a question",
        file: INSTALL,
        find: "asked && view.has(from) && (self.view.has(from) || self.was_promised(view.id()))",
        replace: "(asked || true) && view.has(from)",
        tests: &[Sim("flock_hostile", "nobody_proposed"), Run(SWARM)],
    },
    Mutant {
        name: "promise-blocks",
        rule: "while a promise stands only that proposal or a higher one may be installed",
        file: INSTALL,
        find: "self.promise.as_ref().is_some_and(|promise| blocked(&promise.id))",
        replace: "false",
        tests: &[Sim("flock_traps", "promise")],
    },
    Mutant {
        name: "epoch-bounds",
        rule: "epochs far above the own are not believed",
        file: INSTALL,
        find: "epoch <= most && (epoch <= near",
        replace: "epoch <= most && (true",
        tests: &[Sim("flock_traps", "far_above_the_own_epoch")],
    },
    Mutant {
        name: "removal-quorum",
        rule: "a removal needs seven tenths of the observers",
        file: TIMERS,
        find: "pub const QUORUM_TENTHS: usize = 7;",
        replace: "pub const QUORUM_TENTHS: usize = 1;",
        tests: &[Sim("flock_scripts", ""), Run(SWARM)],
    },
    Mutant {
        name: "one-observer-vouches",
        rule: "observers out of reach count only once one in reach accuses",
        file: VERDICT,
        find: "(trusted > 0 && trusted + out_of_reach >= need)",
        replace: "(trusted + out_of_reach >= need)",
        tests: &[Sim("flock_hostile", "a_word_from_out_of_reach")],
    },
    Mutant {
        name: "successor-quorum",
        rule: "a successor needs others that miss the leader too",
        file: VERDICT,
        find: "mine && (others >= reached.min(2) || by_call)",
        replace: "mine",
        tests: &[Sim("flock_scripts", ""), Run(SWARM)],
    },
    Mutant {
        name: "broken-needs-witness",
        rule: "a pair is broken only if somebody else hears the accused",
        file: VERDICT,
        find: "heard_here || by_third || **subject",
        replace: "true || **subject",
        tests: &[Sim("flock_scripts", ""), Run(SWARM), Run(WIDE)],
    },
    Mutant {
        name: "witness-asked",
        rule: "a witness counts only if it was asked",
        file: VERDICT,
        find: "if asked && self.view.has(&subject)",
        replace: "if self.view.has(&subject)",
        tests: &[Sim("flock_hostile", ""), Run(SWARM)],
    },
    Mutant {
        name: "rank-up",
        rule: "asks only go up in rank",
        file: SEEK,
        find: ".filter(|(_, head)| head.header.rank > *mine)",
        replace: ".filter(|(_, head)| head.header.rank != *mine)",
        tests: &[Sim("flock_scripts", "five_cold_starts"), Run(SWARM)],
    },
    Mutant {
        name: "refusal-backs-off",
        rule: "refusals back off",
        file: APART,
        find: "let times = self.standing(leader).map_or(0, |refusal| refusal.times + 1);\n        let wait",
        replace: "let times = 0;\n        let wait",
        tests: &[Sim("flock_scripts", ""), Sim("flock_hostile", ""), Run(SWARM)],
    },
    Mutant {
        name: "older-boot",
        rule: "no older boot returns",
        file: CLONES,
        find: "            if other.boot > member.boot {",
        replace: "            if false {",
        tests: &[Sim("flock_swarm", "of_two_lives"), Run(SWARM)],
    },
    Mutant {
        name: "known-one-is-kept",
        rule: "of two lives of one identity the one whose flock knows it is kept",
        file: CLONES,
        find: "if clones.is_some() && self.hears(other) && !self.is_over(other) {",
        replace: "if false {",
        tests: &[Sim("flock_swarm", "of_two_lives"), Run(SWARM)],
    },
    Mutant {
        name: "leave",
        rule: "who says that it leaves is out at once",
        file: ALERTS,
        find: "            self.alerts.insert(from.clone(), from.clone(), alert);\n",
        replace: "",
        tests: &[Sim("flock_swarm", "who_leaves_on_purpose"), Run(SWARM)],
    },
    Mutant {
        name: "ejected-knows",
        rule: "whoever learns of a higher view without it is ejected and knows it",
        file: INSTALL,
        find: "        self.moved.insert(from.clone());",
        replace: "        let _ = &self.moved;",
        tests: &[Run(SWARM), Run(WIDE)],
    },
    Mutant {
        name: "stable-acks",
        rule: "stable needs every member's acknowledgement",
        file: LEASE,
        find: "        if self.acks.len() < roster.len() {",
        replace: "        if false {",
        tests: &[Run(SWARM), Run(WIDE)],
    },
    Mutant {
        name: "stable-pairs",
        rule: "stable needs every pair verified",
        file: LEASE,
        find: "        if !self.complete() || !self.doubted.is_empty() {",
        replace: "        if false {",
        tests: &[Sim("flock_scripts", ""), Run(SWARM), Run(WIDE)],
    },
    Mutant {
        name: "stable-apart",
        rule: "stable needs foreign flocks in reach to be merged or held apart",
        file: LEASE,
        find: "        if !self.all_are_apart() || self.stranger_in_reach() {",
        replace: "        if false {",
        tests: &[Sim("flock_scripts", ""), Run(SWARM), Run(WIDE)],
    },
    Mutant {
        name: "name-lives",
        rule: "a flock's name lives while its leader's line lives",
        file: MACHINE,
        find: "if self.leads() { self.view.head.header.name.clone() }",
        replace: "if false { self.view.head.header.name.clone() }",
        tests: &[Sim("liveness", "the_name_outlives_a_member"), Run(SWARM)],
    },
    Mutant {
        name: "leader-last-to-go",
        rule: "of equally bad ones the junior goes",
        file: CLIQUE,
        find: "|&v| (self.degree[v as usize], self.junior(v), v)",
        replace: "|&v| (self.degree[v as usize], u32::MAX - self.junior(v), v)",
        tests: &[Sim("flock_scripts", "one_broken_pair"), Sim("liveness", "a_leader_leads_on"), Run(SWARM)],
    },
    Mutant {
        name: "blame",
        rule: "the end of a broken pair goes of which several complain",
        file: BLAME,
        find: "filter(|(voices, ..)| *voices >= ENOUGH)",
        replace: "filter(|_| false)",
        tests: &[Sim("large", "who_is_well_is_not_thrown_out")],
    },
    Mutant {
        name: "blame-by-three",
        rule: "two that complain throw out nobody",
        file: BLAME,
        find: "const ENOUGH: usize = 3;",
        replace: "const ENOUGH: usize = 2;",
        tests: &[Sim("flock_hostile", "two_that_complain")],
    },
    Mutant {
        name: "vouch",
        rule: "a member vouches for whom it does not watch only by what it heard just now",
        file: PROMISE,
        find: "self.proven(member, self.t.burst_end + self.t.batch)",
        replace: "self.hears(member)",
        tests: &[Sim("flock_scripts", "the_process_of_a_leader_dies")],
    },
    Mutant {
        name: "one-burst",
        rule: "a burst that runs is not begun anew",
        file: ALERTS,
        find: "            && !self.bursts(&subject)\n",
        replace: "",
        tests: &[Sim("flock_scripts", "the_process_of_a_leader_dies")],
    },
    Mutant {
        name: "grant-parent",
        rule: "a grant holds only from whoever has to pass it on",
        file: LEASE,
        find: "if parent.is_none_or(|parent| roster[parent].member != *from) {",
        replace: "if parent.is_none() {",
        tests: &[Sim("flock_hostile", "a_grant_holds_only_from")],
    },
    Mutant {
        name: "grant-trees",
        rule: "each grant goes down another tree",
        file: TREE,
        find: "seq % below as u64 * step",
        replace: "0 * seq * step",
        tests: &[Sim("flock_hostile", "a_grant_holds_only_from")],
    },
    Mutant {
        name: "link-is-no-proof",
        rule: "a link proves a pair only for who dialled it for this proposal",
        file: PROMISE,
        find: "if dialed && verify.pairs[at] == Pair::Dialled {",
        replace: "if verify.pairs[at].open() {",
        tests: &[Sim("flock_scripts", ""), Sim("flock_swarm", "small_worlds")],
    },
    Mutant {
        name: "urge-watched",
        rule: "whom a member has to prove it dials itself",
        file: EVIDENCE,
        find: "            self.discovery.urge(self.now, &member.id, addr);",
        replace: "            let _ = addr;",
        tests: &[Sim("large", "a_member_that_loses_all_its_links")],
    },
    Mutant {
        name: "crowd-dials",
        rule: "in touch with a crowd of strangers a fulcrum dials few more",
        file: PACE,
        find: "if self.crowded && self.urgent.is_empty() { CROWDED }",
        replace: "if false { CROWDED }",
        tests: &[Core("discovery", "in_touch_with_a_crowd")],
    },
    Mutant {
        name: "crowd-watched",
        rule: "of a crowd of strangers some are watched",
        file: STRAYS,
        find: "let wanted = self.contacts.strays.len() <= LARGE",
        replace: "let wanted = true",
        tests: &[Sim("flock_traps", "of_a_crowd_of_strangers")],
    },
    Mutant {
        name: "leaders-doubts",
        rule: "what a leader doubts itself is a voice too",
        file: BLAME,
        find: "        for subject in &self.in_doubt {",
        replace: "        for subject in self.in_doubt.iter().take(0) {",
        tests: &[Sim("large", "who_is_well_is_not_thrown_out"), Sim("flock_hostile", "two_that_complain")],
    },
    Mutant {
        name: "apart-repeated",
        rule: "a member whose link comes late learns what keeps flocks apart",
        file: APART,
        find: "        if self.leads() && self.view.has(member) {",
        replace: "        if false && self.view.has(member) {",
        tests: &[Sim("flock_scripts", "is_named_by_everybody"), Sim("flock_swarm", "small_worlds"), Run(WIDE)],
    },
    Mutant {
        name: "late-answer",
        rule: "a stranger that answers late is asked again soon",
        file: PROPOSE,
        find: "                self.answered_late(from, out);\n",
        replace: "",
        tests: &[Sim("flock_swarm", "seeds_that_failed_once")],
    },
    Mutant {
        name: "leaders-address",
        rule: "strangers learn where to ask",
        file: "crates/crux-core/src/flock/machine.rs",
        find: "let known = self.contacts.strays.len() <= LARGE && boss.member != self.config.me;",
        replace: "let known = false;",
        tests: &[Sim("flock_traps", "strangers_learn_where")],
    },
    Mutant {
        name: "refused-candidate",
        rule: "who takes no link with a candidate reports it as not reached",
        file: PROMISE,
        find: "} else if self.refuses(&seat.member, seat.addr).is_some() {",
        replace: "} else if false {",
        tests: &[Sim("flock_swarm", "small_worlds"), Run(SWARM), Run(WIDE)],
    },
    Mutant {
        name: "agreed-view",
        rule: "an answer without a view agrees only with a question of this view",
        file: EVIDENCE,
        find: "let asked = seq > first && probe",
        replace: "let asked = probe",
        tests: &[Sim("flock_traps", "an_answer_without_a_view")],
    },
];
