//! The mutants: each breaks one rule of the design's `flocking.md`.

use super::Mutant;
use super::Test::{Core, Run, Sim};

const CHANGE: &str = "crates/crux-core/src/flock/change.rs";
const CLIQUE: &str = "crates/crux-core/src/flock/clique.rs";
const EVIDENCE: &str = "crates/crux-core/src/flock/evidence.rs";
const LEASE: &str = "crates/crux-core/src/flock/lease.rs";
const SEEK: &str = "crates/crux-core/src/flock/seek.rs";
const VIEW: &str = "crates/crux-core/src/flock/view.rs";

/// All of them, in the order of the design.
pub const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "consent",
        rule: "a member refuses a proposal that does not name its installed view among the parents",
        file: CHANGE,
        find: "if !named || id.epoch",
        replace: "if id.epoch",
        tests: &[Sim("flock_traps", "a_stale_ask_snatches_nobody")],
    },
    Mutant {
        name: "install-higher",
        rule: "install only what is higher than the own view",
        file: CHANGE,
        find: "if *view.id() <= *self.view.id() {\n            if view.id()",
        replace: "if view.id() == self.view.id() {\n            if view.id()",
        tests: &[Sim("flock_swarm", "small_worlds"), Run("--flock --seeds 0..60 --nodes 5 --stop-on-failure")],
    },
    Mutant {
        name: "eject-contains",
        rule: "install only what contains self",
        file: CHANGE,
        find: "if !view.has(&self.config.me) {\n            self.ejected",
        replace: "if false {\n            self.ejected",
        tests: &[
            Sim("flock_hostile", "eject"),
            Sim("flock_scripts", "cut"),
            Run("--flock --seeds 0..60 --nodes 5 --stop-on-failure"),
        ],
    },
    Mutant {
        name: "promise-rises",
        rule: "promises only rise",
        file: CHANGE,
        find: "if promise.id > id {",
        replace: "if false {",
        tests: &[Sim("flock_traps", "promise"), Run("--flock --seeds 0..100 --nodes 5 --stop-on-failure")],
    },
    Mutant {
        name: "promise-installs",
        rule: "only the proposer installs, to members that promised it",
        file: CHANGE,
        find: "promised && id.proposer == *from &&",
        replace: "id.proposer == *from &&",
        tests: &[Sim("flock_hostile", "nobody_proposed"), Sim("flock_traps", "promise")],
    },
    Mutant {
        name: "rank-up",
        rule: "asks only go up in rank",
        file: SEEK,
        find: ".filter(|(_, head)| head.header.rank > *mine)",
        replace: ".filter(|(_, head)| head.header.rank != *mine)",
        tests: &[Sim("flock_scripts", "five_cold_starts"), Run("--flock --seeds 0..60 --nodes 5 --stop-on-failure")],
    },
    Mutant {
        name: "late-ack",
        rule: "a late ack is life",
        file: EVIDENCE,
        find: "        peer.misses = 0;\n        peer.failed = 0;",
        replace: "        peer.failed = 0;",
        tests: &[Sim("flock_scripts", "five_percent_loss"), Run("--flock --seeds 0..60 --nodes 5 --stop-on-failure")],
    },
    Mutant {
        name: "leader-strictly-worst",
        rule: "the leader goes only if strictly worst; of equally bad ones the junior",
        file: CLIQUE,
        find: "max_by_key(|&at| (degree(at), at))",
        replace: "max_by_key(|&at| (degree(at), usize::MAX - at))",
        tests: &[Core("the_leader_goes_only_if_strictly_worst")],
    },
    Mutant {
        name: "readmit",
        rule: "the clique solver has a re-admit pass",
        file: CLIQUE,
        find: "if apart[&at].iter().all(|other| out.contains(other)) {",
        replace: "if false {",
        tests: &[Core("who_fits_again_comes_back")],
    },
    Mutant {
        name: "stable-acks",
        rule: "stable needs every member's acknowledgement",
        file: LEASE,
        find: "acknowledged && verified &&",
        replace: "verified &&",
        tests: &[Run("--flock --seeds 0..150 --nodes 5 --stop-on-failure")],
    },
    Mutant {
        name: "epoch-step",
        rule: "epochs far above every parent's are refused",
        file: VIEW,
        find: "if head.header.epoch > parent.saturating_add(EPOCH_STEP) {",
        replace: "if false {",
        tests: &[Core("epoch")],
    },
];
