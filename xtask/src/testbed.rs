//! `cargo xtask testbed …`

use std::{
    env,
    error::Error as _,
    ffi::OsString,
    fs,
    io::{self, IsTerminal as _, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Subcommand, ValueEnum};
use kafka_testbed::{
    address::LoopbackBlock,
    home::Home,
    ledger::{self, Entry},
    lifecycle::{self, Error, Workplace},
    plan,
    spec::{self, Spec},
};
use yaml_source::Source;

use crate::{
    programs,
    show::{self, Progress},
};

/// The specification that is read when it lies in the working folder.
const SPEC_FILE: &str = "testbed.yaml";
/// Exit code of a specification with faults.
const BAD_SPEC: u8 = 10;
/// Exit code of a removal that was not confirmed.
const NOT_CONFIRMED: u8 = 17;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Common {
    /// Name of the testbed; the specification's name when absent
    #[arg(long, global = true, value_name = "NAME")]
    name: Option<String>,
    /// Specification; `testbed.yaml` in this folder when there is one, else the built-in default
    #[arg(long, global = true, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// Form of the output
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Folder of all testbeds and of the cache
    #[arg(long, global = true, value_name = "FOLDER", env = "KAFKA_TESTBED_HOME")]
    home: Option<PathBuf>,
}

/// Form of the output.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Print the plan as Compose YAML; nothing is changed
    Plan,
    /// Bring the testbed up and prove that it works
    Up {
        /// Seconds that the proof may take
        #[arg(long, default_value_t = 180)]
        timeout: u64,
    },
    /// Show every service
    Status,
    /// Show the logs of services
    Logs {
        /// Services; all when none is named
        services: Vec<String>,
        /// Number of last lines of each log
        #[arg(long, default_value_t = 50)]
        lines: usize,
        /// Go on showing what is added
        #[arg(short, long)]
        follow: bool,
    },
    /// Stop everything; data is kept
    Down,
    /// Remove what the testbed made
    Purge {
        /// Do it without asking
        #[arg(long)]
        yes: bool,
    },
}

pub async fn run(arguments: Arguments) -> ExitCode {
    let Arguments { common, command } = arguments;
    let result = match command {
        Command::Plan => plan(&common),
        Command::Up { timeout } => up(&common, timeout).await,
        Command::Status => status(&common).await,
        Command::Logs { services, lines, follow } => logs(&common, &services, lines, follow).await,
        Command::Down => down(&common).await,
        Command::Purge { yes } => purge(&common, yes).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}", failure.message);
            if let Some(hint) = failure.hint {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(failure.code)
        }
    }
}

struct Failure {
    code: u8,
    message: String,
    hint: Option<String>,
}

impl Failure {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !message.ends_with(&text) {
                message.push_str(&format!(": {text}"));
            }
            source = cause.source();
        }
        Self { code: error.exit_code(), message, hint: error.hint() }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(1, error.to_string())
    }
}

fn plan(common: &Common) -> Result<(), Failure> {
    let place = place(common)?;
    let spec = read_spec(common)?;
    let known = ledger::read(&place.folder().ledger()).ok().and_then(|entries| match entries.first() {
        Some(Entry::Testbed { block, .. }) => Some(LoopbackBlock::from_octets(*block)),
        _ => None,
    });
    let block = match known {
        Some(block) => block,
        None => {
            let taken = place.home.taken_blocks().map_err(Error::from)?;
            LoopbackBlock::allot(&place.name, &taken).ok_or(Error::NoBlock)?
        }
    };
    let plan = plan::plan(&spec, block);
    let yaml = compose_model::render(&plan.project);
    match common.format {
        Format::Text => show::print(&yaml)?,
        Format::Json => show::print_json(&serde_json::json!({
            "compose": yaml,
            "files": plan.files.iter().map(|file| (file.path.display().to_string(), file.content.clone())).collect::<std::collections::BTreeMap<_, _>>(),
            "endpoints": plan.endpoints,
        }))?,
    }
    Ok(())
}

