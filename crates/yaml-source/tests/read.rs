//! Typed reading: values, and every fault with its path.

use std::time::Duration;

use yaml_source::{Diagnostics, Limits, MappingReader, ScalarRules, Source, ValueReader, parse, value};

/// Reads the value of the key `v` with `read`; the result or the messages.
fn one<T>(text: &str, read: impl FnOnce(ValueReader<'_>) -> Option<T>) -> Result<T, String> {
    all(text, |reader| reader.required("v", read))
        .and_then(|value| value.ok_or_else(|| "no value and no message".to_owned()))
}

fn all<T>(text: &str, read: impl FnOnce(&mut MappingReader<'_>) -> T) -> Result<T, String> {
    let parsed = parse(&Source::new("t.yaml", text), &Limits::default());
    let mut diagnostics = parsed.diagnostics;
    let root = parsed.root.ok_or_else(|| "empty".to_owned())?;
    let mut reader = MappingReader::new(&root, &mut diagnostics);
    let value = read(&mut reader);
    reader.finish();
    if diagnostics.is_empty() { Ok(value) } else { Err(messages(diagnostics)) }
}

fn messages(diagnostics: Diagnostics) -> String {
    let one = |found: &yaml_source::Diagnostic| match &found.hint {
        Some(hint) => {
            format!("{}:{} {} [{hint}]", found.span.start.line, found.span.start.column, found.message)
        }
        None => format!("{}:{} {}", found.span.start.line, found.span.start.column, found.message),
    };
    let lines: Vec<String> = diagnostics.into_sorted().iter().map(one).collect();
    lines.join("\n")
}

#[track_caller]
fn check<T: std::fmt::Debug + PartialEq>(
    written: &str,
    read: impl FnOnce(ValueReader<'_>) -> Option<T>,
    expected: T,
) {
    assert_eq!(one(&format!("v: {written}\n"), read), Ok(expected), "{written}");
}

#[track_caller]
fn check_err<T: std::fmt::Debug + PartialEq>(
    written: &str,
    read: impl FnOnce(ValueReader<'_>) -> Option<T>,
    expected: &str,
) {
    assert_eq!(one(&format!("v: {written}\n"), read), Err(expected.to_owned()), "{written}");
}

#[test]
fn reads_values() {
    check("abc", value::text, "abc".to_owned());
    check("'12'", value::text, "12".to_owned());
    check("1.10", value::scalar_text, "1.10".to_owned());
    check("True", value::scalar_text, "True".to_owned());
    check("true", value::boolean, true);
    check("-7", value::integer::<i8>, -7);
    check("9", value::integer_in(1_u8..=9), 9);
    check("65535", value::port, 65_535);
    check("1", value::float, 1.0);
    check("0.25", value::float_in(0.0..=1.0), 0.25);
    check("1h30m", value::duration, Duration::from_secs(5_400));
    check("0", value::duration, Duration::ZERO);
    check("2GiB", value::byte_size, 2 << 30);
    check("512", value::byte_size, 512);
    check(
        "127.0.0.1",
        value::parsed::<std::net::IpAddr>("an IP address"),
        std::net::IpAddr::from([127, 0, 0, 1]),
    );
    check("on", value::one_of(&[("on", 1), ("off", 2)]), 1);
    check("[a, b]", value::list(value::text), vec!["a".to_owned(), "b".into()]);
    check("a", value::list_or_one(value::text), vec!["a".to_owned()]);
    check(
        "{a: 1, b: True, c: }",
        value::text_map,
        vec![("a".to_owned(), "1".to_owned()), ("b".into(), "True".into()), ("c".into(), String::new())],
    );
    check("{b: 1, a: 2}", value::map_of(value::port), vec![("b".to_owned(), 1), ("a".into(), 2)]);
    check(
        "x",
        value::spanned(value::text),
        yaml_source::Spanned { value: "x".to_owned(), span: Source::new("t.yaml", "v: x\n").span(3..4) },
    );
}

#[test]
fn reports_wrong_values() {
    check_err("12", value::text, "1:4 v: expected text, found the number `12` [write it in quotes: \"12\"]");
    check_err("[a]", value::text, "1:4 v: expected text, found a list");
    check_err("' '", value::non_empty_text, "1:4 v: expected text, found nothing but white space");
    check_err(
        "yes",
        value::boolean,
        "1:4 v: expected `true` or `false`, found the text `yes` [write true, without quotes]",
    );
    check_err("maybe", value::boolean, "1:4 v: expected `true` or `false`, found the text `maybe`");
    check_err("300", value::integer::<u8>, "1:4 v: the number 300 is out of range");
    check_err("'3'", value::integer::<u8>, "1:4 v: expected an integer, found the text `3`");
    check_err(
        "10",
        value::integer_in(1_u8..=9),
        "1:4 v: expected an integer from 1 to 9, found the number `10`",
    );
    check_err(
        "1.5",
        value::integer_in(1_u8..=9),
        "1:4 v: expected an integer from 1 to 9, found the number `1.5`",
    );
    check_err("0", value::port, "1:4 v: expected a port number (1 to 65535), found the number `0`");
    check_err("65536", value::port, "1:4 v: expected a port number (1 to 65535), found the number `65536`");
    check_err(".nan", value::float, "1:4 v: expected a number, found the number `.nan`");
    check_err(
        ".nan",
        value::float_in(0.0..=1.0),
        "1:4 v: expected a number from 0 to 1, found the number `.nan`",
    );
    check_err(
        "5",
        value::duration,
        "1:4 v: expected a duration such as `500ms`, `15s` or `1h30m`, found `5`: a unit is missing, such as `5s` or `5ms`",
    );
    check_err("0s", value::positive_duration, "1:4 v: the duration must be longer than zero");
    check_err(
        "2x",
        value::byte_size,
        "1:4 v: expected a size such as `512`, `256m` or `2GiB`, found `2x`: unknown unit `x`; known are b, k, m, g, t, p, also as KB or KiB",
    );
    check_err(
        "{}",
        value::byte_size,
        "1:4 v: expected a size such as `512`, `256m` or `2GiB`, found a mapping",
    );
    check_err(
        "localhost",
        value::parsed::<std::net::IpAddr>("an IP address"),
        "1:4 v: expected an IP address, found `localhost`: invalid IP address syntax",
    );
    check_err(
        "natvie",
        value::one_of(&[("native", 1), ("compose", 2)]),
        "1:4 v: expected one of `native`, `compose`, found `natvie` [did you mean `native`?]",
    );
    check_err("x", value::list(value::text), "1:4 v: expected a list, found the text `x`");
    check_err("[]", value::non_empty_list(value::text), "1:4 v: the list must not be empty");
    check_err(
        "[1, a, 99999]",
        value::list(value::port),
        "1:8 v[1]: expected a port number (1 to 65535), found the text `a`\n1:11 v[2]: expected a port number (1 to 65535), found the number `99999`",
    );
    check_err("{a: [1]}", value::text_map, "1:8 v.a: expected a single value, found a list");
    check_err("{[a]: 1}", value::text_map, "1:5 v: expected text as key, found a list");
    check_err("", value::text, "1:1 v: a value is missing");
}

#[test]
fn reports_all_faults_of_a_file_at_once() {
    fn broker(value: ValueReader<'_>) -> Option<u16> {
        let mut reader = value.mapping()?;
        let port = reader.required("port", value::port);
        let _heap = reader.or("heap", value::byte_size, 0);
        reader.finish();
        port
    }
    fn kafka(value: ValueReader<'_>) -> Option<Vec<u16>> {
        let mut reader = value.mapping()?;
        let brokers = reader.required("brokers", value::list(broker));
        reader.finish();
        brokers
    }
    let text =
        "kafka:\n  brokers:\n    - port: 1\n    - port: x\n      haep: 1\n    - {}\n    - 3\nmode: fast\n";
    let found = all(text, |reader| reader.required("kafka", kafka));
    let expected = "4:13 kafka.brokers[1].port: expected a port number (1 to 65535), found the text `x`\n\
                    5:7 kafka.brokers[1]: unknown key `haep` [did you mean `heap`?]\n\
                    6:7 kafka.brokers[2]: the key `port` is missing\n\
                    7:7 kafka.brokers[3]: expected a mapping, found the number `3`\n\
                    8:1 unknown key `mode` [known keys here are `kafka`]";
    assert_eq!(found, Err(expected.to_owned()));
}

#[test]
fn null_counts_as_absent() {
    assert_eq!(
        all("a:\nb: ~\n", |reader| (reader.optional("a", value::port), reader.or("b", value::port, 7))),
        Ok((None, 7))
    );
    let nested = all("a:\n", |reader| reader.take("a").is_some());
    assert_eq!(nested, Ok(true));
}

#[test]
fn a_root_that_is_no_mapping_is_reported_once() {
    let found = all("- 1\n", |reader| reader.required("name", value::text));
    assert_eq!(found, Err("1:1 expected a mapping, found a list".to_owned()));
}

#[test]
fn merged_and_aliased_values_show_how_they_came() {
    let source = Source::new("t.yaml", "x-a: &a {port: x}\nb: {<<: *a}\nc: *a\n");
    let parsed = parse(&source, &Limits::default());
    let mut diagnostics = parsed.diagnostics;
    let root = parsed.root.expect("a root");
    let mut reader = MappingReader::new(&root, &mut diagnostics);
    let extensions = reader.take_where(|key| key.starts_with("x-"));
    assert_eq!(extensions.len(), 1);
    let read = |value: ValueReader<'_>| {
        let mut reader = value.mapping()?;
        reader.optional("port", value::port)
    };
    reader.optional("b", read);
    reader.optional("c", value::port);
    reader.finish();
    let rendered = diagnostics.to_string();
    assert!(rendered.contains("t.yaml:1:16: error: b.port: expected a port"), "{rendered}");
    assert!(rendered.contains("t.yaml:2:5: merged into the mapping here"), "{rendered}");
    assert!(rendered.contains("t.yaml:1:9: error: c: expected a port"), "{rendered}");
    assert!(rendered.contains("t.yaml:3:4: used through this alias"), "{rendered}");
}

#[test]
fn rules_reach_nested_values() {
    let parsed = parse(&Source::new("t.yaml", "a: [012]"), &Limits::default());
    let mut diagnostics = Diagnostics::default();
    let mut reader =
        MappingReader::with_rules(&parsed.root.expect("a root"), ScalarRules::Go, &mut diagnostics);
    assert_eq!(reader.optional("a", value::list(value::integer::<u8>)), Some(vec![10]));
}
