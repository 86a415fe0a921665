//! RTCP of the send lane: what receivers say about slots, sender reports, and requests for what publishers have sent
//! in vain (RFC 3550 section 6, RFC 4585, RFC 5104).

/// One thing that a receiver says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// Packets of this SSRC are missing.
    Nack { ssrc: u32, missing: Missing<'a> },
    /// The picture of this SSRC is lost.
    KeyframeRequest { ssrc: u32 },
    /// Transport-wide feedback; the body stands behind the media SSRC.
    TransportFeedback(&'a [u8]),
    /// The receiver's own estimate in bit/s.
    Remb { bps: u64 },
    /// What has come of a stream.
    Received(ReportBlock),
    /// What the lane has no use for.
    Report,
    /// For the media engine: what publishers say, and what is not known here.
    ForEngine,
}

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
/// Of those who receive (RFC 3611): they ask for their round trip time, or tell what else they measure.
const EXTENDED_REPORT: u8 = 207;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
const FORMAT_NACK: u8 = 1;
const FORMAT_TRANSPORT_WIDE: u8 = 15;
const FORMAT_PLI: u8 = 1;
const FORMAT_FIR: u8 = 4;
const FORMAT_APPLICATION: u8 = 15;
const CNAME: u8 = 1;

/// Whether a datagram that is RTP or RTCP is RTCP (RFC 5761 section 4).
pub(crate) fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram.get(..2), Some([128..=191, 192..=223]))
}

/// Reads a compound packet; ends where it is broken.
pub(crate) fn messages(mut compound: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut fir = Fir(&[]);
    let mut blocks = ReportBlocks(&[]);
    std::iter::from_fn(move || {
        if let Some(ssrc) = fir.next() {
            return Some(Message::KeyframeRequest { ssrc });
        }
        if let Some(block) = blocks.next() {
            return Some(Message::Received(block));
        }
        let [first, kind, length_1, length_0] = *compound.first_chunk()?;
        let words = usize::from(u16::from_be_bytes([length_1, length_0]));
        let (packet, rest) = compound.split_at_checked((words + 1) * 4)?;
        compound = rest;
        let body = packet.get(4..)?;
        if (kind, first & 0x1f) == (PAYLOAD_FEEDBACK, FORMAT_FIR) {
            fir = Fir(body.get(8..).unwrap_or_default());
            return Some(Message::Report);
        }
        blocks = ReportBlocks::of(kind, first & 0x1f, body);
        Some(message(kind, first & 0x1f, body))
    })
}

fn message(kind: u8, format: u8, body: &[u8]) -> Message<'_> {
    match (kind, format) {
        (RECEIVER_REPORT | SOURCE_DESCRIPTION | EXTENDED_REPORT, _) => Message::Report,
        (TRANSPORT_FEEDBACK | PAYLOAD_FEEDBACK, _) => {
            feedback(kind, format, body).unwrap_or(Message::Report)
        }
        _ => Message::ForEngine,
    }
}

fn feedback(kind: u8, format: u8, body: &[u8]) -> Option<Message<'_>> {
    let ssrc = word(body.get(4..)?)?;
    let rest = body.get(8..)?;
    Some(match (kind, format) {
        (TRANSPORT_FEEDBACK, FORMAT_NACK) => Message::Nack {
            ssrc,
            missing: Missing {
                rest,
                pid: 0,
                mask: 0,
            },
        },
        (TRANSPORT_FEEDBACK, FORMAT_TRANSPORT_WIDE) => Message::TransportFeedback(rest),
        (PAYLOAD_FEEDBACK, FORMAT_PLI) => Message::KeyframeRequest { ssrc },
        (PAYLOAD_FEEDBACK, FORMAT_APPLICATION) => Message::Remb { bps: remb(rest)? },
        _ => Message::ForEngine,
    })
}

fn word(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// draft-alvestrand-rmcat-remb-03 section 2.2: "REMB", a count, 6 bits of exponent, 18 bits of mantissa.
fn remb(body: &[u8]) -> Option<u64> {
    let [b'R', b'E', b'M', b'B', _, high, middle, low] = *body.first_chunk()? else {
        return None;
    };
    let mantissa = u128::from(u32::from_be_bytes([0, high & 3, middle, low]));
    Some(u64::try_from(mantissa << (high >> 2)).unwrap_or(u64::MAX))
}

/// The sequence numbers that a NACK names (RFC 4585 section 6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Missing<'a> {
    rest: &'a [u8],
    pid: u16,
    mask: u32,
}