async fn up(common: &Common, timeout: u64) -> Result<(), Failure> {
    let mut place = place(common)?;
    let spec = read_spec(common)?;
    place.own = programs::build(&place.search_path).map_err(|error| Failure::new(12, error))?;
    place.limit = Duration::from_secs(timeout);
    let mut progress = Progress::new(place.home.cache().join("durations.json"));
    progress.line(&format!(
        "testbed `{}` on the native backend: services run as processes of this machine",
        place.name
    ));
    let report = lifecycle::up(&place, &spec, &mut progress).await?;
    progress.save();
    match common.format {
        Format::Json => show::print_json(&report.status)?,
        Format::Text => {
            let took = report.took.as_secs_f64();
            let head = match report.changed {
                true => format!("testbed `{}` is ready ({took:.1} s)", place.name),
                false => format!("all is well: testbed `{}` runs, nothing was changed", place.name),
            };
            show::print(&format!("{head}\n{}", show::endpoints(&report.status.endpoints)))?;
        }
    }
    Ok(())
}

async fn status(common: &Common) -> Result<(), Failure> {
    let place = place(common)?;
    let status = lifecycle::status(&place).await?;
    match common.format {
        Format::Json => show::print_json(&status)?,
        Format::Text => show::print(&show::status(&status))?,
    }
    Ok(())
}

async fn logs(common: &Common, services: &[String], lines: usize, follow: bool) -> Result<(), Failure> {
    let folder = place(common)?.folder();
    let mut names: Vec<String> = fs::read_dir(folder.path().join("logs"))
        .map_err(|_| Failure::new(1, format!("there are no logs in {}", folder.path().display())))?
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".log")?.to_owned()))
        .collect();
    names.sort();
    for wanted in services {
        if !names.contains(wanted) {
            return Err(Failure::new(
                1,
                format!("no log of `{wanted}`; there are logs of {}", names.join(", ")),
            ));
        }
    }
    let chosen: Vec<String> =
        names.into_iter().filter(|name| services.is_empty() || services.contains(name)).collect();
    let prefix = |name: &str| if chosen.len() > 1 { format!("{name} | ") } else { String::new() };
    let mut positions = Vec::new();
    for name in &chosen {
        let path = folder.log(name);
        for line in kafka_testbed::supervisor::tail(&path, lines) {
            show::print(&format!("{}{line}\n", prefix(name)))?;
        }
        positions.push(fs::metadata(&path).map_or(0, |data| data.len()));
    }
    if !follow {
        return Ok(());
    }
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        for (name, position) in chosen.iter().zip(&mut positions) {
            let added = added_lines(&folder.log(name), position)?;
            for line in added.lines() {
                show::print(&format!("{}{line}\n", prefix(name)))?;
            }
        }
    }
}

/// The whole lines behind `position`, at most a mebibyte of them.
fn added_lines(path: &Path, position: &mut u64) -> io::Result<String> {
    let mut file = fs::File::open(path)?;
    if file.metadata()?.len() < *position {
        *position = 0;
    }
    file.seek(SeekFrom::Start(*position))?;
    let mut bytes = Vec::new();
    file.take(1 << 20).read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |index| index + 1);
    *position += whole as u64;
    Ok(String::from_utf8_lossy(&bytes[..whole]).into_owned())
}

async fn down(common: &Common) -> Result<(), Failure> {
    let place = place(common)?;
    let mut progress = Progress::new(place.home.cache().join("durations.json"));
    let report = lifecycle::down(&place, &mut progress).await?;
    progress.save();
    match common.format {
        Format::Json => show::print_json(&serde_json::json!({
            "name": place.name, "ended_processes": report.ended, "seconds": report.took.as_secs_f64(),
        }))?,
        Format::Text => show::print(&match report.ended {
            0 => format!("testbed `{}` does not run\n", place.name),
            ended => format!("testbed `{}` is down: {ended} processes ended, data is kept\n", place.name),
        })?,
    }
    Ok(())
}

