//! Proctors that weigh what services ask for against what fulcrums have and the horde's quota allows.

mod horde;

use horde::*;

fn cpu(milli: u64) -> Resources {
    Resources { cpu_milli: milli, ..Resources::default() }
}

/// Four revisions that ask for so many thousandths of a core.
fn asking(place: &str, name: &str, milli: u64) -> Wanted {
    let asks = BTreeMap::from([
        (revision("r1"), cpu(1_000)),
        (revision("r2"), cpu(2_000)),
        (revision("small"), cpu(500)),
        (revision(name), cpu(milli)),
    ]);
    Wanted { revision: revision(name), asks, ..wanted(place) }
}

fn field(names: &[&str], milli: u64) -> Field {
    let mut field = Field::new(names);
    for home in field.homes.values_mut() {
        home.capacity = Some(cpu(milli));
    }
    field
}

#[test]
fn what_does_not_fit_is_said_with_figures_and_the_rest_is_placed() {
    let mut field = field(&["n1", "n2"], 2_000);
    field.want("api", asking("pick(api, 6, ALL)", "r1", 1_000));
    field.want("idle", wanted("pick(idle, 4, ALL)"));
    field.settle();
    assert_eq!(field.runs("api"), ["n1", "n1", "n2", "n2"]);
    assert_eq!(field.runs("idle").len(), 4, "who asks for nothing goes anywhere");
    let why = field.why(0, "api");
    assert!(
        why.starts_with("2: pick(api, 6, ALL): each asks for cpu 1: n1 has cpu 0 of 2 left, n2 has cpu 0 of 2 left"),
        "{why}"
    );
    assert_eq!(field.should(0, "api"), 6);
}

#[test]
fn nobody_that_has_not_said_what_it_has_gets_what_asks() {
    let mut field = field(&["n1", "n2"], 2_000);
    field.homes.get_mut(&id("n2")).unwrap().capacity = None;
    field.want("api", asking("pick(api, 2, ALL)", "r1", 1_000));
    field.settle();
    assert_eq!(field.runs("api"), ["n1"]);
    assert!(field.why(0, "api").contains("n2 has not said yet what it has"), "{}", field.why(0, "api"));
    field.homes.get_mut(&id("n2")).unwrap().capacity = Some(cpu(1_000));
    field.settle();
    assert_eq!(field.runs("api"), ["n1", "n2"]);
}

#[test]
fn a_full_quota_takes_nothing_more_and_a_lowered_one_puts_nobody_out() {
    let mut field = field(&["n1", "n2", "n3"], 9_000);
    field.quota = Some(cpu(3_500));
    field.want("api", asking("pick(api, 6, ALL)", "r1", 1_000));
    field.settle();
    assert_eq!(field.runs("api").len(), 3);
    let why = field.why(0, "api");
    assert!(why.contains("horde main: quota cpu 3.5, 3 in use, 3 of api more would need 3"), "{why}");
    let before = field.ids("api");
    field.quota = Some(cpu(1_000));
    field.settle();
    assert_eq!(field.ids("api"), before, "what runs stays");
    assert!(field.why(0, "api").contains("quota cpu 1, 3 in use"), "{}", field.why(0, "api"));
    // A death is not made good beyond the quota.
    let victim = field.runs("api")[0].clone();
    field.kill(&victim);
    field.settle();
    assert_eq!(field.runs("api").len(), 2);
    field.quota = None;
    field.settle();
    assert_eq!(field.runs("api").len(), 6);
}

#[test]
fn a_fulcrum_that_came_back_smaller_keeps_what_runs_and_gets_no_more() {
    let mut field = field(&["n1", "n2"], 4_000);
    field.want("api", asking("pick(api, 6, ALL)", "r1", 1_000));
    field.settle();
    let before = field.ids("api");
    field.homes.get_mut(&id("n1")).unwrap().capacity = Some(cpu(1_000));
    field.want("api", asking("pick(api, 8, ALL)", "r1", 1_000));
    field.settle();
    assert!(field.ids("api").is_superset(&before));
    assert_eq!(field.runs("api"), ["n1", "n1", "n1", "n2", "n2", "n2", "n2"]);
    assert!(field.why(0, "api").contains("n1 has cpu 0 of 1 left"), "{}", field.why(0, "api"));
}

