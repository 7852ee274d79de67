//! A hostile host: sends datagrams to an address until it is killed. Run it in a stranger's namespace:
//! `junk TARGET FILE RATE`. The file holds datagrams, each after its length in two bytes, big end first; between them
//! rubbish of its own making is sent. RATE is how many a second.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().ok_or("junk TARGET FILE RATE");
    let (target, file, rate) = (next()?, std::fs::read(next()?)?, next()?.parse::<u32>()?.max(1));
    let mut datagrams: Vec<&[u8]> = Vec::new();
    let mut rest = file.as_slice();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (one, after) = after.split_at_checked(u16::from_be_bytes(*length).into()).ok_or("the file ends early")?;
        datagrams.push(one);
        rest = after;
    }
    // Many sources, as far as one host has them.
    let sockets = (0..64).map(|_| UdpSocket::bind("0.0.0.0:0")).collect::<Result<Vec<_>, _>>()?;
    let begin = Instant::now();
    for n in 0_u32.. {
        let junk = [n as u8; 900];
        let datagram: &[u8] = match n % 4 {
            // A short header of no connection, a version that nobody speaks, and plain rubbish.
            0 => &junk[..(n % 900) as usize],
            1 if n % 3 == 0 => &[0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0],
            _ if datagrams.is_empty() => &junk,
            _ => datagrams[n as usize % datagrams.len()],
        };
        // What the kernel does not take now is lost, as on a wire.
        let _ = sockets[n as usize % sockets.len()].send_to(datagram, &target);
        let due = begin + Duration::from_secs(1) * n / rate;
        // waits: for the moment of the next one, which is what a rate means
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}
