//! Making a dev cluster, waiting for it, breaking it on request, taking it down.

use super::child::{Child, Family};
use super::demo;
use super::faults::{Fault, Network};
use super::lab;
use super::place::{DevFile, DevNode, Place};
use super::{DevConfig, DevError, forget_file, leave_file};
use crate::api::answer::Refusal;
use crate::api::{self, Rules};
use crate::effects::kill_all_instances;
use crux_api::client::Client;
use crux_api::json::{Code, Confab, Done, Ps, Status};
use crux_api::routes::{CONFAB, LAB, PS, STATUS};
use crux_names::{BlocName, NodeName, OperatorName};
use crux_pki::{Bundle, Ca, IssueRequest, Role};
use rustix::process::Signal;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal as Caught, SignalKind, signal};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What all timers are multiplied with.
const TIMERS: f64 = 0.25;
/// How long the cluster may take to be ready before that is an error.
const READY: Duration = Duration::from_secs(60);
/// How often the fulcrums are asked while the cluster comes up.
const ASK: Duration = Duration::from_millis(20);
/// How often is looked whether every fulcrum still runs.
const LOOK: Duration = Duration::from_millis(500);
/// How long a fulcrum may take to obey, and to answer one request. One that was just started needs a moment.
const TELL: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(2);
/// How long a fulcrum may take to go down with its services.
const DOWN: Duration = Duration::from_secs(15);

/// The running cluster.
pub(super) struct Cluster {
    place: Place,
    family: Family,
    children: Vec<Child>,
    network: Network,
    began: Instant,
    /// Where the first one answers programs.
    page: Option<String>,
}

/// Runs a dev cluster until it is told to end.
pub(super) async fn run(config: DevConfig) -> Result<(), DevError> {
    let fault = |source| DevError::System { what: "listen for signals", source };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fault)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(fault)?;
    if let Some(running) = DevFile::find() {
        return Err(DevError::Running { pid: running.pid, dir: running.dir });
    }
    let mut cluster = Cluster::make(config)?;
    let came_up = tokio::select! {
        came_up = cluster.come_up() => came_up,
        () = ended(&mut interrupt, &mut terminate) => {
            cluster.take_down(&mut interrupt, &mut terminate).await;
            return Ok(());
        }
    };
    let file = cluster.file();
    let listener = came_up.and_then(|()| {
        let listener = api::open(&file.lab)?;
        file.write()?;
        Ok(listener)
    });
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => {
            cluster.take_down(&mut interrupt, &mut terminate).await;
            return Err(error);
        }
    };
    cluster.what_next();
    let shared = Arc::new(Mutex::new(cluster));
    let (stop, stopped) = watch::channel(false);
    let door = tokio::spawn(api::serve(listener, lab::router(lab::Shared::new(shared.clone())), stopped));
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            () = ended(&mut interrupt, &mut terminate) => break,
            _ = look.tick() => shared.lock().await.look(),
        }
    }
    file.remove();
    let _ = stop.send(true);
    door.abort();
    shared.lock().await.take_down(&mut interrupt, &mut terminate).await;
    Ok(())
}

async fn ended(interrupt: &mut Caught, terminate: &mut Caught) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

impl Cluster {
    /// Certificates, directories, ports; nothing runs yet.
    fn make(config: DevConfig) -> Result<Self, DevError> {
        let began = Instant::now();
        let place = Place::make(config.keep)?;
        let exe = std::env::current_exe().map_err(|source| DevError::System { what: "find this program", source })?;
        let names: Vec<String> = (1..=config.size).map(|number| format!("n{number}")).collect();
        issue(&place, &names)?;
        let addrs = free_ports(config.size)?;
        let children = names
            .iter()
            .zip(&addrs)
            .enumerate()
            .map(|(number, (name, addr))| {
                // One of them is where newcomers look.
                let page = config.page.map(|page| if number == 0 { page } else { SocketAddr::new(page.ip(), 0) });
                Child::new(name.clone(), *addr, place.identity(name), place.state(name), page)
            })
            .collect();
        let family = Family { exe, addrs, timers: TIMERS };
        let cluster = Self { place, family, children, network: Network::default(), began, page: None };
        cluster.say(&format!("a CA for the bloc dev, {} node certificates and an operator's", config.size));
        Ok(cluster)
    }

