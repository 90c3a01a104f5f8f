//! Which service of a testbed has which address.

use std::net::Ipv4Addr;

use crate::address::LoopbackBlock;

/// The addresses of a testbed: which service has which.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    pub(super) block: LoopbackBlock,
    /// Where the EXTERNAL listeners are.
    pub(super) host: Ipv4Addr,
}

impl Addresses {
    pub(super) fn zookeeper(self) -> Ipv4Addr {
        self.block.address(2)
    }
    pub(super) fn kafka_prometheus(self) -> Ipv4Addr {
        self.block.address(3)
    }
    pub(super) fn kubernetes_prometheus(self) -> Ipv4Addr {
        self.block.address(4)
    }
    pub(super) fn tsdb(self) -> Ipv4Addr {
        self.block.address(5)
    }
    pub(super) fn merger(self) -> Ipv4Addr {
        self.block.address(6)
    }
    pub(super) fn producer(self) -> Ipv4Addr {
        self.block.address(7)
    }
    pub(super) fn kubelet(self) -> Ipv4Addr {
        self.block.address(8)
    }
    pub(super) fn topic(self) -> Ipv4Addr {
        self.block.address(9)
    }
    /// `index` is below [`crate::spec::MAX_BROKERS`].
    pub(super) fn broker(self, index: usize) -> Ipv4Addr {
        self.block.address(11 + index as u8)
    }
    /// `number` is 1 to [`crate::spec::MAX_WORKERS`].
    pub(super) fn worker(self, number: u32) -> Ipv4Addr {
        self.block.address(110 + number as u8)
    }
}
