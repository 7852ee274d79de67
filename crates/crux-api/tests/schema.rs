//! The documents that tools may parse, one full sample of each, compared with what is checked in. A field may be added
//! (`CRUX_REGENERATE=1 cargo test -p crux-api --test schema`, and the changelog says so); one that changes or goes needs
//! a decision record.

use crux_api::json::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::Path;

const AT: &str = "2026-01-31T12:00:00.123456Z";

/// The sample as it is checked in, and back again.
fn agrees<T: Kind + Serialize + DeserializeOwned + PartialEq + Debug>(body: T) {
    let doc = Doc(body);
    let fresh = serde_json::to_string_pretty(&doc).expect("a document is JSON") + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema").join(format!("{}.json", T::KIND));
    if std::env::var_os("CRUX_REGENERATE").is_some() {
        fs::write(&path, &fresh).expect("write the sample");
    }
    let stands = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(stands, fresh, "{} differs from what is promised", path.display());
    assert_eq!(serde_json::from_str::<Doc<T>>(&stands).expect("the sample is read back"), doc);
}

fn confab() -> Confab {
    Confab {
        bloc: "acme".into(),
        node: "n1".into(),
        fulcrum: "0".into(),
        boot: "697df3c0".into(),
        flock: "calm-heron".into(),
        epoch: Counter(7),
        view: "0123456789abcdef0123456789abcdef".into(),
        leader: "n2".into(),
        stable: true,
        members: vec!["n1".into(), "n2".into(), "n3".into()],
        horde: Some("web".into()),
        admin: vec!["n2".into()],
        steward: Some("n2".into()),
        yurt: None,
        at: AT.into(),
    }
}

fn claim(kind: ClaimKind) -> Claim {
    Claim { kind, by: Some("n2".into()), at: Some(AT.into()) }
}

fn roster() -> Vec<RosterEntry> {
    let link = Link { age_s: Some(12.5), rtt_ms: Some(0.25), rekey_s: None };
    vec![RosterEntry {
        name: "n2".into(),
        addr: "10.0.0.2:2789".into(),
        api: Some("10.0.0.2:2789".into()),
        boot: "697df3c0".into(),
        since: Some(AT.into()),
        horde: Some("web".into()),
        admin: true,
        visitor: false,
        admission: Some(1),
        stands_in: Some("web".into()),
        stands_for: Some("n4".into()),
        cordoned: true,
        draining: true,
        cordon_reason: Some("new disk".into()),
        labels: BTreeMap::from([("zone".into(), "a".into())]),
        capacity: Some(resources(4_000, 8_589_934_592)),
        used: resources(1_500, 268_435_456),
        state: MemberState::Suspect,
        link: Some(link),
    }]
}

fn outside() -> Vec<Outside> {
    vec![Outside {
        name: Some("n9".into()),
        addr: "10.0.0.9:2789".into(),
        last_seen: None,
        state: OutsideState::OtherBloc,
        reason: "its bloc is other".into(),
    }]
}

fn resources(cpu_milli: u64, memory: u64) -> Resources {
    Resources { cpu_milli: Counter(cpu_milli), memory: Counter(memory), disk: Counter(0) }
}

fn horde() -> Horde {
    Horde {
        name: "web".into(),
        want: Some(3),
        home: vec!["n1".into(), "n4".into()],
        present: vec!["n1".into()],
        absent: vec!["n4".into()],
        substitutes: vec!["n5".into()],
        state: HordeState::Parted,
        quota: Some(resources(8_000, 17_179_869_184)),
        used: resources(7_500, 0),
        why: "n4: not seen here, n5 stands in".into(),
    }
}

fn service() -> Service {
    Service {
        horde: "web".into(),
        service: "api".into(),
        revision: Some("ab".repeat(32)),
        plan: Some(Counter(12)),
        should: Some(3),
        ready: 2,
        late: 1,
        dead: 0,
        gone: 0,
        unknown: 0,
        surplus: 0,
        why: "pick(api, 3, ALL)".into(),
        claim: claim(ClaimKind::Should),
    }
}

fn instance() -> Instance {
    Instance {
        id: "n1:697df3c0:4".into(),
        name: "web/api.2".into(),
        horde: "web".into(),
        service: "api".into(),
        node: "n1".into(),
        pid: Some(4711),
        started: Some(AT.into()),
        state: InstanceState::Ready,
        revision: "ab".repeat(32),
        ports: BTreeMap::from([("http".into(), 40_001)]),
        restarts: 1,
        why: "check passed 0.4 s ago".into(),
        claim: claim(ClaimKind::Believed),
    }
}

