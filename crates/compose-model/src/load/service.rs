//! Reading one service.

use std::cell::Cell;

use yaml_source::{Resolved, Value, ValueReader, closest, shown, value};

use super::{
    attributes,
    reading::{boolean, extra, integer, label_map, named_or_list, plain_text, text, variable_map},
};
use crate::{
    Attachment, Condition, Dependency, Healthcheck, HealthcheckTest, Mount, MountKind, Port, Protocol,
    PublishedPorts, RestartPolicy, Service, Ulimit, dollar::unescape, parse_mount, parse_ports, short_form,
    split_command,
};

/// How many ports the file may still have: one short text can stand for 65 535 of them.
/// `None` when that was exceeded and reported.
pub(super) struct PortBudget(Cell<Option<usize>>);

impl Default for PortBudget {
    fn default() -> Self {
        Self(Cell::new(Some(MOST_PORTS)))
    }
}

pub(super) fn read(value: ValueReader<'_>, budget: &PortBudget) -> Option<Service> {
    let mut reader = value.mapping()?;
    Some(Service {
        image: reader.optional("image", text),
        container_name: reader.optional("container_name", text),
        hostname: reader.optional("hostname", text),
        user: reader.optional("user", text),
        working_dir: reader.optional("working_dir", text),
        entrypoint: reader.optional("entrypoint", command),
        command: reader.optional("command", command),
        environment: reader.or_default("environment", variable_map),
        ports: reader
            .or_default("ports", |value| value.each(|value| ports(value, budget)))
            .into_iter()
            .flatten()
            .collect(),
        volumes: reader.or_default("volumes", value::list(mount)),
        depends_on: reader.or_default("depends_on", |value| {
            named_or_list(value, dependency, || Dependency::on(Condition::Started))
        }),
        healthcheck: reader.optional("healthcheck", healthcheck),
        networks: reader
            .or_default("networks", |value| named_or_list(value, attachment, Attachment::default)),
        labels: reader.or_default("labels", label_map),
        restart: reader.optional("restart", restart),
        stop_signal: reader.optional("stop_signal", text),
        stop_grace_period: reader.optional("stop_grace_period", value::duration),
        ulimits: reader.or_default("ulimits", |value| {
            value.each_entry(|_, value| ulimit(value)).map(|limits| limits.into_iter().collect())
        }),
        profiles: reader.or_default("profiles", value::list(text)),
        extra: extra(&mut reader, &attributes::SERVICE),
    })
}

/// A list of words, or one line that is split.
fn command(value: ValueReader<'_>) -> Option<Vec<String>> {
    if value.node().as_sequence().is_some() {
        return value.each(text);
    }
    if value.node().resolve(value.rules()) != Some(Resolved::Text) {
        return value.expected("a list of words or one line of text");
    }
    match split_command(&unescape(plain_text(value.node()))) {
        Ok(words) => Some(words),
        Err(error @ crate::SplitCommandError::NeedsShell(_)) => {
            value.fail_with_hint(error, "write `[\"sh\", \"-c\", \"…\"]`, or put the character in quotes")
        }
        Err(error) => value.fail(error),
    }
}

fn ports(value: ValueReader<'_>, budget: &PortBudget) -> Option<Vec<Port>> {
    budget.0.get()?;
    let ports = match (&value.node().value, value.node().resolve(value.rules())) {
        (Value::Mapping(_), _) => {
            return long_port(value).filter(|_| spend(budget, 1)).map(|port| vec![port]);
        }
        (_, Some(Resolved::Integer(port))) => parse_ports(&port.to_string()),
        (_, Some(Resolved::Text)) => parse_ports(&unescape(plain_text(value.node()))),
        _ => return value.expected("a port such as `9091:9090`"),
    };
    match ports {
        Ok(ports) if spend(budget, ports.len()) => Some(ports),
        Ok(_) => value.fail(format_args!("the file has more than {MOST_PORTS} ports")),
        Err(error) => value.fail(error),
    }
}

fn spend(budget: &PortBudget, ports: usize) -> bool {
    let left = budget.0.get().and_then(|left| left.checked_sub(ports));
    budget.0.set(left);
    left.is_some()
}

fn long_port(value: ValueReader<'_>) -> Option<Port> {
    let mut reader = value.mapping()?;
    let host_ip = reader.optional("host_ip", value::parsed("an IP address"));
    let published = reader.optional("published", published);
    let target = reader.required("target", integer);
    let words = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp), ("sctp", Protocol::Sctp)];
    let protocol = reader.or_default("protocol", value::one_of(&words));
    let extra = extra(&mut reader, &attributes::PORT);
    match target? {
        0 => {
            reader.error_at("target", "0 is not a port of a container");
            None
        }
        target => Some(Port { host_ip, published, target, protocol, extra }),
    }
}

fn published(value: ValueReader<'_>) -> Option<PublishedPorts> {
    let text = match value.node().resolve(value.rules()) {
        Some(Resolved::Integer(port)) => port.to_string(),
        Some(Resolved::Text) => plain_text(value.node()).to_owned(),
        _ => return value.expected("a port or a range of ports"),
    };
    match short_form::range(&text) {
        Ok(range) => Some(PublishedPorts { first: *range.start(), last: *range.end() }),
        Err(error) => value.fail(error),
    }
}

