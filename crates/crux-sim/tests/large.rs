//! Many fulcrums form one flock, lose half of it and get it back: the ten thousand of the design in the size of a test, so
//! that what makes the large one fail fails here too. `cargo xtask sim --halves cut --nodes 10000` runs the large one.

use crux_core::flock::Input;
use crux_names::Duration;
use crux_sim::flocks::member;
use crux_sim::large::{Crowd, Halves, Lost, Phase, Starved};
use crux_sim::world::{Out, Weather};

fn run(size: usize, lost: Lost) -> Vec<Phase> {
    let (apart, limit) = (Duration::from_secs(45), Duration::from_secs(60));
    let mut phases = Vec::new();
    let plan = Halves { size, seed: 1, lost, apart, limit };
    plan.run(&mut |phase: &Phase| phases.push(phase.clone())).unwrap_or_else(|why| panic!("{size} {lost:?}: {why}"));
    phases
}

/// One stable flock of so many, and their places.
fn settled(size: usize) -> (Crowd, Vec<usize>) {
    let mut crowd = Crowd::new(size, 1, Weather::default());
    let all = crowd.all();
    crowd.until(Duration::from_secs(20), |crowd| crowd.one_flock(&all)).unwrap();
    crowd.until(Duration::from_secs(20), |crowd| crowd.stable(&all)).unwrap();
    (crowd, all)
}

#[test]
fn a_hundred_and_fifty_lose_half_to_a_cut_and_get_it_back() {
    let phases = run(150, Lost::Cut);
    assert!(phases[0].took <= Duration::from_secs(6), "{phases:?}");
    // More than 64 are lost at once, so that nothing is kept of each of them.
    assert!(phases[2].took <= Duration::from_secs(8), "{phases:?}");
}

#[test]
fn a_hundred_and_fifty_lose_half_to_death_and_get_it_back() {
    let phases = run(150, Lost::Killed);
    assert!(phases[2].took <= Duration::from_secs(8), "{phases:?}");
}

/// As when a host was asleep, or its address was another for a while: in a large flock the turn of an address that one
/// member alone has lost comes too late for the pairs that this member has to prove.
#[test]
fn a_member_that_loses_all_its_links_dials_those_that_it_has_to_prove() {
    let (mut crowd, all) = settled(200);
    crowd.forget();
    for place in all.iter().copied().skip(3).step_by(40) {
        crowd.world.poke(place, |bird, now, out| {
            let others = (0..200).filter(|other| *other != place).map(|other| member(other, 1));
            for peer in others {
                out.push(Out::Close(peer.clone()));
                bird.input(now, Input::LinkDown { member: peer }, out);
            }
        });
        crowd.run_for(Duration::from_secs(10));
        assert!(crowd.installs.is_empty(), "n{} or somebody else was thrown out: {:?}", place + 1, crowd.installs[0]);
        crowd.stable(&all).unwrap();
    }
}

/// Who is well has a broken pair with several that stand still most of the time, and each of those with a few: by the
/// pairs alone it would be the worst of them.
#[test]
fn who_is_well_is_not_thrown_out_for_complaining_of_several_that_stand_still() {
    let (mut crowd, _) = settled(100);
    let well = |place: usize| !place.is_multiple_of(3) || place >= 96;
    let evicted = Starved { well, time: Duration::from_secs(60) }.run(&mut crowd);
    assert_eq!(evicted, 0);
}
