//! Jars straight from Maven Central or a mirror, each at the address that its coordinate gives.

use std::path::Path;

use super::{JarError, MAX_JAR};
use crate::provision::{
    Setup,
    download::{Downloader, Remote},
    pins::Pin,
};

/// Fetches `pins` into `folder`, one after the other; what has arrived stays, so an interrupted run goes on.
///
/// `on_jar` gets the number of jars done, and the name of the next one.
pub(super) async fn fetch(
    pins: &[Pin],
    folder: &Path,
    setup: &Setup<'_>,
    mut on_jar: impl FnMut(u64, &str),
) -> Result<(), JarError> {
    let downloader = Downloader::new(setup.fetching.silence, &setup.environment)?;
    let base = setup.fetching.maven_central.trim_end_matches('/');
    for (done, pin) in (0..).zip(pins) {
        let name = pin.file_name();
        on_jar(done, &name);
        let url = format!("{base}/{}", pin.repository_path());
        let remote = Remote { url: &url, sha256: pin.sha256, limit: MAX_JAR };
        downloader.fetch(remote, &folder.join(&name), |_, _| {}).await?;
    }
    Ok(())
}
