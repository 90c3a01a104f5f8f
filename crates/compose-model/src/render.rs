//! Writing a project as Compose YAML.

use std::{hash::Hash, net::IpAddr};

use yaml_source::{Tree, emit, format_duration};

use crate::{
    Attachment, Dependency, Extra, Healthcheck, HealthcheckTest, Mount, Network, OrderedMap, Port, Project,
    Service, Ulimit, Volume,
    dollar::{escape, map_text},
    parse_mount, parse_ports,
};

/// Writes a project as one Compose file: block style, attributes in the order of the model, `$` in values as `$$`.
///
/// Ports and mounts have the short form where it says all of it. [`load`](crate::load()) reads the same project back, given that
/// texts in `extra` do not shadow modelled attributes.
pub fn render(project: &Project) -> String {
    let mut output = Fields::default();
    output.put("name", project.name.as_ref().map(|name| name.as_str()));
    output.put_map("services", &project.services, service);
    output.put_map("networks", &project.networks, network);
    output.put_map("volumes", &project.volumes, volume);
    emit(&map_text(output.with(&project.extra), escape))
}

/// The entries of a mapping; what is absent or empty is left out.
#[derive(Default)]
struct Fields(Vec<(String, Tree)>);

impl Fields {
    fn put(&mut self, key: &str, value: Option<impl Into<Tree>>) {
        self.0.extend(value.map(|value| (key.to_owned(), value.into())));
    }

    fn put_list(&mut self, key: &str, items: Vec<Tree>) {
        self.put(key, (!items.is_empty()).then_some(items));
    }

    fn put_map<K: AsRef<str> + Hash + Eq + Clone, V>(
        &mut self,
        key: &str,
        map: &OrderedMap<K, V>,
        tree: impl Fn(&V) -> Tree,
    ) {
        let entries = map.iter().map(|(key, value)| (key.as_ref().to_owned(), tree(value)));
        self.put(key, (!map.is_empty()).then(|| Tree::Mapping(entries.collect())));
    }

    fn put_flag(&mut self, key: &str, flag: bool) {
        self.put(key, flag.then_some(true));
    }

    fn with(mut self, extra: &Extra) -> Tree {
        self.0.extend(extra.iter().map(|(key, value)| (key.clone(), value.clone())));
        Tree::Mapping(self.0)
    }
}

fn service(service: &Service) -> Tree {
    let mut output = Fields::default();
    output.put("image", service.image.as_deref());
    output.put("container_name", service.container_name.as_deref());
    output.put("hostname", service.hostname.as_deref());
    output.put("user", service.user.as_deref());
    output.put("working_dir", service.working_dir.as_deref());
    output.put("entrypoint", service.entrypoint.clone());
    output.put("command", service.command.clone());
    output.put_map("environment", &service.environment, |value| value.as_deref().into());
    output.put_list("ports", service.ports.iter().map(port).collect());
    output.put_list("volumes", service.volumes.iter().map(mount).collect());
    output.put_map("depends_on", &service.depends_on, dependency);
    output.put("healthcheck", service.healthcheck.as_ref().map(healthcheck));
    output.put_map("networks", &service.networks, attachment);
    output.put_map("labels", &service.labels, |label| label.as_str().into());
    output.put("restart", service.restart.map(|policy| policy.to_string()));
    output.put("stop_signal", service.stop_signal.as_deref());
    output.put("stop_grace_period", service.stop_grace_period.map(format_duration));
    output.put_map("ulimits", &service.ulimits, ulimit);
    output.put_list("profiles", service.profiles.iter().map(|profile| profile.as_str().into()).collect());
    output.with(&service.extra)
}

