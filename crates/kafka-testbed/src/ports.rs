//! Which address and port is taken, and by whom.

use std::{
    collections::HashMap,
    fmt, fs,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use crate::process::{self, ProcessIdentity};

/// A listening TCP socket on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The address it listens on; an unspecified address takes the port on every address.
    pub address: SocketAddr,
    inode: u64,
}

/// Who holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The address the holder listens on.
    pub address: SocketAddr,
    /// Its pid and command line, when we may see them.
    pub process: Option<(u32, String)>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.process {
            Some((pid, command)) => write!(f, "process {pid} ({command}) listens on {}", self.address),
            None => write!(f, "a process of another user listens on {}", self.address),
        }
    }
}

/// Returns who holds `wanted`, if anybody does.
pub fn holder(wanted: SocketAddr, listeners: &[Listener]) -> Option<Holder> {
    let listener = listeners.iter().find(|listener| collides(listener.address, wanted))?;
    Some(Holder { address: listener.address, process: owner(listener.inode) })
}

/// Reads all listening TCP sockets (`/proc/net/tcp` and `tcp6`).
pub fn listeners() -> Vec<Listener> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|text| parse_table(&text))
        .collect()
}

fn collides(taken: SocketAddr, wanted: SocketAddr) -> bool {
    let same_address =
        taken.ip() == wanted.ip() || taken.ip().is_unspecified() || wanted.ip().is_unspecified();
    let mapped = match taken {
        SocketAddr::V6(v6) => v6.ip().to_ipv4_mapped().is_some_and(|ip| wanted.ip() == ip),
        SocketAddr::V4(_) => false,
    };
    taken.port() == wanted.port() && (same_address || mapped)
}

fn parse_table(text: &str) -> Vec<Listener> {
    const LISTEN: &str = "0A";
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if *fields.get(3)? != LISTEN {
                return None;
            }
            Some(Listener { address: parse_address(fields.get(1)?)?, inode: fields.get(9)?.parse().ok()? })
        })
        .collect()
}

/// Parses `0100007F:1F90`: the address as host-order words in hexadecimal (little endian machines).
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::to_le_bytes);
    match ip.len() {
        8 => Some(SocketAddr::new(Ipv4Addr::from(word(ip)?).into(), port)),
        32 => {
            let mut bytes = [0_u8; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(ip.get(index * 8..index * 8 + 8)?)?);
            }
            Some(SocketAddr::new(Ipv6Addr::from(bytes).into(), port))
        }
        _ => None,
    }
}

fn owner(inode: u64) -> Option<(u32, String)> {
    let wanted = format!("socket:[{inode}]");
    let owners: HashMap<u32, ()> = process::pids()
        .filter(|pid| {
            fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().any(|entry| {
                fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str())
            })
        })
        .map(|pid| (pid, ()))
        .collect();
    let pid = owners.into_keys().min()?;
    let command = ProcessIdentity::of(pid)?.command_line(80)?;
    Some((pid, command))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[track_caller]
    fn check_address(text: &str, expected: &str) {
        assert_eq!(parse_address(text).map(|address| address.to_string()).unwrap_or_default(), expected);
    }

    #[test]
    fn addresses_of_the_kernel_table() {
        check_address("0100007F:1F90", "127.0.0.1:8080");
        check_address("00000000:0050", "0.0.0.0:80");
        check_address("00000000000000000000000001000000:0050", "[::1]:80");
        check_address("0000000000000000FFFF00000100007F:0050", "[::ffff:127.0.0.1]:80");
        check_address("01007F:50", "");
        check_address("", "");
    }

    #[test]
    fn a_port_is_taken_by_its_address_by_any_and_by_none_else() {
        let wanted: SocketAddr = "127.9.9.9:9091".parse().expect("address");
        for (taken, expected) in [
            ("127.9.9.9:9091", true),
            ("0.0.0.0:9091", true),
            ("[::]:9091", true),
            ("[::ffff:127.9.9.9]:9091", true),
            ("127.9.9.8:9091", false),
            ("127.9.9.9:9092", false),
        ] {
            assert_eq!(collides(taken.parse().expect("address"), wanted), expected, "{taken}");
        }
    }

    #[test]
    fn names_this_process_as_holder() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = socket.local_addr().expect("bound");
        let holder = holder(address, &listeners()).expect("held");
        assert_eq!(holder.process.expect("ours").0, std::process::id());
    }
}
