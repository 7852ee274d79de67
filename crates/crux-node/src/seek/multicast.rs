//! Announcements on the local link: said and heard on every interface, IPv4. One socket for each interface, so that each
//! says its own address.

use super::announcement::{LEN, SALT, make, read};
use crux_names::BlocName;
use rustix::net::netdevice::name_to_index;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, info};

/// Group and port: of the range that is free for use within an organisation (RFC 2365), next to the mesh port.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 27, 89);
const PORT: u16 = 2788;
/// How often is announced: at first, and when the start is over.
const FAST: Duration = Duration::from_secs(1);
const SLOW: Duration = Duration::from_secs(10);
const START: Duration = Duration::from_secs(10);
/// How often interfaces are looked for.
const INTERFACES: Duration = Duration::from_secs(10);
/// The same address is told again after this time at the earliest, and so many are remembered for it.
const QUIET: Duration = Duration::from_secs(5);
const REMEMBERED: usize = 1024;

/// Who announces what, and where.
#[derive(Clone)]
pub(crate) struct Multicast {
    /// The bloc.
    pub(crate) bloc: BlocName,
    /// The mesh port.
    pub(crate) port: u16,
    /// Only on loopback, as in a dev cluster; else on all others.
    pub(crate) loopback: bool,
    /// Gives a salt for each announcement.
    pub(crate) salt: Arc<dyn Fn(u64) -> [u8; SALT] + Send + Sync>,
}

impl Multicast {
    /// Announces and listens until nobody wants to know. Addresses of this bloc's announcements go to `found`.
    pub(crate) async fn run(self, found: mpsc::Sender<SocketAddr>) {
        self.run_at(PORT, found).await;
    }

    async fn run_at(self, port: u16, found: mpsc::Sender<SocketAddr>) {
        let began = Instant::now();
        let (heard_in, mut heard) = mpsc::channel(64);
        let mut sockets: BTreeMap<String, Arc<UdpSocket>> = BTreeMap::new();
        let mut told: HashMap<SocketAddr, Instant> = HashMap::new();
        let (mut look_at, mut say_at, mut number) = (began, began, 0_u64);
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(look_at) => {
                    self.look(port, &mut sockets, &heard_in);
                    look_at = Instant::now() + INTERFACES;
                }
                () = tokio::time::sleep_until(say_at) => {
                    number += 1;
                    let said = make(&self.bloc, self.port, (self.salt)(number));
                    for (name, socket) in &sockets {
                        if let Err(error) = socket.send_to(&said, (GROUP, port)).await {
                            debug!("nothing can be announced on {name}: {error}");
                        }
                    }
                    say_at = Instant::now() + if began.elapsed() < START { FAST } else { SLOW };
                }
                Some((from, port)) = heard.recv() => {
                    // On loopback the kernel takes an address of another interface as the sender's: it is this machine.
                    let from = if self.loopback { Ipv4Addr::LOCALHOST.into() } else { from };
                    let addr = SocketAddr::new(from, port);
                    let now = Instant::now();
                    if told.get(&addr).is_some_and(|told| now.duration_since(*told) < QUIET) {
                        continue;
                    }
                    if told.len() >= REMEMBERED {
                        told.retain(|_, told| now.duration_since(*told) < QUIET);
                    }
                    // A flood of announcements costs bounded memory: beyond it they are not taken.
                    if told.len() < REMEMBERED {
                        told.insert(addr, now);
                        if found.send(addr).await.is_err() {
                            return;
                        }
                    }
                }
                () = found.closed() => return,
            }
        }
    }

    /// Opens a socket for each new interface and forgets those that are gone.
    fn look(
        &self,
        port: u16,
        sockets: &mut BTreeMap<String, Arc<UdpSocket>>,
        heard: &mpsc::Sender<(std::net::IpAddr, u16)>,
    ) {
        let names = match interfaces() {
            Ok(names) => names,
            Err(error) => return debug!("the interfaces cannot be listed: {error}"),
        };
        let wanted: Vec<String> = names.into_iter().filter(|name| is_loopback(name) == self.loopback).collect();
        sockets.retain(|name, _| wanted.contains(name));
        for name in wanted {
            if sockets.contains_key(&name) {
                continue;
            }
            match open(&name, port) {
                Ok(socket) => {
                    info!("announcing on {name}, and listening there for others of the bloc");
                    let socket = Arc::new(socket);
                    tokio::spawn(listen(self.bloc.clone(), Arc::downgrade(&socket), heard.clone()));
                    sockets.insert(name, socket);
                }
                // Down, without an address, or without multicast.
                Err(error) => debug!("no announcements on {name}: {error}"),
            }
        }
    }
}

