//! Requests as Prometheus sends them from scrapes of real exporters: the families of an exporter one after the other,
//! 2,000 series of one sample, values that move as such values do. In 2.0 each series has its metadata, as Prometheus
//! sends it.

use prom_remote::{MetricType, Sample, SampleV2, SeriesV2, WriteRequestBuilder, WriteRequestV2Builder};

pub(crate) const SERIES: usize = 2_000;
const SCRAPED_AT_MS: i64 = 1_764_000_012_345;

type Labels = Vec<(&'static str, String)>;

/// The same series in both versions of the protocol.
pub(crate) struct Payload {
    pub(crate) v1: Vec<u8>,
    pub(crate) v2: Vec<u8>,
}

/// The JMX exporter of a Kafka broker behind a relabelling that tells where it runs: 11 labels.
pub(crate) fn kafka_like() -> Payload {
    const FAMILIES: [(&str, Kind); 8] = [
        ("kafka_log_log_size", Kind::Bytes),
        ("kafka_log_log_logendoffset", Kind::Offset),
        ("kafka_log_log_logstartoffset", Kind::Offset),
        ("kafka_log_log_numlogsegments", Kind::Small),
        ("kafka_cluster_partition_underreplicated", Kind::Flag),
        ("kafka_cluster_partition_insyncreplicascount", Kind::Small),
        ("kafka_server_brokertopicmetrics_bytesin_total", Kind::Bytes),
        ("kafka_server_fetcherlagmetrics_consumerlag", Kind::Lag),
    ];
    build(FAMILIES.len(), |family, index| {
        let (name, kind) = FAMILIES[family];
        let labels = vec![
            ("__name__", name.to_owned()),
            ("cluster", "performance-testbed".to_owned()),
            ("env", "experiment".to_owned()),
            ("instance", "kafka-broker-1.testbed.internal:7071".to_owned()),
            ("job", "kafka-jmx-exporter".to_owned()),
            ("partition", (index % 50).to_string()),
            ("rack", "rack-a".to_owned()),
            ("replica_set", "kafka-brokers-default".to_owned()),
            ("role", "broker".to_owned()),
            ("topic", format!("experiment-payload-topic-{:04}", index / 50)),
            ("zone", "host-machine-zone-1".to_owned()),
        ];
        (labels, kind)
    })
}

/// The node exporter of a large host: 6 labels.
pub(crate) fn node_like() -> Payload {
    const FAMILIES: [(&str, Kind, &str, &[&str]); 5] = [
        (
            "node_cpu_seconds_total",
            Kind::Seconds,
            "mode",
            &["idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"],
        ),
        ("node_cpu_guest_seconds_total", Kind::Seconds, "mode", &["nice", "user"]),
        ("node_disk_io_time_seconds_total", Kind::Seconds, "device", &["nvme0n1", "nvme1n1", "sda", "sdb"]),
        ("node_schedstat_waiting_seconds_total", Kind::Seconds, "numa", &["0", "1"]),
        ("node_softnet_processed_total", Kind::Offset, "queue", &["rx", "tx"]),
    ];
    build(FAMILIES.len(), |family, index| {
        let (name, kind, label, values) = FAMILIES[family];
        let labels = vec![
            ("__name__", name.to_owned()),
            ("cpu", (index / values.len()).to_string()),
            ("instance", "worker-17.testbed.internal:9100".to_owned()),
            ("job", "node-exporter".to_owned()),
            (label, values[index % values.len()].to_owned()),
            ("rack", "rack-a".to_owned()),
        ];
        (labels, kind)
    })
}

/// The kubelet's cAdvisor under kube-prometheus: 14 labels, some of them long.
pub(crate) fn kubernetes_like() -> Payload {
    const FAMILIES: [(&str, Kind); 10] = [
        ("container_cpu_usage_seconds_total", Kind::Seconds),
        ("container_cpu_system_seconds_total", Kind::Seconds),
        ("container_cpu_user_seconds_total", Kind::Seconds),
        ("container_cpu_cfs_throttled_periods_total", Kind::Offset),
        ("container_memory_working_set_bytes", Kind::Bytes),
        ("container_memory_rss", Kind::Bytes),
        ("container_memory_cache", Kind::Bytes),
        ("container_memory_failures_total", Kind::Offset),
        ("container_fs_reads_bytes_total", Kind::Bytes),
        ("container_fs_writes_bytes_total", Kind::Bytes),
    ];
    build(FAMILIES.len(), |family, index| {
        let (name, kind) = FAMILIES[family];
        let (mut pod, mut container) = (Numbers::new(index as u64 / 2), Numbers::new(index as u64));
        let (pod_high, pod_low) = (pod.next() as u32, pod.next());
        let hash: String = (0..4).map(|_| format!("{:016x}", container.next())).collect();
        let (namespace, app) = (["workers", "kafka-clients", "monitoring"][index / 80 % 3], index / 8);
        let labels = vec![
            ("__name__", name.to_owned()),
            ("cluster", "experiments".to_owned()),
            ("container", ["worker", "log-shipper"][index % 2].to_owned()),
            ("endpoint", "https-metrics".to_owned()),
            (
                "id",
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{pod_high:08x}_{:04x}_4c1f_{:04x}_{:012x}.slice/cri-containerd-{hash}.scope",
                    pod_low as u16,
                    (pod_low >> 16) as u16,
                    pod_low >> 16,
                ),
            ),
            (
                "image",
                ["registry.testbed.internal/workers/consumer:1.14.2", "docker.io/fluent/fluent-bit:3.2.4"]
                    [index % 2]
                    .to_owned(),
            ),
            ("instance", format!("10.42.{}.11:10250", index / 40)),
            ("job", "kubelet".to_owned()),
            ("metrics_path", "/metrics/cadvisor".to_owned()),
            ("name", hash.clone()),
            ("namespace", namespace.to_owned()),
            ("node", format!("worker-node-{}", index / 40)),
            (
                "pod",
                format!(
                    "consumer-{app}-{:010x}-{:05x}",
                    u64::from(pod_high) & 0xff_ffff_ffff,
                    pod_low & 0xf_ffff
                ),
            ),
            ("service", "kube-prometheus-stack-kubelet".to_owned()),
        ];
        (labels, kind)
    })
}

