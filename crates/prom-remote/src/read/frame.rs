//! Frames of a streamed answer: length, checksum, message.

use thiserror::Error;

/// A streamed answer is broken, or goes over a limit.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{kind}, in frame {frame} at byte {offset} of the stream")]
pub struct FrameError {
    /// What is wrong.
    pub kind: FrameErrorKind,
    /// The frame, counted from 0.
    pub frame: u64,
    /// Where the frame starts, in bytes from the start of the stream.
    pub offset: u64,
}

/// What is wrong with a streamed answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameErrorKind {
    /// The length takes more than 64 bits.
    #[error("length of the frame is no number")]
    Length,
    /// The frame is longer than [`Limits::max_frame_bytes`](crate::Limits::max_frame_bytes).
    #[error("frame of {declared} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its length in bytes.
        declared: u64,
        /// The limit in bytes.
        limit: usize,
    },
    /// The content is not what was sent.
    #[error("checksum of the frame is {actual:#010x} instead of {expected:#010x}")]
    Checksum {
        /// The checksum that the frame carries.
        expected: u32,
        /// The checksum of its content.
        actual: u32,
    },
    /// The stream ends inside a frame: whoever sent it was cut off.
    #[error("stream ends inside a frame")]
    Truncated,
    /// Text stands where a frame should be: the server had already begun to answer when it failed, and
    /// appended its words (Prometheus does so).
    #[error("server aborted the stream: {message}")]
    Aborted {
        /// The server's words, at most 4 KiB.
        message: String,
    },
}

/// Takes a stream in pieces of any size and gives back the content of its frames.
///
/// Holds at most one frame and the piece given last: ask for frames until there is none, then give the next piece.
///
/// ```
/// use prom_remote::{FrameReader, Limits, write_frame};
///
/// let mut stream = Vec::new();
/// write_frame(b"message", &mut stream);
/// let mut reader = FrameReader::new(&Limits::default());
/// reader.push(&stream[..5]);
/// assert_eq!(reader.next_frame()?, None);
/// reader.push(&stream[5..]);
/// assert_eq!(reader.next_frame()?, Some(&b"message"[..]));
/// assert_eq!(reader.next_frame()?, None);
/// reader.finish()?;
/// # Ok::<(), prom_remote::FrameError>(())
/// ```
#[derive(Debug, Clone)]
pub struct FrameReader {
    limit: usize,
    buffer: Vec<u8>,
    /// Where the next frame starts in the buffer.
    start: usize,
    /// Where the next frame starts in the stream.
    offset: u64,
    frame: u64,
    /// Set when text was found: what follows is gathered for the message.
    failed: Option<FrameErrorKind>,
}

impl FrameReader {
    /// Starts at the beginning of a stream.
    pub fn new(limits: &crate::Limits) -> Self {
        Self {
            limit: limits.max_frame_bytes,
            buffer: Vec::new(),
            start: 0,
            offset: 0,
            frame: 0,
            failed: None,
        }
    }

    /// Gives the next piece of the stream.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        let room =
            if self.failed.is_some() { MAX_MESSAGE.saturating_sub(self.buffer.len()) } else { piece.len() };
        self.buffer.extend_from_slice(&piece[..room.min(piece.len())]);
    }

    /// Returns the content of the next frame, or `None` if more of the stream is needed.
    ///
    /// # Errors
    /// The stream is broken, or the frame is over the limit; no frame comes afterwards. Where text stands in place
    /// of a frame, the error comes with [`finish`](Self::finish), or after 4 KiB: only then is the text whole.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        if self.failed.is_some() {
            return if self.rest().len() >= MAX_MESSAGE { Err(self.error_after_failure()) } else { Ok(None) };
        }
        match parse(self.buffer.get(self.start..).unwrap_or_default(), self.limit) {
            Ok(Some(frame)) => {
                let end = self.start + frame.end;
                let content = self.start + frame.content..end;
                (self.offset, self.frame) = (self.offset + frame.end as u64, self.frame + 1);
                self.start = end;
                Ok(self.buffer.get(content))
            }
            Ok(None) => Ok(None),
            Err(kind) => {
                self.failed = Some(kind);
                if text(self.rest()).is_some() && self.rest().len() < MAX_MESSAGE {
                    return Ok(None);
                }
                Err(self.error_after_failure())
            }
        }
    }

    /// Says that the stream has ended.
    ///
    /// # Errors
    /// It ended inside a frame, or with the words of a server that failed.
    pub fn finish(&mut self) -> Result<(), FrameError> {
        if self.failed.is_some() {
            return Err(self.error_after_failure());
        }
        if self.rest().is_empty() {
            return Ok(());
        }
        self.failed = Some(FrameErrorKind::Truncated);
        Err(self.error_after_failure())
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    fn error_after_failure(&self) -> FrameError {
        let kind = match (text(self.rest()), &self.failed) {
            (Some(text), _) => FrameErrorKind::Aborted { message: text.trim_end().to_owned() },
            (None, Some(kind)) => kind.clone(),
            (None, None) => FrameErrorKind::Truncated,
        };
        FrameError { kind, frame: self.frame, offset: self.offset }
    }
}

