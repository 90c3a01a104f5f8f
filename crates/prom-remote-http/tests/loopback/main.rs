//! Both sides over real sockets on the loopback address.

mod negotiation;
mod read_client;
mod support;
mod write_client;
mod write_server;
