//! The planned addresses: free, the testbed's own already, or somebody else's.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use super::{Finding, Level, Subject, Topic, known, text::shell_word};
use crate::{
    address::LoopbackBlock,
    adjustments::Adjustments,
    backend::native,
    plan::{Placement, plan},
    ports::{self, Holder, Listener},
    process::{self, TOKEN_VARIABLE},
};

pub(super) fn examine(subject: &Subject<'_>) -> Vec<Finding> {
    let known = known(subject.home, subject.name);
    let (token, block) = match known {
        Some((token, block)) => (Some(token), LoopbackBlock::from_octets(block)),
        // As `up` will choose it.
        None => {
            let taken = match subject.home.taken_blocks() {
                Ok(taken) => taken,
                Err(error) => {
                    return vec![
                        Finding::new(
                            Level::Fatal,
                            Topic::Ports,
                            "the addresses of another testbed are unknown",
                            "ledger",
                        )
                        .why(error.to_string()),
                    ];
                }
            };
            match LoopbackBlock::allot(subject.name, &taken) {
                Some(block) => (None, block),
                None => {
                    return vec![
                        Finding::new(
                            Level::Fatal,
                            Topic::Ports,
                            "no loopback addresses are left",
                            "127.64.0.0 to 127.191.255.255",
                        )
                        .why("every block belongs to a testbed")
                        .mend("cargo xtask testbed purge"),
                    ];
                }
            }
        }
    };
    // Ports that `--any-port` moved, and workers after `scale`. A file that cannot be read is told by the commands.
    let folder = subject.home.testbed(subject.name);
    let adjustments = Adjustments::read(folder.path()).unwrap_or_default();
    let mut spec = subject.spec.clone();
    adjustments.apply(&mut spec);
    let planned = plan(&spec, &Placement::new(block, token.as_deref().unwrap_or_default()));
    let addresses = planned
        .project
        .services
        .iter()
        .flat_map(|(name, service)| {
            native::addresses(service).into_iter().map(|address| (name.to_string(), address))
        })
        .collect();
    judge(addresses, &ports::listeners(), token.as_deref(), &block.subnet())
}

fn judge(
    addresses: Vec<(String, SocketAddr)>,
    listeners: &[Listener],
    token: Option<&str>,
    subnet: &str,
) -> Vec<Finding> {
    let (mut free, mut own) = (0, 0);
    let mut findings = Vec::new();
    for (service, wanted) in addresses {
        match ports::holder(wanted, listeners) {
            Some(Holder { process: Some((pid, _)), .. })
                if token.is_some_and(|token| process::has_token(pid, token)) =>
            {
                own += 1;
            }
            Some(holder) => findings.push(taken(&service, wanted, &holder)),
            None => match TcpListener::bind(wanted) {
                Ok(_) => free += 1,
                Err(error) => findings.push(
                    Finding::new(
                        Level::Fatal,
                        Topic::Ports,
                        format!("{service} cannot listen there"),
                        wanted.to_string(),
                    )
                    .why(error.to_string())
                    .mend("ip -4 -brief address"),
                ),
            },
        }
    }
    if free > 0 {
        findings.push(Finding::new(
            Level::Ok,
            Topic::Ports,
            format!("{free} planned addresses are free"),
            subnet,
        ));
    }
    if own > 0 {
        let what = format!("{own} planned addresses are this testbed's own already");
        findings.push(Finding::new(Level::Ok, Topic::Ports, what, subnet).why("it runs"));
    }
    findings
}

fn taken(service: &str, wanted: SocketAddr, holder: &Holder) -> Finding {
    let what = format!("the address of {service} is taken");
    let finding = Finding::new(Level::Fatal, Topic::Ports, what, wanted.to_string()).why(holder.to_string());
    match &holder.process {
        Some((pid, _)) => match testbed_of(*pid) {
            Some((home, name)) => {
                finding.mend(format!("cargo xtask testbed down --home {} --name {name}", shell_word(&home)))
            }
            None => finding.mend(format!("kill {pid}")),
        },
        None => finding.mend(format!("sudo ss -ltnp 'sport = :{}'", wanted.port())),
    }
}

/// Home and name of the testbed whose service the process is: killed, the service would only be started again.
fn testbed_of(pid: u32) -> Option<(PathBuf, String)> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let prefix = format!("{TOKEN_VARIABLE}=");
    environment.split(|byte| *byte == 0).find(|entry| entry.starts_with(prefix.as_bytes()))?;
    of_working_folder(&fs::read_link(format!("/proc/{pid}/cwd")).ok()?)
}

/// `HOME/testbeds/NAME/run/SERVICE` → `HOME`, `NAME`.
fn of_working_folder(folder: &Path) -> Option<(PathBuf, String)> {
    let testbed = folder
        .ancestors()
        .find(|path| path.parent().and_then(Path::file_name).is_some_and(|name| name == "testbeds"))?;
    let home = testbed.ancestors().nth(2)?;
    Some((home.to_owned(), testbed.file_name()?.to_str()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_address_names_its_holder_and_how_to_end_it() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = taken.local_addr().expect("bound");
        let free = "127.0.0.2:0".parse().expect("an address");
        let wanted = vec![("tsdb".to_owned(), address), ("merger".to_owned(), free)];
        let findings = judge(wanted, &ports::listeners(), Some("no process has this token"), "127.0.0.0/24");
        assert_eq!(findings[0].level, Level::Fatal);
        assert_eq!(findings[0].mend, Some(format!("kill {}", std::process::id())));
        assert!(findings[0].what.contains("tsdb") && findings[0].place == address.to_string());
        assert_eq!(findings[1].what, "1 planned addresses are free");
    }

    #[test]
    fn a_service_of_another_testbed_is_told_by_its_working_folder() {
        for (folder, expected) in [
            ("/h/testbeds/a/run/tsdb", Some(("/h", "a"))),
            ("/h/testbeds/a", Some(("/h", "a"))),
            ("/h/testbeds", None),
            ("/", None),
        ] {
            let expected = expected.map(|(home, name)| (PathBuf::from(home), name.to_owned()));
            assert_eq!(of_working_folder(Path::new(folder)), expected, "{folder}");
        }
    }

    #[test]
    fn an_address_of_no_interface_is_fatal() {
        let wanted = vec![("kafka-broker-1".to_owned(), "192.0.2.77:1".parse().expect("an address"))];
        let findings = judge(wanted, &[], None, "127.0.0.0/24");
        assert_eq!((findings.len(), findings[0].level), (1, Level::Fatal));
    }
}
