//! What the image `confluentinc/cp-zookeeper` does with its environment, done for a plain process.
//!
//! Source: kafka-images 7.3.0-post, `zookeeper.properties.template`: an explicit table; other names are ignored.

/// Variable and property, as the image's template has them.
const TABLE: &[(&str, &str)] = &[
    ("ZOOKEEPER_CLIENT_PORT", "clientPort"),
    ("ZOOKEEPER_TICK_TIME", "tickTime"),
    ("ZOOKEEPER_INIT_LIMIT", "initLimit"),
    ("ZOOKEEPER_SYNC_LIMIT", "syncLimit"),
    ("ZOOKEEPER_MAX_CLIENT_CNXNS", "maxClientCnxns"),
    ("ZOOKEEPER_AUTOPURGE_SNAP_RETAIN_COUNT", "autopurge.snapRetainCount"),
    ("ZOOKEEPER_AUTOPURGE_PURGE_INTERVAL", "autopurge.purgeInterval"),
    ("ZOOKEEPER_ADMIN_ENABLE_SERVER", "admin.enableServer"),
    ("ZOOKEEPER_ADMIN_SERVER_PORT", "admin.serverPort"),
];

/// The image's data folder.
pub(super) const DATA: &str = "/var/lib/zookeeper/data";
/// The image's transaction log folder.
pub(super) const LOG: &str = "/var/lib/zookeeper/log";

/// Turns the environment into the lines of `zookeeper.properties`.
///
/// Returns nothing when the client port is missing: then the image does not start.
pub(super) fn properties<'a>(
    environment: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Option<Vec<(String, String)>> {
    let environment: Vec<(&str, &str)> = environment.into_iter().collect();
    let value = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    value("ZOOKEEPER_CLIENT_PORT")?;
    let mut lines = vec![("dataDir".to_owned(), DATA.to_owned()), ("dataLogDir".to_owned(), LOG.to_owned())];
    lines.extend(
        TABLE
            .iter()
            .filter_map(|(variable, property)| Some(((*property).to_owned(), value(variable)?.to_owned()))),
    );
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_table_and_ignores_the_rest() {
        let lines = properties([
            ("ZOOKEEPER_CLIENT_PORT", "2181"),
            ("ZOOKEEPER_TICK_TIME", "2000"),
            ("ZOOKEEPER_UNHEARD_OF", "1"),
        ])
        .expect("starts");
        let text: Vec<String> = lines.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(
            text,
            [
                "dataDir=/var/lib/zookeeper/data",
                "dataLogDir=/var/lib/zookeeper/log",
                "clientPort=2181",
                "tickTime=2000"
            ]
        );
        assert_eq!(properties([("ZOOKEEPER_TICK_TIME", "2000")]), None);
    }
}