fn event() -> Event {
    Event {
        cursor: Counter(41),
        at: AT.into(),
        node: "n1".into(),
        event: "member-lost".into(),
        subject: "n3".into(),
        text: "n3 was removed from the view".into(),
    }
}

#[test]
fn confab_and_status_are_as_promised() {
    agrees(confab());
    let sibling = Sibling {
        flock: "grey-owl".into(),
        leader: "n4".into(),
        size: 2,
        apart: Apart::BrokenPair,
        pair: Some(["n1".into(), "n4".into()]),
        until: None,
    };
    agrees(Status {
        confab: confab(),
        roster: roster(),
        siblings: vec![sibling],
        outside: outside(),
        hordes: vec![horde()],
        services: vec![service()],
        instances: vec![instance()],
        facts: Facts { count: 12, digest: "cd".repeat(32), conflicts: 1, quarantined: 0 },
        certificate: Certificate {
            id: "spiffe://acme/node/n1".into(),
            not_before: Some(AT.into()),
            not_after: AT.into(),
            warning: Some("half".into()),
            issuer: "CN=acme root,DC=acme".into(),
            root: Some("3f9c01ab".repeat(8)),
            ca_reachable: None,
            not_taken: Some("/etc/crux/identity/cert.pem: its certificate has ended".to_owned()),
        },
        expelled: vec![Expelled {
            node: "n7".into(),
            admission: 1,
            by: "alice".into(),
            at: AT.into(),
            reason: "stolen".into(),
        }],
        put_out: Some(PutOut {
            by: Some("alice".into()),
            at: Some(AT.into()),
            reason: Some("stolen".into()),
            told_by: None,
            text: "this node was EXPELLED by alice: stolen".into(),
        }),
        clones: clones(),
        expect: Some(5),
        lacking: Some("a member stands accused".into()),
        sick: false,
        clock: Clock { skew_ms: None },
        store: Store { state: StoreState::Refusing, reason: Some("No space left on device".into()) },
        listens: Listens { mesh: Some("[::]:2789".into()), api: Some("[::]:2789".into()), metrics: None, page: None },
        version: "0.1.0".into(),
    });
}

#[test]
fn the_network_s_views_are_as_promised() {
    let up = Reach {
        from: "n1".into(),
        to: "n2".into(),
        state: ReachState::Up,
        addr: Some("10.0.0.2:2789".into()),
        dialed: Some(true),
        age_s: Some(12.5),
        rtt_ms: Some(0.25),
        rekey_s: Some(107.5),
        datagram: Some(1_382),
    };
    let unknown = Reach {
        from: "n2".into(),
        to: "n3".into(),
        state: ReachState::Unknown,
        addr: None,
        dialed: None,
        age_s: None,
        rtt_ms: None,
        rekey_s: None,
        datagram: None,
    };
    agrees(LinkList { links: vec![up, unknown], broken: vec![["n1".into(), "n4".into()]] });
    let flock = Flock {
        flock: "calm-heron".into(),
        leader: "n2".into(),
        epoch: Counter(7),
        view: "0123456789abcdef0123456789abcdef".into(),
        stable: true,
        members: vec!["n1".into(), "n2".into()],
        expect: Some(5),
        visitors: vec!["n2".into()],
    };
    let sibling = Sibling {
        flock: "grey-owl".into(),
        leader: "n4".into(),
        size: 2,
        apart: Apart::FlapHold,
        pair: None,
        until: Some(AT.into()),
    };
    agrees(FlockList { flock, siblings: vec![sibling], outside: outside() });
    let finding = Finding {
        check: "clock".into(),
        state: FindingState::Wrong,
        subject: "n3".into(),
        text: "its clock is 95 s ahead of this one".into(),
        next: Some("set the clock of n3".into()),
    };
    agrees(Doctor { node: "n1".into(), at: AT.into(), findings: vec![finding] });
}

fn clones() -> Vec<Twins> {
    vec![Twins { name: "n8".into(), addrs: ["10.0.0.8:2789".into(), "10.0.0.18:2789".into()] }]
}