fn port(port: &Port) -> Tree {
    let host = match (port.host_ip, port.published) {
        (None, None) => String::new(),
        (None, Some(published)) => format!("{published}:"),
        (Some(host_ip), published) => {
            let published = published.map_or(String::new(), |published| published.to_string());
            match host_ip {
                IpAddr::V4(host_ip) => format!("{host_ip}:{published}:"),
                IpAddr::V6(host_ip) => format!("[{host_ip}]:{published}:"),
            }
        }
    };
    let protocol =
        if port.protocol.as_str() == "tcp" { String::new() } else { format!("/{}", port.protocol.as_str()) };
    let short = format!("{host}{}{protocol}", port.target);
    if parse_ports(&short).is_ok_and(|ports| ports.as_slice() == std::slice::from_ref(port)) {
        return short.into();
    }
    let mut output = Fields::default();
    output.put("host_ip", port.host_ip.map(|host_ip| host_ip.to_string()));
    output.put("published", port.published.map(|published| published.to_string()));
    output.put("target", Some(port.target));
    output.put("protocol", Some(port.protocol.as_str()));
    output.with(&port.extra)
}

fn mount(mount: &Mount) -> Tree {
    let source = mount.source.as_ref().map_or(String::new(), |source| format!("{source}:"));
    let short = format!("{source}{}{}", mount.target, if mount.read_only { ":ro" } else { "" });
    if parse_mount(&short).is_ok_and(|read| read == *mount) {
        return short.into();
    }
    let mut output = Fields::default();
    output.put("type", Some(mount.kind.as_str()));
    output.put("source", mount.source.as_deref());
    output.put("target", Some(mount.target.as_str()));
    output.put_flag("read_only", mount.read_only);
    output.with(&mount.extra)
}

fn dependency(dependency: &Dependency) -> Tree {
    let mut output = Fields::default();
    output.put("condition", Some(dependency.condition.as_str()));
    output.put("required", (!dependency.required).then_some(false));
    output.put_flag("restart", dependency.restart);
    output.with(&dependency.extra)
}

fn healthcheck(healthcheck: &Healthcheck) -> Tree {
    let list = |kind: &str, words: &[String]| -> Tree {
        let words = words.iter().map(|word| word.as_str().into());
        Tree::Sequence(std::iter::once(kind.into()).chain(words).collect())
    };
    let mut output = Fields::default();
    let test = healthcheck.test.as_ref().map(|test| match test {
        HealthcheckTest::Disabled => list("NONE", &[]),
        HealthcheckTest::Command(words) => list("CMD", words),
        HealthcheckTest::Shell(line) => list("CMD-SHELL", std::slice::from_ref(line)),
    });
    output.put("test", test);
    output.put("interval", healthcheck.interval.map(format_duration));
    output.put("timeout", healthcheck.timeout.map(format_duration));
    output.put("retries", healthcheck.retries);
    output.put("start_period", healthcheck.start_period.map(format_duration));
    output.put("start_interval", healthcheck.start_interval.map(format_duration));
    output.with(&healthcheck.extra)
}

fn attachment(attachment: &Attachment) -> Tree {
    if *attachment == Attachment::default() {
        return Tree::Null;
    }
    let mut output = Fields::default();
    output.put("ipv4_address", attachment.ipv4_address.map(|address| address.to_string()));
    output.put_list("aliases", attachment.aliases.iter().map(|alias| alias.as_str().into()).collect());
    output.with(&attachment.extra)
}

fn ulimit(ulimit: &Ulimit) -> Tree {
    if ulimit.soft == ulimit.hard {
        return ulimit.soft.into();
    }
    [("soft", ulimit.soft), ("hard", ulimit.hard)].into_iter().collect()
}

fn network(network: &Network) -> Tree {
    let mut output = Fields::default();
    output.put("name", network.name.as_deref());
    output.put("driver", network.driver.as_deref());
    output.put_flag("external", network.external);
    output.put_flag("internal", network.internal);
    output.put_map("labels", &network.labels, |label| label.as_str().into());
    output.with(&network.extra)
}

fn volume(volume: &Volume) -> Tree {
    let mut output = Fields::default();
    output.put("name", volume.name.as_deref());
    output.put("driver", volume.driver.as_deref());
    output.put_flag("external", volume.external);
    output.put_map("labels", &volume.labels, |label| label.as_str().into());
    output.with(&volume.extra)
}
