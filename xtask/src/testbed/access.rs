//! Commands for who uses a testbed: `exec`, `env`, `open`.

use std::{
    os::unix::process::ExitStatusExt as _,
    process::{Command, ExitCode},
};

use kafka_testbed::{access, kafka_tools, lifecycle};

use super::{Common, Failure, Format, runtime};
use crate::show;

/// Runs the program with our terminal and gives its exit code on; 128 and the number when a signal ended it.
pub(super) fn exec(common: &Common, command: &[String]) -> Result<ExitCode, Failure> {
    let (place, runtime) = runtime(common)?;
    let [name, arguments @ ..] = command else {
        return Err(Failure::new(2, "which program?"));
    };
    let folder = place.folder();
    let mut command = match kafka_tools::command(name, arguments, folder.path(), &runtime) {
        Some(Ok(tool)) => {
            let mut command = Command::new(tool.program);
            command.args(tool.arguments);
            command
        }
        Some(Err(error)) => return Err(Failure::new(12, error.to_string())),
        None => {
            let mut command = Command::new(name);
            command.args(arguments);
            command
        }
    };
    // Options for brokers in the user's environment would load the agent a second time.
    for variable in ["KAFKA_OPTS", "EXTRA_ARGS", "JAVA_TOOL_OPTIONS", "KAFKA_JMX_OPTS"] {
        command.env_remove(variable);
    }
    let status = command.envs(access::variables(&runtime)).status().map_err(|error| {
        let tools: Vec<&str> = kafka_tools::names().collect();
        Failure::new(12, format!("cannot run {name}: {error}"))
            .hint(format!("Kafka's own tools are there by name: {}", tools.join(", ")))
    })?;
    let code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

pub(super) fn env(common: &Common) -> Result<(), Failure> {
    let (_, runtime) = runtime(common)?;
    let variables = access::variables(&runtime);
    match common.format {
        Format::Json => {
            let object: serde_json::Map<String, serde_json::Value> =
                variables.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
            show::print_json(&object)?;
        }
        Format::Text => {
            for (name, value) in variables {
                // No value has a quote in it: names and addresses.
                show::print(&format!("export {name}='{value}'\n"))?;
            }
        }
    }
    Ok(())
}

pub(super) async fn open(common: &Common) -> Result<(), Failure> {
    let (place, runtime) = runtime(common)?;
    let status = lifecycle::status(&place).await?;
    let pages = access::pages(&status, &runtime.tools.prometheus.version);
    match common.format {
        Format::Json => show::print_json(&pages)?,
        Format::Text => {
            let widest = pages.iter().map(|page| page.title.len()).max().unwrap_or(0);
            let lines: String =
                pages.iter().map(|page| format!("{:<widest$}  {}\n", page.title, page.url)).collect();
            show::print(&lines)?;
        }
    }
    Ok(())
}