#[test]
fn lists_are_as_promised() {
    agrees(Ps { services: vec![service()], instances: vec![instance()] });
    agrees(NodeList { roster: roster(), outside: outside(), clones: clones() });
    agrees(HordeList { hordes: vec![horde()] });
    agrees(ServiceList {
        services: vec![service()],
        access: vec![AccessEntry {
            horde: "data".into(),
            service: "db".into(),
            name: "first".into(),
            addrs: vec!["10.0.0.7:5432".into()],
            labels: BTreeMap::from([("zone".into(), "a".into())]),
            by: "instance/n1:697df3c0:4".into(),
            since: AT.into(),
            state: Some("ready".into()),
            claim: claim(ClaimKind::Reported),
        }],
        yurt: vec![Program {
            name: "access".into(),
            node: "n2".into(),
            started: Some(AT.into()),
            state: ProgramState::Waits,
            why: "n3 has not said what was added at its door".into(),
        }],
    });
    let entry = AuditEntry {
        cursor: Counter(7),
        at: AT.into(),
        door: "n1".into(),
        by: "operator/ann".into(),
        uid: None,
        from: Some("10.0.0.9:40000".into()),
        author: Some("operator/ann".into()),
        claimed: true,
        verb: "apply".into(),
        targets: vec!["place/web/api".into()],
        facts: vec!["ef".repeat(32)],
        more: 0,
        outcome: AuditOutcome::Refused,
        code: Some("E401".into()),
        reason: Some("the certificate of operator ann is limited".into()),
        unlisted: 3,
    };
    let rule = Rule {
        id: "2ZW6DGBFXYT3Q9H4M8C5N7K0RE".into(),
        client: "web/api".into(),
        endpoint: "data/db".into(),
        note: Some("reads the prices".into()),
        state: RuleState::InForce,
        since: AT.into(),
        by: Some("alice".into()),
        removed_at: None,
        removed_by: None,
    };
    let removed = Rule {
        id: "7J0M3V9A1SXE4TQZ6KCW2YHB8P".into(),
        client: "other//web/*".into(),
        note: None,
        state: RuleState::Removed,
        by: None,
        removed_at: Some(AT.into()),
        removed_by: Some("bob".into()),
        ..rule.clone()
    };
    agrees(RuleChange {
        change: RuleChanged::Removed,
        rules: vec![removed.clone()],
        converged: true,
        enforced: false,
        hints: vec!["web/* may still call data/db, by rule 2ZW6DGBFXYT3Q9H4M8C5N7K0RE".into()],
    });
    agrees(RuleList { rules: vec![rule, removed], enforced: false });
    agrees(entry.clone());
    agrees(AuditList { entries: vec![entry], next: None });
    agrees(event());
    agrees(EventList { events: vec![event()] });
    let line = LogLine {
        instance: "n1:697df3c0:4".into(),
        name: "web/api.2".into(),
        node: "n1".into(),
        stream: "stdout".into(),
        text: "listening".into(),
    };
    agrees(line.clone());
    agrees(LogList { lines: vec![line] });
    agrees(Why {
        subject: "web/api.2".into(),
        state: "late".into(),
        since: Some(AT.into()),
        rule: Some(WhyRule { id: "beat-age".into(), text: "late after 4 s without a beat".into() }),
        by: Some("n2".into()),
        reasons: vec!["last beat 4.3 s ago".into()],
    });
    agrees(FileList { files: vec![FileEntry { sha256: "ab".repeat(32), size: Counter(1024), pinned: true }] });
    let change = Change {
        path: "horde/web".into(),
        action: ChangeAction::Change,
        before: Some("want 5".into()),
        after: Some("want 3".into()),
    };
    agrees(PlanDiff { changes: vec![change], unchanged: 2 });
}

#[test]
fn answers_facts_and_errors_are_as_promised() {
    agrees(Written { ids: vec!["ef".repeat(32)], others: 2, converged: true });
    agrees(FileStored { sha256: "ab".repeat(32), size: Counter(u64::MAX) });
    agrees(Done { text: "n3 is forgotten".into() });
    let head = Head {
        id: "ef".repeat(32),
        value: None,
        readable: Some(serde_json::json!({"want": 3})),
        ancestors: vec!["01".repeat(32)],
        wall: Counter(1_769_860_800_123_456),
        logical: 1,
        author: "operator alice".into(),
    };
    agrees(FactList { facts: vec![Fact { path: "horde/web".into(), heads: vec![head] }], digest: "cd".repeat(32) });
    agrees(ErrorDoc::new(Code::NoKey, "this needs an operator's key", "crux ca issue --operator NAME"));
}

fn backup() -> Backup {
    let file = |letters: &str| BackupFile { sha256: letters.repeat(32), size: Counter(1024) };
    Backup {
        format: 1,
        bloc: "acme".into(),
        at: AT.into(),
        node: "n1".into(),
        digest: "cd".repeat(32),
        versions: 14,
        facts: 12,
        roots: vec!["0f".repeat(32)],
        files: vec![file("ab")],
        missing: vec![file("ac")],
        stable: true,
        members: 3,
        agree: 2,
        apart: vec!["n3".into()],
    }
}

