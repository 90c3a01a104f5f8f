//! Compose files and what they mean; faults and where they are shown.

use std::{fs, path::Path, time::Duration};

use compose_model::{
    Condition, HealthcheckTest, Loaded, MountKind, RestartPolicy, Service, Ulimit, check, load,
    load_with_limits, render,
};
use serde_json::{Value, json};
use yaml_source::{Diagnostics, Limits, Source, Tree};

fn read(text: &str) -> Loaded {
    load(&Source::new("c.yaml", text)).unwrap_or_else(|faults| panic!("{faults}"))
}

/// Every finding as `line:column severity: message`.
fn lines(diagnostics: Diagnostics) -> Vec<String> {
    diagnostics
        .into_sorted()
        .iter()
        .map(|found| found.headline().trim_start_matches("c.yaml:").to_owned())
        .collect()
}

/// Loading `services: {a: {image: x, …}}` with further lines of the service must fail with these messages.
#[track_caller]
fn check_err(service: &str, expected: &[&str]) {
    let text = format!("services:\n  a:\n    image: x\n    {}\n", service.replace('\n', "\n    "));
    let found = match load(&Source::new("c.yaml", text)) {
        Ok(loaded) => panic!("it loads: {:?}", loaded.project),
        Err(faults) => lines(faults),
    };
    assert_eq!(found, expected);
}

fn service(text: &str) -> Service {
    let text = format!("services:\n  a:\n    image: x\n    {}\n", text.replace('\n', "\n    "));
    read(&text).project.services["a"].clone()
}

fn test_data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("test_data").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A service in the shape of the reference's JSON, as far as the model has fields; `null` and empty are left out.
fn as_oracle(service: &Service) -> Value {
    let ports = service.ports.iter().map(|port| {
        let mut value = json!({"mode": "ingress", "target": port.target, "protocol": port.protocol.as_str()});
        if let Some(published) = port.published {
            value["published"] = json!(published.to_string());
        }
        value
    });
    let mounts = service.volumes.iter().map(|mount| {
        let mut value = json!({"type": mount.kind.as_str(), "target": mount.target, mount.kind.as_str(): {}});
        if let Some(source) = &mount.source {
            value["source"] = json!(source);
        }
        if mount.read_only {
            value["read_only"] = json!(true);
        }
        value
    });
    let depends_on = service.depends_on.iter().map(|(name, dependency)| {
        (
            name.to_string(),
            json!({"condition": dependency.condition.as_str(), "required": dependency.required}),
        )
    });
    let mut value = json!({});
    let mut put = |key: &str, part: Value| {
        let is_empty = part.is_null()
            || part.as_array().is_some_and(Vec::is_empty)
            || part.as_object().is_some_and(|map| map.is_empty());
        if !is_empty {
            value[key] = part;
        }
    };
    put("image", json!(service.image));
    put("command", json!(service.command));
    put("environment", service.environment.iter().map(|(key, value)| (key.clone(), json!(value))).collect());
    put("labels", service.labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect());
    put("ports", ports.collect());
    put("volumes", mounts.collect());
    put("depends_on", depends_on.collect());
    put("restart", json!(service.restart.map(|policy| policy.to_string())));
    value
}

#[track_caller]
fn check_oracle(yaml: &str, oracle: &str) {
    let loaded = read(&test_data(yaml));
    let oracle: Value = serde_json::from_str(&test_data(oracle)).expect("the oracle is JSON");
    let services = oracle["services"].as_object().expect("services");
    assert_eq!(loaded.project.services.len(), services.len());
    for (name, service) in loaded.project.services.iter() {
        let mut expected = services[name.as_str()].clone();
        let fields = expected.as_object_mut().expect("a service");
        // The reference adds the network that is always there; these parts are tested on their own.
        fields.retain(|key, value| {
            !value.is_null() && !["networks", "healthcheck", "tty"].contains(&key.as_str())
        });
        assert_eq!(as_oracle(service), expected, "{name}");
    }
    assert_eq!(read(&render(&loaded.project)).project, loaded.project, "rendered and read back");
}