impl Iterator for Missing<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.mask == 0 {
            let [pid_1, pid_0, mask_1, mask_0] = *self.rest.first_chunk()?;
            self.rest = self.rest.get(4..)?;
            self.pid = u16::from_be_bytes([pid_1, pid_0]);
            self.mask = (u32::from(u16::from_be_bytes([mask_1, mask_0])) << 1) | 1;
        }
        let bit = self.mask.trailing_zeros();
        self.mask &= self.mask - 1;
        Some(self.pid.wrapping_add(u16::try_from(bit).ok()?))
    }
}

/// The SSRCs of a full intra request (RFC 5104 section 4.3.1).
struct Fir<'a>(&'a [u8]);

impl Fir<'_> {
    fn next(&mut self) -> Option<u32> {
        let (entry, rest) = self.0.split_at_checked(8)?;
        self.0 = rest;
        word(entry)
    }
}

/// What a receiver tells of a stream (RFC 3550 section 6.4.1), as far as it is used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReportBlock {
    pub(crate) ssrc: u32,
    /// In 256ths, of what was sent since the block before.
    pub(crate) fraction_lost: u8,
    /// The middle 32 bits of the newest sender report's NTP timestamp; 0 where none has come.
    pub(crate) last_report: u32,
    /// How long ago that came, in 1/65,536 s.
    pub(crate) delay_since: u32,
}

const REPORT_BLOCK_BYTES: usize = 24;

/// The blocks of a sender's or a receiver's report.
struct ReportBlocks<'a>(&'a [u8]);

impl<'a> ReportBlocks<'a> {
    fn of(kind: u8, count: u8, body: &'a [u8]) -> Self {
        let from = match kind {
            RECEIVER_REPORT => 4,
            SENDER_REPORT => 24,
            _ => return Self(&[]),
        };
        let blocks = body.get(from..).unwrap_or_default();
        let bytes = usize::from(count) * REPORT_BLOCK_BYTES;
        Self(blocks.get(..bytes).unwrap_or(blocks))
    }

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.0.split_at_checked(REPORT_BLOCK_BYTES)?;
        self.0 = rest;
        Some(ReportBlock {
            ssrc: word(block)?,
            fraction_lost: *block.get(4)?,
            last_report: word(block.get(16..)?)?,
            delay_since: word(block.get(20..)?)?,
        })
    }
}

/// What a sender report says (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SenderReport {
    pub(crate) ssrc: u32,
    pub(crate) ntp: u64,
    pub(crate) timestamp: u32,
    pub(crate) packets: u32,
    pub(crate) octets: u32,
}

impl SenderReport {
    /// Appends the report and the CNAME: a compound packet as RFC 3550 section 6.1 wants it.
    pub(crate) fn write(&self, out: &mut Vec<u8>, cname: &str) {
        out.extend_from_slice(&[0x80, SENDER_REPORT, 0, 6]);
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        out.extend_from_slice(&self.ntp.to_be_bytes());
        for value in [self.timestamp, self.packets, self.octets] {
            out.extend_from_slice(&value.to_be_bytes());
        }
        let cname = cname
            .as_bytes()
            .get(..usize::from(u8::MAX))
            .unwrap_or(cname.as_bytes());
        let length = u8::try_from(cname.len()).unwrap_or(u8::MAX);
        // SSRC, the item, and at least one zero byte that ends the list.
        let words = (4 + 2 + cname.len() + 1).div_ceil(4);
        let start = out.len();
        #[expect(clippy::cast_possible_truncation, reason = "at most 66 words")]
        out.extend_from_slice(&[0x81, SOURCE_DESCRIPTION, 0, words as u8]);
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        out.extend_from_slice(&[CNAME, length]);
        out.extend_from_slice(cname);
        out.resize(start + (words + 1) * 4, 0);
    }
}

/// Appends a request for packets of `media` (RFC 4585 section 6.2.1); `missing` is in order. Before it stands a report of
/// nothing, since not everybody takes feedback alone (RFC 5506).
pub(crate) fn write_nack(out: &mut Vec<u8>, sender: u32, media: u32, missing: &[u16]) {
    out.extend_from_slice(&[0x80, RECEIVER_REPORT, 0, 1]);
    out.extend_from_slice(&sender.to_be_bytes());
    let start = out.len();
    out.extend_from_slice(&[0x80 | FORMAT_NACK, TRANSPORT_FEEDBACK, 0, 0]);
    out.extend_from_slice(&sender.to_be_bytes());
    out.extend_from_slice(&media.to_be_bytes());
    let mut rest = missing;
    while let Some((&pid, after)) = rest.split_first() {
        let near = |seq: &u16| (1..=16).contains(&seq.wrapping_sub(pid));
        let count = after.iter().take_while(|seq| near(seq)).count();
        let (masked, after) = after.split_at(count);
        let mask = masked.iter().fold(0u16, |mask, seq| {
            mask | 1 << (seq.wrapping_sub(pid).wrapping_sub(1) & 0xf)
        });
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(&mask.to_be_bytes());
        rest = after;
    }
    let words = u16::try_from((out.len() - start) / 4 - 1).unwrap_or(u16::MAX);
    if let Some(length) = out.get_mut(start + 2..start + 4) {
        length.copy_from_slice(&words.to_be_bytes());
    }
}

