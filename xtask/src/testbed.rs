//! `cargo xtask testbed …`

mod access;
mod change;
mod doctor;
mod look;

use std::{
    env,
    error::Error as _,
    ffi::OsString,
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, CommandFactory as _, Subcommand, ValueEnum};
use clap_complete::Shell;
use kafka_testbed::{
    home::Home,
    lifecycle::{self, Error, HostChoice, Workplace},
    provision::{Fetching, GITHUB, MAVEN_CENTRAL},
    spec::{self, Spec},
};
use yaml_source::Source;

use crate::{programs, show};

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
    #[arg(long, global = true, value_name = "FOLDER", env = "KAFKA_TESTBED_HOME", hide_env_values = true)]
    home: Option<PathBuf>,
    #[command(flatten)]
    fetch: Fetch,
}

/// Where `up` and `doctor --fix` fetch what is missing.
#[derive(Args)]
struct Fetch {
    /// Fetch nothing: use what is on the search path and in the cache
    #[arg(long, global = true)]
    offline: bool,
    /// Base address of Maven Central or a mirror, for jars that do not come through Maven
    #[arg(long, global = true, value_name = "URL", env = "KAFKA_TESTBED_MAVEN_CENTRAL", default_value = MAVEN_CENTRAL)]
    maven_central: String,
    /// Base address of GitHub or a mirror, for releases of missing programs
    #[arg(long, global = true, value_name = "URL", env = "KAFKA_TESTBED_GITHUB", default_value = GITHUB)]
    github: String,
    /// Seconds that a source may say nothing before the next one is tried
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3600))]
    fetch_timeout: u64,
}

