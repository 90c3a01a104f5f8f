//! An XOR2 chunk.

use prom_chunks::Xor2Samples;

pub(crate) fn run(data: &[u8]) {
    let Ok(walk) = Xor2Samples::new(data) else { return };
    let most = walk.remaining();
    let mut failed = false;
    let mut count = 0;
    for sample in walk {
        assert!(!failed, "nothing comes after an error");
        failed = sample.is_err();
        count += 1;
    }
    assert!(count <= most);
    assert!(failed || count == most);
}