/// Which SRTCP packets of a receiver have been seen (RFC 3711 section 3.3.2). Receivers send under a few SSRCs.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// Of the SSRC that came last, and mostly comes again.
    latest: Option<Window>,
    /// Of the others, of which the first has been silent for longest.
    others: Vec<Window>,
}

#[derive(Debug)]
struct Window {
    ssrc: u32,
    highest: u32,
    /// A bit for each index up to the highest, which is the lowest bit.
    seen: u64,
}

/// A receiver's RTCP comes under the SSRCs of what it sends itself, or one for each m-line. More than this many push out the one
/// that has been silent for longest, so that one who makes them up gains a replay of its own packets and no memory of ours.
const REPLAY_WINDOWS_MAX: usize = 128;

impl Replay {
    /// True for a packet that has not been seen; it counts as seen from then on.
    pub(crate) fn is_new(&mut self, ssrc: u32, index: u32) -> bool {
        if let Some(latest) = self.latest.as_mut().filter(|latest| latest.ssrc == ssrc) {
            return latest.is_new(index);
        }
        let known = self.others.iter().position(|other| other.ssrc == ssrc);
        let mut window = match known {
            Some(place) => self.others.remove(place),
            None => Window::before(ssrc, index),
        };
        let is_new = window.is_new(index);
        self.others.extend(self.latest.replace(window));
        if self.others.len() == REPLAY_WINDOWS_MAX {
            self.others.remove(0);
        }
        is_new
    }
}

impl Window {
    /// Of an SSRC under which this index comes first.
    fn before(ssrc: u32, index: u32) -> Self {
        Self {
            ssrc,
            highest: index,
            seen: 0,
        }
    }

    fn is_new(&mut self, index: u32) -> bool {
        if index > self.highest {
            let ahead = index - self.highest;
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = index;
            return true;
        }
        let bit = 1u64.checked_shl(self.highest - index).unwrap_or(0);
        let new = bit != 0 && self.seen & bit == 0;
        self.seen |= bit;
        new
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(compound: &[u8]) -> Vec<Message<'_>> {
        messages(compound).collect()
    }

    #[test]
    fn a_nack_names_all_that_is_missing() {
        let packet = [
            0x81,
            205,
            0,
            4,
            0,
            0,
            0,
            1,
            0,
            0,
            0,
            9,
            0xff,
            0xff,
            0b1000_0000,
            0b0000_0001,
            0,
            7,
            0,
            0,
        ];
        let [Message::Nack { ssrc: 9, missing }] = parsed(&packet)[..] else {
            panic!("{:?}", parsed(&packet));
        };
        assert_eq!(missing.collect::<Vec<_>>(), [0xffff, 0, 15, 7]);
    }

    #[test]
    fn requests_for_keyframes_come_in_two_kinds() {
        let mut compound = vec![0x80, 201, 0, 1, 0, 0, 0, 1];
        compound.extend([0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 9]);
        compound.extend([0x84, 206, 0, 6, 0, 0, 0, 1, 0, 0, 0, 0]);
        compound.extend([0, 0, 0, 10, 5, 0, 0, 0, 0, 0, 0, 11, 6, 0, 0, 0]);
        let asked: Vec<u32> = messages(&compound)
            .filter_map(|message| {
                let Message::KeyframeRequest { ssrc } = message else {
                    return None;
                };
                Some(ssrc)
            })
            .collect();
        assert_eq!(asked, [9, 10, 11]);
        assert!(!parsed(&compound).contains(&Message::ForEngine));
    }

    #[test]
    fn a_remb_is_a_mantissa_and_an_exponent() {
        let packet = [
            0x8f,
            206,
            0,
            5,
            0,
            0,
            0,
            1,
            0,
            0,
            0,
            0,
            b'R',
            b'E',
            b'M',
            b'B',
            1,
            (3 << 2) | 1,
            0,
            2,
            0,
            0,
            0,
            9,
        ];
        assert_eq!(parsed(&packet), [Message::Remb { bps: 0x10002 << 3 }]);
    }

    #[test]
    fn a_remb_beyond_all_numbers_is_the_highest() {
        let packet = [
            0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, 0xff, 0xff, 0xff,
            0, 0, 0, 9,
        ];
        assert_eq!(parsed(&packet), [Message::Remb { bps: u64::MAX }]);
    }

