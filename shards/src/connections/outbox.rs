//! What waits to be written to one socket.

use std::collections::VecDeque;

use super::{FrameKey, Frames};
use crate::bounds::{COPIED_FRAME_MAX, OUTBOX_POOL_MAX, OUTBOX_POOLED_BYTES_MAX};

/// Emptied storage of other outboxes, so that a busy shard allocates nothing for a reply.
/// (Boxes, because they move between here and outboxes, which keep one word each for them.)
#[derive(Debug, Default)]
#[allow(clippy::vec_box)]
pub(crate) struct Pool {
    spare: Vec<Box<Mixed>>,
    /// Bytes that wait in all outboxes together: every change of an outbox has the pool at hand.
    waiting: usize,
}

impl Pool {
    fn take(&mut self) -> Box<Mixed> {
        self.spare.pop().unwrap_or_default()
    }

    fn give_back(&mut self, mut mixed: Box<Mixed>) {
        debug_assert!(mixed.segments.is_empty());
        if self.spare.len() < OUTBOX_POOL_MAX && mixed.private.capacity() <= OUTBOX_POOLED_BYTES_MAX
        {
            mixed.private.clear();
            mixed.private_at = 0;
            self.spare.push(mixed);
        }
    }

    /// Bytes that wait in all outboxes of the shard.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }
}

/// A queue of bytes in order: references to shared frames, and bytes of its own. Empty, it is three words and holds nothing.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: Queue,
    /// Bytes not yet written; what bounds them is far below 4 GiB.
    len: u32,
    /// Bytes of the first segment that are written.
    front_sent: u32,
}

#[derive(Debug, Default)]
enum Queue {
    #[default]
    Empty,
    /// The common case of a broadcast: one shared frame and nothing else.
    Frame(FrameKey),
    Mixed(Box<Mixed>),
}

#[derive(Debug, Default)]
struct Mixed {
    segments: VecDeque<Segment>,
    /// Bytes of the `Private` segments, in order.
    private: Vec<u8>,
    /// Where the first `Private` segment begins in `private`.
    private_at: usize,
}

#[derive(Clone, Copy, Debug)]
enum Segment {
    Frame(FrameKey),
    Private(u32),
}

impl Outbox {
    /// Bytes not yet written.
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a shared frame. A small one behind other bytes is copied: that is cheaper than another slice to gather.
    pub(crate) fn push_frame(&mut self, key: FrameKey, frames: &mut Frames, pool: &mut Pool) {
        let frame_len = frames.get(key).len();
        match self.queue {
            Queue::Empty => {
                frames.retain(key);
                self.queue = Queue::Frame(key);
                self.grow(frame_len, pool);
            }
            _ if frame_len <= COPIED_FRAME_MAX => {
                self.write(pool, |private| private.extend_from_slice(frames.get(key)));
            }
            _ => {
                frames.retain(key);
                self.mixed(pool).segments.push_back(Segment::Frame(key));
                self.grow(frame_len, pool);
            }
        }
    }

    /// Appends bytes of this connection alone, as `fill` writes them.
    pub(crate) fn write(&mut self, pool: &mut Pool, fill: impl FnOnce(&mut Vec<u8>)) {
        let mixed = self.mixed(pool);
        let before = mixed.private.len();
        fill(&mut mixed.private);
        let added = mixed.private.len() - before;
        match mixed.segments.back_mut() {
            Some(Segment::Private(len)) => *len += added as u32,
            _ => mixed.segments.push_back(Segment::Private(added as u32)),
        }
        self.grow(added, pool);
    }

    fn grow(&mut self, by: usize, pool: &mut Pool) {
        self.len += by as u32;
        pool.waiting += by;
    }

    fn shrink(&mut self, by: usize, pool: &mut Pool) {
        self.len -= by as u32;
        pool.waiting -= by;
    }

    fn mixed(&mut self, pool: &mut Pool) -> &mut Mixed {
        if let Queue::Empty | Queue::Frame(_) = self.queue {
            let mut mixed = pool.take();
            if let Queue::Frame(key) = self.queue {
                mixed.segments.push_back(Segment::Frame(key));
            }
            self.queue = Queue::Mixed(mixed);
        }
        match &mut self.queue {
            Queue::Mixed(mixed) => mixed,
            _ => unreachable!("made mixed just above"),
        }
    }

