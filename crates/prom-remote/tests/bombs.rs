//! Requests made to hurt: each is an error or costs bounded memory. Looking at one takes at most twice the limit of the
//! body; editing one as much, the added labels and the verdicts; converting one four times the limit. Reading a streamed
//! answer takes at most twice the limits of a frame and of a series.
//!
//! One test, so that nothing else allocates while it measures.

#![expect(unsafe_code, reason = "an allocator that counts has no other form")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

use prom_remote::{
    Compressor, LabelSplicer, Limits, ReadStream, WriteRequestV2View, WriteRequestView, convert_to_v1,
    convert_to_v2, decompress, validate, validate_v2, write_frame,
};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The highest use of memory since it was `before`, while `work` runs.
fn peak_since(before: usize, work: impl FnOnce()) -> usize {
    PEAK.store(NOW.load(Ordering::Relaxed), Ordering::Relaxed);
    work();
    PEAK.load(Ordering::Relaxed).saturating_sub(before)
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn field(key: u8, content: &[u8]) -> Vec<u8> {
    [&[key][..], &varint(content.len()), content].concat()
}

/// A message in a message, as deep as the bytes allow.
fn nested(depth: usize, key: u8) -> Vec<u8> {
    let mut lengths = vec![0_usize];
    for _ in 0..depth {
        let inner = lengths[lengths.len() - 1];
        lengths.push(1 + varint(inner).len() + inner);
    }
    lengths.iter().rev().skip(1).flat_map(|&length| [vec![key], varint(length)].concat()).collect()
}

/// For what stops at a limit.
const BODY: usize = 32 << 20;
/// For what is walked to its end.
const SMALL_BODY: usize = 1 << 20;

/// Messages of up to 32 MiB.
fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let repeated = |bytes: &[u8], count: usize| bytes.repeat(count);
    vec![
        ("empty 1.0 series", repeated(&[0x0a, 0], BODY / 2)),
        ("empty 2.0 series", repeated(&[0x2a, 0], BODY / 2)),
        ("a million labels", field(0x0a, &repeated(&[0x0a, 6, 0x0a, 1, b'a', 0x12, 1, b'b'], 1_000_000))),
        ("a million labels with one name each", {
            let label =
                |index: u32| field(0x0a, &[&field(0x0a, &index.to_be_bytes())[..], &[0x12, 1, 1]].concat());
            field(0x0a, &(0..1_000_000).flat_map(label).collect::<Vec<_>>())
        }),
        ("ten million symbols", repeated(&[0x22, 0], 10_000_000)),
        ("a million references", field(0x2a, &field(0x0a, &repeated(&[0], 1_000_000)))),
        ("a million unpacked references", field(0x2a, &repeated(&[0x08, 0], 1_000_000))),
        ("half a million samples", field(0x0a, &repeated(&[0x12, 0], 500_000))),
        ("half a million spans", field(0x0a, &field(0x22, &repeated(&[0x5a, 0], 500_000)))),
        ("metadata", repeated(&[0x1a, 0], SMALL_BODY / 2)),
        ("unknown fields", repeated(&[0x48, 0], SMALL_BODY / 2)),
        ("deep messages", nested(200_000, 0x0a)),
        ("deep 2.0 messages", nested(200_000, 0x2a)),
        ("deep groups", repeated(&[0x4b], SMALL_BODY)),
        ("groups one behind the other", repeated(&[0x4b, 0x4c], SMALL_BODY / 2)),
        ("groups never opened", repeated(&[0x4c], 1_000)),
        ("group in a series", field(0x0a, &repeated(&[0x7b], SMALL_BODY / 2))),
    ]
}

type Work = fn(&[u8]);

/// What can be done with a message, and the most memory that it may take, the message itself included: times
/// the limit of the body, and whether something may be added.
const WORK: [(&str, usize, bool, Work); 10] = [
    ("summary", 2, false, |message| {
        let _ = WriteRequestView::new(message).summary(&Limits::default());
    }),
    ("summary of 2.0", 2, false, |message| {
        let limits = Limits::default();
        let _ = WriteRequestV2View::new(message, &limits).and_then(|view| view.summary(&limits));
    }),
    ("validate", 2, false, |message| drop(validate(message, &Limits::default()))),
    ("validate_v2", 2, false, |message| drop(validate_v2(message, &Limits::default()))),
    ("splice", 2, true, |message| {
        let _ = splicer().splice(message, &Limits::default(), &mut Vec::new());
    }),
    ("splice_valid", 2, true, |message| {
        let _ = splicer().splice_valid(message, &Limits::default(), &mut Vec::new());
    }),
    ("splice_v2", 2, true, |message| {
        let _ = splicer().splice_v2(message, &Limits::default(), &mut Vec::new());
    }),
    ("splice_valid_v2", 2, true, |message| {
        let _ = splicer().splice_valid_v2(message, &Limits::default(), &mut Vec::new());
    }),
    ("convert_to_v1", 4, true, |message| drop(convert_to_v1(message, &Limits::default()))),
    ("convert_to_v2", 4, true, |message| {
        let _ = convert_to_v2(message, &Limits::default(), &mut Vec::new());
    }),
];

