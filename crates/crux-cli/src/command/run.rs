//! `crux run`: the facts of a service, for the impatient.

use super::Ctx;
use crate::Outcome;
use crate::args::key_value;
use crate::output::note;
use clap::Args;
use crux_api::intent::{
    Intent, Resources, ServiceIntent, check_on_split, check_port_name, parse_bytes, parse_cpu, service_horde,
};
use crux_api::json::{Code, ErrorDoc};
use crux_names::ServiceName;
use std::path::{Path, PathBuf};

/// Directories of programs that every machine is expected to have: they are run where they are, not pushed.
const SYSTEM: [&str; 5] = ["/bin", "/sbin", "/usr", "/lib", "/nix/store"];

/// A service in one line.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Its name [default: the program's]
    #[arg(long)]
    name: Option<String>,
    /// Its horde
    #[arg(long, default_value = crux_names::MAIN)]
    horde: String,
    /// How many instances
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    count: u32,
    /// A named port, told to the program as `CRUX_PORT_NAME` and `${port.NAME}`; without a number crux picks one
    #[arg(long, value_name = "NAME[=P]")]
    port: Vec<String>,
    /// A variable of its environment
    #[arg(long, value_name = "K=V", value_parser = key_value)]
    env: Vec<(String, String)>,
    /// A file or directory that it finds in its own directory
    #[arg(long, value_name = "PATH")]
    files: Vec<PathBuf>,
    /// How its health is asked for: `http:/PATH`, `http:PORT:/PATH`, `tcp:PORT` or `exec:COMMAND`
    #[arg(long, value_name = "SPEC")]
    check: Option<String>,
    /// What happens in a split: each-side, majority, home:NAME or stop
    #[arg(long, value_name = "P")]
    on_split: Option<String>,
    /// Cores that each instance asks for, like 0.5: it goes where they are left
    #[arg(long, value_name = "CORES", value_parser = parse_cpu)]
    cpu: Option<u64>,
    /// Memory that each instance asks for, like 256M
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    memory: Option<u64>,
    /// Disk that each instance asks for, like 1G
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    disk: Option<u64>,
    /// The program and its arguments; a local file is pushed
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    cmd: Vec<String>,
}

fn usage(problem: String) -> ErrorDoc {
    ErrorDoc::new(Code::Usage, format!("{problem}; nothing was changed"), "crux run --help")
}

/// A service's name made of a program's: `My_Server.py` becomes `my-server`.
fn name_of(program: &str) -> Option<ServiceName> {
    let stem = Path::new(program).file_stem()?.to_str()?;
    let name: String = stem.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = name.trim_matches('-');
    ServiceName::parse(&name[..name.len().min(63)]).ok()
}

/// Whether a command's first word is a file of this machine that has to be pushed.
fn is_local(program: &str) -> bool {
    let path = Path::new(program);
    // A bare word is looked up along PATH there as here, so a file of that name in this directory is not meant.
    program.contains('/') && path.is_file() && !is_of_the_system(path)
}

/// Whether a program is expected on every node, whatever is here.
fn is_of_the_system(path: &Path) -> bool {
    SYSTEM.iter().any(|system| path.starts_with(system))
}

/// A flag of `crux run` among the words of the command, where it does nothing of crux's. Flags that programs often have
/// too, like `--port`, are not meant.
fn stray_flag(cmd: &[String]) -> Option<&str> {
    const OURS: [&str; 6] = ["--wait", "--timeout", "--count", "--horde", "--on-split", "--at"];
    const FORMS: [&str; 3] = ["json", "yaml", "text"];
    let words: Vec<&str> = cmd.iter().skip(1).map(String::as_str).take_while(|word| *word != "--").collect();
    let long = words.iter().find(|word| OURS.contains(&word.split('=').next().unwrap_or(word)));
    let form = words.windows(2).find(|pair| pair[0] == "-o" && FORMS.contains(&pair[1])).map(|pair| &pair[0]);
    long.or(form).copied()
}