    /// The unsent bytes, in order.
    pub(crate) fn slices<'a>(&'a self, frames: &'a Frames) -> impl Iterator<Item = &'a [u8]> {
        let (one, mixed) = match &self.queue {
            Queue::Empty => (None, None),
            Queue::Frame(key) => (Some(frames.get(*key)), None),
            Queue::Mixed(mixed) => (None, Some(mixed)),
        };
        let mut private_at = mixed.map_or(0, |mixed| mixed.private_at);
        let segments = mixed.into_iter().flat_map(move |mixed| {
            mixed.segments.iter().map(move |segment| match *segment {
                Segment::Frame(key) => frames.get(key),
                Segment::Private(len) => {
                    let from = private_at;
                    private_at += len as usize;
                    &mixed.private[from..private_at]
                }
            })
        });
        let mut skip = self.front_sent as usize;
        one.into_iter()
            .chain(segments)
            .map(move |slice| &slice[std::mem::take(&mut skip)..])
    }

    /// Takes `written` bytes off the front.
    pub(crate) fn advance(&mut self, written: usize, frames: &mut Frames, pool: &mut Pool) {
        debug_assert!(written <= self.len(), "more written than was waiting");
        self.shrink(written, pool);
        if self.len == 0 {
            self.clear(frames, pool);
            return;
        }
        let mut done = self.front_sent as usize + written;
        if let Queue::Mixed(mixed) = &mut self.queue {
            while let Some(&segment) = mixed.segments.front() {
                let segment_len = match segment {
                    Segment::Frame(key) => frames.get(key).len(),
                    Segment::Private(len) => len as usize,
                };
                if done < segment_len {
                    break;
                }
                done -= segment_len;
                mixed.segments.pop_front();
                match segment {
                    Segment::Frame(key) => frames.release(key),
                    Segment::Private(len) => mixed.private_at += len as usize,
                }
            }
            // A backlog that never quite empties must not keep what it has sent.
            if mixed.private_at > OUTBOX_POOLED_BYTES_MAX
                && mixed.private_at * 2 > mixed.private.len()
            {
                mixed.private.drain(..mixed.private_at);
                mixed.private_at = 0;
            }
        }
        self.front_sent = done as u32;
    }

    /// Drops all that waits, but for the rest of a frame that is half written: a peer that reads on must find its end.
    pub(crate) fn keep_only_begun(&mut self, frames: &mut Frames, pool: &mut Pool) {
        let sent = self.front_sent as usize;
        if let Some(key) = self.shared_front() {
            // Several frames may be shared as one piece, of which only one is half written.
            let piece = frames.get(key);
            let end = begun(piece, sent);
            if end < piece.len() {
                let rest = piece[sent..end].to_vec();
                self.clear(frames, pool);
                if !rest.is_empty() {
                    self.write(pool, |private| private.extend_from_slice(&rest));
                }
                return;
            }
        }
        let kept = match &mut self.queue {
            Queue::Empty => 0,
            Queue::Frame(key) => frames.get(*key).len(),
            Queue::Mixed(mixed) => {
                for segment in mixed.segments.drain(1..) {
                    if let Segment::Frame(key) = segment {
                        frames.release(key);
                    }
                }
                let from = mixed.private_at;
                let (kept, kept_private) = match mixed.segments.front_mut() {
                    Some(Segment::Frame(key)) => (frames.get(*key).len(), 0),
                    Some(Segment::Private(len)) => {
                        let kept = begun(&mixed.private[from..from + *len as usize], sent);
                        *len = kept as u32;
                        (kept, kept)
                    }
                    None => (0, 0),
                };
                mixed.private.truncate(from + kept_private);
                kept
            }
        };
        if sent == 0 || kept == sent {
            self.clear(frames, pool);
        } else {
            self.shrink(self.len() - (kept - sent), pool);
        }
    }

    /// What is written first, if that is shared with others.
    fn shared_front(&self) -> Option<FrameKey> {
        match &self.queue {
            Queue::Empty => None,
            Queue::Frame(key) => Some(*key),
            Queue::Mixed(mixed) => match mixed.segments.front() {
                Some(Segment::Frame(key)) => Some(*key),
                _ => None,
            },
        }
    }

