//! A machine under a fulcrum: its [`Disk`], its processes, its wall clock. It outlives crux; its processes do not outlive
//! *it*. Everything takes a while, and what takes a while can be cut short by a crash.

use crate::disk::Disk;
use crate::engines::readmitted;
use crate::signature::seal;
use bytes::Bytes;
use crux_core::facts::version::{Author, Checked, Stamp, Statement};
use crux_core::hash::Random;
use crux_core::io::{BookEntry, Effect, Ended, HookEnd, Kept, Report, StartSpec, Telling, Word};
use crux_core::services::instance::{Instance, InstanceId, Phase, ServiceRef};
use crux_names::{BlocName, Duration, FulcrumId, Hash256, Time, Wall};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// The wall clock at the beginning of invented time: 2026, in microseconds.
const EPOCH: u64 = 1_790_000_000_000_000;

/// What a clock shows that is right.
#[must_use]
pub const fn calendar(now: Time) -> Wall {
    Wall(EPOCH + now.as_nanos() / 1000)
}

/// What has to be added to a right clock so that it shows the beginning of 1970, as where no battery kept it.
pub const IN_1970: i64 = -1_790_000_000_000_000;

/// How long an order to a supervisor is under way.
const ORDER: Duration = Duration::from_millis(1);

/// What may go wrong on a machine by itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habits {
    /// Processes end by themselves now and then.
    pub exits: bool,
    /// One start in ten fails, one fetch in four.
    pub failures: bool,
    /// The disk has one trouble or another for a few seconds now and then.
    pub disk_errors: bool,
    /// Processes take their whole grace to stop, now and then.
    pub stubborn: bool,
}

/// A process that lives.
#[derive(Clone, Debug)]
pub struct Process {
    /// As its start was ordered, with pid, ports and start.
    pub instance: Instance,
    /// Tells the runs of one instance apart.
    run: u64,
    /// It was told to stop.
    pub stopping: bool,
    /// What it was told of its horde, in this run.
    pub told: Vec<Telling>,
    /// The words with which its hook was run, and how the last one ended; `None`: it runs.
    pub hooks: Vec<(Telling, Option<HookEnd>)>,
}

impl Process {
    /// What its directory keeps for a later life of crux.
    fn kept(&self) -> Option<Kept> {
        let hook = self.hooks.last().map(|(telling, end)| (telling.number, telling.word, end.clone()));
        Some(Kept { id: self.instance.id.clone(), telling: self.told.last()?.clone(), hook })
    }

    /// It is told something. Answers with what must never be.
    fn tell(&mut self, telling: Telling) -> Result<(), String> {
        let id = &self.instance.id;
        match self.told.last() {
            None if telling.word == Word::Rejoined => Err(format!("{id} was told first that its horde has rejoined")),
            Some(last) if last.number >= telling.number => {
                Err(format!("{id} was told word {} after word {}", telling.number, last.number))
            }
            Some(last) if last.says(&telling) => Err(format!("{id} was told the same twice: {telling:?}")),
            _ => {
                self.told.push(telling);
                Ok(())
            }
        }
    }

    /// Its hook begins.
    fn hook(&mut self, number: u64, word: Word) -> Result<(), String> {
        let id = &self.instance.id;
        if self.hooks.last().is_some_and(|(_, end)| end.is_none()) {
            return Err(format!("a second hook of {id} begins while one runs"));
        }
        match self.told.last() {
            Some(last) if (last.number, last.word) == (number, word) => {
                self.hooks.push((last.clone(), None));
                Ok(())
            }
            last => Err(format!("{id} runs its hook {} with word {number}, but was told {last:?}", word.as_str())),
        }
    }
}

#[derive(Clone, Debug)]
enum Ahead {
    Make(Box<StartSpec>),
    End { id: InstanceId, run: u64, code: Option<i32>, signal: Option<i32> },
    Tell { id: InstanceId, run: u64, telling: Telling },
    Hook { id: InstanceId, run: u64, number: u64, word: Word, timeout: Duration },
    HookEnd { id: InstanceId, run: u64, number: u64, end: HookEnd },
    Say(Box<Report>),
}

