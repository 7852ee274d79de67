//! What is run on a host: texts for a POSIX shell. No secret is in them; what is installed comes by standard input.

use super::plan::Layout;

/// Where the unit goes.
pub(super) const UNIT_PATH: &str = "/etc/systemd/system/crux.service";
/// The unit as it is packaged.
const UNIT: &str = include_str!("../../../../../../packaging/systemd/crux.service");

/// How settings begin that this command wrote.
pub(super) const WRITTEN: &str = "# Written by `crux bloc create`.\n";

/// What the host is.
pub(super) const MACHINE: &str = r#"say() { printf '%s=%s\n' "$1" "$2"; }
missing=
for it in uname id tar sha256sum cut dirname mkdir rmdir rm mv chmod cat tr wc; do command -v $it >/dev/null 2>&1 || missing="$missing $it"; done
say missing "$missing"
say system "$(uname -sm)"
say uid "$(id -u)"
say home "$HOME"
if [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; then say systemd yes; else say systemd no; fi
"#;

/// A text that the shell takes as one word.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What is there already.
pub(super) fn look(layout: &Layout) -> String {
    let [binary, certificate, config, socket] = [
        quoted(&layout.binary),
        quoted(&format!("{}/cert.pem", layout.identity)),
        quoted(&layout.config),
        quoted(&format!("{}/crux.sock", layout.state)),
    ];
    // With `--dir` systemd is nobody's affair here.
    let unit = if layout.systemd {
        "unit=$(systemctl cat crux 2>/dev/null | tr '\\n' '|'); [ -z \"$unit\" ] || say unit \"$unit\"\n"
    } else {
        ""
    };
    format!(
        r#"say() {{ printf '%s=%s\n' "$1" "$2"; }}
[ -f {binary} ] && say binary "$(sha256sum < {binary} | cut -c1-64)"
[ -f {certificate} ] && say certificate "$(tr '\n' '|' < {certificate})"
[ -f {config} ] && say config "$(tr '\n' '|' < {config})"
{unit}[ -x {binary} ] && {binary} --at {socket} confab -o json >/dev/null 2>&1 && say running yes
exit 0
"#
    )
}

/// What comes by standard input goes into a new file, if all of it comes: to a program that reads, the end of a connection
/// that was cut is the end of what was sent.
fn receive(new: &str, length: usize) -> String {
    // In sums it does not matter that some `wc` put blanks before the number.
    format!(
        "cat > {new}; came=$(($(wc -c < {new}))); \
         [ $came -eq {length} ] || {{ rm {new}; echo \"$came of {length} bytes came\" >&2; exit 1; }}"
    )
}

/// A file of this length in its place, in one step, 0644; its folders are made.
pub(super) fn file(path: &str, length: usize) -> String {
    let (path, new) = (quoted(path), quoted(&format!("{path}.new")));
    let receive = receive(&new, length);
    format!("set -e; umask 022; mkdir -p \"$(dirname {path})\"; {receive}; mv {new} {path}\n")
}

/// The program, which has to run there before it is put in its place.
pub(super) fn binary(layout: &Layout, length: usize) -> String {
    let (path, new) = (quoted(&layout.binary), quoted(&format!("{}.new", layout.binary)));
    let receive = receive(&new, length);
    // To a shell an empty program is one that ends well, so what it says is no proof that all of it came.
    format!(
        "set -e; umask 022; mkdir -p \"$(dirname {path})\"; {receive}; chmod 755 {new}; {new} --version >/dev/null; mv {new} {path}\n"
    )
}

/// The bundle, a tar archive of this length: a directory that only its owner may look into, in one step.
pub(super) fn identity(layout: &Layout, length: usize) -> String {
    let [path, new, tar] = ["", ".new", ".new.tar"].map(|end| quoted(&format!("{}{end}", layout.identity)));
    let receive = receive("\"$tar\"", length);
    // The archive holds the key: it does not outlive this, however it ends.
    format!(
        "set -e; umask 077; tar={tar}; mkdir -p \"$(dirname {path})\"; trap 'rm -f \"$tar\"' EXIT; {receive}; \
         rm -rf {new}; mkdir {new}; tar -x -o -f \"$tar\" -C {new}; chmod 600 {new}/*; \
         [ ! -e {path} ] || rmdir {path}; mv {new} {path}\n"
    )
}

/// The settings: where it listens, and how many there should be.
pub(super) fn config(port: u16, expect: usize) -> String {
    format!("{WRITTEN}listen = \"[::]:{port}\"\nexpect = {expect}\n")
}

/// The packaged unit with the program where it is.
pub(super) fn unit(layout: &Layout) -> String {
    UNIT.replace("/usr/bin/crux up", &format!("{} up", layout.binary))
}

/// Starts it: by systemd, or by itself in a session of its own.
pub(super) fn start(layout: &Layout) -> String {
    if layout.systemd {
        // All in one line, the last one: systemctl itself only tells where to look.
        return format!(
            "set -e; systemctl daemon-reload; said=$(systemctl enable --now crux 2>&1) && exit 0; log=$({} 2>&1) || true\n\
             printf '%s its log ends with: %s' \"$said\" \"$log\" | tr '\\n' ' ' >&2; exit 1\n",
            log(layout).trim_end()
        );
    }
    let [binary, identity, config, state] =
        [&layout.binary, &layout.identity, &layout.config, &layout.state].map(|path| quoted(path));
    format!(
        "set -e; umask 077; mkdir -p {state}\n\
         if command -v setsid >/dev/null 2>&1; then alone=setsid; else alone=nohup; fi\n\
         $alone {binary} up --identity {identity} --state {state} --config {config} \
         </dev/null >>{state}/crux.log 2>&1 &\n"
    )
}

/// What its fulcrum says.
pub(super) fn status(layout: &Layout) -> String {
    format!("exec {} --at {} status -o json\n", quoted(&layout.binary), quoted(&format!("{}/crux.sock", layout.state)))
}

/// The end of its log.
pub(super) fn log(layout: &Layout) -> String {
    if layout.systemd {
        return "journalctl -u crux -n 5 --no-pager -o cat\n".to_owned();
    }
    format!("tail -n 5 {}/crux.log\n", quoted(&layout.state))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::bloc::create::plan::{self, Machine};
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::process::{Command, Output, Stdio};

    /// Runs a script with what comes by its standard input; programs in `bin` of this directory are found first.
    fn sh(dir: &Path, script: &str, input: &[u8]) -> Output {
        let path = format!("{}:{}", dir.join("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("sh");
        command.args(["-c", script]).env("PATH", path).current_dir(dir);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    fn program(dir: &Path, name: &str, text: &str) {
        let path = dir.join("bin").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// All below one directory, and systemd looks after it.
    fn kept(dir: &Path) -> Layout {
        let machine = Machine { system: "Linux".into(), root: true, systemd: true, home: "/root".into() };
        let aside = Layout::of(&machine, dir.to_str());
        Layout { systemd: true, ..aside }
    }

    fn said(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn what_did_not_come_whole_is_put_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let layout = kept(dir.path());
        let program = b"#!/bin/sh\nexit 0\n";
        let tar = crux_pki::Ca::in_memory("acme".parse().unwrap())
            .unwrap()
            .issue(crux_pki::IssueRequest::new(crux_pki::Role::Node("n1".parse().unwrap())))
            .unwrap()
            .to_tar()
            .unwrap();
        let steps: [(String, &[u8], &str); 3] = [
            (file(&layout.config, b"listen = 1\n".len()), b"listen = 1\n", "crux.toml"),
            (binary(&layout, program.len()), program, "bin/crux"),
            (identity(&layout, tar.len()), &tar, "identity"),
        ];
        for (script, whole, name) in &steps {
            // The connection is cut at once, in the middle, at the end of a block, or just before the end.
            for end in [0, whole.len() / 2, whole.len().saturating_sub(1_024), whole.len() - 1] {
                let ran = sh(dir.path(), script, &whole[..end]);
                assert!(!ran.status.success() && !at(name).exists(), "{name}, {end} bytes: {}", said(&ran.stderr));
                let cause = format!("{end} of {} bytes came", whole.len());
                assert!(said(&ran.stderr).trim_end().ends_with(&cause), "{name}: {}", said(&ran.stderr));
            }
            let ran = sh(dir.path(), script, whole);
            assert!(ran.status.success() && at(name).exists(), "{name}: {}", said(&ran.stderr));
        }
        // What stood there stands.
        assert!(!sh(dir.path(), &steps[0].0, b"").status.success());
        assert_eq!(fs::read(at("crux.toml")).unwrap(), b"listen = 1\n");
        let names = |dir: &Path| -> Vec<String> {
            let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names
        };
        assert_eq!(names(dir.path()), ["bin", "crux.toml", "identity"], "nothing is left beside");
        assert_eq!(names(&at("identity")), ["cert.pem", "key.pem", "trust.pem"]);
    }

    #[test]
    fn a_unit_of_the_same_name_that_starts_something_else_is_not_taken_for_ours() {
        let dir = tempfile::tempdir().unwrap();
        let layout = kept(dir.path());
        let host = plan::Host::parse_all(&["web1".to_owned()]).unwrap().remove(0);
        let machine = Machine { system: "Linux x86_64".into(), root: true, systemd: true, home: "/root".into() };
        let (bloc, config) = ("acme".parse().unwrap(), config(1, 1));
        let wish = plan::Wish {
            bloc: &bloc,
            node: &host.node,
            ca: "acme-ca",
            roots: Vec::new(),
            binary: "aa",
            machine: "Linux x86_64",
            config,
            own_binary: false,
        };
        let planned = |text: &str| {
            fs::write(dir.path().join("unit"), text).unwrap();
            program(dir.path(), "systemctl", "[ \"$*\" = 'cat crux' ] && [ -s unit ] && cat unit");
            let said = said(&sh(dir.path(), &look(&layout), b"").stdout);
            plan::plan(&host, &plan::facts(machine.clone(), &said), &layout, &wish)
        };
        let whole = unit(&layout);
        let cat = |path: &str, text: &str| format!("# {path}\n{text}");
        let ours = cat(UNIT_PATH, &whole);
        assert!(planned("").unwrap().contains(&plan::Step::Unit), "there is none");
        assert!(!planned(&ours).unwrap().contains(&plan::Step::Unit), "it is ours");
        let drop_in = "\n\n# /etc/systemd/system/crux.service.d/more.conf\n[Service]\nMemoryMax=1G\n";
        assert!(!planned(&(ours.clone() + drop_in)).unwrap().contains(&plan::Step::Unit), "with more, it is ours");
        let taken = "/usr/lib/systemd/system/crux.service";
        let other = "[Unit]\nDescription=crux, a game\n[Service]\nExecStart=/usr/games/crux --serve\n";
        let replaced = ours
            + "\n# /etc/systemd/system/crux.service.d/x.conf\n[Service]\nExecStart=\nExecStart=/usr/games/crux --serve\n";
        for (text, path) in [(cat(taken, other), taken), (replaced, UNIT_PATH)] {
            let refused = planned(&text).unwrap_err();
            assert!(refused.cause.starts_with("web1: ") && refused.cause.contains(path), "{}", refused.cause);
            assert!(refused.cause.contains("/usr/games/crux --serve"), "{}", refused.cause);
            assert!(refused.next.contains("systemctl cat crux"), "{}", refused.next);
        }
        let none = planned(&cat(taken, "[Service]\nExecStop=/bin/true\n")).unwrap_err();
        assert!(none.cause.contains("starts nothing"), "{}", none.cause);
    }

    #[test]
    fn a_start_that_fails_under_systemd_says_what_its_log_says() {
        let dir = tempfile::tempdir().unwrap();
        let layout = kept(dir.path());
        program(
            dir.path(),
            "systemctl",
            "[ \"$1\" = daemon-reload ] || { echo 'Job for crux.service failed.' >&2; echo 'See journalctl.' >&2; exit 1; }",
        );
        let journal = "[ \"$*\" = '-u crux -n 5 --no-pager -o cat' ] || exit 1\necho 'crux: E101 [::]:2789 is taken'\necho 'next: ss'";
        program(dir.path(), "journalctl", journal);
        let ran = sh(dir.path(), &start(&layout), b"");
        assert!(!ran.status.success());
        let cause = crate::command::bloc::create::ssh::last(&ran.stderr);
        for part in ["Job for crux.service failed.", "crux: E101 [::]:2789 is taken", "next: ss"] {
            assert!(cause.contains(part), "{part}: {cause}");
        }
        program(dir.path(), "systemctl", "exit 0");
        assert!(sh(dir.path(), &start(&layout), b"").status.success());
        // The unit cannot be read at all: that is told as it is.
        program(dir.path(), "systemctl", "echo 'Failed to connect to bus' >&2; exit 1");
        assert!(said(&sh(dir.path(), &start(&layout), b"").stderr).contains("Failed to connect to bus"));
    }

    #[test]
    fn paths_are_words_and_the_unit_starts_what_was_installed() {
        assert_eq!(quoted("a'b c"), r"'a'\''b c'");
        let machine = Machine { system: "Linux".into(), root: true, systemd: true, home: "/root".into() };
        let layout = Layout::of(&machine, None);
        let unit = unit(&layout);
        assert!(unit.contains("ExecStart=/usr/local/bin/crux up\n") && !unit.contains("/usr/bin/crux"), "{unit}");
        assert!(start(&layout).contains("systemctl enable --now crux"));
        let aside = Layout::of(&machine, Some("/o p"));
        assert!(start(&aside).contains("'/o p/bin/crux' up --identity '/o p/identity' --state '/o p/state'"));
    }
}
