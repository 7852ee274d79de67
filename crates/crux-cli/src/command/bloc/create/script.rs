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
for it in uname id tar sha256sum mkdir mv cat tr; do command -v $it >/dev/null 2>&1 || missing="$missing $it"; done
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
    format!(
        r#"say() {{ printf '%s=%s\n' "$1" "$2"; }}
[ -f {binary} ] && say binary "$(sha256sum < {binary} | cut -c1-64)"
[ -f {certificate} ] && say certificate "$(tr '\n' '|' < {certificate})"
[ -f {config} ] && say config "$(tr '\n' '|' < {config})"
command -v systemctl >/dev/null 2>&1 && systemctl cat crux >/dev/null 2>&1 && say unit yes
[ -x {binary} ] && {binary} --at {socket} confab -o json >/dev/null 2>&1 && say running yes
exit 0
"#
    )
}

/// A file in its place, in one step, 0644; its folders are made.
pub(super) fn file(path: &str) -> String {
    let (path, new) = (quoted(path), quoted(&format!("{path}.new")));
    format!("set -e; umask 022; mkdir -p \"$(dirname {path})\"; cat > {new}; mv {new} {path}\n")
}

/// The program, which has to run there before it is put in its place.
pub(super) fn binary(layout: &Layout) -> String {
    let (path, new) = (quoted(&layout.binary), quoted(&format!("{}.new", layout.binary)));
    format!(
        "set -e; umask 022; mkdir -p \"$(dirname {path})\"; cat > {new}; chmod 755 {new}; {new} --version >/dev/null; mv {new} {path}\n"
    )
}

/// The bundle: a directory that only its owner may look into, in one step.
pub(super) fn identity(layout: &Layout) -> String {
    let (path, new) = (quoted(&layout.identity), quoted(&format!("{}.new", layout.identity)));
    format!(
        "set -e; umask 077; mkdir -p \"$(dirname {path})\"; rm -rf {new}; mkdir {new}; tar -x -o -f - -C {new}; \
         chmod 600 {new}/*; [ ! -e {path} ] || rmdir {path}; mv {new} {path}\n"
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
        return "set -e; systemctl daemon-reload; systemctl enable --now crux\n".to_owned();
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
    use crate::command::bloc::create::plan::Machine;

    #[test]
    fn paths_are_words_and_the_unit_starts_what_was_installed() {
        assert_eq!(quoted("a'b c"), r"'a'\''b c'");
        let machine = Machine { system: "Linux".into(), root: true, systemd: true, home: "/root".into() };
        let layout = Layout::of(&machine, None);
        let unit = unit(&layout);
        assert!(unit.contains("ExecStart=/usr/local/bin/crux up\n") && !unit.contains("/usr/bin/crux"), "{unit}");
        assert_eq!(start(&layout), "set -e; systemctl daemon-reload; systemctl enable --now crux\n");
        let aside = Layout::of(&machine, Some("/o p"));
        assert!(start(&aside).contains("'/o p/bin/crux' up --identity '/o p/identity' --state '/o p/state'"));
    }
}
