//! `testbed-supervisor FOLDER`: owns the processes of the testbed in FOLDER. Started by `up`, not by hand.

use std::{error::Error as _, io::Write as _, process::ExitCode};

use kafka_testbed::{home::TestbedFolder, supervisor::supervise};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        let _ = writeln!(std::io::stderr(), "usage: testbed-supervisor FOLDER");
        return ExitCode::from(2);
    };
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    match supervise(TestbedFolder::at(folder)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                text.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            let _ = writeln!(std::io::stderr(), "error: {text}");
            ExitCode::FAILURE
        }
    }
}
