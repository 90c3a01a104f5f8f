//! `prom-merger preflight`.

use std::{
    error::Error,
    io::{self, Write},
};

use clap::{Args, ValueEnum};
use prom_merger::{
    Config, Merger,
    preflight::{SourceApi, preflight},
};
use prom_remote_http::Authorization;

use crate::Common;

#[derive(Args)]
pub(crate) struct Preflight {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Ask this source at this address, as in kafka=http://prometheus:9090; may be given for each
    #[arg(long = "source", value_name = "NAME=URL", value_parser = named_url)]
    sources: Vec<(String, String)>,
    /// How to say it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl Preflight {
    pub(crate) fn run(&self, config: &Config) -> Result<(), Box<dyn Error>> {
        let (destinations, mut sources) = Merger::to_check(config)?;
        for (name, url) in &self.sources {
            let Some(source) = sources.iter_mut().find(|source| source.name == *name) else {
                let known: Vec<_> = config.sources.iter().map(|source| source.name.as_str()).collect();
                return Err(
                    format!("no source {name:?} in the configuration; known: {}", known.join(", ")).into()
                );
            };
            source.api = Some(SourceApi::new(url, Authorization::None)?);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let tell = |what: &str| {
            let _ = writeln!(io::stderr(), "{what}");
        };
        let report = runtime.block_on(preflight(&config.label, &destinations, &sources, tell));
        let mut output = io::stdout().lock();
        match self.format {
            Format::Text => write!(output, "{report}")?,
            Format::Json => writeln!(output, "{}", serde_json::to_string_pretty(&report)?)?,
        }
        if report.is_good() { Ok(()) } else { Err("preflight found errors".into()) }
    }
}

fn named_url(text: &str) -> Result<(String, String), String> {
    let (name, url) = text.split_once('=').ok_or("NAME=URL is expected")?;
    Ok((name.to_owned(), url.to_owned()))
}
