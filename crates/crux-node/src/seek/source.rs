//! Networks and lists to search.
//!
//! ```text
//! 10.0.0.0/24          every host, at the usual mesh port
//! 10.0.0.0/24:4000     at another port
//! [2001:db8::/120]:4000
//! file:/etc/crux/peers one of the above, an address or HOST[:PORT] a line; # begins a comment
//! ```

use crate::MESH_PORT;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use thiserror::Error;

/// Largest network that is searched: /16 of IPv4, /112 of IPv6. A sweep of it takes an hour.
const HOST_BITS: u8 = 16;

/// Hosts of one network at one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Net {
    first: IpAddr,
    count: u32,
    port: u16,
}

/// One thing to search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A network.
    Net(Net),
    /// A file with more, read again when it changes.
    File(PathBuf),
}

/// One line of such a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A network.
    Net(Net),
    /// `HOST:PORT`, to be looked up; an address is one too.
    Host(String),
}

/// Why a text is no network that can be searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
enum NoNet {
    #[error("is no network, like 10.0.0.0/24, 10.0.0.0/24:4000 or [2001:db8::/120]:4000")]
    Form,
    #[error("is too large to search; name networks of up to 65536 hosts, /{most} or smaller")]
    Large { most: u8 },
}

impl Net {
    /// The hosts, first to last; network and broadcast address of an IPv4 network are none.
    pub(super) fn addrs(self) -> impl Iterator<Item = SocketAddr> {
        (0..self.count).map(move |step| SocketAddr::new(self.at(step), self.port))
    }

    fn at(self, step: u32) -> IpAddr {
        match self.first {
            IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits().saturating_add(step)).into(),
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits().saturating_add(u128::from(step))).into(),
        }
    }

    /// Splits `ADDR/BITS`, which may have a port behind it.
    fn parse(text: &str) -> Result<Self, NoNet> {
        let wrong = || NoNet::Form;
        let (net, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (net, port) = rest.split_once(']').ok_or_else(wrong)?;
                (net, port.strip_prefix(':').or(port.is_empty().then_some("")).ok_or_else(wrong)?)
            }
            None => match text.split_once('/') {
                // Behind the bits of an IPv6 network stands no port unless it is in brackets.
                Some((_, bits)) => match bits.split_once(':') {
                    Some((bits, port)) => {
                        (&text[..text.len() - port.len() - 1], (!bits.is_empty()).then_some(port).ok_or_else(wrong)?)
                    }
                    None => (text, ""),
                },
                None => return Err(wrong()),
            },
        };
        let port: u16 = if port.is_empty() { MESH_PORT } else { port.parse().map_err(|_| wrong())? };
        let (ip, bits) = net.split_once('/').ok_or_else(wrong)?;
        let ip: IpAddr = ip.parse().map_err(|_| wrong())?;
        let bits: u8 = bits.parse().map_err(|_| wrong())?;
        let width = if ip.is_ipv4() { 32 } else { 128 };
        if bits > width || port == 0 {
            return Err(wrong());
        }
        let host = width - bits;
        if host > HOST_BITS {
            return Err(NoNet::Large { most: width - HOST_BITS });
        }
        let size = 1_u32 << host;
        let (first, count) = match ip {
            IpAddr::V4(ip) => {
                let start = ip.to_bits() & !(size - 1);
                // /31 and /32 have hosts only (RFC 3021).
                let edge = u32::from(host >= 2);
                (Ipv4Addr::from_bits(start + edge).into(), size - 2 * edge)
            }
            IpAddr::V6(ip) => (Ipv6Addr::from_bits(ip.to_bits() & !u128::from(size - 1)).into(), size),
        };
        Ok(Self { first, count, port })
    }
}

impl FromStr for Source {
    type Err = String;

