//! What strangers show in real handshakes (I1, I2): whoever must be refused is, by the door and by a dialler, before it has
//! said a word, and both sides have the reason in words.

mod world;

use crux_pki::fuzz::{Shown, shown};
use crux_pki::{Bundle, unix_now};
use quinn::{Connection, ConnectionError, VarInt};
use std::time::Duration;
use world::stranger::{Stranger, hello};
use world::{Node, What, World, addr, bundle, ca, name, run};

/// A deadline of the invented world.
const PATIENCE: Duration = Duration::from_secs(10);

/// An honest node 0, and each chain with the number of the address where it is shown.
fn scene(play: impl AsyncFnOnce(&World, &Node, &Bundle, &[(usize, Shown)])) {
    let base = unix_now();
    let mut ca = ca("acme", base);
    let papers = [bundle(&mut ca, 0, base), bundle(&mut ca, 1, base)];
    let all: Vec<(usize, Shown)> = (2..).zip(shown(&ca, &name(1), base)).collect();
    // A door or a dialler that refuses everybody would pass for nothing.
    assert!(all.iter().filter(|(_, shown)| shown.refused.is_none()).count() >= 2);
    assert!(all.iter().filter(|(_, shown)| shown.refused.is_some()).count() >= 8);
    run(11, base, async |world| {
        let honest = world.node(0, papers[0].clone(), 1, |_| {}).await;
        play(&world, &honest, &papers[1], &all).await;
    });
}

/// What the honest node told of this address, if it told something of it.
fn told(world: &World, honest: &Node, n: usize) -> Option<String> {
    world.of(&honest.me).into_iter().find_map(|told| match told.what {
        What::Refused(who, why) | What::DialFailed(who, why) if who == addr(n) => Some(why),
        _ => None,
    })
}

/// The end of a connection: of its handshake, or after one that one side took for done.
async fn ended(handshake: Result<Connection, ConnectionError>) -> String {
    match handshake {
        Err(error) => error.to_string(),
        Ok(connection) => {
            let end = tokio::time::timeout(PATIENCE, connection.closed()).await;
            end.expect("whoever is refused is told in time").to_string()
        }
    }
}

fn says(by: &str, shown: &Shown, words: &str, text: &str) {
    assert!(text.contains(words), "{by} about {}: {text:?} does not say {words:?}", shown.name);
}

#[test]
fn the_door_refuses_each_in_words_on_both_sides_and_lets_the_others_in() {
    scene(async |world: &World, honest: &Node, papers: &Bundle, all: &[(usize, Shown)]| {
        let mut ups = 0;
        for (n, shown) in all {
            let stranger = Stranger::new(world, *n, papers, Some(shown.resolver.clone()));
            let Some(words) = shown.refused else {
                let connection = stranger.greet(0, &hello(*n as u64)).await;
                ups += 1;
                world.until(2.0, shown.name, || world.ups(&honest.me) == ups).await;
                connection.close(VarInt::from_u32(0), b"");
                world.until(2.0, shown.name, || world.downs(&honest.me).len() == ups).await;
                continue;
            };
            let end = ended(stranger.endpoint.connect(addr(0), "crux").unwrap().await).await;
            says("the stranger", shown, words, &end);
            world.until(2.0, shown.name, || told(world, honest, *n).is_some()).await;
            says("the door", shown, words, &told(world, honest, *n).unwrap());
        }
        world.until(2.0, "nobody at the door", || honest.links.counters().half_open == 0).await;
        assert_eq!((world.ups(&honest.me), honest.links.links().len()), (ups, 0), "{:#?}", world.of(&honest.me));
    });
}

#[test]
fn a_dialler_refuses_each_in_words_on_both_sides_and_greets_the_others() {
    scene(async |world: &World, honest: &Node, papers: &Bundle, all: &[(usize, Shown)]| {
        for (n, shown) in all {
            let stranger = Stranger::new(world, *n, papers, Some(shown.resolver.clone()));
            honest.links.dial(addr(*n));
            let incoming = stranger.endpoint.accept().await.expect("a listening endpoint");
            let handshake = incoming.accept().unwrap().await;
            let Some(words) = shown.refused else {
                let connection = handshake.expect(shown.name);
                let greeted = tokio::time::timeout(PATIENCE, connection.accept_bi()).await;
                assert!(greeted.is_ok_and(|stream| stream.is_ok()), "{} is not greeted", shown.name);
                continue;
            };
            says("the stranger", shown, words, &ended(handshake).await);
            world.until(5.0, shown.name, || told(world, honest, *n).is_some()).await;
            let why = told(world, honest, *n).unwrap();
            says("the dialler", shown, words, &why);
            assert!(why.contains(&format!("{} is refused here: ", addr(*n))), "{why}");
        }
        assert_eq!((world.ups(&honest.me), honest.links.links().len()), (0, 0));
    });
}
