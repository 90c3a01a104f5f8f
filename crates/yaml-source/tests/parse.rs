//! Texts and what they mean; faults and where they are shown.

use yaml_source::{Limits, Node, Parsed, ScalarRules, Source, Tree, Value, emit, parse, parse_documents};

fn read(text: &str, limits: &Limits) -> Parsed {
    parse(&Source::new("t.yaml", text), limits)
}

/// The meaning of `text`, written as canonical YAML, must be `expected`.
#[track_caller]
fn check(text: &str, expected: &str) {
    let parsed = read(text, &Limits::default());
    assert!(parsed.diagnostics.is_empty(), "{}", parsed.diagnostics);
    let tree = parsed.root.map_or(Tree::Null, |root| Tree::from_node(&root, ScalarRules::Core));
    assert_eq!(emit(&tree).trim_end(), expected.trim_end());
}

/// Every finding of `text`, as `line:column: message`.
#[track_caller]
fn check_err(text: &str, expected: &[&str]) {
    assert_eq!(headlines(&read(text, &Limits::default())), expected, "{text}");
}

fn headlines(parsed: &Parsed) -> Vec<String> {
    let short = |headline: String| headline.trim_start_matches("t.yaml:").replace(" error:", "");
    parsed.diagnostics.iter().map(|diagnostic| short(diagnostic.headline())).collect()
}

#[test]
fn understands_ordinary_texts() {
    check("a: 1\nb: [x, 'y', {c: ~}]\n", "a: 1\nb:\n  - x\n  - \"y\"\n  - c: null\n");
    check("\u{feff}a: 1\r\nb: 2\r\n", "a: 1\nb: 2\n");
    check("a:\n- 1\n- 2\n", "a:\n  - 1\n  - 2\n");
    check("", "null");
    check("# nothing\n", "null");
    check("a: |\n  x\n  y\nb: >\n  x\n  y\n", "a: |\n  x\n  y\nb: |\n  x y\n");
    check("{a: 1, b: 2}", "a: 1\nb: 2\n");
    check("a: !!str 1\nb: !!int '2'\nc: !reset x", "a: \"1\"\nb: 2\nc: x\n");
    check("--- # only\na: 1\n...\n", "a: 1\n");
}

#[test]
fn follows_aliases_and_merges() {
    check("a: &x {b: 1}\nc: *x\n", "a:\n  b: 1\nc:\n  b: 1\n");
    check("a: &x 1\nb: &x 2\nc: *x\n", "a: 1\nb: 2\nc: 2\n");
    check("x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\n", "x:\n  a: 1\n  b: 2\n\"y\":\n  a: 1\n  b: 3\n");
    check("y: {b: 3, <<: {a: 1, b: 2}}", "\"y\":\n  b: 3\n  a: 1\n");
    check("y: {<<: [{a: 1}, {a: 2, b: 2}]}", "\"y\":\n  a: 1\n  b: 2\n");
    check(
        "l: &l [{a: 1}, {a: 2, b: 2}]\ny: {<<: *l, c: 3}",
        "l:\n  - a: 1\n  - a: 2\n    b: 2\n\"y\":\n  a: 1\n  b: 2\n  c: 3\n",
    );
    check("y: {'<<': {a: 1}}", "\"y\":\n  \"<<\":\n    a: 1\n");
    check("y: {<<: {<<: {a: 1}, b: 2}}", "\"y\":\n  a: 1\n  b: 2\n");
    check(
        "x: &x {a: 1}\ny: &y {<<: *x, b: 2}\nz: {<<: *y}",
        "x:\n  a: 1\n\"y\":\n  a: 1\n  b: 2\nz:\n  a: 1\n  b: 2\n",
    );
}

