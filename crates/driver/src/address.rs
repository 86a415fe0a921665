//! Local addresses and what is told to clients about them.
//!
//! The shard only ever sees advertised addresses; the kernel only ever sees local ones.

use std::net::{IpAddr, SocketAddr};

use madang_core::Address;

use crate::DriverError;

/// The node's addresses, as they are at its start.
#[derive(Debug, Clone)]
pub(crate) struct AddressMap {
    addresses: Vec<Address>,
}

impl AddressMap {
    /// Pairs what is advertised with what is bound. `bound` may hold wildcards, which stand for
    /// all of `interfaces`; where `advertised` is empty, every local address is advertised as it is.
    pub(crate) fn resolve(
        bound: &[SocketAddr],
        advertised: &[IpAddr],
        interfaces: &[IpAddr],
    ) -> Result<Self, DriverError> {
        let mut locals: Vec<SocketAddr> = bound
            .iter()
            .flat_map(|address| local_addresses(*address, interfaces))
            .collect();
        // Loopback only serves clients on this machine: the others come first.
        locals.sort_by_key(|address| address.ip().is_loopback());
        let addresses = if advertised.is_empty() {
            locals
                .iter()
                .map(|local| Address {
                    advertised: *local,
                    local: *local,
                })
                .collect()
        } else {
            advertised
                .iter()
                .map(|ip| behind(*ip, &locals))
                .collect::<Result<Vec<_>, _>>()?
        };
        if addresses.is_empty() {
            return Err(DriverError::NoAddress);
        }
        Ok(Self { addresses })
    }

    pub(crate) fn as_slice(&self) -> &[Address] {
        &self.addresses
    }

    /// What clients call the local address; itself where nothing is known about it.
    pub(crate) fn advertised(&self, local: SocketAddr) -> SocketAddr {
        self.addresses
            .iter()
            .find(|address| address.local == local)
            .map_or(local, |address| address.advertised)
    }

    /// Where datagrams leave that clients shall see coming from the advertised address.
    pub(crate) fn local(&self, advertised: SocketAddr) -> SocketAddr {
        self.addresses
            .iter()
            .find(|address| address.advertised == advertised)
            .map_or(advertised, |address| address.local)
    }
}

/// The addresses of all interfaces that are up.
pub(crate) fn interface_addresses() -> Result<Vec<IpAddr>, DriverError> {
    let interfaces = if_addrs::get_if_addrs().map_err(DriverError::Interfaces)?;
    Ok(interfaces
        .iter()
        .filter(|one| one.is_oper_up())
        .map(if_addrs::Interface::ip)
        .collect())
}

fn local_addresses(bound: SocketAddr, interfaces: &[IpAddr]) -> Vec<SocketAddr> {
    if !bound.ip().is_unspecified() {
        return vec![bound];
    }
    interfaces
        .iter()
        .filter(|ip| ip.is_ipv4() == bound.is_ipv4() && is_usable(**ip))
        .map(|ip| SocketAddr::new(*ip, bound.port()))
        .collect()
}

/// Link-local addresses mean nothing without an interface name, which candidates cannot carry.
fn is_usable(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !link_local && !ip.is_unspecified() && !ip.is_multicast()
}

/// The local address that an advertised one stands for: itself, or else the first of its family,
/// which is where a NAT in front of this machine sends to.
fn behind(advertised: IpAddr, locals: &[SocketAddr]) -> Result<Address, DriverError> {
    let family = || {
        locals
            .iter()
            .filter(|local| local.is_ipv4() == advertised.is_ipv4())
    };
    let local = family()
        .find(|local| local.ip() == advertised)
        .or_else(|| family().next())
        .ok_or(DriverError::NoSocketFor { ip: advertised })?;
    Ok(Address {
        advertised: SocketAddr::new(advertised, local.port()),
        local: *local,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn sockets(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn resolve(
        bound: &[&str],
        advertised: &[&str],
        interfaces: &[&str],
    ) -> Result<AddressMap, DriverError> {
        AddressMap::resolve(&sockets(bound), &ips(advertised), &ips(interfaces))
    }

    const INTERFACES: &[&str] = &[
        "127.0.0.1",
        "192.0.2.7",
        "169.254.3.4",
        "::1",
        "2001:db8::7",
        "fe80::1",
    ];

    #[test]
    fn wildcards_stand_for_all_interfaces_loopback_last_and_link_local_never() {
        let map = resolve(&["0.0.0.0:5000", "[::]:5000"], &[], INTERFACES).unwrap();
        let advertised: Vec<_> = map
            .as_slice()
            .iter()
            .map(|address| address.advertised)
            .collect();
        assert_eq!(
            advertised,
            sockets(&[
                "192.0.2.7:5000",
                "[2001:db8::7]:5000",
                "127.0.0.1:5000",
                "[::1]:5000"
            ])
        );
        assert!(
            map.as_slice()
                .iter()
                .all(|address| address.advertised == address.local)
        );
    }

    #[test]
    fn only_bound_families_and_addresses_are_advertised() {
        let map = resolve(&["192.0.2.7:5000"], &[], INTERFACES).unwrap();
        assert_eq!(map.as_slice().len(), 1);
        let map = resolve(&["0.0.0.0:5000"], &[], INTERFACES).unwrap();
        assert!(map.as_slice().iter().all(|address| address.local.is_ipv4()));
    }

    #[test]
    fn an_external_address_stands_for_the_first_of_its_family_that_is_not_loopback() {
        let map = resolve(&["0.0.0.0:5000", "[::]:5000"], &["203.0.113.9"], INTERFACES).unwrap();
        let [external] = sockets(&["203.0.113.9:5000"])[..] else {
            unreachable!()
        };
        let [local] = sockets(&["192.0.2.7:5000"])[..] else {
            unreachable!()
        };
        assert_eq!(
            map.as_slice(),
            [Address {
                advertised: external,
                local
            }]
        );
        assert_eq!(map.advertised(local), external);
        assert_eq!(map.local(external), local);
    }

    #[test]
    fn an_advertised_address_of_this_machine_stands_for_itself() {
        let map = resolve(&["0.0.0.0:5000"], &["127.0.0.1"], INTERFACES).unwrap();
        let [address] = map.as_slice() else {
            panic!("{map:?}")
        };
        assert_eq!(address.advertised, address.local);
    }

    #[test]
    fn an_address_that_is_not_known_is_passed_as_it_is() {
        let map = resolve(&["0.0.0.0:5000"], &["203.0.113.9"], INTERFACES).unwrap();
        let [loopback] = sockets(&["127.0.0.1:5000"])[..] else {
            unreachable!()
        };
        assert_eq!(map.advertised(loopback), loopback);
        assert_eq!(map.local(loopback), loopback);
    }

    #[test]
    fn advertising_a_family_that_is_not_bound_is_refused() {
        let error = resolve(&["0.0.0.0:5000"], &["2001:db8::9"], INTERFACES)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("2001:db8::9") && error.contains("[::]"),
            "{error}"
        );
        assert!(resolve(&["0.0.0.0:5000"], &[], &["fe80::1"]).is_err());
    }
}
