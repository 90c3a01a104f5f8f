//! A Kafka testbed from one file: brokers with their metrics agent, ZooKeeper, workers, and every Prometheus merged
//! into one database.
//!
//! A testbed is a value that moves: a [`spec::Spec`] is planned into a [`plan::Plan`] (a Compose model and the files it
//! mounts), [`provision`] finds or fetches what it runs on, a [`backend`] turns each planned service into a process,
//! the [`supervisor`] owns the processes, [`readiness`] proves that the whole works, and the [`ledger`] remembers what
//! must be removed. [`lifecycle`] puts these together into the commands of a user.
//!
//! The library prints nothing and reads no environment: whoever calls it hands in paths, and shows the
//! [`progress`] it reports.

#![deny(missing_docs)]

pub mod access;
pub mod address;
pub mod adjustments;
pub mod backend;
pub mod control;
pub mod doctor;
pub mod home;
pub mod kafka_tools;
pub mod ledger;
pub mod lifecycle;
pub mod logs;
pub mod plan;
pub mod ports;
pub mod process;
pub mod progress;
pub mod provision;
pub mod readiness;
pub mod simulated_kubelet;
pub mod spec;
pub mod status;
pub mod storage;
pub mod supervisor;
