//! Faults for dev clusters (`crux lab`): whole UDP packets dropped by the peer's address, under QUIC and TLS.

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

/// What happens to packets from and to one address.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rule {
    /// Drop everything that comes from there.
    pub drop_in: bool,
    /// Drop everything that goes there.
    pub drop_out: bool,
    /// Share of packets lost in each direction, 0 to 1.
    pub loss: f32,
}

#[derive(Debug)]
struct State {
    rules: HashMap<SocketAddr, Rule>,
    /// xorshift64: losses need no better randomness, and this one needs no dependency.
    random: u64,
}

/// A shared handle on the faults of one fulcrum's socket. Cheap to clone. There is none outside a dev cluster, so a
/// production socket has no such switch.
#[derive(Clone, Debug)]
pub struct FaultGate {
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Copy)]
enum Way {
    In,
    Out,
}

impl FaultGate {
    /// A gate without faults. Only `crux up --dev` and tests may call this.
    #[must_use]
    pub fn for_dev_cluster() -> Self {
        Self { state: Arc::new(Mutex::new(State { rules: HashMap::new(), random: 0x9e37_79b9_7f4a_7c15 })) }
    }

    /// Replaces all rules. An address without a rule is undisturbed.
    pub fn set(&self, rules: HashMap<SocketAddr, Rule>) {
        self.lock().rules = rules;
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> HashMap<SocketAddr, Rule> {
        self.lock().rules.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drops(&self, addr: SocketAddr, way: Way) -> bool {
        let mut state = self.lock();
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        let Some(rule) = state.rules.get(&addr).copied() else { return false };
        let cut = match way {
            Way::In => rule.drop_in,
            Way::Out => rule.drop_out,
        };
        cut || rule.loss > 0.0 && state.roll() < rule.loss
    }

    pub(crate) fn wrap(self, inner: Arc<dyn AsyncUdpSocket>) -> Arc<dyn AsyncUdpSocket> {
        Arc::new(GatedSocket { inner, gate: self })
    }
}

impl State {
    /// A number from 0 up to, but not including, 1.
    fn roll(&mut self) -> f32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 40) as f32 / (1_u64 << 24) as f32
    }
}

/// A UDP socket behind a gate.
#[derive(Debug)]
struct GatedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    gate: FaultGate,
}

impl AsyncUdpSocket for GatedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.gate.drops(transmit.destination, Way::Out) { Ok(()) } else { self.inner.try_send(transmit) }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.inner.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(count)) = received {
            for meta in &mut meta[..count] {
                if self.gate.drops(meta.addr, Way::In) {
                    meta.len = 0; // An empty buffer holds no packet.
                }
            }
        }
        received
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    /// One packet a call, so that losses hit packets and not batches.
    fn max_transmit_segments(&self) -> usize {
        1
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_hold_for_their_address_and_direction() {
        let gate = FaultGate::for_dev_cluster();
        let (cut, half, free): (SocketAddr, SocketAddr, SocketAddr) =
            ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap(), "127.0.0.1:3".parse().unwrap());
        gate.set(HashMap::from([
            (cut, Rule { drop_in: true, ..Rule::default() }),
            (half, Rule { loss: 0.5, ..Rule::default() }),
        ]));
        assert!(gate.drops(cut, Way::In) && !gate.drops(cut, Way::Out) && !gate.drops(free, Way::In));
        assert!(gate.drops("[::ffff:127.0.0.1]:1".parse().unwrap(), Way::In));
        let lost = (0..10_000).filter(|_| gate.drops(half, Way::Out)).count();
        assert!((4_500..5_500).contains(&lost), "{lost} of 10000");
        gate.set(HashMap::new());
        assert!(!gate.drops(cut, Way::In));
    }
}
