//! What the peers have said by now, though nobody has read it yet.
//!
//! The loop shares one thread with the tasks that read the socket and the links. When its timer fires while datagrams lie in
//! the socket, the loop may be the first to run: what is in its channel by then is not all that was said. So it gives way
//! until those tasks have nothing left to hand over.

use tokio::sync::mpsc::Receiver;

/// So many times in a row nothing came: once the system is asked which sockets can be read, once they are read, and once
/// more for a task that waits for another.
const QUIET: usize = 3;
/// It gives way so often at most, for peers that never pause.
const TURNS: usize = 64;

/// What is in this channel once everybody that has something for it had its turn, `most` at most.
pub(super) async fn heard<T>(channel: &mut Receiver<T>, most: usize) -> Vec<T> {
    let (mut all, mut quiet) = (Vec::new(), 0);
    for _ in 0..TURNS {
        let before = all.len();
        while all.len() < most
            && let Ok(one) = channel.try_recv()
        {
            all.push(one);
        }
        quiet = if all.len() > before { 0 } else { quiet + 1 };
        if all.len() >= most || quiet > QUIET {
            break;
        }
        tokio::task::yield_now().await;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UdpSocket;
    use tokio::sync::mpsc;

    /// As in a link: one task reads the socket, another what that one read, and only then it is in the loop's channel.
    #[tokio::test(flavor = "current_thread")]
    async fn what_lies_in_the_socket_is_heard_before_the_timer() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let to = socket.local_addr().unwrap();
        let (raw_in, mut raw) = mpsc::channel(64);
        let (events_in, mut events) = mpsc::channel(64);
        tokio::spawn(async move {
            let mut buffer = [0; 16];
            while let Ok(size) = socket.recv(&mut buffer).await {
                let _ = raw_in.send(buffer[..size].to_vec()).await;
            }
        });
        tokio::spawn(async move {
            while let Some(one) = raw.recv().await {
                let _ = events_in.send(one).await;
            }
        });
        // Both wait by now.
        assert!(heard(&mut events, 8).await.is_empty());
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for word in [&b"one"[..], b"two", b"three"] {
            peer.send_to(word, to).unwrap();
        }
        assert!(events.try_recv().is_err(), "nobody has read it yet");
        assert_eq!(heard(&mut events, 8).await, [&b"one"[..], b"two", b"three"]);
        // No more than wanted, and what is left is still there.
        for word in [&b"four"[..], b"five"] {
            peer.send_to(word, to).unwrap();
        }
        assert_eq!(heard(&mut events, 1).await, [b"four"]);
        assert_eq!(heard(&mut events, 8).await, [b"five"]);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn who_never_pauses_is_not_listened_to_for_ever() {
        let (events_in, mut events) = mpsc::channel(1);
        tokio::spawn(async move { while events_in.send(()).await.is_ok() {} });
        assert!(heard(&mut events, 10_000).await.len() <= TURNS * 2);
    }
}
