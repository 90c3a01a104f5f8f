//! What holds for every project and every text.

use std::{net::IpAddr, time::Duration};

use compose_model::{
    Attachment, Condition, Dependency, Extra, Healthcheck, HealthcheckTest, Mount, MountKind, Network,
    NetworkName, OrderedMap, Port, Project, ProjectName, Protocol, PublishedPorts, RestartPolicy, Service,
    ServiceName, Ulimit, Volume, VolumeName, check, graph, load, render,
};
use proptest::{collection::vec, option, prelude::*};
use yaml_source::{Source, Tree};

fn map<K: std::hash::Hash + Eq + Clone + std::fmt::Debug, V: std::fmt::Debug>(
    key: impl Strategy<Value = K>,
    value: impl Strategy<Value = V>,
) -> impl Strategy<Value = OrderedMap<K, V>> {
    vec((key, value), 0..3).prop_map(|entries| entries.into_iter().collect())
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z0-9./:$=-]{0,12}",
        1 => any::<String>(),
        1 => "[-+]?[0-9_.:xobe]{1,8}",
        1 => "(yes|no|on|true|null|~|\\$\\$|\\$\\{A\\}|\\$B|a\nb\n)",
    ]
}

fn service_name() -> impl Strategy<Value = ServiceName> {
    "(a|b|c|on|1|2024-01-01|k\\.x_y-z)".prop_map(|name| ServiceName::new(name).expect("a valid name"))
}

fn network_name() -> impl Strategy<Value = NetworkName> {
    "(default|n|null|1e3)".prop_map(|name| NetworkName::new(name).expect("a valid name"))
}

fn volume_name() -> impl Strategy<Value = VolumeName> {
    "(v|data|y)".prop_map(|name| VolumeName::new(name).expect("a valid name"))
}

fn duration() -> impl Strategy<Value = Duration> {
    (0_u64..10_000_000_000_000).prop_map(Duration::from_nanos)
}

fn extra() -> impl Strategy<Value = Extra> {
    let leaf = prop_oneof![
        text().prop_map(Tree::Text),
        any::<i64>().prop_map(Tree::from),
        any::<bool>().prop_map(Tree::Boolean),
        (-1e30..1e30).prop_map(Tree::Float),
        Just(Tree::Null),
    ];
    let tree = leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Tree::Sequence),
            prop::collection::btree_map("[a-z$]{1,3}", inner, 0..3)
                .prop_map(|entries| entries.into_iter().collect()),
        ]
    });
    map("x-[a-z]{1,2}", tree)
}

fn port() -> impl Strategy<Value = Port> {
    let published = (any::<u16>(), 0_u16..5)
        .prop_map(|(first, more)| PublishedPorts { first, last: first.saturating_add(more) });
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Sctp)];
    (option::of(any::<IpAddr>()), option::of(published), 1_u16.., protocol, extra()).prop_map(
        |(host_ip, published, target, protocol, extra)| Port { host_ip, published, target, protocol, extra },
    )
}

fn mount() -> impl Strategy<Value = Mount> {
    let kind = prop_oneof![Just(MountKind::Bind), Just(MountKind::Volume), Just(MountKind::Tmpfs)];
    let path = prop_oneof!["[./~a-zC][a-z/.:]{0,8}", text()];
    (kind, option::of(path.clone()), path, any::<bool>(), extra())
        .prop_map(|(kind, source, target, read_only, extra)| Mount { kind, source, target, read_only, extra })
}

fn dependency() -> impl Strategy<Value = Dependency> {
    let condition =
        prop_oneof![Just(Condition::Started), Just(Condition::Healthy), Just(Condition::Completed)];
    (condition, any::<bool>(), any::<bool>(), extra())
        .prop_map(|(condition, required, restart, extra)| Dependency { condition, required, restart, extra })
}

fn healthcheck() -> impl Strategy<Value = Healthcheck> {
    let test = prop_oneof![
        Just(HealthcheckTest::Disabled),
        vec(text(), 1..3).prop_map(HealthcheckTest::Command),
        text().prop_map(HealthcheckTest::Shell),
    ];
    let times =
        (option::of(duration()), option::of(duration()), option::of(duration()), option::of(duration()));
    (option::of(test), times, option::of(any::<u32>()), extra()).prop_map(|(test, times, retries, extra)| {
        let (interval, timeout, start_period, start_interval) = times;
        Healthcheck { test, interval, timeout, retries, start_period, start_interval, extra }
    })
}

fn attachment() -> impl Strategy<Value = Attachment> {
    (option::of(any::<std::net::Ipv4Addr>()), vec(text(), 0..2), extra())
        .prop_map(|(ipv4_address, aliases, extra)| Attachment { ipv4_address, aliases, extra })
}

fn restart() -> impl Strategy<Value = RestartPolicy> {
    prop_oneof![
        Just(RestartPolicy::No),
        Just(RestartPolicy::Always),
        Just(RestartPolicy::UnlessStopped),
        option::of(any::<u32>()).prop_map(|max_retries| RestartPolicy::OnFailure { max_retries }),
    ]
}