#[test]
fn the_teams_file_means_what_the_reference_says() {
    check_oracle("team.compose.yaml", "team.compose.oracle.json");
    let loaded = read(&test_data("team.compose.yaml"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    assert_eq!(check(&loaded.project), []);
    let shared = loaded.project.extra.get("x-kafka_env").and_then(|env| env.get("KAFKA_NUM_PARTITIONS"));
    assert_eq!(shared, Some(&Tree::Integer(10)));
}

#[test]
fn small_files_mean_what_the_reference_says() {
    for name in ["health", "merge_nested", "merge_seq", "alias_service", "net_long"] {
        check_oracle(&format!("oracle/{name}.yaml"), &format!("oracle/{name}.oracle.json"));
    }
}

#[test]
fn scalars_in_the_environment_are_printed_as_go_does() {
    let loaded = read(&test_data("oracle/env_bool.yaml"));
    let mut oracle: Value =
        serde_json::from_str(&test_data("oracle/env_bool.oracle.json")).expect("the oracle is JSON");
    // Known difference: an unquoted date stays the text that it is.
    oracle["services"]["a"]["environment"]["H"] = json!("2024-01-01");
    let ours: Value = loaded.project.services["a"]
        .environment
        .iter()
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    assert_eq!(ours, oracle["services"]["a"]["environment"]);
}

#[test]
fn a_strangers_file_loads() {
    let loaded = read(&test_data("stranger.compose.yaml"));
    let kafka = &loaded.project.services["kafka1"];
    assert_eq!(
        (kafka.volumes[1].kind, kafka.volumes[1].source.as_deref()),
        (MountKind::Volume, Some("kafka-data"))
    );
    assert_eq!(kafka.environment["EMPTY"], None);
    assert_eq!(kafka.environment["KAFKA_LOG_RETENTION_HOURS"].as_deref(), Some("0.5"));
    // It publishes 9091 for a broker and Prometheus only once each.
    assert_eq!(check(&loaded.project), []);
    assert_eq!(read(&render(&loaded.project)).project, loaded.project);
}

#[test]
fn reads_short_and_long_forms_alike() {
    let short = service(
        "ports: ['127.0.0.1:8080:80/udp', 90]\nvolumes: ['/a:/b:ro', 'vv:/c', '/d']\ndepends_on: [b]\nenvironment: [A=1, B, C=]\nlabels: [a=b]\nnetworks: [n]\ncommand: sh -c 'a b'\nhealthcheck: {test: curl x}",
    );
    let long = service(
        "ports: [{host_ip: 127.0.0.1, published: '8080', target: 80, protocol: udp}, {target: 90}]\n\
         volumes: [{type: bind, source: /a, target: /b, read_only: true}, {type: volume, source: vv, target: /c}, {type: volume, target: /d}]\n\
         depends_on: {b: {condition: service_started}}\nenvironment: {A: 1, B: , C: ''}\nlabels: {a: b}\nnetworks: {n: }\n\
         command: [sh, -c, a b]\nhealthcheck: {test: [CMD-SHELL, curl x]}",
    );
    assert_eq!(short, long);
}

#[test]
fn reads_every_attribute() {
    let service = service(
        "container_name: c\nhostname: h\nuser: '1000:1000'\nworking_dir: /w\nentrypoint: []\nstop_signal: SIGINT\nstop_grace_period: 1m30s\n\
         restart: on-failure:3\nprofiles: [p]\nulimits: {nofile: 65536, nproc: {soft: 1, hard: -1}}\n\
         healthcheck: {test: [CMD, a], interval: 5s, timeout: 1s, retries: '3', start_period: 2m, start_interval: 500ms}\n\
         depends_on: {b: {condition: service_completed_successfully, required: false, restart: true}}\n\
         networks: {n: {ipv4_address: 10.0.0.2, aliases: [q], priority: 10}}\ntty: true\nx-note: [1, {a: $$b}]",
    );
    assert_eq!(service.entrypoint, Some(Vec::new()));
    assert_eq!(service.stop_grace_period, Some(Duration::from_secs(90)));
    assert_eq!(service.restart, Some(RestartPolicy::OnFailure { max_retries: Some(3) }));
    assert_eq!(service.ulimits["nproc"], Ulimit { soft: 1, hard: -1 });
    let check = service.healthcheck.as_ref().expect("a health check");
    assert_eq!(
        (check.test.clone(), check.retries),
        (Some(HealthcheckTest::Command(vec!["a".to_owned()])), Some(3))
    );
    let dependency = &service.depends_on["b"];
    assert_eq!(
        (dependency.condition, dependency.required, dependency.restart),
        (Condition::Completed, false, true)
    );
    assert_eq!(service.networks["n"].extra["priority"], Tree::Integer(10));
    assert_eq!(service.extra.keys().collect::<Vec<_>>(), ["tty", "x-note"]);
    let note = Tree::Sequence(vec![1.into(), [("a", "$b")].into_iter().collect()]);
    assert_eq!(service.extra["x-note"], note);
}

#[test]
fn keeps_unknown_attributes_with_a_warning() {
    let loaded = read("services:\n  a:\n    imagee: y\n    image: x\n    frobnicate: [1, z]\n");
    assert_eq!(
        lines(loaded.warnings.clone()),
        [
            "3:5: warning: services.a: unknown attribute `imagee`, kept as it is",
            "5:5: warning: services.a: unknown attribute `frobnicate`, kept as it is",
        ]
    );
    assert_eq!(loaded.warnings[0].hint.as_deref(), Some("did you mean `image`?"));
    assert!(
        render(&loaded.project).ends_with("imagee: \"y\"\n    frobnicate:\n      - 1\n      - z\n"),
        "{}",
        render(&loaded.project)
    );
}

#[test]
fn a_dollar_is_doubled_in_the_file() {
    let loaded =
        read("services: {a: {image: x, command: [echo, '$$HOME $1 $'], environment: {A: '$$$$'}}}\n");
    let a = &loaded.project.services["a"];
    assert_eq!(a.command.as_deref().map(|words| words[1].as_str()), Some("$HOME $1 $"));
    assert_eq!(a.environment["A"].as_deref(), Some("$$"));
    assert!(render(&loaded.project).contains("- $$HOME $$1 $$\n"), "{}", render(&loaded.project));
}

#[test]
fn variables_are_refused_where_they_stand() {
    check_err(
        "environment: {A: 'a ${B:-c} $D', E: $F}\nx-y: [$G]",
        &[
            "4:25: error: interpolation is not supported yet: `${B:-c}`",
            "4:41: error: interpolation is not supported yet: `$F`",
            "5:11: error: interpolation is not supported yet: `$G`",
        ],
    );
    let shared =
        "x-e: &e {A: $B}\nservices: {a: {image: x, environment: *e}, b: {image: y, environment: {<<: *e}}}\n";
    let faults = load(&Source::new("c.yaml", shared)).map(|_| ()).map_err(lines);
    assert_eq!(faults, Err(vec!["1:13: error: interpolation is not supported yet: `$B`".to_owned()]));
}

#[test]
fn reports_all_faults_with_their_places() {
    check_err(
        "ports: [abc, '80:3000-3002', {published: 1}, 1.5]\nvolumes: [':/b', {type: bnid, target: /a}]\ndepends_on: {b: {condition: service_up}}",
        &[
            "4:13: error: services.a.ports[0]: `abc` is not a port or a range of ports",
            "4:18: error: services.a.ports[1]: the ranges `80` and `3000-3002` have different lengths",
            "4:34: error: services.a.ports[2]: the key `target` is missing",
            "4:50: error: services.a.ports[3]: expected a port such as `9091:9090`, found the number `1.5`",
            "5:15: error: services.a.volumes[0]: a part between the colons is empty",
            "5:29: error: services.a.volumes[1].type: expected one of `bind`, `volume`, `tmpfs`, found `bnid`",
            "6:33: error: services.a.depends_on.b.condition: expected one of `service_started`, `service_healthy`, `service_completed_successfully`, found `service_up`",
        ],
    );
    check_err(
        "healthcheck: {test: [foo], interval: 5 s, retries: x}",
        &[
            "4:25: error: services.a.healthcheck.test: the list must begin with `CMD`, `CMD-SHELL` or `NONE`",
            "4:42: error: services.a.healthcheck.interval: expected a duration such as `500ms`, `15s` or `1h30m`, found `5 s`: unknown unit ` s`; known are ms, s, m, h, d, w, y",
            "4:56: error: services.a.healthcheck.retries: expected an integer, found the text `x`",
        ],
    );
    check_err(
        "environment: {A: [1], 1: x, true: y}",
        &[
            "4:22: error: services.a.environment.A: expected a single value, found a list",
            "4:27: error: a key must be text, but this is the number `1`",
            "4:33: error: a key must be text, but this is the boolean `true`",
        ],
    );
    check_err(
        "environment: [' A = 1']",
        &["4:19: error: services.a.environment[0]: expected `NAME=value`, found ` A = 1`"],
    );
    check_err("command: a | b", &["4:14: error: services.a.command: `|` outside of quotes needs a shell"]);
    check_err("command: [1]", &["4:15: error: services.a.command[0]: expected text, found the number `1`"]);
    check_err(
        "restart: allways",
        &[
            "4:14: error: services.a.restart: expected `no`, `always`, `unless-stopped` or `on-failure[:N]`, found `allways`",
        ],
    );
    check_err(
        "depends_on: [b, b, 'c d']",
        &[
            "4:21: error: services.a.depends_on[1]: the name stands twice in the list",
            "4:24: error: services.a.depends_on[2]: `c d` is not a service name: letters, digits, `.`, `_` and `-` are allowed",
        ],
    );
    check_err("extends: b", &["4:5: error: services.a: `extends` is not supported yet"]);
    check_err("command: !reset null", &["4:21: error: the tag `!reset` is not supported yet"]);
}

#[test]
fn reports_faults_of_the_whole_file() {
    let check = |text: &str, expected: &[&str]| {
        let found = load(&Source::new("c.yaml", text)).map(|loaded| loaded.project).map_err(lines);
        assert_eq!(found.err().unwrap_or_default(), expected, "{text}");
    };
    check("", &["1:1: error: the file is empty"]);
    check("- a\n", &["1:1: error: expected a mapping, found a list"]);
    check("services: [a]\n", &["1:11: error: services: expected a mapping, found a list"]);
    check(
        "services: {a b: {image: x}}\n",
        &[
            "1:12: error: services: `a b` is not a service name: letters, digits, `.`, `_` and `-` are allowed",
        ],
    );
    check(
        "name: '!'\n",
        &[
            "1:7: error: name: `!` is not a project name: lower-case letters, digits, `_` and `-` are allowed, with a letter or digit first",
        ],
    );
    check("include: [x]\n", &["1:1: error: `include` is not supported yet"]);
    check(
        "services: {a: {image: x}, a: {image: y}}\n",
        &["1:27: error: the key `a` stands twice in the same mapping"],
    );
}

#[test]
fn a_project_name_is_made_fit_with_a_warning() {
    let loaded = read("name: Team A\n");
    assert_eq!(loaded.project.name.map(String::from).as_deref(), Some("teama"));
    assert_eq!(lines(loaded.warnings), ["1:7: warning: name: the name becomes `teama`"]);
}

#[test]
fn ports_are_bounded() {
    let text = format!("services: {{a: {{image: x, ports: [{}]}}}}\n", "1-65535, ".repeat(5_000));
    let faults = load(&Source::new("c.yaml", text)).map(|_| ()).expect_err("too many ports");
    assert_eq!(faults[0].message, "services.a.ports[3]: the file has more than 200000 ports");
}

#[test]
fn limits_are_those_of_the_caller() {
    let limits = Limits { nodes: 3, ..Limits::default() };
    assert!(load_with_limits(&Source::new("c.yaml", "services: {a: {image: x}}"), &limits).is_err());
}

#[test]
fn renders_canonically() {
    let text = "services:\n  b: {depends_on: {a: {condition: service_healthy, restart: true}}, image: y, networks: [net]}\n  a:\n    x-z: 1\n    ports: ['80', {target: 81, mode: host}]\n    environment: {T: 'true', HOME: }\n    image: x\n    healthcheck: {test: x, interval: 90s}\nx-a: b\nnetworks: {net: {ipam: {config: [{subnet: 10.0.0.0/8}]}}}\nname: team\n";
    let expected = "\
name: team
services:
  b:
    image: \"y\"
    depends_on:
      a:
        condition: service_healthy
        restart: true
    networks:
      net: null
  a:
    image: x
    environment:
      T: \"true\"
      HOME: null
    ports:
      - \"80\"
      - target: 81
        protocol: tcp
        mode: host
    healthcheck:
      test:
        - CMD-SHELL
        - x
      interval: 1m30s
    x-z: 1
networks:
  net:
    ipam:
      config:
        - subnet: 10.0.0.0/8
x-a: b
";
    assert_eq!(render(&read(text).project), expected);
}

#[test]
fn warns_of_a_volume_name_that_is_a_drive() {
    let loaded = read("services: {a: {image: x, volumes: ['v:/b']}}\n");
    assert_eq!(
        lines(loaded.warnings),
        [
            "1:36: warning: services.a.volumes[0]: a single letter before the colon is read as a drive: this is a volume without a name",
        ]
    );
}

#[test]
fn hostile_files_cost_little() {
    let started = std::time::Instant::now();
    let numbers = |count: usize, one: fn(usize) -> String| (0..count).map(one).collect::<String>();
    let texts = [
        numbers(30_000, |number| format!("unknown_attribute_number_{number}: 1\n")),
        format!(
            "services:\n  a:\n    image: x\n    depends_on:\n{}",
            numbers(60_000, |number| format!("      - some_service_name_{number}\n"))
        ),
        format!(
            "services:\n{}",
            numbers(10_000, |number| format!(
                "  some_service_{number}: {{image: x, depends_on: [some_service_x{number}]}}\n"
            ))
        ),
        format!(
            "services:\n  a:\n    image: x\n    ports:\n{}",
            numbers(60_000, |number| format!("      - 10.{}.{}.1:80:80\n", number / 256, number % 256))
        ),
        format!(
            "services:\n  a:\n    image: x\n    ports:\n{}",
            numbers(60_000, |_| "      - 80:80\n".to_owned())
        ),
        format!(
            "services:\n{}",
            numbers(20_000, |number| format!("  s{number}: {{image: x, depends_on: [s{}]}}\n", number + 1))
        ),
    ];
    for text in texts {
        if let Ok(loaded) = load(&Source::new("c.yaml", text)) {
            let _ = loaded.diagnostics(&check(&loaded.project)).to_string();
        }
    }
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}