    /// Starts everything and waits until one stable flock with ADMIN runs the demo service.
    async fn come_up(&mut self) -> Result<(), DevError> {
        for child in &mut self.children {
            // A kept cluster starts whole.
            forget_file(&child.state);
            child.start(&self.family).map_err(|source| DevError::System { what: "start a fulcrum", source })?;
        }
        let mut up = vec![false; self.children.len()];
        let mut flock = None;
        let confab = loop {
            self.check("one stable flock with ADMIN")?;
            let mut confabs = Vec::new();
            for (place, up) in up.iter_mut().enumerate() {
                let Ok(confab) = self.client(place).get::<Confab>(CONFAB).await else { continue };
                if !*up {
                    *up = true;
                    self.say(&format!("{} listens on {}", self.children[place].name, self.children[place].addr));
                }
                confabs.push(confab);
            }
            let all = confabs.len() == self.children.len();
            if let Some(first) = confabs.first().filter(|first| all && confabs.iter().all(|c| c.view == first.view)) {
                if first.members.len() == self.children.len() && flock.as_ref() != Some(&first.view) {
                    self.say(&format!("flock {} has all {}; {} leads", first.flock, all_of(first), first.leader));
                    flock = Some(first.view.clone());
                }
                if flock.is_some() && confabs.iter().all(|c| c.stable && !c.admin.is_empty()) {
                    break first.clone();
                }
            }
            tokio::time::sleep(ASK).await;
        };
        self.say(&format!("the flock is stable; ADMIN is on {}", confab.admin.join(", ")));
        if let Ok(status) = self.client(0).get::<Status>(STATUS).await {
            if let Some(metrics) = status.listens.metrics {
                self.say(&format!("metrics of {}: http://{metrics}/metrics", self.children[0].name));
            }
            if let Some(page) = status.listens.page {
                self.say(&format!("programs ask {} at http://{page}/v1/confab", self.children[0].name));
                self.page = Some(page);
            }
        }
        let operator = Bundle::load(&self.place.operator())?;
        let leader = self.children.iter().position(|child| child.name == confab.leader).unwrap_or(0);
        let client = self.client(leader);
        demo::apply(&client, &operator, self.children.len()).await.map_err(DevError::Demo)?;
        self.say("the operator asked for the service main/demo");
        let want = demo::COUNT.min(u32::try_from(self.children.len()).unwrap_or(demo::COUNT));
        let ps = loop {
            self.check("a ready demo service")?;
            if let Ok(ps) = client.get::<Ps>(PS).await
                && ps.services.iter().any(|service| service.service == "demo" && service.ready >= want)
            {
                break ps;
            }
            tokio::time::sleep(ASK).await;
        };
        let at: Vec<String> = ps
            .instances
            .iter()
            .filter(|instance| instance.service == "demo")
            .filter_map(|instance| {
                Some(format!("http://127.0.0.1:{} on {}", instance.ports.get("http")?, instance.node))
            })
            .collect();
        self.say(&format!("main/demo is ready, {want} of {want}: {}", at.join(", ")));
        Ok(())
    }

    /// Whether what is waited for can still come about.
    fn check(&mut self, what: &str) -> Result<(), DevError> {
        for child in &mut self.children {
            if !child.runs() {
                let (name, log, words) = (child.name.clone(), child.log(), child.last_words());
                return Err(DevError::ChildEnded { name, log, words });
            }
        }
        if self.began.elapsed() > READY {
            let dir = self.place.dir().to_owned();
            return Err(DevError::Slow { what: what.to_owned(), secs: READY.as_secs(), dir });
        }
        Ok(())
    }

