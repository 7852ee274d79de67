//! Manifests, good and bad. Each bad one with the text that an operator sees.

use super::*;
use crate::json::{ChangeAction, Counter, Fact, Head, to_hex};
use crux_core::facts::value::{Horde, Manifest, Place};
use crux_core::resources::Resources;
use prost::Message;

const GOOD: &str = r#"
[horde.web]
want  = 5
where = "zone=a & node under site-a"
sets.big = "ALL & LABEL(size=big)"
quota = { cpu = 8, memory = "16G" }

[horde.ADMIN]
where = "node under n1"

[horde.main]
quota = { disk = "1T" }

[service.api]
horde     = "web"
place     = "pick(api, 3, big)"
after     = ["2 of db.ready"]
run       = ["bin/api", "--port", "${port.http}"]
files     = "dist/"
env       = { LOG = "info" }
ports     = { http = 0 }
check     = { http = "/healthz", port = "http", every = "2s" }
restart   = { from = "500ms", to = "1m" }
stop      = { signal = "INT", grace = "3s" }
single    = false
on_split  = "majority"
on_rejoin = "keep-oldest"
resources = { cpu = 0.5, memory = "256M" }
hooks     = { parted = ["bin/parted", "${port.http}"], rejoined = ["bin/rejoined"], timeout = "1m" }

[service.once]
run     = ["sh", "-c", "true"]
count   = 2
restart = "never"
"#;