/// Appends a frame around a message.
pub fn write_frame(message: &[u8], stream: &mut Vec<u8>) {
    crate::wire::put_varint(stream, message.len() as u64);
    stream.extend_from_slice(&crc32c::crc32c(message).to_be_bytes());
    stream.extend_from_slice(message);
}

/// Where the content of a frame starts and ends.
struct Frame {
    content: usize,
    end: usize,
}

fn parse(bytes: &[u8], limit: usize) -> Result<Option<Frame>, FrameErrorKind> {
    let Some((declared, length_bytes)) = length(bytes)? else { return Ok(None) };
    let content = length_bytes + 4;
    let length = usize::try_from(declared).ok().filter(|length| *length <= limit);
    let Some(length) = length else {
        return Err(FrameErrorKind::TooLarge { declared, limit });
    };
    let Some(end) = content.checked_add(length) else {
        return Err(FrameErrorKind::TooLarge { declared, limit });
    };
    let Some(frame) = bytes.get(length_bytes..end) else { return Ok(None) };
    let Some((checksum, message)) = frame.split_first_chunk::<4>() else { return Ok(None) };
    let (expected, actual) = (u32::from_be_bytes(*checksum), crc32c::crc32c(message));
    if expected != actual {
        return Err(FrameErrorKind::Checksum { expected, actual });
    }
    Ok(Some(Frame { content, end }))
}

/// The length of a frame and how many bytes it takes; `None` if more bytes are needed.
fn length(bytes: &[u8]) -> Result<Option<(u64, usize)>, FrameErrorKind> {
    let mut length = 0_u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        if index == 9 && *byte > 1 {
            return Err(FrameErrorKind::Length);
        }
        length |= u64::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            return Ok(Some((length, index + 1)));
        }
    }
    Ok(None)
}