#[test]
fn the_bloc_at_a_glance_is_as_promised() {
    let sibling = Sibling {
        flock: "grey-owl".into(),
        leader: "n4".into(),
        size: 2,
        apart: Apart::Merging,
        pair: None,
        until: None,
    };
    let finding = Finding {
        check: "horde".into(),
        state: FindingState::Warning,
        subject: "web".into(),
        text: "it is parted: n4 is not seen here".into(),
        next: Some("crux why horde web".into()),
    };
    agrees(BlocStatus {
        bloc: "acme".into(),
        node: "n1".into(),
        at: AT.into(),
        well: false,
        flock: "calm-heron".into(),
        leader: "n2".into(),
        stable: true,
        members: vec!["n1".into(), "n2".into()],
        expect: Some(3),
        siblings: vec![sibling],
        outside: outside(),
        admin: Some(Horde { name: "ADMIN".into(), want: None, ..horde() }),
        hordes: 2,
        not_whole: vec![horde()],
        roots: vec![BlocRoot { fingerprint: "0f".repeat(32), not_after: Some(AT.into()) }],
        certificates: vec![BlocCertificate { node: "n1".into(), not_after: AT.into() }],
        facts: Facts { count: 12, digest: "cd".repeat(32), conflicts: 1, quarantined: 0 },
        store: Store { state: StoreState::Ok, reason: None },
        expelled: vec![Expelled {
            node: "n7".into(),
            admission: 1,
            by: "alice".into(),
            at: AT.into(),
            reason: "stolen".into(),
        }],
        findings: vec![finding],
    });
}

#[test]
fn what_hooks_read_is_as_promised() {
    agrees(Told {
        number: Counter(3),
        event: "parted".into(),
        instance: "n1:697df3c0:4".into(),
        service: "api".into(),
        horde: "web".into(),
        present: vec!["n1".into(), "n2".into()],
        absent: vec!["n3".into()],
        at: AT.into(),
    });
}

#[test]
fn backups_are_as_promised() {
    agrees(backup());
    agrees(BlocFacts {
        bloc: "acme".into(),
        node: "n1".into(),
        digest: "cd".repeat(32),
        versions: 14,
        facts: 12,
        trust: "-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n".into(),
        roots: vec!["0f".repeat(32)],
        files: backup().files,
        stable: true,
        members: 3,
        agree: 2,
        apart: vec!["n3".into()],
    });
    let fact = |fate, why: &str| RestoredFact {
        path: "horde/web".into(),
        id: "ef".repeat(32),
        fate,
        conflict: fate == RestoreFate::Taken,
        why: why.into(),
    };
    let refused = fact(RestoreFate::Refused, "its author's signature is wrong; it is forged or damaged");
    let all = vec![
        fact(RestoreFate::Taken, ""),
        fact(RestoreFate::Held, ""),
        fact(RestoreFate::Replaced, ""),
        refused.clone(),
    ];
    agrees(RestoreAnswer { facts: all, more: 1, others: 2, converged: true });
    agrees(Restored {
        backup: backup(),
        dry_run: true,
        taken: vec![fact(RestoreFate::Taken, "")],
        held: 7,
        replaced: 3,
        refused: vec![refused],
        rows_left: 3,
        files_stored: 1,
        files_held: 2,
        files_damaged: backup().files,
        converged: true,
    });
}

#[test]
fn a_document_of_another_version_or_kind_is_not_taken_for_this_one() {
    let text = serde_json::to_string(&Doc(Done { text: "x".into() })).unwrap();
    assert!(serde_json::from_str::<Doc<Done>>(&text).is_ok());
    for (from, to) in [("crux/v1", "crux/v2"), ("Done", "Written")] {
        assert!(serde_json::from_str::<Doc<Done>>(&text.replace(from, to)).is_err(), "{to}");
    }
    let newer = text.replace("\"text\"", "\"more\":[1],\"text\"");
    assert!(serde_json::from_str::<Doc<Done>>(&newer).is_ok(), "an added field does no harm");
}

#[test]
fn each_error_code_is_unique_explained_and_ends_with_a_promised_exit_code() {
    for code in Code::ALL {
        assert!(code.explain().len() > 40, "{code}");
        assert!([1, 2, 3, 4, 5, 6].contains(&code.exit()), "{code}");
        assert_eq!(code.as_str().parse(), Ok(*code), "two codes share {code}");
    }
}