    /// Drops everything and gives the storage back.
    pub(crate) fn clear(&mut self, frames: &mut Frames, pool: &mut Pool) {
        match std::mem::take(&mut self.queue) {
            Queue::Empty => {}
            Queue::Frame(key) => frames.release(key),
            Queue::Mixed(mut mixed) => {
                for segment in mixed.segments.drain(..) {
                    if let Segment::Frame(key) = segment {
                        frames.release(key);
                    }
                }
                pool.give_back(mixed);
            }
        }
        self.shrink(self.len(), pool);
        self.front_sent = 0;
    }
}

/// Where the frame ends that is begun when the first `sent` bytes of these whole frames of ours are written.
fn begun(frames: &[u8], sent: usize) -> usize {
    let mut end = 0;
    while end < sent {
        end += frame_len(&frames[end..]);
    }
    end
}

/// Length of the unmasked frame these bytes begin with (RFC 6455, 5.2).
fn frame_len(bytes: &[u8]) -> usize {
    match bytes[1] & 0x7f {
        126 => 4 + usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
        127 => {
            let len = u64::from_be_bytes(std::array::from_fn(|at| bytes[2 + at]));
            10 + usize::try_from(len).expect("we hold the whole frame")
        }
        len => 2 + usize::from(len),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Frame(usize),
        Own(usize),
        Sent(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1_usize..700).prop_map(Step::Frame),
            (1_usize..700).prop_map(Step::Own),
            (1_usize..2000).prop_map(Step::Sent)
        ]
    }

    proptest! {
        /// Whatever is pushed and however little each write takes: the bytes leave whole and in order, and nothing stays behind.
        #[test]
        fn is_a_queue_of_bytes(steps in prop::collection::vec(step(), 1..80)) {
            let (mut frames, mut pool, mut outbox) = (Frames::default(), Pool::default(), Outbox::default());
            let mut model: VecDeque<u8> = VecDeque::new();
            let mut next = 0_u8;
            for step in steps {
                match step {
                    Step::Frame(len) => {
                        let bytes: Vec<u8> = (0..len).map(|_| { next = next.wrapping_add(1); next }).collect();
                        model.extend(&bytes);
                        let key = frames.insert(Bytes::from(bytes));
                        outbox.push_frame(key, &mut frames, &mut pool);
                        frames.release(key);
                    }
                    Step::Own(len) => outbox.write(&mut pool, |private| for _ in 0..len {
                        next = next.wrapping_add(1);
                        private.push(next);
                        model.push_back(next);
                    }),
                    Step::Sent(most) => {
                        let sent = most.min(outbox.len());
                        outbox.advance(sent, &mut frames, &mut pool);
                        model.drain(..sent);
                    }
                }
                let waiting: Vec<u8> = outbox.slices(&frames).flatten().copied().collect();
                prop_assert_eq!(&waiting, &model.iter().copied().collect::<Vec<u8>>());
                prop_assert_eq!(outbox.len(), model.len());
                prop_assert_eq!(pool.waiting(), model.len());
            }
            let rest = outbox.len();
            outbox.advance(rest, &mut frames, &mut pool);
            prop_assert_eq!(frames.held(), 0);
        }
    }

    #[test]
    fn an_idle_outbox_is_small() {
        assert!(size_of::<Outbox>() <= 24);
    }

    /// A frame of so many bytes, header included.
    fn frame_of(byte: u8, len: usize) -> Vec<u8> {
        use shardwire_protocol::websocket::frame::{Kind, write_server};
        let mut frame = Vec::new();
        let header = if len - 2 < 126 { 2 } else { 4 };
        write_server(&mut frame, Kind::Binary, &vec![byte; len - header]);
        frame
    }

    #[test]
    fn dropping_the_backlog_keeps_the_frame_that_is_half_written() {
        let (mut frames, mut pool, mut outbox) =
            (Frames::default(), Pool::default(), Outbox::default());
        for byte in [1_u8, 2, 3] {
            let key = frames.insert(Bytes::from(frame_of(byte, 400)));
            outbox.push_frame(key, &mut frames, &mut pool);
            frames.release(key);
        }
        outbox.advance(450, &mut frames, &mut pool);
        outbox.keep_only_begun(&mut frames, &mut pool);
        let waiting: Vec<u8> = outbox.slices(&frames).flatten().copied().collect();
        assert_eq!(waiting, vec![2; 350]);
        assert_eq!(frames.held(), 1);
    }

    #[test]
    fn what_is_written_behind_a_dropped_backlog_follows_the_begun_frame() {
        let (mut frames, mut pool, mut outbox) =
            (Frames::default(), Pool::default(), Outbox::default());
        let key = frames.insert(Bytes::from(frame_of(1, 90)));
        for _ in 0..5 {
            outbox.push_frame(key, &mut frames, &mut pool);
        }
        outbox.advance(50, &mut frames, &mut pool);
        outbox.keep_only_begun(&mut frames, &mut pool);
        outbox.write(&mut pool, |private| private.extend_from_slice(b"close"));
        let waiting: Vec<u8> = outbox.slices(&frames).flatten().copied().collect();
        assert_eq!(waiting, [vec![1; 40], b"close".to_vec()].concat());
    }

    #[test]
    fn dropping_the_backlog_keeps_no_whole_frame_of_a_shared_piece() {
        let piece = [frame_of(1, 300), frame_of(2, 40), frame_of(3, 500)].concat();
        for behind in [false, true] {
            for (sent, end) in [
                (0, 0),
                (1, 300),
                (300, 300),
                (301, 340),
                (340, 340),
                (341, 840),
            ] {
                let (mut frames, mut pool, mut outbox) =
                    (Frames::default(), Pool::default(), Outbox::default());
                let key = frames.insert(Bytes::from(piece.clone()));
                outbox.push_frame(key, &mut frames, &mut pool);
                frames.release(key);
                if behind {
                    outbox.write(&mut pool, |out| out.extend_from_slice(&piece));
                }
                outbox.advance(sent, &mut frames, &mut pool);
                outbox.keep_only_begun(&mut frames, &mut pool);
                let waiting: Vec<u8> = outbox.slices(&frames).flatten().copied().collect();
                assert_eq!(waiting, piece[sent..end], "{sent}");
                assert_eq!(outbox.len(), end - sent);
                assert_eq!(pool.waiting(), end - sent);
                let rest = outbox.len();
                outbox.advance(rest, &mut frames, &mut pool);
                assert_eq!(frames.held(), 0);
            }
        }
    }

    #[test]
    fn dropping_the_backlog_keeps_no_whole_frame_of_its_own_bytes() {
        use shardwire_protocol::websocket::frame::{Kind, write_server};
        let payloads = [10, 125, 126, 300, 65_535, 65_536, 0];
        let frames_of: Vec<Vec<u8>> = payloads
            .iter()
            .map(|&len| {
                let mut frame = Vec::new();
                write_server(&mut frame, Kind::Binary, &vec![len as u8; len]);
                frame
            })
            .collect();
        let all = frames_of.concat();
        let ends: Vec<usize> = frames_of
            .iter()
            .scan(0, |end, frame| {
                *end += frame.len();
                Some(*end)
            })
            .collect();
        for sent in [
            0,
            1,
            2,
            12,
            13,
            138,
            139,
            200,
            269,
            270,
            573,
            574,
            all.len() - 2,
        ] {
            let (mut frames, mut pool, mut outbox) =
                (Frames::default(), Pool::default(), Outbox::default());
            for frame in &frames_of {
                outbox.write(&mut pool, |private| private.extend_from_slice(frame));
            }
            outbox.advance(sent, &mut frames, &mut pool);
            outbox.keep_only_begun(&mut frames, &mut pool);
            let boundary = sent == 0 || ends.contains(&sent);
            let end = if boundary {
                sent
            } else {
                *ends
                    .iter()
                    .find(|end| **end > sent)
                    .expect("sent less than all")
            };
            let waiting: Vec<u8> = outbox.slices(&frames).flatten().copied().collect();
            assert_eq!(waiting, all[sent..end], "{sent}");
            assert_eq!(outbox.len(), end - sent);
            assert_eq!(pool.waiting(), end - sent);
            outbox.write(&mut pool, |private| private.extend_from_slice(b"close"));
            let waiting: Vec<u8> = outbox.slices(&frames).flatten().copied().collect();
            assert_eq!(waiting, [&all[sent..end], b"close"].concat());
        }
    }
}
