//! A streamed answer. The first byte is the size of the pieces; the series are those of the stream in one piece. From
//! 128 on, what follows is a message, and the frame is put around it here: a checksum is hard to guess.

use prom_remote::{Limits, ReadStream, StreamedSeries, TimeRange, write_frame};

pub(crate) fn run(data: &[u8]) {
    let Some((piece, rest)) = data.split_first() else { return };
    let mut framed = Vec::new();
    let stream = if *piece >= 128 {
        write_frame(rest, &mut framed);
        &framed[..]
    } else {
        rest
    };
    let mut limits = Limits::default();
    limits.max_frame_bytes = 1 << 16;
    limits.max_series_bytes = 1 << 18;
    limits.max_samples = 10_000;
    limits.max_buckets = 1_000;
    let (whole, is_whole) = read(stream, stream.len().max(1), &limits);
    let (pieces, is_whole_in_pieces) = read(stream, usize::from(*piece).max(1), &limits);
    assert_eq!(is_whole, is_whole_in_pieces);
    assert_eq!(whole, pieces);
    let range = TimeRange::new(-1_000_000, i64::MAX).expect("a range");
    for series in &whole {
        let Ok(content) = series.decode(range, &limits) else { continue };
        let times: Vec<_> = content.samples.iter().map(|started| started.sample.timestamp_ms).collect();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(times.iter().all(|time| range.contains(*time)));
    }
}

fn read(stream: &[u8], piece: usize, limits: &Limits) -> (Vec<StreamedSeries>, bool) {
    let mut reader = ReadStream::new(4, limits);
    let mut all = Vec::new();
    for piece in stream.chunks(piece) {
        reader.push(piece);
        loop {
            match reader.next_series() {
                Ok(Some(series)) => all.push(series),
                Ok(None) => break,
                Err(_) => return (all, false),
            }
        }
    }
    match reader.finish() {
        Ok(last) => {
            all.extend(last);
            (all, true)
        }
        Err(_) => (all, false),
    }
}
