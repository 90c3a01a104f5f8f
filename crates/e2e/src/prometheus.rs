//! A real Prometheus as database.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    alone, eventually, http,
    process::Running,
    programs,
    testbed::{fill_shared_cache, shared_cache},
};

/// A Prometheus that takes remote write.
#[derive(Debug)]
pub struct Prometheus {
    program: PathBuf,
    folder: PathBuf,
    takes_remote_write: bool,
    address: SocketAddr,
    running: Option<Running>,
    arguments: Vec<String>,
}

impl Prometheus {
    /// Prepares one whose data lie in `folder` and that takes samples out of order; nothing runs yet.
    ///
    /// # Panics
    /// When there is no Prometheus and none can be had.
    pub fn new(folder: &Path) -> Self {
        Self::configured(folder, program(), "storage: {tsdb: {out_of_order_time_window: 2h}}\n", &[])
    }

    /// Prepares one that takes nothing out of order.
    ///
    /// # Panics
    /// When there is no Prometheus and none can be had.
    pub fn strict(folder: &Path) -> Self {
        Self::configured(folder, program(), "global: {}\n", &[])
    }

    /// Prepares one of another `program`, with its configuration and further arguments; `SELF` in the configuration
    /// is its own address.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn configured(folder: &Path, program: PathBuf, config: &str, arguments: &[&str]) -> Self {
        fs::create_dir_all(folder).expect("the folder can be created");
        let address = free_address();
        let config = config.replace("SELF", &address.to_string());
        fs::write(folder.join("prometheus.yml"), config).expect("the folder can be written");
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let folder = folder.to_owned();
        Self { program, folder, takes_remote_write: true, address, running: None, arguments }
    }

    /// Whether it takes remote write when it is started next.
    pub fn set_takes_remote_write(&mut self, takes: bool) {
        self.takes_remote_write = takes;
    }

    /// Its base address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start(&mut self) {
        self.running = Some(Running::start(
            Command::new(&self.program)
                .current_dir(&self.folder)
                .arg("--config.file=prometheus.yml")
                .arg("--storage.tsdb.path=data")
                .args(self.takes_remote_write.then_some("--web.enable-remote-write-receiver"))
                .arg(format!("--web.listen-address={}", self.address))
                .args(&self.arguments),
        ));
        let ready = format!("{}/-/ready", self.url());
        eventually(Duration::from_secs(60), "Prometheus becomes ready", || http::get(&ready));
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill();
        }
    }

    /// Ends it in order.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.signal(Signal::TERM);
            running.wait(Duration::from_secs(60));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.end();
        }
    }
}

/// An address that nobody listens on.
///
/// # Panics
/// When there is none.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound")
}

/// Debian's Prometheus: the one on the search path, or that of the shared cache, which is filled when it must be.
///
/// # Panics
/// When there is none.
pub fn program() -> PathBuf {
    if let Some(path) = programs::on_search_path("prometheus") {
        return path;
    }
    let unpacked = shared_cache().join("debian/prometheus/usr/bin/prometheus");
    if !unpacked.is_file() {
        let _alone = alone();
        fill_shared_cache();
    }
    assert!(
        unpacked.is_file(),
        "there is no prometheus, neither on the search path nor at {}",
        unpacked.display()
    );
    unpacked
}
