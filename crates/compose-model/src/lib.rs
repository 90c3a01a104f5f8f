//! Compose files as values: read them, build them, check them, put their services in order, write them.
//!
//! [`load`] reads one Compose file with all its short forms, anchors and merges into a [`Project`]; faults come with file,
//! line and column, all at once. [`render`] writes a project as canonical Compose YAML that `docker compose` accepts, and
//! [`load`] reads back as the same project. [`check`] finds what the reference implementation does not (conflicting
//! ports) and what it does (undefined names); [`graph`] has the order of start and stop.
//!
//! The crate knows no Docker, no files and no environment. Not yet here: interpolation of `${VARIABLES}` (an error, never
//! guessed), several files with `!reset` and `!override`, `extends`, `include`, `.env`, profiles as a filter. Attributes
//! that have no field in the model are kept as they are, in order, and written again.
//!
//! ```
//! use compose_model::{check, graph, load, render};
//! use yaml_source::Source;
//!
//! let text = "\
//! services:
//!   zookeeper:
//!     image: confluentinc/cp-zookeeper:7.6.1
//!   kafka:
//!     image: confluentinc/cp-kafka:7.6.1
//!     depends_on: [zookeeper]
//!     environment:
//!       KAFKA_AUTO_CREATE_TOPICS_ENABLE: True
//!     ports: ['9092:9092']
//! ";
//! let loaded = load(&Source::new("compose.yaml", text)).map_err(|faults| faults.to_string())?;
//! let kafka = &loaded.project.services["kafka"];
//! assert_eq!(kafka.ports[0].target, 9092);
//! assert_eq!(kafka.environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"].as_deref(), Some("true"));
//!
//! assert!(check(&loaded.project).is_empty());
//! let levels = graph::start_levels(&loaded.project)?;
//! assert_eq!(levels.iter().flatten().map(|name| name.as_str()).collect::<Vec<_>>(), ["zookeeper", "kafka"]);
//! assert!(render(&loaded.project).contains("KAFKA_AUTO_CREATE_TOPICS_ENABLE: \"true\""));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(missing_docs)]

mod check;
mod command_line;
mod dollar;
pub mod graph;
mod load;
mod model;
mod name;
mod ordered;
mod place;
mod render;
mod short_form;

pub use check::{Finding, check};
pub use command_line::{SplitCommandError, split_command};
pub use load::{Loaded, load, load_with_limits};
pub use model::{
    Attachment, Condition, Dependency, Extra, Healthcheck, HealthcheckTest, Mount, MountKind, Network, Port,
    Project, Protocol, PublishedPorts, RestartPolicy, Service, Ulimit, Volume,
};
pub use name::{NetworkName, ParseNameError, ProjectName, ServiceName, VolumeName};
pub use ordered::OrderedMap;
pub use place::{Path, Step};
pub use render::render;
pub use short_form::{ParseMountError, ParsePortError, parse_mount, parse_ports};
