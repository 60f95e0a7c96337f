//! Streams of frames, mostly proper ones.

use crate::websocket::mask;
use proptest::{collection::vec, prelude::*, sample::Index};

/// Largest message of the rules these samples are meant for: some are larger.
pub(super) const LIMIT: usize = 300;

/// A frame with every bit free to be wrong.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// FIN, RSV and opcode.
    pub(super) first: u8,
    pub(super) key: Option<[u8; 4]>,
    pub(super) payload: Vec<u8>,
    /// Bytes of the length field beyond the needed ones: 0, or the next longer form.
    pub(super) longer: bool,
}

impl Frame {
    pub(super) fn new(first: u8, payload: impl Into<Vec<u8>>) -> Frame {
        Frame {
            first,
            key: Some([1, 2, 3, 4]),
            payload: payload.into(),
            longer: false,
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mask_bit = if self.key.is_some() { 0x80 } else { 0 };
        let len = self.payload.len();
        out.push(self.first);
        match (len, self.longer) {
            (0..126, false) => out.push(mask_bit | len as u8),
            (0..126, true) | (126..=0xffff, false) => {
                out.push(mask_bit | 126);
                out.extend_from_slice(&(len as u16).to_be_bytes());
            }
            _ => {
                out.push(mask_bit | 127);
                out.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        out.extend(self.key.iter().flatten());
        let start = out.len();
        out.extend_from_slice(&self.payload);
        if let Some(key) = self.key {
            mask(&mut out[start..], key, 0);
        }
    }
}

pub(super) fn encode(frames: &[Frame]) -> Vec<u8> {
    let mut out = Vec::new();
    for frame in frames {
        frame.encode(&mut out);
    }
    out
}

fn control() -> impl Strategy<Value = Frame> {
    let payload = || vec(any::<u8>(), 0..126);
    let code = prop_oneof![8 => 1000u16..1012, 4 => 3000u16..5000, 1 => any::<u16>()];
    let close = (code, "[ -~]{0,20}|.{0,10}").prop_map(|(code, reason)| {
        Frame::new(0x88, [&code.to_be_bytes()[..], reason.as_bytes()].concat())
    });
    prop_oneof![
        8 => payload().prop_map(|payload| Frame::new(0x89, payload)),
        8 => payload().prop_map(|payload| Frame::new(0x8a, payload)),
        1 => close,
        1 => Just(Frame::new(0x88, [])),
    ]
}

/// A message in one to five frames (text is cut anywhere, also inside characters), with control frames between them.
fn message() -> impl Strategy<Value = Vec<Frame>> {
    let text = prop_oneof![
        "[ -~]{0,60}".prop_map(|text| (0x01, text.into_bytes())),
        "\\PC{0,40}".prop_map(|text| (0x01, text.into_bytes())),
        vec(any::<char>(), 0..200)
            .prop_map(|text| (0x01, text.into_iter().collect::<String>().into_bytes())),
    ];
    let binary = vec(any::<u8>(), 0..200).prop_map(|bytes| (0x02, bytes));
    let cuts = prop_oneof![2 => Just(Vec::new()), 1 => vec(any::<Index>(), 0..5)];
    (
        prop_oneof![2 => text, 1 => binary],
        cuts,
        vec((any::<Index>(), control()), 0..3),
    )
        .prop_map(|((opcode, payload), cuts, controls)| {
            let mut cuts: Vec<_> = cuts
                .iter()
                .map(|cut| cut.index(payload.len() + 1))
                .collect();
            cuts.extend([0, payload.len()]);
            cuts.sort_unstable();
            let mut frames: Vec<_> = cuts
                .windows(2)
                .map(|cut| Frame::new(0, &payload[cut[0]..cut[1]]))
                .collect();
            frames[0].first = opcode;
            if let Some(last) = frames.last_mut() {
                last.first |= 0x80;
            }
            for (at, control) in controls {
                frames.insert(at.index(frames.len() + 1), control);
            }
            frames
        })
}

/// Something wrong with one frame.
#[derive(Clone, Debug)]
enum Fault {
    First(u8),
    Unmasked,
    Longer,
    Byte(Index, u8),
    Gone,
}

/// Messages to a server, some with a fault in one frame.
pub(super) fn frames() -> impl Strategy<Value = Vec<Frame>> {
    let fault = prop_oneof![
        any::<u8>().prop_map(Fault::First),
        Just(Fault::Unmasked),
        Just(Fault::Longer),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Fault::Byte(at, byte)),
        Just(Fault::Gone),
    ];
    let fault = prop::option::of((any::<Index>(), fault));
    (vec((message(), any::<[u8; 4]>()), 1..5), fault).prop_map(|(messages, fault)| {
        let mut frames = Vec::new();
        for (message, key) in messages {
            frames.extend(message.into_iter().map(|frame| Frame {
                key: Some(key),
                ..frame
            }));
        }
        if let Some((at, fault)) = fault {
            let at = at.index(frames.len());
            let frame = &mut frames[at];
            match fault {
                Fault::First(first) => frame.first = first,
                Fault::Unmasked => frame.key = None,
                Fault::Longer => frame.longer = true,
                Fault::Byte(at, byte) if !frame.payload.is_empty() => {
                    let at = at.index(frame.payload.len());
                    frame.payload[at] = byte;
                }
                Fault::Byte(..) => {}
                Fault::Gone => {
                    frames.remove(at);
                }
            }
        }
        frames
    })
}
