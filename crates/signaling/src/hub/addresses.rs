//! What each client address uses.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use super::Hub;
use crate::protocol::{ErrorCode, Fault};

/// What is counted as one client: an IPv4 address, or an IPv6 network of 64 bits, of which
/// every household has at least one to itself.
pub(crate) fn client_prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

/// How much of something each client has.
#[derive(Debug, Default)]
pub(super) struct PerAddress(HashMap<IpAddr, usize>);

impl PerAddress {
    pub(super) fn take(&mut self, address: IpAddr, limit: usize, what: &str) -> Result<(), Fault> {
        let count = self.0.get(&address).copied().unwrap_or(0);
        if count >= limit {
            let text =
                format!("your address has {count} {what} here, the limit is {limit}: close some");
            return Err(Fault::new(ErrorCode::RateLimited, text).retry_ms(RETRY_MS));
        }
        self.0.insert(address, count + 1);
        Ok(())
    }

    pub(super) fn give_back(&mut self, address: IpAddr) {
        let left = self
            .0
            .get(&address)
            .map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            self.0.remove(&address);
        } else {
            self.0.insert(address, left);
        }
    }
}

/// Sessions end when people leave, not by waiting: no reason to ask often, in milliseconds.
const RETRY_MS: u64 = 30_000;

/// A place among the WebSockets of an address, until it is dropped.
#[derive(Debug)]
pub(crate) struct WebSocketPlace {
    hub: Arc<Hub>,
    pub(crate) address: IpAddr,
}

impl WebSocketPlace {
    pub(crate) fn take(hub: &Arc<Hub>, address: IpAddr) -> Result<Self, Fault> {
        let limit = hub.config.limits.websockets_per_address;
        hub.state
            .lock()
            .websockets
            .take(address, limit, "WebSockets")?;
        Ok(Self {
            hub: Arc::clone(hub),
            address,
        })
    }
}

impl Drop for WebSocketPlace {
    fn drop(&mut self) {
        self.hub.state.lock().websockets.give_back(self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_client() {
        let prefix = |text: &str| client_prefix(text.parse().unwrap()).to_string();
        assert_eq!(prefix("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(prefix("192.0.2.7"), "192.0.2.7");
        assert_eq!(prefix("::ffff:192.0.2.7"), "192.0.2.7");
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let address = IpAddr::from([192, 0, 2, 1]);
        let mut sockets = PerAddress::default();
        assert!(sockets.take(address, 1, "sockets").is_ok());
        assert_eq!(
            sockets.take(address, 1, "sockets").unwrap_err().code,
            ErrorCode::RateLimited
        );
        sockets.give_back(address);
        assert!(sockets.0.is_empty());
        assert!(sockets.take(address, 1, "sockets").is_ok());
    }
}