fn build(families: usize, series: impl Fn(usize, usize) -> (Labels, Kind)) -> Payload {
    let (mut v1, mut v2) = (WriteRequestBuilder::new(), WriteRequestV2Builder::new());
    let mut numbers = Numbers::new(1);
    let in_family = SERIES / families;
    for index in 0..SERIES {
        let (labels, kind) = series(index / in_family, index % in_family);
        let sample = Sample::new(SCRAPED_AT_MS, kind.value(&mut numbers));
        let help = format!("What is measured under the name {}.", labels[0].1);
        v2.full_series(&SeriesV2 {
            labels: labels.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect(),
            samples: vec![SampleV2 { sample, start_timestamp_ms: 0 }],
            metadata: Some((kind.metric_type(), help.as_bytes(), b"")),
            ..SeriesV2::default()
        });
        v1.series(labels, [sample]);
    }
    Payload { v1: v1.finish(), v2: v2.finish() }
}

/// What a metric measures, and so what its values look like.
#[derive(Clone, Copy)]
enum Kind {
    Bytes,
    Offset,
    Small,
    Flag,
    Lag,
    Seconds,
}

impl Kind {
    fn metric_type(self) -> MetricType {
        match self {
            Self::Offset | Self::Seconds => MetricType::Counter,
            Self::Bytes | Self::Small | Self::Flag | Self::Lag => MetricType::Gauge,
        }
    }

    fn value(self, numbers: &mut Numbers) -> f64 {
        let number = numbers.next();
        match self {
            Self::Bytes => (number >> 30) as f64,
            Self::Offset => (number >> 40) as f64,
            Self::Small => (number % 4) as f64,
            Self::Flag => f64::from(u8::from(number.is_multiple_of(64))),
            Self::Lag => (number % 512 * (number >> 32) % 1_000) as f64,
            Self::Seconds => (number >> 38) as f64 / 100.0,
        }
    }
}

/// Numbers that look random and are the same in every run (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}
