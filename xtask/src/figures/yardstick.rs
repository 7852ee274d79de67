//! How fast the machine is at this moment, so that figures of different days can be compared.
//!
//! A virtual machine gets another share of its host from hour to hour: the same commit took 3.6 s on one day and 12 s on
//! another for the same thing. Whoever reads two figures sees here whether the program or the machine has changed.

use std::hint::black_box;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// Steps of arithmetic in a round, each needing the one before.
const STEPS: u32 = 4_000_000;

/// Datagrams in a round.
const DATAGRAMS: u32 = 4_000;

/// Rounds, of which the best counts: the machine, not what else ran on it.
const ROUNDS: u32 = 5;

/// What both measures say, in words for the page.
pub fn words() -> String {
    let datagram = match datagram() {
        Ok(took) => format!("{:.1} µs a datagram through loopback", took.as_secs_f64() * 1e6),
        Err(why) => format!("no datagram through loopback ({why})"),
    };
    format!("{:.1} ns a step, {datagram}", step() * 1e9)
}

/// A step of arithmetic in this program, which is built without optimisation: the processor.
///
/// In seconds.
fn step() -> f64 {
    best(|| {
        let mut x = black_box(1u64);
        for _ in 0..STEPS {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        }
        black_box(x);
        Ok(())
    })
    .map_or(0.0, |took| took.as_secs_f64() / f64::from(STEPS))
}

/// A datagram of a usual size to itself and back: the kernel, of which flocks need more than of arithmetic.
fn datagram() -> std::io::Result<Duration> {
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    socket.connect(socket.local_addr()?)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut bytes = [0u8; 1200];
    let took = best(|| {
        for _ in 0..DATAGRAMS {
            socket.send(&bytes)?;
            socket.recv(&mut bytes)?;
        }
        Ok(())
    })?;
    Ok(took / DATAGRAMS)
}

fn best(mut round: impl FnMut() -> std::io::Result<()>) -> std::io::Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        round()?;
        best = best.min(begun.elapsed());
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_measures_are_taken() {
        let words = words();
        assert!(words.contains("ns a step, ") && words.ends_with("µs a datagram through loopback"), "{words}");
        assert!(!words.starts_with("0.0 "), "{words}");
    }
}
