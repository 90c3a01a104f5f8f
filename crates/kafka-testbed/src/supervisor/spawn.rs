//! From a [`Launch`] to a process: everything is written down before it is made.

use std::{fs, path::Path, process::Stdio};

use tokio::process::Command;
use tracing::warn;

use super::{Message, Supervisor, chain};
use crate::{
    backend::native::Launch,
    ledger::{Entry, Ledger},
    logs,
    process::{ProcessIdentity, TOKEN_VARIABLE},
    storage,
};

impl Supervisor {
    /// Writes down, then starts the next step of the service or its program; an error tells what went wrong and where.
    pub(super) fn spawn(&mut self, index: usize) -> Result<(), String> {
        let service = &mut self.services[index];
        let launch = &service.launch;
        let root = self.folder.path();
        create_tree(&mut self.ledger, root, &launch.folder)?;
        for tree in &launch.trees {
            create_tree(&mut self.ledger, root, tree)?;
        }
        write_files(launch)?;
        let log_path = self.folder.log(&service.name);
        let log =
            logs::open(&log_path).map_err(|error| format!("opening {}: {error}", log_path.display()))?;
        let errors = log.try_clone().map_err(|error| error.to_string())?;
        self.ledger.record(Entry::Spawn { what: service.name.clone() }).map_err(|error| chain(&error))?;
        let (program, arguments) = match launch.before.get(service.prepared) {
            Some(step) => (&step.program, &step.arguments),
            None => (&launch.program, &launch.arguments),
        };
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(launch.environment.iter().map(|(key, value)| (key, value)))
            .env(TOKEN_VARIABLE, self.ledger.token())
            .current_dir(&launch.folder)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(|error| format!("starting {}: {error}", program.display()))?;
        // The steps before the program belong to the same start.
        if service.prepared == 0 {
            service.starts += 1;
        }
        service.process = child.id().and_then(ProcessIdentity::of);
        if let Some(process) = service.process {
            let entry = Entry::Started { what: service.name.clone(), process };
            // The process runs already; without this line it is still found by its token.
            if let Err(error) = self.ledger.record(entry) {
                warn!(service = %service.name, error = chain(&error), "cannot write down the start");
            }
        }
        let (sender, start) = (self.sender.clone(), service.starts);
        tokio::spawn(async move {
            let status = child.wait().await;
            let _ = sender.send(Message::Exited { index, start, status }).await;
        });
        Ok(())
    }
}

/// Writes the files that a service reads.
pub(super) fn write_files(launch: &Launch) -> Result<(), String> {
    for (path, text) in &launch.files {
        fs::write(path, text).map_err(|error| format!("writing {}: {error}", path.display()))?;
    }
    Ok(())
}

fn create_tree(ledger: &mut Ledger, root: &Path, path: &Path) -> Result<(), String> {
    let Ok(below) = path.strip_prefix(root) else {
        return storage::create(path, ledger).map_err(|error| chain(&error));
    };
    let below = below.to_owned();
    if let Some(parent) = below.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        record_parents(ledger, parent)?;
    }
    ledger.record_once(Entry::Tree { path: below }).map_err(|error| chain(&error))?;
    fs::create_dir_all(path).map_err(|error| format!("creating {}: {error}", path.display()))
}

fn record_parents(ledger: &mut Ledger, path: &Path) -> Result<(), String> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        record_parents(ledger, parent)?;
    }
    ledger.record_once(Entry::Directory { path: path.to_owned() }).map_err(|error| chain(&error))
}
