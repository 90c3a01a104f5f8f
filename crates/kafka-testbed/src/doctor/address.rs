//! Addresses of this machine that the EXTERNAL listeners can have, the default route's first.

use std::{fmt, fs, net::Ipv4Addr, path::Path};

use if_addrs::IfAddr;

use super::{Finding, Level, Topic};
use crate::spec::Spec;

/// Beginnings of the names of interfaces that lead to containers or virtual machines of this machine only.
const INNER: &[&str] = &["docker", "br-", "veth", "virbr", "cni", "flannel", "podman", "lxc"];

/// The addresses of this machine at which others could reach it, the best first.
pub fn candidates() -> Vec<Candidate> {
    of_this_machine(Path::new("/"))
}

pub(super) fn examine(root: &Path, spec: &Spec) -> Vec<Finding> {
    judge(of_this_machine(root), spec.host_address)
}

fn of_this_machine(root: &Path) -> Vec<Candidate> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let addresses = interfaces.into_iter().filter_map(|interface| match interface.addr {
        IfAddr::V4(address) => Some((interface.name, address.ip)),
        IfAddr::V6(_) => None,
    });
    let routes = fs::read_to_string(root.join("proc/net/route")).unwrap_or_default();
    sorted(addresses.collect(), default_interface(&routes))
}

/// An address of this machine and its interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The address.
    pub address: Ipv4Addr,
    /// Its interface.
    pub interface: String,
    /// Whether the default route goes there.
    pub is_default: bool,
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let route = if self.is_default { ", default route" } else { "" };
        write!(f, "{} ({}{route})", self.address, self.interface)
    }
}

/// The interface of the default route with the lowest metric.
fn default_interface(routes: &str) -> Option<&str> {
    routes
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_default = *fields.get(1)? == "00000000" && *fields.get(7)? == "00000000";
            is_default.then_some((fields.get(6)?.parse::<u32>().ok()?, *fields.first()?))
        })
        .min()
        .map(|(_, interface)| interface)
}

fn sorted(addresses: Vec<(String, Ipv4Addr)>, default: Option<&str>) -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = addresses
        .into_iter()
        .filter(|(_, address)| !address.is_loopback() && !address.is_link_local())
        .map(|(interface, address)| Candidate {
            address,
            is_default: default == Some(interface.as_str()),
            interface,
        })
        .collect();
    candidates.sort_by_key(|candidate| {
        let is_inner = INNER.iter().any(|prefix| candidate.interface.starts_with(prefix));
        (!candidate.is_default, is_inner, candidate.interface.clone(), candidate.address)
    });
    candidates
}

fn judge(candidates: Vec<Candidate>, wanted: Option<Ipv4Addr>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(wanted) = wanted
        && !wanted.is_loopback()
        && !candidates.iter().any(|candidate| candidate.address == wanted)
    {
        let own: Vec<String> = candidates.iter().map(|candidate| candidate.address.to_string()).collect();
        findings.push(
            Finding::new(
                Level::Fatal,
                Topic::Address,
                format!("{wanted} is no address of this machine"),
                "host.address",
            )
            .why(format!("the EXTERNAL listeners cannot be there; this machine has {}", own.join(", ")))
            .mend("ip -4 -brief address"),
        );
    }
    for candidate in &candidates {
        let which = if Some(candidate.address) == wanted {
            "chosen by host.address"
        } else if candidate.is_default {
            "default route: other machines of the network reach it most likely"
        } else {
            "a candidate for host.address"
        };
        findings.push(
            Finding::new(
                Level::Ok,
                Topic::Address,
                candidate.address.to_string(),
                candidate.interface.clone(),
            )
            .why(which),
        );
    }
    if candidates.is_empty() {
        findings.push(
            Finding::new(Level::Ok, Topic::Address, "no address but the loopback network's", "interfaces")
                .why("clients on other machines cannot reach the brokers"),
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
        wlan0\t00000000\t010200C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
        eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
        eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";

    fn addresses() -> Vec<(String, Ipv4Addr)> {
        [
            ("lo", [127, 0, 0, 1]),
            ("docker0", [172, 17, 0, 1]),
            ("wlan0", [10, 0, 0, 7]),
            ("eth0", [192, 0, 2, 5]),
            ("eth1", [169, 254, 1, 1]),
        ]
        .map(|(name, octets)| (name.to_owned(), Ipv4Addr::from(octets)))
        .into()
    }

    #[test]
    fn the_default_routes_address_comes_first_and_bridges_last() {
        let found = sorted(addresses(), default_interface(ROUTES));
        let names: Vec<&str> = found.iter().map(|candidate| candidate.interface.as_str()).collect();
        assert_eq!(names, ["eth0", "wlan0", "docker0"]);
        assert!(found[0].is_default);
        assert_eq!(default_interface("Iface\n"), None);
    }

    #[test]
    fn an_address_of_another_machine_is_fatal_and_the_own_ones_are_named() {
        let own = || sorted(addresses(), default_interface(ROUTES));
        let findings = judge(own(), Some(Ipv4Addr::new(192, 0, 2, 6)));
        assert_eq!(findings[0].level, Level::Fatal);
        assert!(findings[0].why.contains("192.0.2.5"), "{}", findings[0].why);
        for wanted in [None, Some(Ipv4Addr::new(192, 0, 2, 5)), Some(Ipv4Addr::new(127, 0, 0, 1))] {
            assert!(judge(own(), wanted).iter().all(|finding| finding.level == Level::Ok), "{wanted:?}");
        }
    }
}