async fn purge(common: &Common, yes: bool) -> Result<(), Failure> {
    let place = place(common)?;
    if !yes {
        let folder = place.folder();
        let is_there = folder.ledger().exists();
        if is_there && io::stdin().is_terminal() {
            eprint!(
                "remove the testbed `{}` with all its data in {}? [y/N] ",
                place.name,
                folder.path().display()
            );
            io::stderr().flush()?;
            let mut answer = String::new();
            io::stdin().read_line(&mut answer)?;
            if !matches!(answer.trim(), "y" | "yes") {
                return Err(Failure::new(NOT_CONFIRMED, "nothing was removed"));
            }
        } else if is_there {
            let mut failure = Failure::new(NOT_CONFIRMED, "nothing was removed: this cannot be undone");
            failure.hint = Some("say `purge --yes`".to_owned());
            return Err(failure);
        }
    }
    let mut progress = Progress::new(place.home.cache().join("durations.json"));
    let report = lifecycle::purge(&place, &mut progress).await?;
    match common.format {
        Format::Json => {
            show::print_json(
                &serde_json::json!({ "name": place.name, "removed": report.removed, "left": report.left }),
            )?;
        }
        Format::Text => {
            let mut text =
                format!("testbed `{}`: {} files and folders removed\n", place.name, report.removed.len());
            for left in &report.left {
                text.push_str(&format!(
                    "left, because it holds files that the testbed did not make: {}\n",
                    left.display()
                ));
            }
            show::print(&text)?;
        }
    }
    Ok(())
}

fn read_spec(common: &Common) -> Result<Spec, Failure> {
    let in_folder = Path::new(SPEC_FILE);
    let path = common.spec.clone().or_else(|| in_folder.exists().then(|| in_folder.to_owned()));
    let source = match path {
        None => Source::new("built-in testbed.yaml", spec::DEFAULT),
        Some(path) => {
            let text = fs::read_to_string(&path).map_err(|error| {
                Failure::new(BAD_SPEC, format!("cannot read {}: {error}", path.display()))
            })?;
            Source::new(path.display().to_string(), text)
        }
    };
    let mut spec = spec::read(&source)
        .map_err(|faults| Failure::new(BAD_SPEC, format!("the specification has faults\n{faults}")))?;
    if let Some(name) = &common.name {
        spec.name.clone_from(name);
    }
    Ok(spec)
}

fn place(common: &Common) -> Result<Workplace, Failure> {
    let name = match &common.name {
        Some(name) if spec::is_testbed_name(name) => name.clone(),
        Some(name) => {
            let message = format!(
                "`{name}` is no name for a testbed: at most 40 lower-case letters, digits and dashes"
            );
            return Err(Failure::new(2, message));
        }
        None => read_spec(common)?.name,
    };
    let home = match (&common.home, env::var_os("HOME")) {
        (Some(home), _) => std::path::absolute(home)?,
        (None, Some(home)) => PathBuf::from(home).join(".local/share/kafka-testbed"),
        (None, None) => {
            return Err(Failure::new(2, "neither --home nor the variable HOME says where testbeds lie"));
        }
    };
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"));
    Ok(Workplace {
        home: Home::new(home),
        name,
        search_path: env::var_os("PATH").unwrap_or_default(),
        environment: passed_environment(),
        own: programs::in_target(workspace),
        limit: Duration::from_secs(180),
    })
}

/// What the programs that set-up runs may see of our environment, beside the search path.
pub fn passed_environment() -> Vec<(OsString, OsString)> {
    let passed = |name: &str| Some((OsString::from(name), env::var_os(name)?));
    ["HOME", "LANG", "JAVA_HOME", "MAVEN_OPTS", "http_proxy", "https_proxy", "no_proxy"]
        .into_iter()
        .filter_map(passed)
        .collect()
}