#[test]
fn reports_faults_with_their_places() {
    check_err("a: 1\nb: 2\na: 3\n", &["3:1: the key `a` stands twice in the same mapping"]);
    check_err(
        "a: 1\n'a': 3\nb: {c: 1, c: 2}",
        &[
            "2:1: the key `a` stands twice in the same mapping",
            "3:11: the key `c` stands twice in the same mapping",
        ],
    );
    check_err(
        "a: *b\nc: *b",
        &["1:4: no anchor `&b` stands before this alias", "2:4: no anchor `&b` stands before this alias"],
    );
    check_err("a: &b [*b]", &["1:8: this alias stands inside its own anchor"]);
    check_err("<<: 3\n", &["1:5: `<<` merges a mapping or a list of mappings, but this is the number `3`"]);
    check_err(
        "<<: [{a: 1}, x]\n",
        &["1:14: `<<` merges a mapping or a list of mappings, but this is the text `x`"],
    );
    check_err("<<: {a: 1}\n<<: {b: 1}\n", &["2:1: a second `<<` in the same mapping"]);
    check_err("a: 1\n---\nb: 1\n", &["3:1: a second document begins here, but only one is read"]);
    check_err("a: 'x\n", &["1:4: unclosed quote"]);
}

#[test]
fn a_duplicate_key_names_both_places_and_the_first_counts() {
    let parsed = read("a: 1\nb: 2\na: 3\n", &Limits::default());
    let label = &parsed.diagnostics[0].labels[0];
    assert_eq!(
        (label.span.location(), label.message.as_str()),
        ("t.yaml:1:1".to_owned(), "the first one stands here")
    );
    assert_eq!(emit(&Tree::from_node(&parsed.root.expect("a root"), ScalarRules::Core)), "a: 1\nb: 2\n");
}

#[test]
fn tabs_get_a_hint() {
    let parsed = read("a:\n\tb: 1\n", &Limits::default());
    assert!(parsed.root.is_none());
    assert!(
        parsed.diagnostics[0].hint.as_deref().is_some_and(|hint| hint.contains("begins with a tab")),
        "{}",
        parsed.diagnostics
    );
}

#[test]
fn several_documents_are_read_in_order() {
    let documents =
        parse_documents(&Source::new("t.yaml", "a: &x 1\n---\nb: 2\n---\n- *x\n"), &Limits::default());
    assert_eq!(documents.roots.len(), 3);
    assert_eq!(documents.diagnostics[0].message, "no anchor `&x` stands before this alias");
}

#[test]
fn spans_cover_what_is_written() {
    #[track_caller]
    fn check(text: &str, path: &[&str], expected: &str) {
        let root = read(text, &Limits::default()).root.expect("a root");
        let node = path.iter().fold(&root, |node, step| match step.parse::<usize>() {
            Ok(index) => &node.as_sequence().expect("a list")[index],
            Err(_) => node.get(step).expect("a key"),
        });
        assert_eq!(node.span.text(), expected);
    }
    let text = "a:\n  b: [x, 'y z']\n  c:\n    - ü: \"q\"\n    - plain text # comment\nd: |\n  lines\ne:\n";
    check(text, &["a", "b"], "[x, 'y z']");
    check(text, &["a", "b", "1"], "'y z'");
    check(text, &["a", "c", "0"], "ü: \"q\"");
    check(text, &["a", "c", "0", "ü"], "\"q\"");
    check(text, &["a", "c", "1"], "plain text");
    check(text, &["a", "c"], "- ü: \"q\"\n    - plain text");
    check(text, &["e"], "");
    let root = read(text, &Limits::default()).root.expect("a root");
    let q = root
        .get("a")
        .and_then(|a| a.get("c"))
        .and_then(|c| c.as_sequence())
        .and_then(|c| c[0].get("ü"))
        .expect("q");
    assert_eq!(q.span.location(), "t.yaml:4:10", "columns count characters");
}

#[test]
fn an_alias_knows_both_places() {
    let root = read("a: &x {b: 1}\nc: *x\nd: {<<: *x}\n", &Limits::default()).root.expect("a root");
    let c = root.get("c").expect("c");
    assert_eq!(
        (c.span.location(), c.alias.as_ref().expect("alias").location()),
        ("t.yaml:1:7".into(), "t.yaml:2:4".into())
    );
    let merged = root.get("d").and_then(Node::as_mapping).and_then(|d| d.entry("b")).expect("b");
    assert_eq!(merged.merged.as_ref().map(|span| span.location()), Some("t.yaml:3:5".into()));
}

fn bomb(levels: usize, open: &str, close: &str) -> String {
    let mut text = format!("a0: &a0 {open}x: 1{close}\n");
    for level in 1..=levels {
        let alias = format!("*a{}", level - 1);
        let list = vec![alias; 9].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }
    text
}