    fn client(&self, place: usize) -> Client {
        Client::new(self.children[place].socket())
    }

    fn say(&self, what: &str) {
        println!("{:>7.2} s  {what}", self.began.elapsed().as_secs_f64());
    }

    fn what_next(&self) {
        let all: Vec<&str> = self.children.iter().map(|child| child.name.as_str()).collect();
        let (left, right) = all.split_at(all.len() / 2);
        println!();
        println!("  everything is in {}; Ctrl-C takes it down. In another terminal:", self.place.dir().display());
        println!("    crux status              what there is, as n1 sees it; --at n2 asks another");
        println!("    crux events -w           what happens");
        if !left.is_empty() {
            println!(
                "    crux lab split {}/{}   two flocks, each with a leader and its services",
                left.join(","),
                right.join(",")
            );
            println!("    crux lab heal            one flock again");
            println!(
                "    crux lab kill {}         as if the machine died; crux lab start {} brings it back",
                all[0], all[0]
            );
        }
        if let Some(page) = &self.page {
            println!("    curl -N http://{page}/v1/confab?watch   what a program sees, as it changes");
        }
        println!("    crux logs demo           what the demo service writes");
    }

    fn file(&self) -> DevFile {
        let node =
            |child: &Child| DevNode { name: child.name.clone(), socket: child.socket(), addr: child.addr.to_string() };
        DevFile {
            pid: std::process::id(),
            dir: self.place.dir().to_owned(),
            lab: self.place.lab(),
            operator: self.place.operator(),
            nodes: self.children.iter().map(node).collect(),
        }
    }

    /// How many fulcrums there are, running or not.
    pub(super) fn size(&self) -> usize {
        self.children.len()
    }

    /// Notices fulcrums that ended by themselves or by `crux down`.
    fn look(&mut self) {
        for place in 0..self.children.len() {
            if self.children[place].ended_unasked() {
                let child = &self.children[place];
                self.say(&format!("{} has ended; crux lab start {} brings it back", child.name, child.name));
            }
        }
    }

    /// Breaks something, or mends it: what to answer. What concerns the network is then told to the fulcrums with
    /// [`tell`], without holding the cluster.
    pub(super) async fn inflict(&mut self, fault: &Fault) -> Result<String, Refusal> {
        let text = match fault {
            Fault::Kill(place) => {
                let child = &mut self.children[*place];
                if !child.runs() {
                    let next = format!("crux lab start {}", child.name);
                    return Err(Refusal::new(Code::Failed, format!("{} does not run", child.name), next));
                }
                child.kill().await;
                let state = child.state.clone();
                let killed = tokio::task::spawn_blocking(move || kill_all_instances(&state)).await;
                match killed {
                    Ok(Ok(0)) => format!("{} is dead; it had no instances", child.name),
                    Ok(Ok(1)) => format!("{} is dead, and its instance with it", child.name),
                    Ok(Ok(count)) => format!("{} is dead, and its {count} instances with it", child.name),
                    Ok(Err(error)) => format!("{} is dead; its instances: {error}", child.name),
                    Err(error) => format!("{} is dead; its instances: {error}", child.name),
                }
            }
            Fault::Start(place) => self.start_again(*place)?,
            fault => {
                self.network.apply(fault, self.children.len());
                self.describe(fault)
            }
        };
        self.say(&text);
        Ok(text)
    }

    /// Starts a fulcrum again, into the network as it is.
    fn start_again(&mut self, place: usize) -> Result<String, Refusal> {
        let rules = self.rules(place);
        let child = &mut self.children[place];
        if child.runs() {
            return Ok(format!("{} runs already", child.name));
        }
        leave_file(&child.state, &rules).and_then(|()| child.start(&self.family)).map_err(|error| {
            let next = format!("look at {}", child.log().display());
            Refusal::new(Code::Failed, format!("{} cannot be started: {error}", child.name), next)
        })?;
        Ok(format!("{} starts", child.name))
    }