/// One machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The fulcrum on it.
    pub id: FulcrumId,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Counts the lives of its crux.
    pub boot: u64,
    /// How far its wall clock is off, in microseconds.
    pub offset: i64,
    /// The last address book that was saved.
    pub book: Vec<BookEntry>,
    /// What was on its disk was taken from it, and no crux has begun on it or written all of it again since.
    pub blank: bool,
    /// What lives on it.
    pub processes: BTreeMap<InstanceId, Process>,
    /// What ended on it and was not cleaned: the directories that the node keeps.
    pub ended: BTreeMap<InstanceId, Ended>,
    /// What it saw that must never be.
    pub wrong: Vec<String>,
    /// What it came through, for the list of points that a run should reach.
    pub marks: BTreeSet<&'static str>,
    /// Its disk.
    pub disk: Disk,
    ahead: BTreeMap<(Time, u64), Ahead>,
    habits: Habits,
    random: Random,
    /// How hooks end: of its own, so that they change nothing else of a run.
    fates: Random,
    counter: u64,
}

impl Machine {
    /// A new machine with an empty disk.
    #[must_use]
    pub fn new(id: FulcrumId, addr: SocketAddr, offset: i64, habits: Habits, seed: u64) -> Self {
        Self {
            id,
            addr,
            boot: 0,
            offset,
            book: Vec::new(),
            blank: false,
            processes: BTreeMap::new(),
            ended: BTreeMap::new(),
            wrong: Vec::new(),
            marks: BTreeSet::new(),
            disk: Disk::new(seed ^ 0x6469_736b),
            ahead: BTreeMap::new(),
            habits,
            random: Random::new(seed),
            fates: Random::new(seed ^ 0x0068_6f6f_6b73),
            counter: 0,
        }
    }

    /// A blank disk: facts and address book are gone.
    pub fn wipe(&mut self) {
        self.disk.wipe();
        self.book.clear();
        self.blank = true;
    }

    /// An older copy takes the place of what is on its disk.
    pub fn put_back(&mut self, copy: BTreeMap<Hash256, Bytes>) {
        self.disk.put_back(copy);
        self.blank = true;
    }

    /// The file of its store is of no use any more, or only part of it: the next life of crux finds the rest.
    pub fn damage(&mut self, wholly: bool) {
        self.disk.damage(wholly);
        if wholly {
            self.book.clear();
        }
        self.blank = true;
    }

    /// The file of its store is gone while crux uses it: another one is in its place. Gives what crux is told.
    pub fn begin_anew(&mut self) -> Report {
        self.disk.begin_anew();
        self.blank = true;
        Report::StoreAnew
    }

    /// Its node gets its next certificate, for the next life of crux.
    pub fn readmit(&mut self) {
        self.boot = readmitted(self.boot);
    }

    /// Its wall clock.
    #[must_use]
    pub fn wall(&self, now: Time) -> Wall {
        Wall(calendar(now).0.saturating_add_signed(self.offset))
    }

    /// Nothing goes wrong by itself any more.
    pub fn calm(&mut self, now: Time) {
        self.habits = Habits::default();
        self.disk.mend(now);
        // Ends that nobody asked for.
        self.ahead.retain(|_, ahead| !matches!(ahead, Ahead::End { code: Some(_), .. }));
    }

    /// Things go wrong by themselves again.
    pub fn resume(&mut self, habits: Habits) {
        self.habits = habits;
    }

    /// Whether this version is on the disk for certain.
    #[must_use]
    pub fn holds(&self, id: &Hash256) -> bool {
        self.disk.holds(id)
    }

