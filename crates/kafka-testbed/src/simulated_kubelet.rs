//! Shows plain worker processes to a Prometheus under the names of cAdvisor and kube-state-metrics.
//!
//! A stand-in for a machine without Kubernetes: dashboards and queries written for the real names work on worker processes, and
//! every family's HELP says "simulated". Only what is true of a process is shown. There is no network family, because
//! `/proc/PID/net/dev` counts the whole network namespace, which plain processes share with the machine; and no throttling
//! family, because nothing throttles them.
//!
//! [`pods`] reads which processes are which pods, [`proc_reader`] reads the processes, [`observer`] puts both
//! together and counts restarts, [`exposition`] writes the pages and [`server`] serves them.

pub mod exposition;
pub mod observer;
pub mod pods;
pub mod proc_reader;
pub mod server;
