//! The generated Rust is committed; this test regenerates it and fails on a difference.
//!
//! `UPDATE=1 cargo test -p prom-remote --test codegen` writes the new text.

use std::{fs, path::Path};

use prost_build::{Config, Module};

#[test]
fn generated_code_is_current() {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let proto_root = crate_root.join("../../proto");
    let descriptors =
        protox::compile(["prometheus/remote.proto", "io/prometheus/write/v2.proto"], [&proto_root])
            .expect("our .proto files compile");
    let requests = descriptors
        .file
        .into_iter()
        .map(|file| (Module::from_protobuf_package_name(file.package()), file))
        .collect();
    let generated = Config::new().generate(requests).expect("prost generates our messages");
    assert_eq!(generated.len(), 2, "one Rust module per package");
    for (module, text) in generated {
        let path = crate_root.join("src/generated").join(module.to_file_name_or("prometheus"));
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &text).expect("the generated file is writable");
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "{} is out of date: run with UPDATE=1", path.display());
    }
}
