//! Addresses: a block of the loopback network for every testbed, one address for every service.

use std::{collections::BTreeSet, net::Ipv4Addr};

/// 256 addresses of the loopback network that belong to one testbed.
///
/// Each service gets an address of its own, so that ports stay those of the specification and several testbeds
/// run side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoopbackBlock([u8; 3]);

impl LoopbackBlock {
    /// Chooses a block for `name` that is not in `taken`: by a hash of the name, so that a testbed tends to come
    /// back at the same addresses, then the next free one.
    ///
    /// Returns nothing when all 32,768 blocks (127.64.0 – 127.191.255) are taken.
    pub fn allot(name: &str, taken: &BTreeSet<[u8; 3]>) -> Option<Self> {
        const BLOCKS: u32 = 128 * 256;
        let start = hash(name) % BLOCKS;
        (0..BLOCKS)
            .map(|step| (start + step) % BLOCKS)
            .map(|index| [127, 64 + (index / 256) as u8, (index % 256) as u8])
            .find(|block| !taken.contains(block))
            .map(Self)
    }

    /// The block with these first three octets.
    pub fn from_octets(octets: [u8; 3]) -> Self {
        Self(octets)
    }

    /// The first three octets.
    pub fn octets(self) -> [u8; 3] {
        self.0
    }

    /// The address with this last octet.
    pub fn address(self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(self.0[0], self.0[1], self.0[2], last)
    }

    /// The block in CIDR form.
    pub fn subnet(self) -> String {
        format!("{}/24", self.address(0))
    }
}

/// FNV-1a: stable over versions and machines.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_block_and_a_taken_block_is_passed_over() {
        let first = LoopbackBlock::allot("kafka", &BTreeSet::new()).expect("free");
        assert_eq!(LoopbackBlock::allot("kafka", &BTreeSet::new()), Some(first));
        let second = LoopbackBlock::allot("kafka", &BTreeSet::from([first.octets()])).expect("free");
        assert_ne!(first, second);
        assert!(first.address(1).is_loopback() && second.address(255).is_loopback());
    }

    #[test]
    fn runs_out_only_when_all_are_taken() {
        let mut taken: BTreeSet<[u8; 3]> =
            (64..192).flat_map(|second| (0..=255).map(move |third| [127, second, third])).collect();
        assert_eq!(LoopbackBlock::allot("a", &taken), None);
        taken.remove(&[127, 64, 3]);
        assert_eq!(LoopbackBlock::allot("a", &taken), Some(LoopbackBlock::from_octets([127, 64, 3])));
    }
}
