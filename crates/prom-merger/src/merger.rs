//! Starts and stops the whole service.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use prom_remote::InvalidLabel;
use sample_journal::{CursorError, OpenDiskError, OpenError};
use thiserror::Error;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, spawn_blocking},
    time::{Instant, timeout_at},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{error, info};

use crate::{
    config::{Config, DestinationConfig, SourceConfig},
    deliver::{Destination, DestinationError, Lanes},
    machine::Machine,
    preflight::{DestinationToCheck, SourceApi, SourceApiError, SourceToCheck},
    source::SourceState,
    web::{Connections, Secrets, SharedSecrets, TlsError, Web},
};

/// The merger before it runs.
#[derive(Debug)]
pub struct Merger;

/// A running merger. Dropped without [`shutdown`](Self::shutdown), it stops by itself in the background, and nobody waits for it.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    server: JoinHandle<io::Result<()>>,
    lanes: Lanes,
    destinations: Vec<Arc<Destination>>,
    config: Arc<Config>,
    groups: Vec<JoinHandle<()>>,
    stop_groups: CancellationToken,
    sources: Vec<Arc<SourceState>>,
    secrets: Arc<SharedSecrets>,
    stop_serving: CancellationToken,
    _stop_on_drop: [DropGuard; 2],
}

/// Why a merger did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The label cannot be added.
    #[error("label cannot be added to series")]
    Label(#[source] InvalidLabel),
    /// The token of a source cannot be read.
    #[error("cannot read the token file {}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A certificate or key of the listener cannot be used.
    #[error("cannot use {} for HTTPS", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// Why.
        source: TlsError,
    },
    /// A destination cannot be used.
    #[error("cannot use destination {name}")]
    Destination {
        /// The destination.
        name: String,
        /// Why.
        source: DestinationError,
    },
    /// A lane cannot be made.
    #[error("cannot deliver source {name} to {destination}: {reason}")]
    Lane {
        /// The source.
        name: String,
        /// The destination.
        destination: String,
        /// Why.
        reason: String,
    },
    /// A folder cannot be created.
    #[error("cannot create folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder of a journal cannot be used.
    #[error("cannot use the journal folder of source {name}")]
    Storage {
        /// The source.
        name: String,
        /// Why.
        source: OpenDiskError,
    },
    /// A journal cannot be opened.
    #[error("cannot open the journal of source {name}")]
    Journal {
        /// The source.
        name: String,
        /// Why.
        source: OpenError,
    },
    /// A cursor cannot be made, or not be removed.
    #[error("cannot use the cursor of source {name} for {destination}")]
    Cursor {
        /// The source.
        name: String,
        /// The destination.
        destination: String,
        /// Why.
        source: CursorError,
    },
    /// What is known of the replicas of a source cannot be read.
    #[error("cannot begin with the replicas of source {name}")]
    Replicas {
        /// The source.
        name: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The HTTP API of a source cannot be asked.
    #[error("cannot ask source {name}")]
    SourceApi {
        /// The source.
        name: String,
        /// Why.
        source: SourceApiError,
    },
    /// Opening panicked, or the runtime is shutting down.
    #[error("opening the journals broke off")]
    Broken(#[source] tokio::task::JoinError),
}

/// What a shutdown left undone. All that was acknowledged is durable all the same.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// Not all was done in time.
    #[error("shutdown took longer than {deadline:?}: {what} had not ended")]
    Deadline {
        /// The time it had.
        deadline: Duration,
        /// What was still running.
        what: &'static str,
    },
}

impl Merger {
    /// Binds the address, opens and recovers all journals, and starts serving and delivering.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub async fn start(config: Config) -> Result<Running, StartError> {
        let machine = Machine::real(&config);
        Self::start_on(machine, config).await
    }

    /// The same with disks and a clock of the caller's; the data folder of the configuration is not used then.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub async fn start_on(machine: Machine, config: Config) -> Result<Running, StartError> {
        let listen_error = |source| StartError::Listen { address: config.web.listen, source };
        // First, as it costs nothing: what connects meanwhile waits.
        let listener = TcpListener::bind(config.web.listen).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let destinations = config.destinations.iter().map(|config| open_destination(config).map(Arc::new));
        let destinations = destinations.collect::<Result<Vec<_>, _>>()?;
        let config = Arc::new(config);
        let secrets = Arc::new(SharedSecrets::new(read_secrets(&config).await?));
        let sources = open_sources(&config, &machine).await?;

        let stop_serving = CancellationToken::new();
        let lanes = Lanes::new();
        for source in &sources {
            for destination in &destinations {
                lanes.start(source, destination, &config.retry)?;
            }
        }
        let stop_groups = CancellationToken::new();
        let groups = sources.iter().filter_map(|source| source.replicas.clone());
        let groups = groups.map(|group| tokio::spawn(group.keep_up(stop_groups.clone()))).collect();
        let web = Web::new(&config, &sources, Arc::clone(&secrets), stop_serving.clone());
        let connections =
            Connections::new(web.router(), Arc::clone(&secrets), &config.web, stop_serving.clone());
        let server = tokio::spawn(connections.serve(listener));
        info!(%address, "listening");
        Ok(Running {
            address,
            server,
            lanes,
            destinations,
            config,
            sources,
            secrets,
            groups,
            _stop_on_drop: [stop_serving.clone().drop_guard(), stop_groups.clone().drop_guard()],
            stop_groups,
            stop_serving,
        })
    }
}

