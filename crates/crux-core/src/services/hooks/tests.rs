use super::super::instance::ServiceRef;
use super::super::muster::Revision;
use super::super::roles::HordeRoles;
use super::*;
use crate::facts::value::Manifest;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec;
use crux_names::Hash256;

const SECOND: Duration = Duration::from_secs(1);

/// One fulcrum with so many instances of a service of horde web.
struct World {
    now: Time,
    hooks: Hooks,
    items: BTreeMap<InstanceId, Item>,
    roles: Roles,
    sure: bool,
    /// What instances were told, each `1 parted n1,n2|n3`.
    told: Vec<String>,
    /// Hooks that began.
    ran: Vec<(InstanceId, u64, Word)>,
}

fn names(ids: &[FulcrumId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn item(id: &InstanceId, commands: Option<Commands>) -> Item {
    let instance = Instance {
        id: id.clone(),
        of: ServiceRef { horde: "web".parse().unwrap(), service: "api".parse().unwrap() },
        slot: 2,
        revision: Hash256([1; 32]),
        phase: Phase::Running,
        pid: Some(1),
        started: None,
        ports: BTreeMap::new(),
        restarts: 0,
        why: String::new(),
        hook: String::new(),
    };
    let mut item = Item::new(instance, false, Time::ZERO);
    let manifest = Manifest { hooks: commands, ..Manifest::default() };
    item.revision = Some(Arc::new(Revision { bytes: bytes::Bytes::new(), manifest }));
    item
}

fn both() -> Option<Commands> {
    Some(Commands { parted: vec!["p".into()], rejoined: vec!["r".into()], timeout_ms: 0 })
}

impl World {
    fn new(count: u64, commands: &Option<Commands>) -> Self {
        let ids = (1..=count).map(|n| format!("n1:1:{n}").parse::<InstanceId>().unwrap());
        let items = ids.map(|id| (id.clone(), item(&id, commands.clone()))).collect();
        let (hooks, roles) = (Hooks::new(Pace(1000)), Roles::default());
        let (told, ran) = (Vec::new(), Vec::new());
        Self { now: Time::from_millis(1_000), hooks, items, roles, sure: true, told, ran }
    }

    fn horde(&mut self, present: &str, absent: &str) {
        let ids = |names: &str| names.split_whitespace().map(|name| name.parse().unwrap()).collect();
        let horde = HordeRoles { present: ids(present), absent: ids(absent), ..HordeRoles::default() };
        self.roles.hordes.insert("web".parse().unwrap(), horde);
        self.hooks.look_again();
        self.step();
    }

    fn step(&mut self) {
        for effect in self.hooks.step(self.now, Wall(7), &self.items, &self.roles, self.sure) {
            match effect {
                Effect::Tell { telling, .. } => {
                    let Telling { number, word, present, absent, .. } = telling;
                    let word = word.as_str();
                    self.told.push(format!("{number} {word} {}|{}", names(&present), names(&absent)));
                }
                Effect::Hook { id, number, word, timeout } => {
                    assert_eq!(timeout, TIMEOUT);
                    self.ran.push((id, number, word));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.hooks.deadline() <= end {
            assert!(self.hooks.deadline() >= self.now, "a deadline that has passed is met");
            self.now = self.hooks.deadline();
            self.step();
        }
        self.now = end;
        self.step();
    }

    /// The oldest hook that runs ends.
    fn end(&mut self, end: HookEnd) -> Option<Event> {
        let (id, number, _) = self.ran.last().cloned().unwrap();
        let event = self.hooks.ended(&self.items[&id].instance, number, end);
        self.step();
        event
    }

    fn first(&self) -> InstanceId {
        self.items.keys().next().unwrap().clone()
    }

    fn words(&self) -> Vec<(u64, Word)> {
        self.ran.iter().map(|(_, number, word)| (*number, *word)).collect()
    }
}

#[test]
fn each_change_of_who_is_here_is_one_word_and_a_whole_horde_is_no_news_to_who_starts_in_it() {
    let mut world = World::new(1, &None);
    world.horde("n2 n1 n3", "");
    world.horde("n1 n2", "n3");
    world.horde("n2 n1", "n3");
    world.horde("n1", "n3 n2");
    world.horde("n1 n3", "n2");
    world.horde("n1 n2 n3", "");
    world.horde("n1 n2 n3 n4", "");
    world.horde("n1 n2 n3", "n4");
    assert_eq!(
        world.told,
        ["1 parted n1,n2|n3", "2 parted n1|n2,n3", "3 parted n1,n3|n2", "4 rejoined n1,n2,n3|", "5 parted n1,n2,n3|n4"]
    );
    assert!(world.ran.is_empty(), "a service without hooks has none to run");
}

#[test]
fn one_that_starts_in_a_parted_horde_is_told_so_and_its_numbers_go_on_over_its_runs() {
    let mut world = World::new(1, &both());
    let id = world.first();
    let phase = |world: &mut World, phase| {
        world.items.get_mut(&id).unwrap().instance.phase = phase;
        world.hooks.look_again();
        world.step();
    };
    phase(&mut world, Phase::Starting);
    world.horde("n1", "n2");
    assert!(world.told.is_empty(), "it does not run yet");
    phase(&mut world, Phase::Running);
    assert_eq!(world.told, ["1 parted n1|n2"]);
    // It ends by itself while its hook runs, and its next run is told anew.
    phase(&mut world, Phase::Pending);
    assert!(world.end(HookEnd::Well).is_none(), "nobody waits for the hook of a run that has ended");
    phase(&mut world, Phase::Running);
    assert_eq!(world.told[1..], ["2 parted n1|n2"]);
    // What stops is told nothing more.
    phase(&mut world, Phase::Stopping);
    world.horde("n1 n2", "");
    assert_eq!(world.told.len(), 2);
}

#[test]
fn a_flock_that_is_not_complete_for_certain_tells_nothing() {
    let mut world = World::new(1, &both());
    world.horde("n1 n2", "");
    world.sure = false;
    for absent in ["n2", "", "n2", "", "n2"] {
        world.horde("n1", absent);
    }
    assert!(world.told.is_empty() && world.ran.is_empty());
    world.sure = true;
    world.step();
    assert_eq!((world.told.len(), world.words()), (1, vec![(1, Word::Parted)]));
}

#[test]
fn what_changes_while_a_hook_runs_is_one_hook_after_it() {
    let mut world = World::new(1, &both());
    world.horde("n1 n2", "n3");
    assert_eq!(world.words(), [(1, Word::Parted)]);
    world.horde("n1", "n2 n3");
    world.horde("n1 n2 n3", "");
    world.horde("n1 n3", "n2");
    world.pass(SECOND * 60);
    assert_eq!(world.words(), [(1, Word::Parted)], "one at a time");
    assert_eq!(world.told.len(), 4, "whoever follows the socket hears each");
    world.end(HookEnd::Well);
    assert_eq!(world.words(), [(1, Word::Parted), (4, Word::Parted)], "the newest, once");
    // It goes to and fro, and comes back to what the hook that runs was told.
    world.horde("n1 n2 n3", "");
    world.horde("n1 n3", "n2");
    world.pass(SECOND * 60);
    world.end(HookEnd::Well);
    world.pass(SECOND * 60);
    assert_eq!(world.ran.len(), 2, "no news");
    world.horde("n1 n2 n3", "");
    assert_eq!(world.words()[2..], [(7, Word::Rejoined)]);
}

#[test]
fn a_quick_hook_does_not_follow_every_beat_of_a_bad_network() {
    let mut world = World::new(1, &both());
    let began = world.now;
    for round in 0..50 {
        let (present, absent) = if round % 2 == 0 { ("n1", "n2") } else { ("n1 n2", "") };
        world.horde(present, absent);
        if world.hooks.books[&world.first()].hook.as_ref().is_some_and(|hook| hook.end.is_none()) {
            world.end(HookEnd::Well);
        }
        world.pass(Duration::from_millis(100));
    }
    let seconds = world.now.since(began).as_secs();
    assert!(world.ran.len() as u64 <= seconds / 2 + 1, "{} in {seconds} s", world.ran.len());
    world.pass(SECOND * 2);
    assert_eq!(world.ran.last().unwrap().1, 50, "the last word is always told");
}

#[test]
fn a_service_with_a_hook_for_one_word_runs_it_for_each_such_word_and_never_for_the_other() {
    let only = Some(Commands { parted: vec!["p".into()], ..Commands::default() });
    let mut world = World::new(1, &only);
    for _ in 0..3 {
        world.horde("n1", "n2");
        world.end(HookEnd::Well);
        world.horde("n1 n2", "");
        world.pass(SECOND * 5);
    }
    assert_eq!(world.words(), [(1, Word::Parted), (3, Word::Parted), (5, Word::Parted)]);
}

#[test]
fn hundreds_of_instances_do_not_begin_their_hooks_at_once_and_all_get_their_turn() {
    let mut world = World::new(100, &both());
    world.horde("n1", "n2");
    assert_eq!((world.told.len(), world.ran.len()), (100, TURN));
    world.pass(SECOND);
    assert!(world.ran.len() <= 3 * TURN, "{}", world.ran.len());
    world.pass(SECOND * 10);
    let all: alloc::collections::BTreeSet<_> = world.ran.iter().map(|(id, ..)| id.clone()).collect();
    assert_eq!((all.len(), world.ran.len()), (100, 100));
}

#[test]
fn how_a_hook_ended_is_an_event_and_a_sentence() {
    let mut world = World::new(1, &both());
    let id = world.first();
    assert_eq!(world.hooks.said(&id), "");
    let ends = [
        (HookEnd::Well, "hook-ran", "ended well"),
        (HookEnd::Failed { why: "exit code 3".into() }, "hook-failed", "failed: exit code 3"),
        (HookEnd::TimedOut, "hook-timed-out", "took longer than 30 s and was killed with all that it had started"),
    ];
    for (round, (end, kind, text)) in ends.into_iter().enumerate() {
        world.horde("n1", if round % 2 == 0 { "n2" } else { "n3" });
        world.pass(SECOND * 5);
        let said = format!("its hook parted of word {}", round + 1);
        assert_eq!(world.hooks.said(&id), format!("{said} runs"));
        let event = world.end(end.clone()).unwrap();
        assert_eq!((event.kind, event.subject.as_str()), (kind, "web/api.2"));
        assert_eq!(event.text, format!("web/api.2 on n1: {said} {text}"));
        assert_eq!(world.hooks.said(&id), format!("{said} {text}"));
        assert_eq!(world.end(end), None, "said once");
    }
}

#[test]
fn what_an_earlier_life_told_is_not_told_again_and_a_hook_that_did_not_begin_does() {
    let ids = |names: &str| names.split_whitespace().map(|name| name.parse().unwrap()).collect();
    let telling = Telling { number: 4, word: Word::Parted, present: ids("n1"), absent: ids("n2"), at: Wall(1) };
    let kept = |hook| {
        let mut world = World::new(1, &both());
        let id = world.first();
        world.hooks.adopt(world.now, vec![Kept { id, telling: telling.clone(), hook }]);
        world.horde("n1", "n2");
        world.pass(SECOND * 60);
        world
    };
    for end in [HookEnd::Well, HookEnd::TimedOut] {
        let world = kept(Some((4, Word::Parted, Some(end))));
        assert!(world.told.is_empty() && world.ran.is_empty(), "told, and its hook has ended");
    }
    for hook in [None, Some((3, Word::Rejoined, Some(HookEnd::Well)))] {
        let world = kept(hook);
        assert_eq!((world.told.len(), world.words()), (0, vec![(4, Word::Parted)]));
    }
    // It runs on, held by the instance's supervisor; its end comes, and then what changed meanwhile.
    let mut world = kept(Some((4, Word::Parted, None)));
    world.horde("n1 n2", "");
    world.pass(SECOND * 60);
    assert_eq!((world.told.clone(), world.ran.len()), (vec!["5 rejoined n1,n2|".to_string()], 0));
    let id = world.first();
    assert!(world.hooks.ended(&world.items[&id].instance, 4, HookEnd::Well).is_some());
    world.step();
    assert_eq!(world.words(), [(5, Word::Rejoined)]);
}