    /// Reads what `--probe` takes.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("file:") {
            Some("") => Err("file: names no file, like file:/etc/crux/peers".to_owned()),
            Some(path) => Ok(Self::File(path.into())),
            None => Net::parse(text).map(Self::Net).map_err(|wrong| match wrong {
                NoNet::Form => format!("{text:?} {wrong}, nor file:PATH"),
                NoNet::Large { .. } => format!("{text:?} {wrong}"),
            }),
        }
    }
}

/// Reads a file's lines: what is good, and for each bad one its number and what is wrong.
pub(super) fn lines(text: &str) -> (Vec<Line>, Vec<(usize, String)>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        match read_line(line) {
            Ok(line) => good.push(line),
            Err(wrong) => bad.push((number + 1, wrong)),
        }
    }
    (good, bad)
}

fn read_line(line: &str) -> Result<Line, String> {
    if line.contains('/') {
        return Net::parse(line).map(Line::Net).map_err(|wrong| format!("{line:?} {wrong}"));
    }
    if let Ok(ip) = line.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(Line::Host(SocketAddr::new(ip, MESH_PORT).to_string()));
    }
    let (host, port) = line.rsplit_once(':').unwrap_or((line, ""));
    let port: u16 =
        if port.is_empty() { MESH_PORT } else { port.parse().map_err(|_| format!("{line:?} has no port"))? };
    let good = !host.is_empty() && port != 0 && !host.contains(char::is_whitespace);
    good.then(|| Line::Host(format!("{host}:{port}")))
        .ok_or_else(|| format!("{line:?} is not HOST[:PORT] nor a network"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(text: &str) -> Vec<String> {
        Net::parse(text).unwrap().addrs().map(|addr| addr.to_string()).collect()
    }

    #[test]
    fn networks_become_their_hosts() {
        assert_eq!(hosts("10.0.0.6/30"), ["10.0.0.5:2789", "10.0.0.6:2789"]);
        assert_eq!(hosts("10.0.0.6/32:4000"), ["10.0.0.6:4000"]);
        assert_eq!(hosts("10.0.0.6/31").len(), 2);
        assert_eq!(hosts("10.1.0.0/16").len(), 65_534);
        assert_eq!(hosts("[2001:db8::7/127]:9"), ["[2001:db8::6]:9", "[2001:db8::7]:9"]);
        assert_eq!(hosts("2001:db8::/127"), ["[2001:db8::]:2789", "[2001:db8::1]:2789"]);
        assert_eq!(hosts("255.255.255.255/32"), ["255.255.255.255:2789"]);
    }

    #[test]
    fn what_is_no_network_is_said_to_be_none() {
        for bad in [
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0.0/x",
            "x/24",
            "10.0.0.0/24:0",
            "10.0.0.0/24:x",
            "[10.0.0.0/24",
            "",
            "/",
            "10.0.0.0/:4",
        ] {
            let error = bad.parse::<Source>().unwrap_err();
            assert!(error.contains("is no network") && error.contains("file:PATH"), "{bad}: {error}");
        }
        let large = "10.0.0.0/8".parse::<Source>().unwrap_err();
        assert!(large.contains("too large to search") && !large.contains("nor file"), "{large}");
        assert!("::/64".parse::<Source>().unwrap_err().contains("/112"));
        assert!("file:".parse::<Source>().unwrap_err().contains("names no file"));
        assert_eq!("file:/x".parse(), Ok(Source::File("/x".into())));
    }

    #[test]
    fn a_list_has_addresses_names_networks_and_comments() {
        let (good, bad) =
            lines("# peers\n10.0.0.1\n n1.example:4000 # the first\n\n10.0.0.0/31\n::1\nn2\nn3:x\na b\n1.2.3.4/99\n");
        let host = |text: &str| Line::Host(text.to_owned());
        assert_eq!(good[..2], [host("10.0.0.1:2789"), host("n1.example:4000")]);
        assert!(matches!(good[2], Line::Net(_)));
        assert_eq!(good[3..], [host("[::1]:2789"), host("n2:2789")]);
        assert_eq!(bad.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [8, 9, 10]);
    }
}