impl Merger {
    /// Makes of a configuration what [`preflight`](crate::preflight::preflight) looks at. Blocks on files of secrets.
    ///
    /// # Errors
    /// A client cannot be made.
    pub fn to_check(config: &Config) -> Result<(Vec<DestinationToCheck>, Vec<SourceToCheck>), StartError> {
        let max_body_bytes = usize::try_from(config.limits.decoded).unwrap_or(usize::MAX);
        let destinations = config.destinations.iter().map(|destination| {
            let (writer, reader) = open_destination(destination)?.clients();
            let (name, url) = (destination.name.clone(), destination.url.clone());
            Ok(DestinationToCheck { name, url, writer, reader, max_body_bytes })
        });
        let source = |source: &SourceConfig| {
            let name = source.name.clone();
            let future_limit_ms = i64::try_from(source.future_limit.as_millis()).unwrap_or(i64::MAX);
            let failed = |error| StartError::SourceApi { name: name.clone(), source: error };
            let api = source.pull.as_ref().map(SourceApi::of_pull).transpose().map_err(failed)?.flatten();
            Ok(SourceToCheck { name, future_limit_ms, on_conflict: source.on_conflict, api })
        };
        let sources = config.sources.iter().map(source);
        Ok((destinations.collect::<Result<_, _>>()?, sources.collect::<Result<_, _>>()?))
    }
}

fn open_destination(config: &DestinationConfig) -> Result<Destination, StartError> {
    let failed = |source| StartError::Destination { name: config.name.clone(), source };
    Destination::open(config).map_err(failed)
}

async fn read_secrets(config: &Arc<Config>) -> Result<Secrets, StartError> {
    let config = Arc::clone(config);
    spawn_blocking(move || Secrets::read(&config)).await.map_err(StartError::Broken)?
}

/// Opens all at once, as each reads its whole journal.
async fn open_sources(config: &Arc<Config>, machine: &Machine) -> Result<Vec<Arc<SourceState>>, StartError> {
    let opening: Vec<_> = (0..config.sources.len())
        .map(|index| {
            let (config, machine) = (Arc::clone(config), machine.clone());
            spawn_blocking(move || {
                config.sources.get(index).map(|source| SourceState::open(&config, source, &machine))
            })
        })
        .collect();
    let mut sources = Vec::new();
    for task in opening {
        if let Some(source) = task.await.map_err(StartError::Broken)? {
            sources.push(Arc::new(source?));
        }
    }
    Ok(sources)
}

impl Running {
    /// Returns the bound address, with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads the files of tokens and certificates anew, all or none, and returns the keys of those that have changed, such
    /// as `sources[kafka].token_file`. New requests go by the tokens, new connections by the certificates.
    ///
    /// # Errors
    /// A file that cannot be used; all stays as it was.
    pub async fn reload_secrets(&self) -> Result<Vec<String>, StartError> {
        let secrets = read_secrets(&self.config).await?;
        Ok(self.secrets.replace(secrets))
    }

    /// Stops the delivery of a source to a destination and waits until its place is stored; tells whether that was in time.
    /// What it has not delivered is kept in the journal.
    pub async fn stop_lane(&self, source: &str, destination: &str, deadline: Duration) -> bool {
        self.lanes.stop(source, destination, Instant::now() + deadline).await
    }

    /// Starts the delivery of a source to a destination at its stored place, if both are configured and it does not run.
    ///
    /// # Errors
    /// A cursor that cannot be opened. Blocks on files for one that is new.
    pub fn start_lane(&self, source: &str, destination: &str) -> Result<(), StartError> {
        let source = self.sources.iter().find(|known| known.name == source);
        let destination = self.destinations.iter().find(|known| known.name() == destination);
        match (source, destination) {
            (Some(source), Some(destination)) => self.lanes.start(source, destination, &self.config.retry),
            _ => Ok(()),
        }
    }

    /// Stops accepting, answers what is under way, stops the lanes, stores their cursors and closes the journals.
    ///
    /// What is not delivered stays in the journals for the next start.
    ///
    /// # Errors
    /// [`ShutdownError::Deadline`]; the rest is abandoned, nothing acknowledged is lost.
    pub async fn shutdown(mut self, deadline: Duration) -> Result<(), ShutdownError> {
        let end = Instant::now() + deadline;
        let mut unfinished = None;
        self.stop_serving.cancel();
        // Senders may hold on to a connection; the rest must still have its time.
        let serving_end = Instant::now() + deadline / 2;
        match timeout_at(serving_end, &mut self.server).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => error!(%error, "server failed"),
            Ok(Err(error)) => error!(%error, "server broke off"),
            Err(_) => {
                self.server.abort();
                unfinished = Some("requests");
            }
        }
        if !self.lanes.stop_all(end).await {
            unfinished = Some("deliveries");
        }
        self.stop_groups.cancel();
        for group in &mut self.groups {
            if timeout_at(end, &mut *group).await.is_err() {
                group.abort();
                unfinished = Some("replicas");
            }
        }
        let sources = std::mem::take(&mut self.sources);
        let closing = spawn_blocking(move || {
            for source in sources {
                if let Some(replicas) = &source.replicas {
                    replicas.close();
                }
                for journal in [&source.journal, &source.dead_letters] {
                    if let Err(error) = journal.close() {
                        error!(source = source.name, %error, "journal did not close cleanly");
                    }
                }
            }
        });
        if timeout_at(end, closing).await.is_err() {
            unfinished = Some("journals");
        }
        info!("stopped");
        unfinished.map_or(Ok(()), |what| Err(ShutdownError::Deadline { deadline, what }))
    }
}
