//! The few requests that commands make to services of a testbed.

use std::time::Duration;

pub async fn get(url: &str) -> Result<String, String> {
    ask(reqwest::Method::GET, url).await
}

pub async fn post(url: &str) -> Result<String, String> {
    ask(reqwest::Method::POST, url).await
}

async fn ask(method: reqwest::Method, url: &str) -> Result<String, String> {
    let failed = |error: reqwest::Error| format!("{url}: {}", error.without_url());
    let client =
        reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().map_err(failed)?;
    let answer = client.request(method, url).send().await.map_err(failed)?;
    let status = answer.status();
    let text = answer.text().await.map_err(failed)?;
    if status.is_success() { Ok(text) } else { Err(format!("{url} answers {status}: {}", text.trim())) }
}