    /// What is broken between one fulcrum and the others.
    fn rules(&self, place: usize) -> Rules {
        let (to, from) = self.network.of(place);
        let addrs = |places: Vec<usize>| places.into_iter().map(|place| self.family.addrs[place]).collect();
        let me = self.family.addrs[place];
        Rules {
            to: addrs(to),
            from: addrs(from),
            all: self.family.addrs.iter().copied().filter(|addr| *addr != me).collect(),
            loss: self.network.loss,
        }
    }

    /// Lets a fulcrum stand still; the caller lets it go on. Of two pauses the later one counts.
    pub(super) fn pause(&mut self, place: usize, time: Duration) -> Result<String, Refusal> {
        let child = &mut self.children[place];
        if !child.runs() {
            let cause = format!("{} does not run", child.name);
            return Err(Refusal::new(Code::Failed, cause, format!("crux lab start {}", child.name)));
        }
        child.paused_until = Some(Instant::now() + time);
        child.signal(Signal::STOP);
        let text = format!("{} stands still for {} s", child.name, time.as_secs_f64());
        self.say(&text);
        Ok(text)
    }

    /// Lets it go on, if its pause is over; whether it was.
    pub(super) fn resume(&mut self, place: usize) -> bool {
        let child = &mut self.children[place];
        if child.paused_until.is_none_or(|until| until > Instant::now()) {
            return false;
        }
        child.paused_until = None;
        child.signal(Signal::CONT);
        let name = child.name.clone();
        self.say(&format!("{name} goes on"));
        true
    }

    /// How to tell a fulcrum what is broken around it; `None` if it does not run, or stands still: then it is told when
    /// it wakes.
    fn whom_to_tell(&mut self, place: usize) -> Option<(Client, Rules)> {
        let child = &mut self.children[place];
        (child.runs() && child.paused_until.is_none()).then(|| (self.client(place), self.rules(place)))
    }

    fn describe(&self, fault: &Fault) -> String {
        let name = |place: &usize| self.children[*place].name.clone();
        match fault {
            Fault::Split(parts) => {
                let parts: Vec<String> =
                    parts.iter().map(|part| part.iter().map(name).collect::<Vec<_>>().join(",")).collect();
                format!("the network is split: {}", parts.join(" / "))
            }
            Fault::Cut(a, b) => format!("{} and {} cannot reach each other", name(a), name(b)),
            Fault::OneWay(a, b) => format!("what {} sends to {} is lost", name(a), name(b)),
            Fault::Heal => "the network is whole".to_owned(),
            Fault::Loss(percent) => format!("{percent} % of all packets are lost in each direction"),
            Fault::Kill(place) | Fault::Start(place) | Fault::Pause(place, _) => name(place),
        }
    }

    /// Takes everything down, services too. All fulcrums are told at once, so that none replaces what another stops.
    /// Another signal ends it the hard way.
    async fn take_down(&mut self, interrupt: &mut Caught, terminate: &mut Caught) {
        println!();
        self.say("going down, services too");
        for child in &mut self.children {
            child.signal(Signal::CONT);
            child.release();
        }
        let in_order = async {
            for child in &mut self.children {
                if !child.ended(DOWN).await {
                    println!("           {} does not end; it is killed", child.name);
                }
            }
        };
        tokio::select! {
            () = in_order => {}
            () = ended(interrupt, terminate) => println!("           at once, then"),
        }
        for child in &mut self.children {
            child.kill().await;
            let state = child.state.clone();
            // What an orderly end left over; usually nothing.
            let _ = tokio::task::spawn_blocking(move || kill_all_instances(&state)).await;
        }
        self.say("all down");
    }
}

