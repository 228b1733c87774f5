//! Where a request comes from, behind the proxies that this deployment trusts and no others.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};

use super::State;

/// The proxies whose `X-Forwarded-For` is believed: those that add the address they were reached from at its end.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Arc<[IpAddr]>);

impl Proxies {
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Proxies(addresses.into_iter().map(|address| address.to_canonical()).collect())
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// The first address from the right that is no trusted proxy's. What is no address ends the search: to its left
    /// anybody may have written anything.
    fn beyond<'a>(&self, peer: IpAddr, forwarded: impl DoubleEndedIterator<Item = &'a str>) -> IpAddr {
        let mut nearest = peer.to_canonical();
        for hop in forwarded.rev() {
            match parse(hop) {
                Some(address) if self.trusts(nearest) => nearest = address,
                _ => break,
            }
        }
        nearest
    }
}

/// An address as proxies write it: bare, or with a port, which brackets then set apart in IPv6.
fn parse(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let bare = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']')).unwrap_or(hop);
    let address = bare.parse().or_else(|_| hop.parse().map(|socket: SocketAddr| socket.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

/// The network that one client can be told by: an IPv4 address, or the /64 of an IPv6 one, since a single subscriber
/// has all of those. It is personal data: it is kept under a keyed digest only, and never logged.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(IpAddr);

impl ClientAddress {
    /// Of a request to the app, whose [`State`] says which proxies are trusted.
    pub fn of(request: &HttpRequest) -> Self {
        let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        let Some(state) = request.app_data::<web::Data<State>>() else { return ClientAddress::new(peer) };
        let headers: Vec<_> = request.headers().get_all("x-forwarded-for").collect();
        // a header that is no text still stands for a hop
        let hops = headers.iter().flat_map(|value| value.to_str().unwrap_or("unreadable").split(','));
        let hops: Vec<_> = hops.collect();
        ClientAddress::new(state.proxies.beyond(peer, hops.into_iter()))
    }

    fn new(address: IpAddr) -> Self {
        ClientAddress(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
            ipv4 => ipv4,
        })
    }

    /// The same for the same network, for a keyed digest.
    pub fn bytes(&self) -> Vec<u8> {
        match self.0 {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets()[..8].to_vec(),
        }
    }
}

impl FromRequest for ClientAddress {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(ClientAddress::of(req)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> Proxies {
        Proxies::new(["127.0.0.1", "::1", "198.51.100.7"].map(|address| address.parse().unwrap()))
    }

    #[track_caller]
    fn seen(peer: &str, forwarded: &str, expected: &str) {
        let hops: Vec<_> = forwarded.split(',').collect();
        let hops = if forwarded.is_empty() { Vec::new() } else { hops };
        let found = proxies().beyond(peer.parse().unwrap(), hops.into_iter());
        assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer}, {forwarded:?}");
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_for_the_hop_it_saw() {
        seen("203.0.113.5", "", "203.0.113.5");
        seen("203.0.113.5", "192.0.2.1", "203.0.113.5");
        seen("127.0.0.1", "", "127.0.0.1");
        seen("127.0.0.1", "192.0.2.1", "192.0.2.1");
        // whatever the client sent itself stands to the left
        seen("127.0.0.1", "10.0.0.1, 192.0.2.1", "192.0.2.1");
        seen("127.0.0.1", "127.0.0.1, 192.0.2.1", "192.0.2.1");
        seen("127.0.0.1", "10.0.0.1, 192.0.2.1 ,198.51.100.7", "192.0.2.1");
        seen("127.0.0.1", "::1, 198.51.100.7", "::1");
        seen("::ffff:127.0.0.1", "::ffff:192.0.2.1", "192.0.2.1");
    }

    #[test]
    fn what_is_no_address_never_hands_the_choice_to_the_client() {
        for hop in ["unknown", "", "192.0.2.300", "_hidden", "\"192.0.2.1\"", "192.0.2.1 192.0.2.2"] {
            seen("127.0.0.1", &format!("192.0.2.9, {hop}"), "127.0.0.1");
            seen("127.0.0.1", &format!("192.0.2.9, {hop}, 198.51.100.7"), "198.51.100.7");
        }
    }

    #[test]
    fn a_port_does_not_make_another_client() {
        for hop in ["192.0.2.1", "192.0.2.1:4711"] {
            seen("127.0.0.1", hop, "192.0.2.1");
        }
        for hop in ["2001:db8::7", "[2001:db8::7]", "[2001:db8::7]:4711"] {
            seen("127.0.0.1", hop, "2001:db8::7");
        }
    }

    #[test]
    fn an_ipv6_client_is_its_64_and_an_ipv4_client_its_address() {
        let of = |text: &str| ClientAddress::new(text.parse().unwrap());
        assert!(of("2001:db8:1:2::1") == of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert!(of("2001:db8:1:2::1") != of("2001:db8:1:3::1"));
        assert_eq!(of("2001:db8:1:2::1").bytes(), [0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 2]);
        assert!(of("192.0.2.1") != of("192.0.2.2"));
        assert!(of("::ffff:192.0.2.1") == of("192.0.2.1"));
        assert_eq!(of("192.0.2.1").bytes(), [192, 0, 2, 1]);
    }
}