fn mount(mut value: ValueReader<'_>) -> Option<Mount> {
    if value.node().as_scalar().is_some() {
        let text = text(value.reborrow())?;
        return match parse_mount(&text) {
            Ok(mount) => {
                if mount.source.is_none() && mount.target.contains(':') {
                    let message = "a single letter before the colon is read as a drive: this is a volume without a name";
                    value.warn(message, Some("give the volume a longer name".to_owned()));
                }
                Some(mount)
            }
            Err(error) => value.fail(error),
        };
    }
    let mut reader = value.mapping()?;
    let words = [("bind", MountKind::Bind), ("volume", MountKind::Volume), ("tmpfs", MountKind::Tmpfs)];
    let kind = reader.required("type", value::one_of(&words));
    let source = reader.optional("source", text);
    let target = reader.required("target", text);
    let read_only = reader.or_default("read_only", boolean);
    let extra = extra(&mut reader, &attributes::MOUNT);
    Some(Mount { kind: kind?, source, target: target?, read_only, extra })
}

fn dependency(value: ValueReader<'_>) -> Option<Dependency> {
    let mut reader = value.mapping()?;
    let words = [Condition::Started, Condition::Healthy, Condition::Completed]
        .map(|condition| (condition.as_str(), condition));
    let condition = reader.required("condition", value::one_of(&words));
    let required = reader.or("required", boolean, true);
    let restart = reader.or_default("restart", boolean);
    let extra = extra(&mut reader, &attributes::DEPENDENCY);
    Some(Dependency { condition: condition?, required, restart, extra })
}

fn healthcheck(value: ValueReader<'_>) -> Option<Healthcheck> {
    let mut reader = value.mapping()?;
    let is_disabled = reader.or_default("disable", boolean);
    let test = reader.optional("test", healthcheck_test);
    Some(Healthcheck {
        test: if is_disabled { Some(HealthcheckTest::Disabled) } else { test },
        interval: reader.optional("interval", value::duration),
        timeout: reader.optional("timeout", value::duration),
        retries: reader.optional("retries", integer),
        start_period: reader.optional("start_period", value::duration),
        start_interval: reader.optional("start_interval", value::duration),
        extra: extra(&mut reader, &attributes::HEALTHCHECK),
    })
}

/// A line for the shell, or a list that begins with `CMD`, `CMD-SHELL` or `NONE`.
fn healthcheck_test(mut value: ValueReader<'_>) -> Option<HealthcheckTest> {
    if value.node().as_sequence().is_none() {
        return text(value).map(HealthcheckTest::Shell);
    }
    let words = value.reborrow().each(text)?;
    match words.split_first().map(|(kind, rest)| (kind.as_str(), rest)) {
        Some(("NONE", [])) => Some(HealthcheckTest::Disabled),
        Some(("CMD", [_, ..])) => Some(HealthcheckTest::Command(words.into_iter().skip(1).collect())),
        Some(("CMD-SHELL", [line])) => Some(HealthcheckTest::Shell(line.clone())),
        Some(("CMD-SHELL", _)) => value.fail("`CMD-SHELL` is followed by exactly one line"),
        Some(("CMD", _)) => value.fail("`CMD` is followed by a program and its arguments"),
        _ => value.fail_with_hint(
            "the list must begin with `CMD`, `CMD-SHELL` or `NONE`",
            "write `[CMD, program, argument]`",
        ),
    }
}

fn attachment(value: ValueReader<'_>) -> Option<Attachment> {
    let mut reader = value.mapping()?;
    Some(Attachment {
        ipv4_address: reader.optional("ipv4_address", value::parsed("an IPv4 address")),
        aliases: reader.or_default("aliases", value::list(text)),
        extra: extra(&mut reader, &attributes::ATTACHMENT),
    })
}

fn restart(value: ValueReader<'_>) -> Option<RestartPolicy> {
    let word = plain_text(value.node()).to_owned();
    let (name, retries) =
        word.split_once(':').map_or((word.as_str(), None), |(name, retries)| (name, Some(retries)));
    match (name, retries.map(str::parse::<u32>)) {
        ("no", None) => Some(RestartPolicy::No),
        ("always", None) => Some(RestartPolicy::Always),
        ("unless-stopped", None) => Some(RestartPolicy::UnlessStopped),
        ("on-failure", None) => Some(RestartPolicy::OnFailure { max_retries: None }),
        ("on-failure", Some(Ok(most))) => Some(RestartPolicy::OnFailure { max_retries: Some(most) }),
        _ => {
            let known = ["no", "always", "unless-stopped", "on-failure"];
            let message = format!(
                "expected `no`, `always`, `unless-stopped` or `on-failure[:N]`, found {}",
                shown::quoted(&word)
            );
            match closest(name, known) {
                Some(near) if near != name => {
                    value.fail_with_hint(message, format!("did you mean `{near}`?"))
                }
                _ => value.fail(message),
            }
        }
    }
}

fn ulimit(value: ValueReader<'_>) -> Option<Ulimit> {
    if value.node().as_mapping().is_none() {
        return integer(value).map(|limit| Ulimit { soft: limit, hard: limit });
    }
    let mut reader = value.mapping()?;
    let soft = reader.required("soft", integer);
    let hard = reader.required("hard", integer);
    reader.finish();
    Some(Ulimit { soft: soft?, hard: hard? })
}

const MOST_PORTS: usize = 200_000;