fn service() -> impl Strategy<Value = Service> {
    let texts = vec(option::of(text()), 6);
    let words = (option::of(vec(text(), 0..3)), option::of(vec(text(), 0..3)));
    let maps = (
        map(text(), option::of(text())),
        map(text(), text()),
        map(service_name(), dependency()),
        map(network_name(), attachment()),
        map("[a-z]{1,4}", (any::<i64>(), any::<i64>()).prop_map(|(soft, hard)| Ulimit { soft, hard })),
    );
    let lists = (vec(port(), 0..3), vec(mount(), 0..3), vec(text(), 0..2));
    let rest = (option::of(healthcheck()), option::of(restart()), option::of(duration()), extra());
    (texts, words, maps, lists, rest).prop_map(|(mut texts, words, maps, lists, rest)| {
        let mut next = || texts.pop().flatten();
        let (entrypoint, command) = words;
        let (environment, labels, depends_on, networks, ulimits) = maps;
        let (ports, volumes, profiles) = lists;
        let (healthcheck, restart, stop_grace_period, extra) = rest;
        Service {
            image: next(),
            container_name: next(),
            hostname: next(),
            user: next(),
            working_dir: next(),
            stop_signal: next(),
            entrypoint,
            command,
            environment,
            ports,
            volumes,
            depends_on,
            healthcheck,
            networks,
            labels,
            restart,
            stop_grace_period,
            ulimits,
            profiles,
            extra,
        }
    })
}

fn network() -> impl Strategy<Value = Network> {
    let names = (option::of(text()), option::of(text()));
    (names, any::<bool>(), any::<bool>(), map(text(), text()), extra()).prop_map(
        |((name, driver), external, internal, labels, extra)| Network {
            name,
            driver,
            external,
            internal,
            labels,
            extra,
        },
    )
}

fn volume() -> impl Strategy<Value = Volume> {
    let names = (option::of(text()), option::of(text()));
    (names, any::<bool>(), map(text(), text()), extra()).prop_map(
        |((name, driver), external, labels, extra)| Volume { name, driver, external, labels, extra },
    )
}

fn project() -> impl Strategy<Value = Project> {
    let name =
        option::of("[a-z0-9][a-z0-9_-]{0,5}".prop_map(|name| ProjectName::new(name).expect("a valid name")));
    let parts =
        (map(service_name(), service()), map(network_name(), network()), map(volume_name(), volume()));
    (name, parts, extra()).prop_map(|(name, (services, networks, volumes), extra)| Project {
        name,
        services,
        networks,
        volumes,
        extra,
    })
}

proptest! {
    #[test]
    fn rendered_projects_load_as_the_same(project in project()) {
        let text = render(&project);
        // A project without anything is an empty file.
        prop_assume!(project != Project::default());
        match load(&Source::new("c.yaml", text.clone())) {
            Ok(loaded) => {
                prop_assert_eq!(&loaded.project, &project, "{}", text);
                let _ = loaded.diagnostics(&check(&loaded.project)).to_string();
            }
            Err(faults) => prop_assert!(false, "{}\n{}", faults, text),
        }
    }

    #[test]
    fn start_levels_put_dependencies_first(edges in vec((0_usize..6, 0_usize..6), 0..10)) {
        let name = |number: usize| ServiceName::new(format!("s{number}")).expect("a valid name");
        let mut project = Project::default();
        project.services.extend((0..6).map(|number| (name(number), Service::default())));
        for (from, to) in edges {
            let service = project.services.get_mut(name(from).as_str()).expect("it was added");
            service.depends_on.insert(name(to), Dependency::on(Condition::Started));
        }
        match graph::start_levels(&project) {
            Ok(levels) => {
                let level = |name: &ServiceName| levels.iter().position(|level| level.contains(name));
                prop_assert_eq!(levels.iter().flatten().count(), 6);
                for (name, service) in project.services.iter() {
                    prop_assert!(service.depends_on.keys().all(|dependency| level(dependency) < level(name)));
                }
            }
            Err(graph::CycleError(cycles)) => {
                prop_assert!(!cycles.is_empty());
                for cycle in cycles {
                    let is_edge = |pair: &[ServiceName]| project.services.get(&pair[0]).is_some_and(|s| s.depends_on.contains_key(&pair[1]));
                    prop_assert!(cycle.chain.len() > 1 && cycle.chain.windows(2).all(is_edge));
                    prop_assert_eq!(cycle.chain.first(), cycle.chain.last());
                }
            }
        }
    }

    #[test]
    fn no_text_panics(lines in vec("(services|  a|    ports|    image|  b|    depends_on|networks|volumes|x-a|    - |      - )(: )?(&a |\\*a|\\[|\\]|\\{|\\}|<<: |8|:|/|-|\\$|\"|'|a|!x ){0,4}\n", 0..12)) {
        if let Ok(loaded) = load(&Source::new("c.yaml", lines.concat())) {
            let _ = loaded.diagnostics(&check(&loaded.project)).to_string();
            let _ = render(&loaded.project);
        }
    }
}
