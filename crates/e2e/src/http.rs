//! HTTP and what comes over it: pages of metrics, answers of Prometheus.

use std::{collections::BTreeMap, future::Future, sync::OnceLock, time::Duration};

use serde_json::Value;
use tokio::runtime::Runtime;

/// One series with its present value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Name of the metric; empty where a query dropped it.
    pub name: String,
    /// All other labels.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

impl Sample {
    /// The value of a label; empty when absent.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// A page of metrics in the text format.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page(Vec<Sample>);

impl Page {
    /// Fetches the page at `url`.
    ///
    /// # Errors
    /// No page came.
    pub fn fetch(url: &str) -> Result<Self, String> {
        Ok(Self::parse(&get(url)?))
    }

    /// Reads a page; lines that are no samples are left out.
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(parse_line).collect())
    }

    /// All samples.
    pub fn samples(&self) -> &[Sample] {
        &self.0
    }

    /// The samples of one metric.
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| sample.name == name)
    }

    /// The sum over the series of one metric.
    pub fn sum(&self, name: &str) -> f64 {
        self.of(name).map(|sample| sample.value).sum()
    }

    /// The value of the one series of `name` where `label` is `value`.
    ///
    /// # Errors
    /// There is no such series.
    pub fn value(&self, name: &str, label: (&str, &str)) -> Result<f64, String> {
        self.of(name)
            .find(|sample| sample.label(label.0) == label.1)
            .map(|sample| sample.value)
            .ok_or_else(|| format!("the page has no {name}{{{}=\"{}\"}}", label.0, label.1))
    }
}

/// Runs `work` on a runtime that all tests share.
pub fn block_on<F: Future>(work: F) -> F::Output {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("the runtime starts")).block_on(work)
}

/// Gets `url` as text.
///
/// # Errors
/// No answer in 10 s, or not one of success.
pub fn get(url: &str) -> Result<String, String> {
    text(client().get(url))
}

/// Posts nothing to `url`.
///
/// # Errors
/// No answer in 10 s, or not one of success.
pub fn post(url: &str) -> Result<String, String> {
    text(client().post(url))
}

/// Asks the Prometheus at `base` for the present value of `expression`.
///
/// # Errors
/// No answer, or the expression is refused.
pub fn query(base: &str, expression: &str) -> Result<Vec<Sample>, String> {
    let result = raw_query(base, expression)?;
    let elements = result.as_array().ok_or_else(|| format!("no vector: {result}"))?;
    elements
        .iter()
        .map(|element| {
            let labels = element["metric"].as_object().into_iter().flatten();
            let mut labels: BTreeMap<String, String> = labels
                .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect();
            let value = element["value"][1].as_str().and_then(|text| text.parse().ok());
            Ok(Sample {
                name: labels.remove("__name__").unwrap_or_default(),
                labels,
                value: value.ok_or_else(|| format!("no value: {element}"))?,
            })
        })
        .collect()
}

/// Asks the Prometheus at `base` for `expression` and returns the result as it stands in the answer.
///
/// # Errors
/// No answer, or the expression is refused.
pub fn raw_query(base: &str, expression: &str) -> Result<Value, String> {
    let url = format!("{base}/api/v1/query");
    let body = text(client().get(url).query(&[("query", expression)]))?;
    let mut answer: Value = serde_json::from_str(&body).map_err(|error| format!("{error} in {body}"))?;
    Ok(answer["data"]["result"].take())
}

fn client() -> reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    let build = || {
        reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(10))
            .build()
            .expect("the client is sound")
    };
    CLIENT.get_or_init(build).clone()
}

fn text(request: reqwest::RequestBuilder) -> Result<String, String> {
    block_on(async {
        let response = request.send().await.map_err(|error| format!("{error:?}"))?;
        let status = response.status();
        let body = response.text().await.map_err(|error| format!("{error:?}"))?;
        if status.is_success() { Ok(body) } else { Err(format!("{status}: {body}")) }
    })
}

/// `name{label="value",…} 1.5`, with the escapes of the text format.
fn parse_line(line: &str) -> Option<Sample> {
    if line.starts_with('#') {
        return None;
    }
    let end_of_name = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end_of_name);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, behind) = rest.trim_start_matches(',').split_once("=\"")?;
            let (value, behind) = quoted(behind)?;
            labels.insert(label.to_owned(), value);
            rest = behind.strip_prefix(',').unwrap_or(behind);
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// A label's value up to its closing quote, and what stands behind that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[index + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_page() {
        let page = Page::parse("# HELP a x\na 1\na_total{b=\"c,}\\\"\",d=\"\",} +Inf 17\n\nrubbish\n");
        assert_eq!(page.samples().len(), 2);
        assert_eq!(page.sum("a"), 1.0);
        assert_eq!(page.value("a_total", ("b", "c,}\"")), Ok(f64::INFINITY));
        assert!(page.value("a_total", ("d", "e")).is_err());
    }
}