#[test]
fn a_drained_fulcrum_is_emptied_though_the_quota_is_full() {
    let mut field = field(&["n1", "n2"], 4_000);
    field.quota = Some(cpu(4_000));
    field.want("api", asking("pick(api, 4, ALL)", "r1", 1_000));
    field.settle();
    let home = field.homes.get_mut(&id("n1")).unwrap();
    (home.cordoned, home.draining) = (true, true);
    field.settle();
    assert_eq!(field.runs("api"), ["n2"; 4]);
}

/// An operator's try of issue 4: a substitute whose home member was back kept its instance for ever, since the horde was over
/// its quota and so nobody could take it.
#[test]
fn what_runs_on_a_drained_fulcrum_beyond_the_quota_ends() {
    let mut field = field(&["n1", "n2", "n3"], 4_000);
    field.want("api", asking("pick(api, 3, ALL)", "r1", 1_000));
    field.settle();
    assert_eq!(field.runs("api"), ["n1", "n2", "n3"]);
    field.quota = Some(cpu(2_000));
    field.settle();
    assert_eq!(field.runs("api").len(), 3, "a lowered quota alone puts nobody out");
    let home = field.homes.get_mut(&id("n3")).unwrap();
    (home.cordoned, home.draining) = (true, true);
    field.settle();
    assert_eq!(field.runs("api"), ["n1", "n2"]);
    assert!(field.why(0, "api").contains("quota cpu 2, 2 in use"), "{}", field.why(0, "api"));
}

#[test]
fn a_larger_revision_rolls_where_it_has_room() {
    let mut field = field(&["n1", "n2"], 4_000);
    field.want("api", asking("pick(api, 2, ALL)", "r1", 1_000));
    field.settle();
    field.want("api", asking("pick(api, 2, ALL)", "r2", 2_000));
    field.settle();
    let all = field.nodes.values().flat_map(|node| node.instances.values());
    assert!(all.clone().all(|one| one.revision == revision("r2")) && all.count() == 2);
    assert_eq!(field.why(0, "api"), "");
}

#[test]
fn a_larger_revision_moves_to_who_has_room_and_waits_where_nobody_has() {
    let mut field = field(&["n1", "n2", "n3"], 1_500);
    field.homes.get_mut(&id("n3")).unwrap().capacity = Some(cpu(0));
    field.want("api", asking("pick(api, 2, ALL)", "r1", 1_000));
    field.settle();
    assert_eq!(field.runs("api"), ["n1", "n2"]);
    let before = field.ids("api");
    field.want("api", asking("pick(api, 2, ALL)", "r2", 2_000));
    field.settle();
    assert_eq!(field.ids("api"), before, "nobody has room");
    assert!(
        field.why(0, "api").contains("n1 has cpu 1.5, 1 in use, and this update needs 1 more"),
        "{}",
        field.why(0, "api")
    );
    field.homes.get_mut(&id("n3")).unwrap().capacity = Some(cpu(2_000));
    field.settle();
    let on = |name: &str| field.nodes[&id(name)].instances.values().map(|one| one.revision).collect::<Vec<_>>();
    assert_eq!(on("n3"), [revision("r2")], "one has moved");
    assert_eq!(field.runs("api").len(), 2);
}

#[test]
fn a_larger_revision_waits_for_the_quota() {
    let mut field = field(&["n1", "n2"], 9_000);
    field.quota = Some(cpu(2_000));
    field.want("api", asking("pick(api, 2, ALL)", "r1", 1_000));
    field.settle();
    let before = field.ids("api");
    field.want("api", asking("pick(api, 2, ALL)", "r2", 2_000));
    field.settle();
    assert_eq!(field.ids("api"), before);
    let why = field.why(0, "api");
    assert!(why.contains("quota of horde main: cpu 2, 2 in use, and this update needs 1 more"), "{why}");
    field.want("api", asking("pick(api, 2, ALL)", "small", 500));
    field.settle();
    assert!(field.ids("api").is_disjoint(&before), "a smaller one has room");
}
