//! What a member that is hostile, or only hasty, may not do to the others by what it says of the register and of programs.

use super::*;
use crux_core::services::yurt::Program;

/// How often each other member was told the register, while a word on it comes every two milliseconds for a second.
fn told_in_a_storm(mut word: impl FnMut(&mut World, u64)) -> (World, BTreeMap<String, usize>) {
    let mut world = World::new(ALL);
    world.until(Duration::from_secs(5), "ADMIN has three", |world| world.admins("n1") == 3);
    world.pass(Duration::from_secs(3));
    world.registers.clear();
    let begun = world.now;
    for number in 0..500 {
        word(&mut world, number);
        let next = begun + Duration::from_millis(2 * (number + 1));
        world.until(Duration::from_secs(10), "the next word", |world| world.now >= next);
    }
    let told = world.registers.clone();
    (world, told)
}

/// A review's find: each changed word made the seat send the whole register to every member, until it cut the links to them.
#[test]
fn an_adder_that_changes_its_word_all_the_time_is_told_of_a_few_times_a_second_and_last_what_it_said_last() {
    let (mut world, told) = told_in_a_storm(|world, number| {
        let entry = Entry { addrs: vec![format!("10.0.0.7:{number}")], ..entry("db", "two") };
        world.add("n2", entry, LONG).unwrap();
    });
    assert!(told.len() == 2 && told.values().all(|times| (2..=5).contains(times)), "{told:?}");
    let last = |world: &World| {
        let at =
            |name: &&str| world.nodes[*name].services.listed().iter().any(|(on, _)| on.entry.addrs == ["10.0.0.7:499"]);
        ALL.iter().all(at)
    };
    world.until(Duration::from_millis(600), "what was said last is listed", last);
}

#[test]
fn a_member_that_keeps_to_no_pace_does_not_make_the_seat_tell_everybody_each_time() {
    let (mut world, told) = told_in_a_storm(|world, number| {
        world.dumb.insert("n2".into());
        let entries = Some(vec![entry("db", &format!("wild{number}"))]);
        let view = world.nodes["n1"].services.view().id().clone();
        let word = Message::Added { view, version: number + 9, holds: 0, entries };
        world.feed("n1", Input::Message { from: world.member("n2"), message: word });
    });
    assert!(told.len() == 2 && told.values().all(|times| (1..=5).contains(times)), "{told:?}");
    assert!(world.listed("n3")[0].starts_with("db/wild"));
    // What was not taken is asked for, as soon as it is said to be there.
    world.dumb.clear();
    world.add("n2", entry("db", "honest"), LONG).unwrap();
    world.until(Duration::from_secs(4), "its last word", |world| world.listed("n3") == ["db/honest"]);
}

/// A review's find: whose seat went with a merge never said so, and its old fellows told programs that it ran it still.
#[test]
fn after_a_merge_programs_are_where_the_seats_are() {
    let mut world = World::new(ALL);
    world.until(Duration::from_secs(5), "ADMIN has three", |world| world.admins("n1") == 3);
    world.views(&[&["n1", "n2"], &["n3"]]);
    let at = |node: &str| -> Vec<String> { PROGRAMS.iter().map(|name| format!("{name}@{node}")).collect() };
    world.until(Duration::from_secs(10), "each side has its own", |world| {
        world.who("n1") == at("n1") && world.who("n2") == at("n1") && world.who("n3") == at("n3")
    });
    world.pass(Duration::from_secs(3));
    // The seat's name is not the first, so that a stale one would be.
    world.views(&[&["n3", "n2", "n1"]]);
    world.until(Duration::from_secs(1), "all of it at the seat", |world| {
        ALL.iter().all(|name| world.who(name) == at("n3"))
    });
}

/// A review's find: the yurt listed whatever any member said that it runs.
#[test]
fn who_says_that_it_runs_what_runs_elsewhere_is_not_believed() {
    let mut world = World::new(ALL);
    world.until(Duration::from_secs(5), "ADMIN has three", |world| world.admins("n1") == 3);
    world.until(Duration::from_secs(5), "the yurt has heard", |world| {
        ALL.iter().all(|name| world.who(name).len() == PROGRAMS.len())
    });
    world.pass(Duration::from_secs(1));
    let before = world.who("n3");
    let liar = |name: &str| Program { name: name.into(), started: Wall(1), waits: String::new() };
    let names = ["steward", "ca", "anything", "proctor/web", "proctor/Web!", "proctor/"];
    let programs = PROGRAMS.iter().chain(&names).map(|name| liar(name)).collect();
    let who = Message::Who { view: world.nodes["n3"].services.view().id().clone(), programs };
    for liar in ["n2", "n3"] {
        world.feed("n3", Input::Message { from: world.member(liar), message: who.clone() });
        assert_eq!(world.who("n3"), before);
    }
    // Not the seat either names what there is not.
    world.feed("n3", Input::Message { from: world.member("n1"), message: who });
    assert_eq!(world.who("n3"), before);
}

/// A review's find: one instance's entries left none to all others at that door.
#[test]
fn an_adder_leaves_room_to_others_at_its_door() {
    let mut world = World::new(ALL);
    world.until(Duration::from_secs(5), "ADMIN has three", |world| world.admins("n1") == 3);
    for adder in ["ann", "bob", "cid", "dee"] {
        let of =
            |number: usize| Entry { by: By::Operator(adder.parse().unwrap()), ..entry("db", &format!("e{number}")) };
        let mut taken = 0;
        while world.add("n2", of(taken), LONG).is_ok() {
            taken += 1;
        }
        assert!(taken >= 8, "{adder} adds {taken}");
        assert_eq!(world.add("n2", of(taken), LONG), Err(Refused::Full));
    }
    let first = Entry { by: By::Operator("ann".parse().unwrap()), ..entry("db", "e0") };
    assert_eq!(world.add("n2", first, LONG), Ok(true), "who had more before others came keeps it");
}

/// A review's find: after a restart of crux an old word of an instance could replace what it had added a moment before.
#[test]
fn what_an_earlier_life_remembers_replaces_nothing_that_was_added_since() {
    let mut world = World::new(ALL);
    world.until(Duration::from_secs(5), "ADMIN has three", |world| world.admins("n1") == 3);
    let at = |port: u16| Entry { addrs: vec![format!("10.0.0.7:{port}")], ..entry("db", "one") };
    let again = |world: &mut World, entry: Entry| {
        world.feed("n2", Input::Add { request: 1, entry, life: LONG, again: true });
        world.added.pop().unwrap()
    };
    world.add("n2", at(2), LONG).unwrap();
    assert_eq!(again(&mut world, at(1)), Ok(true));
    assert_eq!(again(&mut world, Entry { name: "two".into(), ..at(1) }), Ok(false), "what is not there is added");
    world.until(Duration::from_secs(1), "both are listed", |world| world.listed("n3") == ["db/one", "db/two"]);
    assert_eq!(world.nodes["n3"].services.listed()[0].0.entry.addrs, ["10.0.0.7:2"]);
}