    /// The statements on the disk for certain.
    pub fn statements(&self) -> impl Iterator<Item = (Hash256, Statement)> + '_ {
        self.disk
            .certain()
            .filter_map(|(id, sealed)| Some((*id, Checked::vouched(sealed.clone()).ok()?.statement().clone())))
    }

    /// What a new life finds on the disk.
    pub fn load(&mut self) -> Vec<Checked> {
        self.disk.read().into_iter().filter_map(|sealed| Checked::vouched(sealed).ok()).collect()
    }

    /// What a new life finds of instances.
    #[must_use]
    pub fn adopt(&self) -> Report {
        Report::Adopted {
            instances: self.processes.values().map(|process| process.instance.clone()).collect(),
            ended: self.ended.values().cloned().collect(),
            told: self.processes.values().filter_map(Process::kept).collect(),
        }
    }

    /// The processes of a service end now, and well.
    pub fn finish(&mut self, now: Time, of: &ServiceRef) {
        let ending = self.processes.values().filter(|process| process.instance.of == *of);
        for (id, run) in ending.map(|process| (process.instance.id.clone(), process.run)).collect::<Vec<_>>() {
            self.ahead(now, Ahead::End { id, run, code: Some(0), signal: None });
        }
    }

    /// How many processes of a service live here.
    #[must_use]
    pub fn running(&self, of: &ServiceRef) -> usize {
        self.processes.values().filter(|process| process.instance.of == *of).count()
    }

    /// When it has something to say.
    #[must_use]
    pub fn deadline(&self) -> Time {
        let ahead = self.ahead.keys().next().map_or(Time::NEVER, |(at, _)| *at);
        if self.disk.dead() { Time::NEVER } else { ahead.min(self.disk.deadline()) }
    }

    /// What has happened until now.
    pub fn due(&mut self, now: Time) -> Vec<Report> {
        let mut reports = Vec::new();
        while let Some((token, result)) = self.disk.next(now) {
            if result.is_ok() && self.habits.disk_errors {
                self.disk.ail_by_itself(now);
            }
            reports.push(Report::Persisted { token, result });
        }
        if self.disk.dead() {
            return reports;
        }
        while self.ahead.keys().next().is_some_and(|(at, _)| *at <= now) {
            let Some((_, ahead)) = self.ahead.pop_first() else { break };
            match ahead {
                Ahead::Make(spec) => reports.push(self.make(now, *spec)),
                Ahead::End { id, run, code, signal } => {
                    if self.processes.get(&id).is_some_and(|process| process.run == run) {
                        if let Some(process) = self.processes.remove(&id) {
                            let instance = Instance { phase: Phase::Gone, pid: None, ..process.instance };
                            self.ended.insert(id.clone(), Ended { instance, code, signal });
                        }
                        reports.push(Report::Exited { id, code, signal });
                    }
                }
                Ahead::Say(report) => reports.push(*report),
                Ahead::Tell { id, run, telling } => {
                    if let Some(process) = self.processes.get_mut(&id).filter(|process| process.run == run) {
                        self.wrong.extend(process.tell(telling).err());
                    }
                }
                Ahead::Hook { id, run, number, word, timeout } => {
                    if let Some(process) = self.processes.get_mut(&id).filter(|process| process.run == run) {
                        self.wrong.extend(process.hook(number, word).err());
                        let (after, end) = self.fate(timeout);
                        self.ahead(now + after, Ahead::HookEnd { id, run, number, end });
                    }
                }
                Ahead::HookEnd { id, run, number, end } => {
                    let process = self.processes.get_mut(&id).filter(|process| process.run == run);
                    if let Some((_, ended)) = process.and_then(|process| process.hooks.last_mut()) {
                        *ended = Some(end.clone());
                        reports.push(Report::Hooked { id, number, end });
                    }
                }
            }
        }
        reports
    }

    /// How long a hook takes, and how it ends.
    fn fate(&mut self, timeout: Duration) -> (Duration, HookEnd) {
        let quick = Duration::from_millis(5 + self.fates.below(1_500));
        match self.fates.below(8) {
            0 if self.habits.stubborn => (timeout, HookEnd::TimedOut),
            1 | 2 if self.habits.failures => (quick, HookEnd::Failed { why: "exit code 1".into() }),
            _ => (quick.min(timeout), HookEnd::Well),
        }
    }

    fn make(&mut self, now: Time, spec: StartSpec) -> Report {
        let id = spec.instance.id.clone();
        if self.habits.failures && self.random.below(10) == 0 {
            self.marks.insert("a start failed");
            return Report::StartFailed { id, why: "exec format error".into() };
        }
        self.counter += 1;
        let (run, pid, at) = (self.counter, u32::try_from(1000 + self.counter).unwrap_or(1), self.wall(now));
        let mut instance = spec.instance;
        instance.phase = Phase::Running;
        instance.pid = Some(pid);
        instance.started = Some(at);
        instance.ports = BTreeMap::from([("http".into(), 20_000)]);
        let ports = instance.ports.clone();
        self.ended.remove(&id);
        let process = Process { instance, run, stopping: false, told: Vec::new(), hooks: Vec::new() };
        if let Some(twin) = self.processes.insert(id.clone(), process) {
            self.wrong.push(format!("a second process of {id} while process {:?} lives", twin.instance.pid));
        }
        if self.habits.exits && self.random.below(3) == 0 {
            let after = Duration::from_millis(50 + self.random.below(60_000));
            self.marks.insert("a process ended by itself");
            self.ahead(now + after, Ahead::End { id: id.clone(), run, code: Some(3), signal: None });
        }
        Report::Started { id, pid, at, ports }
    }

    fn ahead(&mut self, at: Time, what: Ahead) {
        self.counter += 1;
        self.ahead.insert((at, self.counter), what);
    }

    fn soon(&mut self, now: Time, most: u64) -> Time {
        now + Duration::from_micros(100 + self.random.below(most * 1000))
    }

    /// Begins to write to the disk; writes end in the order in which they began.
    pub fn persist(&mut self, now: Time, token: u64, versions: &[Checked], drop: Vec<Hash256>) {
        let versions = versions.iter().map(|version| (version.id(), version.sealed().clone())).collect();
        self.disk.begin(now, token, versions, drop);
    }

    /// Signs a row: the node's own key needs no patience, but the answer is never there at once.
    pub fn sign(
        &mut self,
        now: Time,
        bloc: &BlocName,
        path: String,
        value: Bytes,
        ancestors: Vec<Hash256>,
        not_before: Wall,
    ) {
        self.counter += 1;
        let statement = Statement {
            bloc: bloc.clone(),
            path,
            value: Some(value),
            ancestors,
            stamp: Stamp { wall: self.wall(now).max(not_before).0, logical: 0 },
            author: Author::Fulcrum(self.id.clone()),
            nonce: Bytes::copy_from_slice(&self.random.next().to_be_bytes()),
        };
        let version = seal(&statement);
        let at = self.soon(now, 2);
        self.ahead(at, Ahead::Say(Box::new(Report::Signed { version })));
    }

    /// Begins to do what crux wants of the world.
    pub fn obey(&mut self, now: Time, effect: Effect) {
        match effect {
            Effect::Start(spec) => {
                let at = self.soon(now, 150);
                self.ahead(at, Ahead::Make(Box::new(spec)));
            }
            Effect::Stop { id, grace, .. } => {
                let stubborn = self.habits.stubborn && self.random.below(4) == 0;
                let quick = Duration::from_millis(1 + self.random.below(300));
                let at = now + if stubborn { grace } else { quick.min(grace) };
                match self.processes.get_mut(&id) {
                    Some(process) => {
                        process.stopping = true;
                        let (run, signal) = (process.run, Some(if stubborn { 9 } else { 15 }));
                        self.ahead(at, Ahead::End { id, run, code: None, signal });
                    }
                    // Answered all the same: nothing of its tree is left.
                    None => self.ahead(at, Ahead::Say(Box::new(Report::Exited { id, code: None, signal: Some(15) }))),
                }
            }
            Effect::Check { id, .. } => {
                let ok = self.processes.contains_key(&id);
                let detail = if ok { "connected" } else { "connection refused" }.to_owned();
                let at = self.soon(now, 50);
                self.ahead(at, Ahead::Say(Box::new(Report::CheckDone { id, ok, detail })));
            }
            Effect::Fetch { hash, .. } => {
                let fails = self.habits.failures && self.random.below(4) == 0;
                let result = if fails { Err("nobody here has it".to_owned()) } else { Ok(()) };
                let at = self.soon(now, 300);
                self.ahead(at, Ahead::Say(Box::new(Report::Fetched { hash, result })));
            }
            Effect::Clean { id } => _ = self.ended.remove(&id),
            // In the order in which they are given: a hook reads what was told before.
            Effect::Tell { id, telling } => {
                if let Some(run) = self.processes.get(&id).map(|process| process.run) {
                    self.ahead(now + ORDER, Ahead::Tell { id, run, telling });
                }
            }
            Effect::Hook { id, number, word, timeout } => {
                if let Some(run) = self.processes.get(&id).map(|process| process.run) {
                    self.ahead(now + ORDER, Ahead::Hook { id, run, number, word, timeout });
                }
            }
            Effect::Knock { .. } => {
                let fails = self.habits.failures && self.random.below(8) == 0;
                let result = if fails { Err("its door is slow".to_owned()) } else { Ok(()) };
                let at = self.soon(now, 20);
                self.ahead(at, Ahead::Say(Box::new(Report::Knocked { result })));
            }
        }
    }

    /// Its crux is gone, by kill -9. What was on its way to the disk may or may not have arrived, in order. A process
    /// that was being made may or may not be there. All others live on and end by themselves when they would have.
    pub fn lose_crux(&mut self, now: Time) {
        self.disk.lose_crux(now);
        for (at, ahead) in std::mem::take(&mut self.ahead) {
            match ahead {
                Ahead::Make(spec) if self.random.below(2) == 0 => {
                    self.make(now, *spec);
                }
                // Supervisors hold these.
                Ahead::End { .. } | Ahead::HookEnd { .. } => {
                    self.ahead.insert(at, ahead);
                }
                _ => {}
            }
        }
    }

    /// The power is gone.
    pub fn lose_power(&mut self, now: Time) {
        self.disk.lose_power(now);
        self.lose_crux(now);
        self.ahead.clear();
        self.processes.clear();
    }
}