fn dir_with_a_program() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("dist/bin")).unwrap();
    for (name, text) in [("api", "#!/bin/sh\n"), ("parted", "#!/bin/sh\n:\n"), ("rejoined", "#!/bin/sh\n:\n:\n")] {
        let program = dir.path().join("dist/bin").join(name);
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::write(dir.path().join("dist/page.html"), "<p>").unwrap();
    dir
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn a_manifest_becomes_facts_and_files() {
    let dir = dir_with_a_program();
    let intent = Intent::parse("shop.toml", GOOD, dir.path()).unwrap();
    let value = |prefix: &str| {
        let fact = intent.facts.iter().find(|fact| fact.path.starts_with(prefix)).unwrap();
        fact.value.clone().unwrap()
    };
    let horde = Horde::decode(value("horde/web").as_slice()).unwrap();
    assert_eq!(
        (horde.want, horde.r#where.as_str(), horde.sets["big"].as_str()),
        (5, "zone=a & node under site-a", "ALL & LABEL(size=big)")
    );

    let quota = Resources { cpu_milli: 8_000, memory: 16 << 30, disk: 0 };
    assert_eq!(horde.quota, Some(quota));
    let admin = Horde::decode(value("horde/ADMIN").as_slice()).unwrap();
    assert_eq!((admin.want, admin.r#where.as_str(), admin.quota), (3, "node under n1", None));
    let main = Horde::decode(value("horde/main").as_slice()).unwrap();
    assert_eq!((main.want, main.quota.map(|quota| quota.disk)), (0, Some(1 << 40)));

    let bytes = value("muster/api/");
    let manifest = Manifest::decode(bytes.as_slice()).unwrap();
    assert_eq!(manifest.resources, Some(Resources { cpu_milli: 500, memory: 256 << 20, disk: 0 }));
    assert_eq!(manifest.run, ["bin/api", "--port", "${port.http}"]);
    let files: Vec<(&str, bool)> = manifest.files.iter().map(|file| (file.path.as_str(), file.executable)).collect();
    let wanted = [("bin/api", true), ("bin/parted", true), ("bin/rejoined", true), ("page.html", false)];
    assert_eq!(files, wanted);
    assert_eq!((manifest.restart_from_ms, manifest.restart_to_ms, manifest.stop_grace_ms), (500, 60_000, 3_000));
    let check = manifest.check.unwrap();
    assert_eq!(
        (check.kind.as_str(), check.port.as_str(), check.path.as_str(), check.every_ms),
        ("http", "http", "/healthz", 2_000)
    );

    let hooks = manifest.hooks.unwrap();
    assert_eq!((hooks.parted, hooks.rejoined), (strings(&["bin/parted", "${port.http}"]), strings(&["bin/rejoined"])));
    assert_eq!(hooks.timeout_ms, 60_000);

    let place = Place::decode(value("place/web/api").as_slice()).unwrap();
    assert_eq!(place.revision, Manifest::revision(&bytes).0);
    assert_eq!((place.place.as_str(), place.on_split.as_str()), ("pick(api, 3, big)", "majority"));
    assert_eq!(place.after, ["2 of db.ready"]);

    assert!(Manifest::decode(value("muster/once/").as_slice()).unwrap().once);
    let once = Place::decode(value("place/main/once").as_slice()).unwrap();
    assert_eq!(once.place, "pick(once, 2, ALL)");
    assert_eq!(intent.uploads.len(), 4);
    assert!(intent.uploads.iter().all(|upload| hash_file(&upload.source).unwrap() == (upload.sha256, upload.size)));
}

#[test]
fn the_same_manifest_gives_the_same_revision() {
    let dir = dir_with_a_program();
    assert_eq!(Intent::parse("a.toml", GOOD, dir.path()), Intent::parse("b.toml", GOOD, dir.path()));
}

#[test]
fn errors_point() {
    let dir = dir_with_a_program();
    for (text, expected) in [
        (
            "[service.api]\nrun = [\"a\"]\nplcae = \"x\"\n",
            "m.toml:3:1: service.api.plcae: unknown key; allowed here: horde, place, count, after, run, builtin, files, \
             env, ports, check, restart, stop, single, on_split, on_rejoin, resources, hooks",
        ),
        (
            "[service.api]\nrun = [\"a\"]\nupdate = { at_a_time = 1 }\n",
            "m.toml:3:1: service.api.update: not yet supported in this version; remove it",
        ),
        (
            "[service.api]\nrun = [\"a\"]\nresources = { cpu = 0 }\n",
            "m.toml:3:21: service.api.resources.cpu: \"0\" is no number of cores; write it like 8 or 0.5, from 0.001 to 10000",
        ),
        (
            "[service.api]\nrun = [\"a\"]\nresources = { cpu = \"1\" }\n",
            "m.toml:3:21: service.api.resources.cpu: expected a number of cores, like 8 or 0.5, found \"1\"",
        ),
        (
            "[service.api]\nrun = [\"a\"]\nresources = { cpu = 0.5, memory = \"256\" }\n",
            "m.toml:3:35: service.api.resources.memory: \"256\" is no size; write it like 512K, 256M, 16G or 1T, at most \
             1024T (K is 1024 bytes)",
        ),
        (
            "[service.api]\nrun = [\"a\"]\nresources = { gpu = 1 }\n",
            "m.toml:3:15: service.api.resources.gpu: unknown key; allowed here: cpu, memory, disk",
        ),
        (
            "[service.api]\nrun = [\"a\"]\nresources = {}\n",
            "m.toml:3:13: service.api.resources: it names nothing; allowed here: cpu, memory, disk",
        ),
        (
            "[horde.web]\nwant = 1\nquota = { memory = 16 }\n",
            "m.toml:3:20: horde.web.quota.memory: expected a string, found the number 16",
        ),
        (
            "[horde.ADMIN]\nwant = 0\n",
            "m.toml:2:8: horde.ADMIN.want: at least one fulcrum carries the ADMIN flag; say 1 or more (3 is the default)",
        ),
        (
            "[horde.ADMIN]\nquota = { cpu = 1 }\n",
            "m.toml:2:9: horde.ADMIN.quota: ADMIN has no quota: it is a flag, and its members are at home in other hordes",
        ),
        ("[hordes.web]\n", "m.toml:1:2: hordes: unknown key; allowed here: horde, service"),
        ("[horde.web]\nwant = \"5\"\n", "m.toml:2:8: horde.web.want: expected a number from 0 to 100000, found \"5\""),
        (
            "[horde.web]\nwhere = \"zone=a\"\n",
            "m.toml:1:8: horde.web: `want` is missing: how many home members the horde should have",
        ),
        (
            "[horde.web]\nwant = 1\nwhere = \"zone=a & zone=b\"\n",
            "m.toml:3:19: horde.web.where: expected a condition that a fulcrum with `zone=a` can meet, found `zone=b`: a \
             label has one value, and all conditions must hold; leave one of the two away",
        ),
        (
            "[horde.web]\nwant = 1\nwhere = \"zone a\"\n",
            "m.toml:3:15: horde.web.where: expected '&' or the end, found \"a\"",
        ),
        (
            "[horde.web]\nwant = 1\nvacancy_after = \"soon\"\n",
            "m.toml:3:17: horde.web.vacancy_after: \"soon\" is not a duration; write it like 500ms, 2s, 1m30s or 2h, or `never`",
        ),
        (
            "[horde.web]\nwant = 1\nvacancy_after = \"0s\"\n",
            "m.toml:3:17: horde.web.vacancy_after: 0 would have places filled that nobody misses; write it like 10m, or `never`",
        ),
        (
            "[horde.main]\nwant = 1\n",
            "m.toml:2:8: horde.main.want: main is built in and takes whom no other horde has: only its quota can be set",
        ),
        (
            "[horde.Web]\nwant = 1\n",
            "m.toml:1:8: horde.Web: \"Web\" is not a horde name: the character at byte 0 is not a lower-case letter, a \
             digit or '-'",
        ),
        ("[service.api]\ncount = 1\n", "m.toml:1:10: service.api: `run` is missing: the command and its arguments"),
        ("[service.api]\nrun = []\n", "m.toml:2:7: service.api.run: it names no command"),
        (
            "[service.api]\nrun = [\"a\", 3]\n",
            "m.toml:2:13: service.api.run: expected a string in this list, found the number 3",
        ),
        (
            "[service.api]\nbuiltin = \"web\"\n",
            "m.toml:2:11: service.api.builtin: crux has no program \"web\"; it has demo",
        ),
        (
            "[service.api]\nrun = [\"a\"]\ncount = 1\nplace = \"pick(api, 1, ALL)\"\n",
            "m.toml:3:9: service.api.count: `place` and `count` exclude each other; keep one of them",
        ),
        (
            "[service.api]\nrun = [\"a\"]\nplace = \"pick(web, 1, ALL)\"\n",
            "m.toml:3:10: service.api.place: it does not place api; write pick(api, 3, ALL)",
        ),
        (
            "[service.api]\nrun = [\"a\", \"${port.http}\"]\n",
            "m.toml:2:7: service.api.run: ${port.http} names no port of this service; it declares none",
        ),
        (
            "[service.api]\nrun = [\"a\"]\nports = { Http = 0 }\n",
            "m.toml:3:18: service.api.ports.Http: \"Http\" is not a port's name: a lower-case letter, then lower-case \
             letters, digits, '-' and '_', 63 at most",
        ),
        (
            "[service.api]\nrun = [\"a\"]\nports = { a = 0, b = 70000 }\n",
            "m.toml:3:22: service.api.ports.b: expected a number from 0 to 65535, found the number 70000",
        ),
        (
            "[service.api]\nrun = [\"a\"]\nports = { a = 0, b = 0 }\ncheck = { http = \"/\" }\n",
            "m.toml:4:1: service.api.check: say which port: port = \"NAME\", one of the service's `ports`",
        ),
        (
            "[service.api]\nrun = [\"a\"]\ncheck = { tcp = \"x\", exec = [\"y\"] }\n",
            "m.toml:3:1: service.api.check: name exactly one of http = \"/PATH\", tcp = \"PORT\" and exec = [\"COMMAND\"]",
        ),
        (
            "[service.api]\nrun = [\"a\"]\nstop = { grace = \"10\" }\n",
            "m.toml:3:18: service.api.stop.grace: \"10\" is not a duration; write it like 500ms, 2s, 1m30s or 2h",
        ),
        (
            "[service.api]\nrun = [\"a\"]\non_split = \"both\"\n",
            "m.toml:3:12: service.api.on_split: expected each-side, majority, home:NAME or stop, found \"both\"",
        ),
        (
            "[service.api]\nrun = [\"a\"]\nsingle = true\n",
            "m.toml:3:10: service.api.single: a single service must say what happens in a split: on_split = \"majority\", \
             \"home:NAME\" or \"stop\"; crux refuses to guess (and without the service's help this is no mutual exclusion)",
        ),
        (
            "[service.api]\nrun = [\"a\"]\nhorde = \"ADMIN\"\n",
            "m.toml:3:9: service.api.horde: ADMIN runs crux's own programs only; choose another horde",
        ),
        (
            "[service.api]\nrun = [\"a\"]\nenv = { CRUX_NODE = \"n1\" }\n",
            "m.toml:3:7: service.api.env: CRUX_NODE is set by crux itself; choose another name",
        ),
        (
            "[service.api]\nrun = [\"a\"]\nhooks = { part = [\"x\"] }\n",
            "m.toml:3:11: service.api.hooks.part: unknown key; allowed here: parted, rejoined, timeout",
        ),
        (
            "[service.api]\nrun = [\"a\"]\nhooks = { timeout = \"3s\" }\n",
            "m.toml:3:1: service.api.hooks: name at least one of parted = [\"COMMAND\"] and rejoined = [\"COMMAND\"]",
        ),
        (
            "[service.api]\nrun = [\"a\"]\nhooks = { parted = \"bin/parted\" }\n",
            "m.toml:3:20: service.api.hooks.parted: expected a list of strings, found \"bin/parted\"",
        ),
        (
            "[service.api]\nrun = [\"a\"]\nhooks = { parted = [\"p\"], rejoined = [] }\n",
            "m.toml:3:38: service.api.hooks.rejoined: it names no command",
        ),
        (
            "[service.api]\nrun = [\"a\"]\n[service.api.hooks]\nparted = [\"p\"]\ntimeout = \"2h\"\n",
            "m.toml:5:11: service.api.hooks.timeout: expected more than 0 and at most 1h",
        ),
        (
            "[service.api]\nrun = [\"a\"]\nhooks = { parted = [\"p\", \"${port.http}\"] }\n",
            "m.toml:3:20: service.api.hooks.parted: ${port.http} names no port of this service; it declares none",
        ),
        (
            "[service.api]\nrun = [\"a\"]\nfiles = \"dist\"\nhooks = { parted = [\"bin/part\"] }\n",
            "m.toml:4:20: service.api.hooks.parted: \"bin/part\" is no file of this service: `files` gives it none of that name; \
             what it makes itself is run as [\"sh\", \"-c\", \"bin/part\"]",
        ),
        (
            "[service.api]\nrun = [\"a\"]\nfiles = \"dist\"\n[service.api.hooks]\nrejoined = [\"./page.html\"]\n",
            "m.toml:5:12: service.api.hooks.rejoined: \"./page.html\" may not be run: chmod +x, or give its interpreter first, as \
             in [\"sh\", \"./page.html\"]",
        ),
    ] {
        let error = Intent::parse("m.toml", text, dir.path()).unwrap_err();
        assert_eq!(error.to_string(), expected, "for\n{text}");
    }
}

#[test]
fn text_that_is_no_toml_is_pointed_at() {
    let error = Intent::parse("m.toml", "[horde.web]\nwant = = 3\n", Path::new(".")).unwrap_err();
    assert_eq!((error.line, error.column, error.code), (2, 8, Code::BadManifest));
}

#[test]
fn khan_errors_point_into_the_text() {
    let text = "[service.api]\nrun = [\"a\"]\nplace = \"pick(api, 3, ALL\"\n";
    let error = Intent::parse("m.toml", text, Path::new(".")).unwrap_err();
    assert_eq!((error.line, error.key.as_str(), error.code), (3, "service.api.place", Code::BadKhan));
    // `place = "` has nine characters, and the text sixteen.
    assert_eq!(error.column, 9 + 16 + 1);
    for text in
        ["[service.api]\nrun = [\"a\"]\nafter = \"2 off db\"\n", "[horde.web]\nwant = 1\nsets.big = \"ALL &\"\n"]
    {
        assert_eq!(Intent::parse("m.toml", text, Path::new(".")).unwrap_err().code, Code::BadKhan, "{text}");
    }
}

#[test]
fn files_that_are_not_there_or_lead_elsewhere_are_named() {
    let dir = dir_with_a_program();
    let text = "[service.api]\nrun = [\"a\"]\nfiles = [\"dist\", \"nowhere\"]\n";
    let error = Intent::parse("m.toml", text, dir.path()).unwrap_err().to_string();
    assert!(error.starts_with("m.toml:3:9: service.api.files: cannot read "), "{error}");
    assert!(error.contains("nowhere: No such file"), "{error}");

    std::os::unix::fs::symlink("/", dir.path().join("dist/root")).unwrap();
    let text = "[service.api]\nrun = [\"a\"]\nfiles = \"dist\"\n";
    let error = Intent::parse("m.toml", text, dir.path()).unwrap_err().to_string();
    assert!(error.ends_with("root is a symbolic link; put the file itself there"), "{error}");
}

#[test]
fn a_plan_lists_what_would_change_and_nothing_else() {
    let dir = dir_with_a_program();
    let intent = Intent::parse("shop.toml", GOOD, dir.path()).unwrap();
    let head = |value: &Option<Vec<u8>>| Head {
        id: to_hex(&[1; 32]),
        value: value.as_deref().map(to_hex),
        readable: None,
        ancestors: Vec::new(),
        wall: Counter(1),
        logical: 0,
        author: "operator alice".to_owned(),
    };
    let mut there: Vec<Fact> =
        intent.facts.iter().map(|fact| Fact { path: fact.path.clone(), heads: vec![head(&fact.value)] }).collect();
    assert_eq!(diff(&intent.facts, &there).plan.changes, []);

    let mut smaller = intent.facts.clone();
    let web = smaller.iter().position(|fact| fact.path == "horde/web").unwrap();
    smaller[web].value = Some(Horde { want: 3, ..Horde::default() }.encode_to_vec());
    let plan = diff(&smaller, &there).plan;
    assert_eq!((plan.changes.len(), plan.unchanged as usize), (1, there.len() - 1));
    let change = &plan.changes[0];
    assert_eq!(change.action, ChangeAction::Change);
    assert_eq!(
        change.before.as_deref(),
        Some("want 5 where zone=a & node under site-a; quota cpu 8, memory 16G; big := ALL & LABEL(size=big)")
    );
    assert_eq!(change.after.as_deref(), Some("want 3"));

    // A conflict is written again even when the winner says the same: the write settles it.
    let loser = head(&None);
    there[0].heads.push(loser);
    assert_eq!(diff(&intent.facts, &there).writes.len(), 1);

    let gone = [NewFact { path: there[1].path.clone(), value: None }];
    assert_eq!(diff(&gone, &there).plan.changes[0].action, ChangeAction::Delete);
}

#[test]
fn how_long_a_member_is_missed_before_another_stands_in_is_said_in_the_manifest() {
    for (text, millis) in [("10m", 600_000), ("30s", 30_000), ("never", u64::MAX)] {
        let manifest = format!("[horde.web]\nwant = 2\nvacancy_after = \"{text}\"\n");
        let intent = Intent::parse("m.toml", &manifest, Path::new(".")).unwrap();
        let horde = Horde::decode(intent.facts[0].value.as_deref().unwrap()).unwrap();
        assert_eq!(horde.vacancy_after_ms, millis, "{text}");
        let said = describe("horde/web", intent.facts[0].value.as_deref().unwrap());
        let expected = if text == "never" {
            "want 2; vacancies stay".into()
        } else {
            format!("want 2; vacancies after {} s", millis / 1_000)
        };
        assert_eq!(said, expected);
    }
}

#[test]
fn cordons_and_labels_are_told_in_words() {
    let fulcrum = "n3".parse().unwrap();
    for (reason, drain, said) in [("", false, "no new work"), ("new disk", true, "drained; new disk")] {
        let fact = NewFact::cordon(&fulcrum, reason, drain);
        assert_eq!(fact.path, "cordon/n3/0");
        assert_eq!(describe(&fact.path, fact.value.as_deref().unwrap()), said);
    }
    let labels = [("size".to_owned(), "big".to_owned()), ("zone".to_owned(), "a".to_owned())].into();
    let fact = NewFact::labels(&"n3".parse().unwrap(), labels);
    assert_eq!(describe(&fact.path, fact.value.as_deref().unwrap()), "size=big, zone=a");
    assert_eq!(NewFact::labels(&"n3".parse().unwrap(), BTreeMap::new()).value, None);
}