/// Hears announcements until the socket's interface is gone, or nobody wants to know.
async fn listen(bloc: BlocName, socket: std::sync::Weak<UdpSocket>, heard: mpsc::Sender<(std::net::IpAddr, u16)>) {
    // One byte more, so that a longer one is seen to be longer.
    let mut bytes = [0; LEN + 1];
    loop {
        let Some(socket) = socket.upgrade() else { return };
        let received = tokio::select! {
            // Now and then it is looked whether the socket is still wanted.
            received = tokio::time::timeout(INTERFACES, socket.recv_from(&mut bytes)) => received,
            () = heard.closed() => return,
        };
        match received {
            Ok(Ok((len, from))) => {
                if let Some(port) = read(&bloc, &bytes[..len]) {
                    // Full: others wait already; it is said again.
                    let _ = heard.try_send((from.ip(), port));
                }
            }
            Ok(Err(error)) => {
                debug!("announcements are not heard: {error}");
                tokio::time::sleep(FAST).await;
            }
            Err(_) => {}
        }
    }
}

/// Names of the interfaces of this network namespace, as proc(5) lists them.
fn interfaces() -> io::Result<Vec<String>> {
    let text = std::fs::read_to_string("/proc/self/net/dev")?;
    Ok(text.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect())
}

fn is_loopback(name: &str) -> bool {
    name == "lo"
}

fn open(name: &str, port: u16) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    let index = name_to_index(&socket, name)?;
    // Other fulcrums of this machine listen to the same group.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind_device(Some(name.as_bytes()))?;
    // Bound to the group, so that it hears nothing else.
    socket.bind(&SocketAddr::from(SocketAddrV4::new(GROUP, port)).into())?;
    socket.join_multicast_v4_n(&GROUP, &InterfaceIndexOrAddress::Index(index))?;
    socket.set_multicast_loop_v4(true)?;
    // It does not leave the link.
    socket.set_multicast_ttl_v4(1)?;
    UdpSocket::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Generous: an announcement is said each second at first.
    const LIMIT: Duration = Duration::from_secs(60);

    fn one(bloc: &str, port: u16) -> Multicast {
        let salt = Arc::new(move |number: u64| {
            let mut salt = [0; SALT];
            salt[..8].copy_from_slice(&(number + u64::from(port)).to_be_bytes());
            salt
        });
        Multicast { bloc: bloc.parse().unwrap(), port, loopback: true, salt }
    }

    #[tokio::test]
    async fn fulcrums_of_one_bloc_hear_each_other_on_loopback_and_others_do_not() {
        // A port of its own, so that tests beside it do not hear each other.
        let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (one_in, mut at_one) = mpsc::channel(4);
        let (two_in, mut at_two) = mpsc::channel(4);
        let (other_in, mut at_other) = mpsc::channel(4);
        tokio::spawn(one("acme", 4001).run_at(port, one_in));
        tokio::spawn(one("acme", 4002).run_at(port, two_in));
        tokio::spawn(one("other", 4003).run_at(port, other_in));
        let heard = async |at: &mut mpsc::Receiver<SocketAddr>, port: u16| {
            let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let all = async { while at.recv().await != Some(wanted) {} };
            tokio::time::timeout(LIMIT, all).await.expect("an announcement in time");
        };
        heard(&mut at_one, 4002).await;
        heard(&mut at_two, 4001).await;
        heard(&mut at_other, 4003).await;
        while let Ok(addr) = at_other.try_recv() {
            assert_eq!(addr.port(), 4003, "only its own bloc");
        }
    }
}
