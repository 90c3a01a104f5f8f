//! What holds for every text and every tree.

use proptest::prelude::*;
use yaml_source::{Limits, ScalarRules, Source, Tree, emit, parse, parse_documents};

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => any::<String>(),
        4 => r#"[ \t\n\r:#\-?&*!|>'"%@`{}\[\],.~=<+_a-zA-Z0-9$\\\x00-\x1f\x7f-\xa0\u{feff}\u{2028}]{0,24}"#,
        2 => "[-+]?[0-9_.:xobeEa-fTZ-]{1,12}",
        1 => "(yes|no|on|off|null|~|true|y|n|nan|inf|<<|=|---|\\.\\.\\.){1,2}",
        1 => "[a-z]{100,1200}",
        1 => "( *[a-z:#-]{0,6} *\n){1,5}[a-z]?",
    ]
}

fn any_tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        6 => any_text().prop_map(Tree::Text),
        1 => any::<i64>().prop_map(Tree::from),
        1 => any::<f64>().prop_filter("NaN is not equal to itself", |float| !float.is_nan()).prop_map(Tree::Float),
        1 => any::<bool>().prop_map(Tree::Boolean),
        1 => Just(Tree::Null),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Tree::Sequence),
            prop::collection::btree_map(any_text(), inner, 0..6)
                .prop_map(|entries| entries.into_iter().collect::<Tree>()),
        ]
    })
}

fn read_back(text: &str) -> Result<Tree, String> {
    let limits = Limits { nodes: 1_000_000, ..Limits::default() };
    let parsed = parse(&Source::new("t.yaml", text), &limits);
    if !parsed.diagnostics.is_empty() {
        return Err(format!("{}\n{text}", parsed.diagnostics));
    }
    Ok(parsed.root.map_or(Tree::Null, |root| Tree::from_node(&root, ScalarRules::Core)))
}

/// Characters that YAML has indicators for, so that generated texts get far into the parser.
fn yaml_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("a".to_owned()),
        Just("- ".into()),
        Just(": ".into()),
        Just("\n".into()),
        Just("  ".into()),
        Just("<<: ".into()),
        Just("&a ".into()),
        Just("*a".into()),
        Just("[".into()),
        Just("]".into()),
        Just("{".into()),
        Just("}".into()),
        Just(", ".into()),
        Just("'".into()),
        Just("\"".into()),
        Just("|\n".into()),
        Just("---\n".into()),
        Just("!x ".into()),
        Just("? ".into()),
        Just("#".into()),
        Just("%".into()),
        Just("\t".into()),
        Just("\r\n".into()),
        Just("\\x4".into()),
        Just("b: 1\n".into()),
        Just("x: &a {c: 1}\n".into()),
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

// More cases: PROPTEST_CASES=20000 cargo test --package yaml-source --test properties
proptest! {
    #[test]
    fn written_trees_read_back(tree in any_tree()) {
        let text = emit(&tree);
        prop_assert_eq!(read_back(&text), Ok(tree), "{}", text);
    }

    #[test]
    fn written_text_is_text_for_go_too(text in any_text()) {
        let written = emit(&Tree::Sequence(vec![text.clone().into()]));
        let parsed = parse(&Source::new("t.yaml", written.clone()), &Limits::default());
        let root = parsed.root.expect("a root");
        prop_assert_eq!(Tree::from_node(&root, ScalarRules::Go), Tree::Sequence(vec![text.into()]), "{}", written);
    }

    #[test]
    fn no_text_panics_and_every_place_exists(text in prop_oneof![any::<String>(), yaml_like()]) {
        let source = Source::new("t.yaml", text);
        let limits = Limits { nodes: 300, depth: 10, ..Limits::default() };
        let documents = parse_documents(&source, &limits);
        for diagnostic in &documents.diagnostics {
            prop_assert!(source.text().get(diagnostic.span.bytes()).is_some(), "{:?}", diagnostic);
            let _ = diagnostic.to_string();
        }
        for root in &documents.roots {
            prop_assert!(source.text().get(root.span.bytes()).is_some(), "{:?}", root);
            let _ = emit(&Tree::from_node(root, ScalarRules::Go));
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&Source::new("t.yaml", String::from_utf8_lossy(&bytes)), &Limits::default());
    }

    #[test]
    fn lines_and_columns_agree_with_bytes(text in yaml_like()) {
        let source = Source::new("t.yaml", text);
        let parsed = parse(&source, &Limits::default());
        let mut open: Vec<_> = parsed.root.into_iter().collect();
        let mut seen = 0;
        while let Some(node) = open.pop().filter(|_| seen < 200) {
            seen += 1;
            prop_assert_eq!(node.span.start, source.position(node.span.start.offset), "{:?}", node);
            open.extend(node.as_sequence().into_iter().flat_map(|items| items.to_vec()));
            let entries = node.as_mapping().into_iter().flat_map(|entries| entries.to_vec());
            open.extend(entries.flat_map(|entry| [entry.key, entry.value]));
        }
    }
}