/// What a command line asks for.
fn service(args: RunArgs, uploads: &mut Vec<crux_api::intent::Upload>) -> Result<ServiceIntent, ErrorDoc> {
    let horde = service_horde(&args.horde).map_err(usage)?;
    let program = args.cmd.first().cloned().unwrap_or_default();
    let name = match &args.name {
        Some(name) => ServiceName::parse(name).map_err(|e| usage(e.to_string()))?,
        None => name_of(&program).ok_or_else(|| usage(format!("no name can be made of {program:?}; give --name")))?,
    };
    let mut service = ServiceIntent::new(horde, name, args.count);
    let mut files = args.files;
    service.run = args.cmd;
    if is_local(&program) {
        let base = Path::new(&program).file_name().and_then(|base| base.to_str());
        let base = base.ok_or_else(|| usage(format!("{program:?} has no name in UTF-8")))?;
        service.run[0] = format!("./{base}");
        files.push(PathBuf::from(&program));
    } else if program.contains('/')
        && !Path::new(&program).exists()
        && !is_of_the_system(Path::new(&program))
        && files.is_empty()
    {
        return Err(usage(format!("there is no file {program} on this machine to be pushed")));
    }
    service.add_files(&files, uploads).map_err(usage)?;
    if is_local(&program) {
        // The contract is that it is run: a script that lost its bit on the way to this machine is run all the same.
        for file in service.files.iter_mut().filter(|file| format!("./{}", file.path) == service.run[0]) {
            file.executable = true;
        }
    }
    for spec in &args.port {
        let (name, port) = spec.split_once('=').unwrap_or((spec, "0"));
        check_port_name(name).map_err(usage)?;
        let port: u16 = port.parse().map_err(|_| usage(format!("{port:?} is not a port (--port NAME=8080)")))?;
        if service.ports.insert(name.to_owned(), u32::from(port)).is_some() {
            return Err(usage(format!("port {name} is given twice")));
        }
    }
    service.env = args.env.into_iter().collect();
    service.check = match &args.check {
        Some(spec) => Some(ServiceIntent::check_spec(spec, &service.ports).map_err(usage)?),
        None => None,
    };
    if let Some(policy) = args.on_split {
        check_on_split(&policy).map_err(usage)?;
        service.on_split = policy;
    }
    let [cpu_milli, memory, disk] = [args.cpu, args.memory, args.disk].map(Option::unwrap_or_default);
    service.resources = Some(Resources { cpu_milli, memory, disk }).filter(|asked| !asked.is_none());
    service.validate().map_err(|(key, problem)| usage(format!("{key}: {problem}")))?;
    Ok(service)
}

