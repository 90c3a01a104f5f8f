//! How a service on Java logs: to the console, with the levels that the image takes from its environment.

use std::path::{Path, PathBuf};

/// The library behind slf4j. Kafka left Log4j 1 (as reload4j) with 4.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Library {
    Log4j,
    Log4j2,
}

/// The image's own levels.
const LOGGERS: &str = "kafka.controller=TRACE,state.change.logger=TRACE";

impl Library {
    /// Its file in the run folder of a service.
    pub(super) fn file(self, run: &Path) -> PathBuf {
        run.join(match self {
            Self::Log4j => "log4j.properties",
            Self::Log4j2 => "log4j2.properties",
        })
    }

    /// The option that tells Java about the file.
    pub(super) fn option(self, run: &Path) -> String {
        let file = self.file(run);
        match self {
            Self::Log4j => format!("-Dlog4j.configuration=file:{}", file.display()),
            Self::Log4j2 => format!("-Dlog4j2.configurationFile={}", file.display()),
        }
    }

    /// The text of the file.
    pub(super) fn properties(self, root_level: Option<&str>, loggers: Option<&str>) -> String {
        let root_level = root_level.unwrap_or("INFO");
        let levels = loggers.unwrap_or(LOGGERS).split(',').filter_map(|logger| {
            let (name, level) = logger.split_once('=')?;
            Some((name.trim(), level.trim()))
        });
        match self {
            Self::Log4j => {
                let levels = levels.map(|(name, level)| format!("log4j.logger.{name}={level}\n"));
                let head = format!(
                    "log4j.rootLogger={root_level}, stdout\n\
                     log4j.appender.stdout=org.apache.log4j.ConsoleAppender\n\
                     log4j.appender.stdout.layout=org.apache.log4j.PatternLayout\n\
                     log4j.appender.stdout.layout.ConversionPattern=[%d] %p %m (%c)%n\n"
                );
                head + &levels.collect::<String>()
            }
            // Its own hook would end the log at SIGTERM, before the broker tells how it went down.
            Self::Log4j2 => {
                let levels = levels.enumerate().map(|(index, (name, level))| {
                    format!("logger.{index}.name={name}\nlogger.{index}.level={level}\n")
                });
                let head = format!(
                    "status=warn\n\
                     shutdownHook=disable\n\
                     appender.stdout.type=Console\n\
                     appender.stdout.name=stdout\n\
                     appender.stdout.layout.type=PatternLayout\n\
                     appender.stdout.layout.pattern=[%d] %p %m (%c)%n\n\
                     rootLogger.level={root_level}\n\
                     rootLogger.appenderRef.stdout.ref=stdout\n"
                );
                head + &levels.collect::<String>()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(library: Library, begins: &str, ends: &str) {
        let text = library.properties(Some("WARN"), Some("kafka.controller=INFO, a.b=DEBUG"));
        assert!(text.starts_with(begins) && text.ends_with(ends), "{text}");
    }

    #[test]
    fn levels_follow_the_environment() {
        check(
            Library::Log4j,
            "log4j.rootLogger=WARN, stdout\n",
            "log4j.logger.kafka.controller=INFO\nlog4j.logger.a.b=DEBUG\n",
        );
        check(
            Library::Log4j2,
            "status=warn\nshutdownHook=disable\n",
            "rootLogger.level=WARN\nrootLogger.appenderRef.stdout.ref=stdout\n\
             logger.0.name=kafka.controller\nlogger.0.level=INFO\nlogger.1.name=a.b\nlogger.1.level=DEBUG\n",
        );
    }
}