/// Limits of a streamed answer that are reached soon.
const FRAME: usize = 1 << 20;

fn read_limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_frame_bytes = FRAME;
    limits.max_series_bytes = FRAME;
    limits
}

/// What the server sends in place of the frame of this number.
type Frames = fn(usize) -> Vec<u8>;

/// Frames that come without end.
const FRAMES: [(&str, Frames); 7] = [
    ("tiny frames", |_| framed(&[0x0a, 0])),
    ("empty frames", |_| framed(&[])),
    ("a series for each frame", |index| framed(&series_frame(&index.to_be_bytes(), b""))),
    ("one series without end", |_| framed(&series_frame(b"same", &[7; 100]))),
    ("large frames of tiny labels", |_| {
        let labels = [0x0a, 6, 0x0a, 1, b'a', 0x12, 1, b'b'].repeat(200);
        framed(&field(0x0a, &labels).repeat(FRAME / 1_700))
    }),
    ("large frames of empty chunks", |_| framed(&field(0x0a, &[0x12, 0].repeat(FRAME / 2 - 10)))),
    ("a frame that is never whole", |index| if index == 0 { varint(FRAME) } else { vec![7; 1_000] }),
];

/// Beginnings of frames that cannot be.
const HEADERS: [(&str, &[u8]); 3] = [
    ("a huge length", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
    ("an endless length", &[0x80; 64]),
    ("a length over the limit", &[0x81, 0x80, 0x40]),
];

fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    write_frame(message, &mut frame);
    frame
}

/// A series of one label and one chunk.
fn series_frame(value: &[u8], chunk: &[u8]) -> Vec<u8> {
    let label = [&[0x0a, 1, b'a'][..], &field(0x12, value)].concat();
    field(0x0a, &[field(0x0a, &label), field(0x12, &field(0x22, chunk))].concat())
}

/// Reads frames until an error, or until 8 MiB have come.
fn read_frames(frames: Frames) {
    let mut stream = ReadStream::new(1, &read_limits());
    let mut sent = 0;
    for index in 0.. {
        let frame = frames(index);
        sent += frame.len().max(1);
        for piece in frame.chunks(64 << 10) {
            stream.push(piece);
            loop {
                match stream.next_series() {
                    Ok(Some(series)) => drop(series),
                    Ok(None) => break,
                    Err(_) => return,
                }
            }
        }
        if sent > 8 * FRAME {
            return;
        }
    }
}

/// A frame and what was read of it, each with the room that growing takes, and the frame that is being sent.
fn read_bombs_cost_at_most_the_limits() {
    for (bomb, frames) in FRAMES {
        let before = NOW.load(Ordering::Relaxed);
        let peak = peak_since(before, || read_frames(frames));
        let bound = 2 * (FRAME + FRAME) + 3 * frames(1).len();
        assert!(peak <= bound, "{bomb}: {peak} bytes");
    }
    for (bomb, header) in HEADERS {
        let before = NOW.load(Ordering::Relaxed);
        let peak = peak_since(before, || {
            let mut stream = ReadStream::new(1, &read_limits());
            stream.push(header);
            let first = stream.next_series();
            assert!(first.is_err() || stream.finish().is_err(), "{bomb}");
        });
        assert!(peak < 16 << 10, "{bomb}: {peak} bytes");
    }
}

/// What the labels add to the second buffer, and verdicts on as many series as are allowed.
const ADDED: usize = 16 << 20;

fn splicer() -> LabelSplicer {
    LabelSplicer::new("source", "kafka").expect("a plain label")
}

#[test]
fn bombs_cost_at_most_twice_the_limit() {
    let header_of_4_gib = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    let before = NOW.load(Ordering::Relaxed);
    let peak = peak_since(before, || {
        decompress(&header_of_4_gib, &Limits::default(), &mut Vec::new()).expect_err("far over the limit");
    });
    assert!(peak < 1_024, "{peak} bytes for a header");
    for (bomb, message) in bombs() {
        let mut block = Vec::new();
        Compressor::new().compress(&message, &mut block).expect("32 MiB are no problem");
        let (body, added) = if message.len() <= SMALL_BODY { (SMALL_BODY, 1 << 20) } else { (BODY, ADDED) };
        assert!(message.len() <= BODY);
        drop(message);
        let before = NOW.load(Ordering::Relaxed);
        let mut message = Vec::new();
        decompress(&block, &Limits::default(), &mut message).expect("within the limits");
        for (name, times, is_editing, work) in WORK {
            let peak = peak_since(before, || work(&message));
            let bound = times * body + if is_editing { added } else { 0 };
            assert!(peak <= bound, "{name} of {bomb}: {peak} bytes");
        }
    }
    read_bombs_cost_at_most_the_limits();
}