pub(crate) async fn run(ctx: &Ctx, args: RunArgs) -> Outcome {
    if let Some(flag) = stray_flag(&args.cmd) {
        note(&format!(
            "{flag} stands after the command and is passed to it; if it is meant for crux, give it before {}",
            args.cmd[0]
        ));
    }
    let mut intent = Intent::default();
    let service = service(args, &mut intent.uploads)?;
    service.lower(&mut intent).map_err(usage)?;
    ctx.make_so(&intent).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn args(cmd: &[&str]) -> RunArgs {
        RunArgs {
            name: None,
            horde: "main".to_owned(),
            count: 3,
            port: vec!["http".to_owned(), "admin=8080".to_owned()],
            env: vec![("LOG".to_owned(), "info".to_owned())],
            files: Vec::new(),
            check: Some("http:http:/healthz".to_owned()),
            on_split: Some("majority".to_owned()),
            cpu: Some(500),
            memory: None,
            disk: None,
            cmd: cmd.iter().map(|word| (*word).to_owned()).collect(),
        }
    }

    #[test]
    fn names_are_made_of_programs() {
        assert_eq!(name_of("./bin/My_Server.py").unwrap().as_str(), "my-server");
        assert_eq!(name_of("/"), None);
        assert_eq!(name_of("___"), None);
    }

    #[test]
    fn a_local_program_is_pushed_and_run_from_the_instance_s_directory() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("server");
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        let mut uploads = Vec::new();
        let service = service(args(&[program.to_str().unwrap(), "--port", "${port.http}"]), &mut uploads).unwrap();
        assert_eq!(service.run, ["./server", "--port", "${port.http}"]);
        assert_eq!((service.files[0].path.as_str(), service.files[0].executable), ("server", true));
        assert_eq!(uploads[0].source, program);
        assert_eq!(service.ports, BTreeMap::from([("http".to_owned(), 0), ("admin".to_owned(), 8080)]));
        assert_eq!(service.place, "pick(server, 3, ALL)");
        assert_eq!(service.resources.map(|asked| asked.to_string()).as_deref(), Some("cpu 0.5"));
    }

    #[test]
    fn flags_of_crux_after_the_command_are_noticed() {
        let stray = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            stray_flag(&words).map(str::to_owned)
        };
        assert_eq!(stray(&["false", "--wait"]).as_deref(), Some("--wait"));
        assert_eq!(stray(&["false", "--timeout=3s"]).as_deref(), Some("--timeout=3s"));
        assert_eq!(stray(&["sleep", "99", "-o", "json"]).as_deref(), Some("-o"));
        assert_eq!(stray(&["cc", "-o", "server"]), None);
        assert_eq!(stray(&["server", "--port", "8080", "--waiter"]), None);
        assert_eq!(stray(&["server", "--", "--wait"]), None);
    }

    #[test]
    fn a_program_of_the_system_is_not_pushed() {
        let mut uploads = Vec::new();
        assert_eq!(service(args(&["sleep", "9"]), &mut uploads).unwrap().run, ["sleep", "9"]);
        assert_eq!(service(args(&["/bin/sh"]), &mut uploads).unwrap().run, ["/bin/sh"]);
        assert_eq!(service(args(&["/usr/bin/only-on-nodes"]), &mut uploads).unwrap().run, ["/usr/bin/only-on-nodes"]);
        assert_eq!(uploads, []);
    }

    #[test]
    fn mistakes_are_usage_errors_that_say_what_is_wrong() {
        let mut check = args(&["sleep"]);
        check.check = Some("http:web:/".to_owned());
        let mut port = args(&["sleep"]);
        port.port.push("x=99999".to_owned());
        let mut twice = args(&["sleep"]);
        twice.port.push("http=1".to_owned());
        let mut digit = args(&["sleep"]);
        digit.port.push("9p".to_owned());
        let mut policy = args(&["sleep"]);
        policy.on_split = Some("both".to_owned());
        let mut horde = args(&["sleep"]);
        horde.horde = "ADMIN".to_owned();
        for (args, expected) in [
            (check, "\"web\" is not a port of this service; it has admin, http; nothing was changed"),
            (port, "\"99999\" is not a port (--port NAME=8080); nothing was changed"),
            (twice, "port http is given twice; nothing was changed"),
            (
                digit,
                "\"9p\" is not a port's name: a lower-case letter, then lower-case letters, digits, '-' and '_', 63 at \
                 most; nothing was changed",
            ),
            (policy, "expected each-side, majority, home:NAME or stop, found \"both\"; nothing was changed"),
            (horde, "ADMIN runs crux's own programs only; choose another horde; nothing was changed"),
            (args(&["./nowhere"]), "there is no file ./nowhere on this machine to be pushed; nothing was changed"),
            (
                args(&["a", "${port.x}"]),
                "run: ${port.x} names no port of this service; it has admin, http; nothing was changed",
            ),
        ] {
            let error = service(args, &mut Vec::new()).unwrap_err();
            assert_eq!((error.code, error.cause.as_str()), (Code::Usage, expected));
        }
    }
}
