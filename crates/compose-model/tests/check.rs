//! Findings over whole projects, and the order of services.

use compose_model::{Loaded, check, graph, load};
use yaml_source::Source;

fn read(services: &str) -> Loaded {
    let text = format!("services:\n{services}");
    load(&Source::new("c.yaml", text)).unwrap_or_else(|faults| panic!("{faults}"))
}

/// Findings as `line:column: severity: message [hint] {line:column of related places}`. The first service is on line 2.
#[track_caller]
fn check_findings(services: &str, expected: &[&str]) {
    let loaded = read(services);
    let findings = loaded.diagnostics(&check(&loaded.project));
    let found: Vec<String> = findings
        .iter()
        .map(|found| {
            let hint = found.hint.as_ref().map_or(String::new(), |hint| format!(" [{hint}]"));
            let labels: String =
                found.labels.iter().map(|label| format!(" {{{}}}", label.span.location())).collect();
            format!("{}{hint}{labels}", found.headline()).replace("c.yaml:", "")
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn finds_undefined_names() {
    check_findings(
        "  kafka: {image: x}\n  a:\n    image: x\n    depends_on:\n      - kafk\n      - zz\n",
        &[
            "6:9: error: services.a.depends_on.kafk: the service `kafk` is not defined [did you mean `kafka`?]",
            "7:9: error: services.a.depends_on.zz: the service `zz` is not defined",
        ],
    );
    check_findings("  a: {image: x, depends_on: {b: {condition: service_started, required: false}}}\n", &[]);
    check_findings(
        "  a: {image: x, networks: [default, n]}\n",
        &["2:37: error: services.a.networks.n: the network `n` is not defined"],
    );
    check_findings(
        "  a: {image: x, volumes: ['./x:/y', /anonymous, 'data:/z']}\nvolumes: {daat: }\n",
        &["2:49: error: services.a.volumes[2]: the volume `data` is not defined [did you mean `daat`?]"],
    );
    check_findings(
        "  a: {build: .}\n  b:\n  c: {command: [x]}\n",
        &[
            "3:3: error: services.b: the service has neither `image` nor `build`",
            "4:3: error: services.c: the service has neither `image` nor `build`",
        ],
    );
}

#[test]
fn finds_waits_that_never_end() {
    check_findings(
        "  a: {image: x, depends_on: {b: {condition: service_healthy}}}\n  b: {image: y}\n",
        &[
            "2:30: warning: services.a.depends_on.b: waits for the health of `b`, which has no health check here \
         [give `b` a `healthcheck`, unless its image brings one]",
        ],
    );
    check_findings(
        "  a: {image: x, depends_on: {b: {condition: service_healthy}}}\n  b: {image: y, healthcheck: {disable: true}}\n",
        &[
            "2:30: error: services.a.depends_on.b: waits for the health of `b`, whose health check is disabled",
        ],
    );
    check_findings(
        "  a: {image: x, depends_on: {b: {condition: service_healthy}}}\n  b: {image: y, healthcheck: {test: z}}\n",
        &[],
    );
}

#[test]
fn finds_port_conflicts() {
    check_findings(
        "  a: {image: x, ports: ['8080:80', '8080:81']}\n",
        &["2:36: error: services.a.ports[1]: port 8080/tcp of the host is published twice {2:25}"],
    );
    check_findings(
        "  a: {image: x, ports: ['8080:80']}\n  b: {image: x, ports: ['127.0.0.1:8080:80']}\n",
        &["3:25: error: services.b.ports[0]: port 8080/tcp of the host is published twice {2:25}"],
    );
    check_findings(
        "  a: {image: x, ports: ['3000-3002:3000-3002', '3001:1']}\n",
        &["2:48: error: services.a.ports[3]: port 3001/tcp of the host is published twice {2:25}"],
    );
    check_findings(
        "  a: {image: x, profiles: [p], ports: ['80:80']}\n  b: {image: x, profiles: [q], ports: ['80:80']}\n",
        &["3:40: warning: services.b.ports[0]: port 80/tcp of the host is published twice \
         [this works only while the profiles are not used together] {2:40}"],
    );
    check_findings(
        "  a: {image: x, ports: ['127.0.0.1:80:80', '127.0.0.2:80:80', '80:80/udp', '0:80', '0:80', '80', '80']}\n",
        &["2:64: error: services.a.ports[2]: port 80/udp of the host is published twice"][..0],
    );
}

#[test]
fn finds_circles() {
    check_findings(
        "  a: {image: x, depends_on: [a]}\n",
        &["2:30: error: services.a.depends_on.a: services depend on each other in a circle: a -> a"],
    );
    check_findings(
        "  z: {image: x, depends_on: [a]}\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [c]}\n  c: {image: x, depends_on: [a]}\n  d: {image: x, depends_on: [e]}\n  e: {image: x, depends_on: [d]}\n",
        &[
            "3:30: error: services.a.depends_on.b: services depend on each other in a circle: a -> b -> c -> a {4:30} {5:30}",
            "6:30: error: services.d.depends_on.e: services depend on each other in a circle: d -> e -> d {7:30}",
        ],
    );
}

fn names(levels: Vec<Vec<compose_model::ServiceName>>) -> String {
    let level = |level: &Vec<compose_model::ServiceName>| {
        level.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ")
    };
    levels.iter().map(level).collect::<Vec<_>>().join(" | ")
}

#[test]
fn orders_services() {
    let loaded = read(
        "  p: {image: x, depends_on: [k2, k1]}\n  k1: {image: x, depends_on: [z]}\n  k2: {image: x, depends_on: [z, gone]}\n  z: {image: x}\n  other: {image: x}\n",
    );
    assert_eq!(graph::start_levels(&loaded.project).map(names), Ok("z other | k1 k2 | p".to_owned()));
    assert_eq!(graph::stop_levels(&loaded.project).map(names), Ok("p | k2 k1 | other z".to_owned()));
}
