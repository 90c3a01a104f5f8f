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
}

impl Prometheus {
    /// Prepares one whose data lie in `folder` and that takes samples out of order; nothing runs yet.
    ///
    /// # Panics
    /// When there is no Prometheus and none can be had.
    pub fn new(folder: &Path) -> Self {
        Self::with_config(folder, "storage: {tsdb: {out_of_order_time_window: 2h}}\n")
    }

    /// Prepares one that takes nothing out of order.
    ///
    /// # Panics
    /// When there is no Prometheus and none can be had.
    pub fn strict(folder: &Path) -> Self {
        Self::with_config(folder, "global: {}\n")
    }

    fn with_config(folder: &Path, config: &str) -> Self {
        fs::create_dir_all(folder).expect("the folder can be created");
        fs::write(folder.join("prometheus.yml"), config).expect("the folder can be written");
        let (program, address) = (program(), free_address());
        Self { program, folder: folder.to_owned(), takes_remote_write: true, address, running: None }
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
                .arg(format!("--web.listen-address={}", self.address)),
        ));
        let ready = format!("{}/-/ready", self.url());
        eventually(Duration::from_secs(60), "Prometheus becomes ready", || http::get(&ready));
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
            running.kill();
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

fn program() -> PathBuf {
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