/// Tells one fulcrum what is broken between it and the others. One that has just been started is waited for. The cluster
/// is held only to look, so a fulcrum that does not answer holds up neither pauses nor their ends.
pub(super) async fn tell(cluster: &Mutex<Cluster>, place: usize) -> Result<(), Refusal> {
    let limit = Instant::now() + TELL;
    loop {
        let Some((client, rules)) = cluster.lock().await.whom_to_tell(place) else { return Ok(()) };
        let cause = match tokio::time::timeout(ANSWER, client.post::<Rules, Done>(LAB, &rules)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) if error.code != Code::Unreachable => return Err(Refusal(error)),
            Ok(Err(error)) => error.cause,
            Err(_) => format!("no answer within {} s", ANSWER.as_secs()),
        };
        if Instant::now() >= limit {
            let locked = cluster.lock().await;
            let child = &locked.children[place];
            let cause = format!("{} could not be told what is broken around it: {cause}", child.name);
            return Err(Refusal::new(Code::Failed, cause, format!("crux lab kill {}", child.name)));
        }
        tokio::time::sleep(ASK).await;
    }
}

/// Tells all fulcrums at once.
pub(super) async fn tell_all(cluster: &Arc<Mutex<Cluster>>) -> Result<(), Refusal> {
    let size = cluster.lock().await.size();
    let mut tells = JoinSet::new();
    for place in 0..size {
        let cluster = cluster.clone();
        tells.spawn(async move { tell(&cluster, place).await });
    }
    let mut outcome = Ok(());
    while let Some(told) = tells.join_next().await {
        outcome = outcome.and(told.unwrap_or(Ok(())));
    }
    outcome
}

fn all_of(confab: &Confab) -> String {
    match confab.members.len() {
        1 => "1 fulcrum".to_owned(),
        size => format!("{size} fulcrums"),
    }
}

/// Free UDP ports on loopback. They are freed again for the fulcrums, which take them at once.
fn free_ports(count: usize) -> Result<Vec<SocketAddr>, DevError> {
    let fault = |source| DevError::System { what: "get a UDP port on 127.0.0.1", source };
    let sockets: Vec<UdpSocket> =
        (0..count).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>().map_err(fault)?;
    sockets.iter().map(UdpSocket::local_addr).collect::<Result<_, _>>().map_err(fault)
}

/// Bundles for every node and an operator. A cluster that is kept keeps its CA, and its bundles are issued once.
fn issue(place: &Place, names: &[String]) -> Result<(), DevError> {
    let Ok(bloc) = BlocName::parse("dev") else { unreachable!("dev is a name") };
    let mut ca = match place.ca() {
        Some(dir) if dir.is_dir() => Ca::open(&dir)?,
        Some(dir) => Ca::init(bloc, &dir)?,
        None => Ca::in_memory(bloc)?,
    };
    let mut one = |role: Role, dir: &Path| -> Result<(), DevError> {
        if !dir.is_dir() {
            ca.issue(IssueRequest::new(role))?.save(dir)?;
        }
        Ok(())
    };
    for name in names {
        let Ok(node) = NodeName::parse(name) else { continue };
        one(Role::Node(node), &place.identity(name))?;
    }
    if let Ok(operator) = OperatorName::parse("dev") {
        one(Role::Operator(operator), &place.operator())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_different() {
        let mut ports = free_ports(8).unwrap();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 8);
    }

    #[test]
    fn a_kept_cluster_keeps_its_certificates() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::make(Some(dir.path().join("kept"))).unwrap();
        issue(&place, &["n1".into()]).unwrap();
        let first = std::fs::read(place.identity("n1").join("cert.pem")).unwrap();
        issue(&place, &["n1".into(), "n2".into()]).unwrap();
        assert_eq!(std::fs::read(place.identity("n1").join("cert.pem")).unwrap(), first);
        let (n2, operator) = (place.identity("n2"), place.operator());
        for bundle in [n2, operator] {
            Bundle::load(&bundle).unwrap().check(crux_pki::unix_now()).unwrap();
        }
    }
}