/// The beginning of bytes as text, if they are text: the words of a server, not a broken frame.
fn text(bytes: &[u8]) -> Option<&str> {
    let bytes = bytes.get(..MAX_MESSAGE).unwrap_or(bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // Cut inside a character.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(bytes.get(..error.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    let is_text = |character: char| !character.is_control() || matches!(character, '\t' | '\n' | '\r');
    (text.len() >= MIN_MESSAGE && text.chars().all(is_text)).then_some(text)
}

/// As much of a server's words as is kept.
const MAX_MESSAGE: usize = 4 << 10;
/// Less is not taken for words.
const MIN_MESSAGE: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::Limits;

    /// Reads a stream in the given pieces.
    fn read(pieces: &[&[u8]], limits: &Limits) -> (Vec<Vec<u8>>, Result<(), FrameError>) {
        let mut reader = FrameReader::new(limits);
        let mut frames = Vec::new();
        for piece in pieces {
            reader.push(piece);
            loop {
                match reader.next_frame() {
                    Ok(Some(frame)) => frames.push(frame.to_vec()),
                    Ok(None) => break,
                    Err(error) => return (frames, Err(error)),
                }
            }
        }
        let end = reader.finish();
        (frames, end)
    }

    fn stream(messages: &[&[u8]]) -> Vec<u8> {
        let mut stream = Vec::new();
        messages.iter().for_each(|message| write_frame(message, &mut stream));
        stream
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same_frames(
            messages in vec(vec(any::<u8>(), 0..400), 0..6),
            cuts in vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            let stream = stream(&messages);
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
            let (frames, end) = read(&pieces, &Limits::default());
            prop_assert_eq!(frames, messages);
            prop_assert_eq!(end, Ok(()));
        }

        #[test]
        fn any_bytes_are_an_answer(bytes in vec(any::<u8>(), 0..300), piece in 1..40_usize) {
            let pieces: Vec<_> = bytes.chunks(piece).collect();
            let limits = Limits { max_frame_bytes: 100, ..Limits::default() };
            let (frames, end) = read(&pieces, &limits);
            let length: usize = frames.iter().map(|frame| frame.len() + 5).sum();
            prop_assert!(length == bytes.len() || end.is_err());
        }

        #[test]
        fn a_cut_stream_gives_its_whole_frames_and_an_error(
            messages in vec(vec(128..=255_u8, 1..200), 1..5),
            cut in any::<prop::sample::Index>(),
        ) {
            let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            let whole = stream(&messages);
            let cut = cut.index(whole.len());
            let (frames, end) = read(&[&whole[..cut]], &Limits::default());
            prop_assert_eq!(&frames[..], &messages[..frames.len()]);
            let is_at_boundary = stream(&messages[..frames.len()]).len() == cut;
            prop_assert_eq!(end.is_ok(), is_at_boundary);
        }
    }

    #[test]
    fn a_frame_may_be_as_long_as_the_limit() {
        let stream = stream(&[&[0xff; 100]]);
        let at = Limits { max_frame_bytes: 100, ..Limits::default() };
        assert_eq!(read(&[&stream], &at).1, Ok(()));
        let over = read(&[&stream], &Limits { max_frame_bytes: 99, ..at }).1.unwrap_err();
        assert_eq!(over.kind, FrameErrorKind::TooLarge { declared: 100, limit: 99 });
    }

    #[test]
    fn damage_is_found() {
        let mut bytes = stream(&[&[1; 9], &[0xee; 9]]);
        *bytes.last_mut().unwrap() ^= 1;
        let (frames, end) = read(&[&bytes], &Limits::default());
        assert_eq!(frames, [[1; 9]]);
        let error = end.unwrap_err();
        assert!(matches!(error.kind, FrameErrorKind::Checksum { .. }));
        assert_eq!((error.frame, error.offset), (1, 14));
        let length = read(&[&[0xff; 11]], &Limits::default()).1.unwrap_err();
        assert_eq!(length.kind, FrameErrorKind::Length);
    }

    #[track_caller]
    fn check_aborted(text: &str, piece: usize) {
        let mut bytes = stream(&[&[0xee; 30]]);
        bytes.extend_from_slice(text.as_bytes());
        let pieces: Vec<_> = bytes.chunks(piece).collect();
        let (frames, end) = read(&pieces, &Limits::default());
        assert_eq!(frames.len(), 1);
        let FrameErrorKind::Aborted { message } = end.unwrap_err().kind else { panic!("not aborted") };
        assert_eq!(message, text.trim_end());
    }

    #[test]
    fn the_words_of_a_server_that_fails_are_kept() {
        for piece in [1, 7, 1_000] {
            check_aborted("expanding series: context deadline exceeded\n", piece);
            // Long enough to be taken for a frame at first, 'e' being 101.
            check_aborted(&format!("error executing query: {}\n", "storage is broken, ".repeat(20)), piece);
            check_aborted("größer als erlaubt", piece);
        }
    }

    #[test]
    fn endless_words_are_cut() {
        let mut reader = FrameReader::new(&Limits::default());
        let mut error = None;
        for _ in 0..1_000 {
            reader.push(&[b'a'; 1_000]);
            if let Err(found) = reader.next_frame() {
                error = Some(found);
                break;
            }
        }
        let FrameErrorKind::Aborted { message } = error.unwrap().kind else { panic!("not aborted") };
        assert_eq!(message.len(), MAX_MESSAGE);
    }
}