    #[test]
    fn what_publishers_say_is_for_the_engine() {
        let mut compound = Vec::new();
        let report = SenderReport {
            ssrc: 5,
            ntp: 1,
            timestamp: 2,
            packets: 3,
            octets: 4,
        };
        report.write(&mut compound, "name");
        assert_eq!(parsed(&compound), [Message::ForEngine, Message::Report]);
    }

    #[test]
    fn report_blocks_are_read_from_both_kinds_of_report() {
        let block = ReportBlock {
            ssrc: 7,
            fraction_lost: 64,
            last_report: 8,
            delay_since: 9,
        };
        let mut words = [0u32; 6];
        (words[0], words[1], words[4], words[5]) = (7, 64 << 24, 8, 9);
        let block_bytes = words.map(u32::to_be_bytes).concat();
        let receiver = [&[0x81, 201, 0, 7, 0, 0, 0, 1][..], &block_bytes].concat();
        assert_eq!(
            parsed(&receiver),
            [Message::Report, Message::Received(block)]
        );
        let sender = [&[0x81, 200, 0, 12][..], &[0; 24], &block_bytes].concat();
        assert_eq!(
            parsed(&sender),
            [Message::ForEngine, Message::Received(block)]
        );
        let short = [&[0x82, 201, 0, 7, 0, 0, 0, 1][..], &block_bytes].concat();
        assert_eq!(parsed(&short).len(), 2, "two are said to be, one is there");
    }

    #[test]
    fn a_report_and_a_name_make_a_compound_packet() {
        for (cname, words) in [("", 2), ("a", 2), ("ab", 3), ("somewhat longer", 6)] {
            let report = SenderReport {
                ssrc: 0x0102_0304,
                ntp: 0xe000_0000_8000_0000,
                timestamp: 90_000,
                packets: 1_234,
                octets: 567_890,
            };
            let mut out = Vec::new();
            report.write(&mut out, cname);
            let (report, name) = out.split_at(28);
            assert_eq!(report[..8], [0x80, 200, 0, 6, 1, 2, 3, 4]);
            assert_eq!(report[8..16], [0xe0, 0, 0, 0, 0x80, 0, 0, 0]);
            assert_eq!(word(&report[16..]), Some(90_000));
            assert_eq!(word(&report[20..]), Some(1_234));
            assert_eq!(word(&report[24..]), Some(567_890));
            assert_eq!(name[..8], [0x81, 202, 0, words, 1, 2, 3, 4]);
            let length = u8::try_from(cname.len()).unwrap();
            assert_eq!(name[8..10], [CNAME, length]);
            assert_eq!(&name[10..10 + cname.len()], cname.as_bytes());
            assert_eq!(name.len(), (usize::from(words) + 1) * 4);
            assert!(name[10 + cname.len()..].iter().all(|byte| *byte == 0));
            assert!(name.len() > 10 + cname.len(), "a zero ends the list");
        }
    }

    proptest! {
        #[test]
        fn a_nack_is_read_as_it_was_written(
            first: u16,
            steps in proptest::collection::vec(1u16..40, 1..crate::limits::NACKED_PACKETS_MAX),
        ) {
            let missing: Vec<u16> = steps
                .iter()
                .scan(first, |seq, step| {
                    *seq = seq.wrapping_add(*step);
                    Some(*seq)
                })
                .collect();
            let mut out = Vec::new();
            write_nack(&mut out, 1, 9, &missing);
            prop_assert!(out.len() < 1_100, "it fits into a datagram: {}", out.len());
            let [Message::Report, Message::Nack { ssrc: 9, missing: read }] = parsed(&out)[..]
            else {
                panic!("{:?}", parsed(&out));
            };
            prop_assert_eq!(read.collect::<Vec<_>>(), missing);
        }
    }

    #[test]
    fn a_packet_is_new_once() {
        let mut replay = Replay::default();
        for index in [5, 3, 4, 200, 199, 137] {
            assert!(replay.is_new(1, index), "{index}");
            assert!(!replay.is_new(1, index), "{index} again");
        }
        assert!(!replay.is_new(1, 136), "older than the window");
        assert!(replay.is_new(2, 5), "another sender");
        assert!(!replay.is_new(1, 200), "the first one is not forgotten");
    }

    #[test]
    fn made_up_senders_take_no_more_memory() {
        let mut replay = Replay::default();
        for ssrc in 0..1_000 {
            assert!(replay.is_new(ssrc, 1));
        }
        assert_eq!(replay.others.len(), REPLAY_WINDOWS_MAX - 1);
        assert!(!replay.is_new(999, 1), "the newest one is known");
    }

    proptest! {
        #[test]
        fn garbage_ends(bytes: Vec<u8>) {
            let _ = is_rtcp(&bytes);
            for message in messages(&bytes) {
                if let Message::Nack { missing, .. } = message {
                    prop_assert!(missing.count() <= bytes.len() * 17);
                }
            }
        }
    }
}