/// Form of the output.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Tell what this machine has and lacks for the testbed, and how to mend it
    Doctor {
        /// Do what needs no root: build, make folders, fetch, remove damaged files
        #[arg(long)]
        fix: bool,
    },
    /// Bring the testbed up and prove that it works; go over to a changed specification; repair what is broken
    Up(Up),
    /// Show every service
    Status {
        /// Show it again every second until Ctrl-C
        #[arg(short, long)]
        watch: bool,
    },
    /// Show the logs of services
    Logs(look::Logs),
    /// Stop everything; data is kept
    Down {
        /// Only show what would be stopped
        #[arg(long)]
        dry_run: bool,
    },
    /// A fresh Kafka and ZooKeeper; all metrics stay, and the next run has a label of its own
    Reset {
        #[command(flatten)]
        limit: Limit,
    },
    /// Remove what the testbed made
    Purge {
        /// Do it without asking
        #[arg(long)]
        yes: bool,
        /// Only show what would be removed
        #[arg(long)]
        dry_run: bool,
    },
    /// Start services that do not run, and what they need
    Start {
        /// Services; all when none is named
        services: Vec<String>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Stop services of a running testbed; they stay stopped until `start` or `up`
    Stop {
        /// Services
        #[arg(required = true)]
        services: Vec<String>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Stop services and start them again
    Restart {
        /// Services; all when none is named
        services: Vec<String>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Change how many there are of something
    Scale {
        /// What: only `workers` can be scaled
        #[arg(value_parser = ["workers"])]
        what: String,
        /// How many
        #[arg(value_parser = clap::value_parser!(u32).range(0..=i64::from(spec::MAX_WORKERS)))]
        count: u32,
        #[command(flatten)]
        limit: Limit,
    },
    /// Change the producer's load while it runs, until it is started again
    Load(change::Load),
    /// Run a program with the testbed's addresses; Kafka's own tools are there by name (kafka-topics, …)
    Exec {
        /// The program and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Print variables with the testbed's addresses, for `eval "$(cargo xtask testbed env)"`
    Env,
    /// Print the addresses of all pages
    Open,
    /// Show all testbeds
    List,
    /// Remove testbeds that do not run
    Gc {
        /// Do it without asking
        #[arg(long)]
        yes: bool,
        /// Only show what would be removed
        #[arg(long)]
        dry_run: bool,
        /// Only those that were not used for so long, such as `7d` or `12h`
        #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
        older_than: Duration,
    },
    /// Print the plan as Compose YAML; nothing is changed
    Plan,
    /// Print the completion of the commands for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Args)]
struct Up {
    #[command(flatten)]
    limit: Limit,
    /// Address of this machine at which clients reach the brokers: an IPv4 address, `auto` for the default route's, or
    /// `spec` to go back to the specification's; it holds until another is given
    #[arg(long, value_name = "ADDRESS", value_parser = host)]
    host: Option<HostChoice>,
    /// Take another port where the wanted one belongs to somebody else
    #[arg(long)]
    any_port: bool,
    /// Start services with data again where the specification has changed
    #[arg(long)]
    restart_changed: bool,
}

#[derive(Args)]
struct Limit {
    /// Seconds that it may take until everything works
    #[arg(long, default_value_t = 180)]
    timeout: u64,
}

fn host(text: &str) -> Result<HostChoice, String> {
    match text {
        "spec" => Ok(HostChoice::Specification),
        "auto" => Ok(HostChoice::Found),
        _ => text
            .parse::<Ipv4Addr>()
            .map(HostChoice::Address)
            .map_err(|_| "expected an IPv4 address, `auto` or `spec`".to_owned()),
    }
}

/// A length of time as the specification has it.
fn duration(text: &str) -> Result<Duration, String> {
    yaml_source::parse_duration(text).map_err(|error| error.to_string())
}

pub async fn run(arguments: Arguments) -> ExitCode {
    let Arguments { common, command } = arguments;
    let result = match command {
        Command::Doctor { fix } => doctor::run(&common, fix).await,
        Command::Up(arguments) => change::up(&common, arguments).await,
        Command::Status { watch } => look::status(&common, watch).await,
        Command::Logs(arguments) => look::logs(&common, &arguments).await,
        Command::Down { dry_run } => change::down(&common, dry_run).await,
        Command::Reset { limit } => change::reset(&common, limit).await,
        Command::Purge { yes, dry_run } => change::purge(&common, yes, dry_run).await,
        Command::Start { services, limit } => {
            change::services(&common, limit, change::Doing::Start, &services).await
        }
        Command::Stop { services, limit } => {
            change::services(&common, limit, change::Doing::Stop, &services).await
        }
        Command::Restart { services, limit } => {
            change::services(&common, limit, change::Doing::Restart, &services).await
        }
        Command::Scale { what: _, count, limit } => change::scale(&common, limit, count).await,
        Command::Load(arguments) => change::load(&common, arguments).await,
        Command::Exec { command } => return access::exec(&common, &command).unwrap_or_else(Failure::tell),
        Command::Env => access::env(&common),
        Command::Open => access::open(&common).await,
        Command::List => look::list(&common).await,
        Command::Gc { yes, dry_run, older_than } => change::gc(&common, yes, dry_run, older_than).await,
        Command::Plan => look::plan(&common),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut crate::Arguments::command(), "xtask", &mut text);
            show::print(&String::from_utf8_lossy(&text)).map_err(Failure::from)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

struct Failure {
    code: u8,
    /// Its name in docs/troubleshooting.md, if it has a section there.
    name: Option<&'static str>,
    message: String,
    hint: Option<String>,
}

impl Failure {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, name: None, message: message.into(), hint: None }
    }

    fn named(name: &'static str, code: u8, message: impl Into<String>) -> Self {
        Self { name: Some(name), ..Self::new(code, message) }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    fn tell(self) -> ExitCode {
        show::failure(self.name, &self.message, self.hint.as_deref());
        ExitCode::from(self.code)
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
        Self { code: error.exit_code(), name: Some(error.code()), message, hint: error.hint() }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(1, error.to_string())
    }
}

/// The specification that the user means, and the text that it was read from.
fn read_spec(common: &Common) -> Result<(Spec, String), Failure> {
    let in_folder = Path::new(SPEC_FILE);
    let path = common.spec.clone().or_else(|| in_folder.exists().then(|| in_folder.to_owned()));
    let (name, text) = match path {
        None => ("built-in testbed.yaml".to_owned(), spec::DEFAULT.to_owned()),
        Some(path) => {
            let text = fs::read_to_string(&path).map_err(|error| {
                Failure::named(
                    "bad-specification",
                    BAD_SPEC,
                    format!("cannot read {}: {error}", path.display()),
                )
            })?;
            (path.display().to_string(), text)
        }
    };
    let mut spec = spec::read(&Source::new(name, text.as_str())).map_err(|faults| {
        Failure::named("bad-specification", BAD_SPEC, format!("the specification has faults\n{faults}"))
    })?;
    if let Some(name) = &common.name {
        spec.name.clone_from(name);
    }
    Ok((spec, text))
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
        None => read_spec(common)?.0.name,
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
        fetching: Fetching {
            offline: common.fetch.offline,
            maven_central: common.fetch.maven_central.clone(),
            github: common.fetch.github.clone(),
            silence: Duration::from_secs(common.fetch.fetch_timeout),
        },
        limit: Duration::from_secs(180),
        host: None,
        any_port: false,
        restart_changed: false,
    })
}

/// The place of a testbed that must be there.
fn existing(common: &Common) -> Result<Workplace, Failure> {
    let place = place(common)?;
    if place.folder().ledger().exists() { Ok(place) } else { Err(Error::Absent(place.name).into()) }
}

/// What the testbed's last `up` left for clients.
fn runtime(common: &Common) -> Result<(Workplace, kafka_testbed::supervisor::Runtime), Failure> {
    let place = existing(common)?;
    let runtime = lifecycle::runtime(&place).ok_or_else(|| Error::NotRunning(place.name.clone()))?;
    Ok((place, runtime))
}

/// What the programs that set-up runs may see of our environment, beside the search path.
pub fn passed_environment() -> Vec<(OsString, OsString)> {
    let passed = |name: &str| Some((OsString::from(name), env::var_os(name)?));
    ["HOME", "LANG", "JAVA_HOME", "MAVEN_OPTS"]
        .into_iter()
        .chain(["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"])
        .filter_map(passed)
        .collect()
}
