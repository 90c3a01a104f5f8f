//! The attributes that Compose knows (its schema of 2026), by the part that they belong to.

/// The attributes of one kind of part.
pub(super) struct Attributes {
    /// Those without a field in the model: kept as they are.
    pub(super) kept: &'static [&'static str],
    /// Those that have a field; for suggestions.
    pub(super) modelled: &'static [&'static str],
    /// Those that would change the meaning of the rest, and are not supported yet.
    pub(super) unsupported: &'static [&'static str],
}

pub(super) const PROJECT: Attributes = Attributes {
    kept: &["version", "configs", "secrets", "models"],
    modelled: &["name", "services", "networks", "volumes"],
    unsupported: &["include"],
};

pub(super) const SERVICE: Attributes = Attributes {
    kept: &[
        "annotations",
        "attach",
        "blkio_config",
        "build",
        "cap_add",
        "cap_drop",
        "cgroup",
        "cgroup_parent",
        "configs",
        "cpu_count",
        "cpu_percent",
        "cpu_period",
        "cpu_quota",
        "cpu_rt_period",
        "cpu_rt_runtime",
        "cpu_shares",
        "cpus",
        "cpuset",
        "credential_spec",
        "deploy",
        "develop",
        "device_cgroup_rules",
        "devices",
        "dns",
        "dns_opt",
        "dns_search",
        "domainname",
        "env_file",
        "expose",
        "external_links",
        "extra_hosts",
        "gpus",
        "group_add",
        "init",
        "ipc",
        "isolation",
        "label_file",
        "links",
        "logging",
        "mac_address",
        "mem_limit",
        "mem_reservation",
        "mem_swappiness",
        "memswap_limit",
        "models",
        "network_mode",
        "oom_kill_disable",
        "oom_score_adj",
        "pid",
        "pids_limit",
        "platform",
        "post_start",
        "pre_start",
        "pre_stop",
        "privileged",
        "provider",
        "pull_policy",
        "pull_refresh_after",
        "read_only",
        "runtime",
        "scale",
        "secrets",
        "security_opt",
        "shm_size",
        "stdin_open",
        "storage_opt",
        "sysctls",
        "tmpfs",
        "tty",
        "use_api_socket",
        "userns_mode",
        "uts",
        "volumes_from",
    ],
    modelled: &[
        "image",
        "container_name",
        "hostname",
        "user",
        "working_dir",
        "entrypoint",
        "command",
        "environment",
        "ports",
        "volumes",
        "depends_on",
        "healthcheck",
        "networks",
        "labels",
        "restart",
        "stop_signal",
        "stop_grace_period",
        "ulimits",
        "profiles",
    ],
    unsupported: &["extends"],
};

pub(super) const PORT: Attributes = Attributes {
    kept: &["mode", "name", "app_protocol"],
    modelled: &["host_ip", "published", "target", "protocol"],
    unsupported: &[],
};

pub(super) const MOUNT: Attributes = Attributes {
    kept: &["bind", "volume", "tmpfs", "consistency", "image"],
    modelled: &["type", "source", "target", "read_only"],
    unsupported: &[],
};

pub(super) const DEPENDENCY: Attributes =
    Attributes { kept: &[], modelled: &["condition", "required", "restart"], unsupported: &[] };

pub(super) const HEALTHCHECK: Attributes = Attributes {
    kept: &[],
    modelled: &["test", "interval", "timeout", "retries", "start_period", "start_interval", "disable"],
    unsupported: &[],
};

pub(super) const ATTACHMENT: Attributes = Attributes {
    kept: &[
        "ipv6_address",
        "link_local_ips",
        "mac_address",
        "priority",
        "gw_priority",
        "interface_name",
        "driver_opts",
    ],
    modelled: &["ipv4_address", "aliases"],
    unsupported: &[],
};

pub(super) const NETWORK: Attributes = Attributes {
    kept: &["driver_opts", "ipam", "attachable", "enable_ipv4", "enable_ipv6"],
    modelled: &["name", "driver", "external", "internal", "labels"],
    unsupported: &[],
};

pub(super) const VOLUME: Attributes = Attributes {
    kept: &["driver_opts"],
    modelled: &["name", "driver", "external", "labels"],
    unsupported: &[],
};
