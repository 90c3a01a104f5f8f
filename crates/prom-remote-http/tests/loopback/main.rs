//! Both sides over real sockets on the loopback address.

mod mutual_tls;
mod negotiation;
mod read_client;
mod read_stream;
mod receiver_requirements;
mod sender_requirements;
mod support;
mod wire;
mod write_client;
mod write_server;