#[test]
fn alias_bombs_are_refused_where_they_explode() {
    let started = std::time::Instant::now();
    for levels in [8, 30, 80] {
        let parsed = read(&bomb(levels, "{", "}"), &Limits::default());
        assert!(parsed.root.is_none());
        assert_eq!(parsed.diagnostics.len(), 1, "{}", parsed.diagnostics);
        assert!(parsed.diagnostics[0].message.starts_with("the text expands to more than 200000 nodes"));
    }
    assert!(read(&bomb(3, "{", "}"), &Limits::default()).root.is_some());
    // The same keys again and again: nothing is added, but the work counts.
    let mut merges = String::from("a: &a {");
    (0..1000).for_each(|index| merges.push_str(&format!("k{index}: 1, ")));
    merges.push_str("}\nb:\n  <<: [");
    merges.push_str(&"*a, ".repeat(1000));
    merges.push_str("]\n");
    assert!(read(&merges, &Limits::default()).root.is_none());
    assert!(started.elapsed().as_secs() < 10, "bounded work");
}

#[test]
fn limits_hold_exactly() {
    let text = "a: [1, 2]\n";
    // Root, key, list and two numbers.
    let limits = |nodes, depth, text_bytes| Limits { nodes, depth, text_bytes, ..Limits::default() };
    let check = |limits: &Limits, expected: &[&str]| assert_eq!(headlines(&read(text, limits)), expected);
    check(&limits(5, 2, 10), &[]);
    check(&limits(4, 2, 10), &["1:1: the text expands to more than 4 nodes here"]);
    check(&limits(5, 1, 10), &["1:4: more than 1 lists and mappings stand inside each other here"]);
    check(&limits(5, 2, 9), &["1:1: the text has 10 bytes, but at most 9 are read"]);
}

#[test]
fn long_texts_count_at_every_alias() {
    let text =
        |aliases: usize| format!("a: &a {}\nb: [{}]\n", "x".repeat(1_000), vec!["*a"; aliases].join(", "));
    let limits = Limits { expanded_bytes: 10_002, ..Limits::default() };
    assert_eq!(headlines(&read(&text(9), &limits)), [""; 0]);
    assert_eq!(
        headlines(&read(&text(10), &limits)),
        ["2:41: the text expands to more than 10002 bytes here"]
    );
    let bomb = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), "*a, ".repeat(100_000));
    assert!(read(&bomb, &Limits::default()).root.is_none());
}

#[test]
fn depth_counts_through_aliases() {
    let text = "a: &a [[[1]]]\nb: [[*a]]\n";
    assert!(read(text, &Limits { depth: 6, ..Limits::default() }).diagnostics.is_empty());
    let parsed = read(text, &Limits { depth: 5, ..Limits::default() });
    assert_eq!(headlines(&parsed), ["2:6: more than 5 lists and mappings stand inside each other here"]);
}

#[test]
fn any_depth_is_refused_without_overflowing_the_stack() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", "")] {
        let text = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        let parsed = read(&text, &Limits { depth: usize::MAX, ..Limits::default() });
        assert!(parsed.root.is_none() && parsed.diagnostics.has_errors(), "{open}");
    }
    let deepest = format!("{}1{}", "[".repeat(250), "]".repeat(250));
    let parsed = read(&deepest, &Limits { depth: usize::MAX, ..Limits::default() });
    assert!(parsed.root.is_some(), "{}", parsed.diagnostics);
}

#[test]
fn diagnostics_are_bounded() {
    let text = "a: 1\n".repeat(10_000);
    let parsed = read(&text, &Limits::default());
    assert_eq!((parsed.diagnostics.len(), parsed.diagnostics.error_count()), (100, 9_999));
}

#[test]
fn keys_may_be_anything_scalar() {
    let root = read("1: a\n? [x]\n: b\n~: c\n", &Limits::default()).root.expect("a root");
    let names: Vec<_> =
        root.as_mapping().expect("a mapping").iter().map(|entry| entry.name().map(str::to_owned)).collect();
    assert_eq!(names, [Some("1".to_owned()), None, Some("~".to_owned())]);
    assert!(matches!(root.as_mapping().expect("a mapping")[1].key.value, Value::Sequence(_)));
}
