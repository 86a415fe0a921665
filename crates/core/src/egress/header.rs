//! RTP headers of the send lane: written from a template per slot (RFC 3550 section 5.1, RFC 8285).

use str0m::media::{Frequency, MediaTime, Mid};
use str0m::rtp::{Extension, ExtensionMap, ExtensionValues};

use crate::dependency::{self, Descriptor};

const FIXED_BYTES: usize = 12;
const VERSION: u8 = 2 << 6;
const PADDING: u8 = 1 << 5;
const EXTENSION: u8 = 1 << 4;
const ONE_BYTE_PROFILE: [u8; 2] = [0xbe, 0xde];
const TWO_BYTE_PROFILE: [u8; 2] = [0x10, 0x00];
/// Higher ids, or values of more than 16 bytes, need the two-byte form.
const ONE_BYTE_ID_MAX: u8 = 14;
const ONE_BYTE_VALUE_MAX: usize = 16;

/// The fixed part of one packet's header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields {
    pub(crate) payload_type: u8,
    pub(crate) marker: bool,
    pub(crate) padding: bool,
    pub(crate) seq: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
}

/// What the hop itself puts into a packet's header.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Hop {
    /// Number for transport-wide feedback.
    pub(crate) transport_seq: Option<u16>,
    /// Seconds in 6.18 bits fixed point, modulo 64.
    pub(crate) send_time: Option<u32>,
    /// How long pictures are to be held, where the publisher says nothing of it.
    pub(crate) playout_delay: Option<[u8; 3]>,
}

/// The header extensions of one slot, as its receiver has numbered them.
#[derive(Debug)]
pub(crate) struct Template {
    profile: [u8; 2],
    one_byte: bool,
    /// The element that names the m-line: browsers' demultiplexers want it on every packet.
    mid: Vec<u8>,
    transport_seq: Option<u8>,
    send_time: Option<u8>,
    audio_level: Option<u8>,
    orientation: Option<u8>,
    capture_time: Option<u8>,
    playout_delay: Option<u8>,
    content_type: Option<u8>,
    descriptor: Option<u8>,
}

/// The dependency descriptor of a packet, where it has one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dependency<'a> {
    pub(crate) descriptor: &'a Descriptor,
    pub(crate) frame_number: u16,
    pub(crate) active_targets: Option<u32>,
}

impl Template {
    pub(crate) fn new(mid: Mid, negotiated: &ExtensionMap) -> Self {
        let id = |extension| negotiated.id_of(extension);
        let transport_seq = id(Extension::TransportSequenceNumber);
        let mut template = Self {
            profile: ONE_BYTE_PROFILE,
            one_byte: true,
            mid: Vec::new(),
            transport_seq,
            // Receivers that number packets need no send times.
            send_time: id(Extension::AbsoluteSendTime).filter(|_| transport_seq.is_none()),
            audio_level: id(Extension::AudioLevel),
            orientation: id(Extension::VideoOrientation),
            capture_time: id(Extension::AbsoluteCaptureTime),
            playout_delay: id(Extension::PlayoutDelay),
            content_type: id(Extension::VideoContentType),
            descriptor: id(dependency::dependency_descriptor()),
        };
        let mid_id = id(Extension::RtpMid);
        let ids = [
            mid_id,
            transport_seq,
            template.send_time,
            template.audio_level,
            template.orientation,
            template.capture_time,
            template.playout_delay,
            template.content_type,
            template.descriptor,
        ];
        let long = mid.len() > ONE_BYTE_VALUE_MAX;
        if long || ids.into_iter().flatten().any(|id| id > ONE_BYTE_ID_MAX) {
            (template.profile, template.one_byte) = (TWO_BYTE_PROFILE, false);
        }
        let mut element = Vec::new();
        template.element(&mut element, mid_id, mid.as_bytes());
        template.mid = element;
        template
    }

    /// Whether this m-line's packets are numbered for transport-wide feedback.
    pub(crate) fn numbers_transport(&self) -> bool {
        self.transport_seq.is_some()
    }

    pub(crate) fn wants_send_time(&self) -> bool {
        self.send_time.is_some()
    }

    /// Appends a header. `values` are the publisher's extensions that go on to the receiver.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        fields: Fields,
        hop: Hop,
        values: &ExtensionValues,
        dependency: Option<Dependency<'_>>,
    ) {
        let start = out.len();
        let [seq_1, seq_0] = fields.seq.to_be_bytes();
        let [t3, t2, t1, t0] = fields.timestamp.to_be_bytes();
        let [s3, s2, s1, s0] = fields.ssrc.to_be_bytes();
        let first = VERSION | EXTENSION | if fields.padding { PADDING } else { 0 };
        let second = (fields.payload_type & 0x7f) | if fields.marker { 0x80 } else { 0 };
        let [p1, p0] = self.profile;
        out.extend_from_slice(&[
            first, second, seq_1, seq_0, t3, t2, t1, t0, s3, s2, s1, s0, p1, p0, 0, 0,
        ]);
        let elements = out.len();
        out.extend_from_slice(&self.mid);
        if let Some(seq) = hop.transport_seq {
            self.element(out, self.transport_seq, &seq.to_be_bytes());
        }
        if let Some([_, send_time @ ..]) = hop.send_time.map(u32::to_be_bytes) {
            self.element(out, self.send_time, &send_time);
        }
        self.passed_on(out, values, hop.playout_delay);
        if let (Some(id), Some(dependency)) = (self.descriptor, dependency) {
            self.dependency(out, elements, id, dependency);
        }
        let bytes = out.len() - elements;
        if bytes == 0 {
            out.truncate(start + FIXED_BYTES);
            if let Some(first) = out.get_mut(start) {
                *first &= !EXTENSION;
            }
            return;
        }
        let words = bytes.div_ceil(4);
        out.resize(elements + words * 4, 0);
        #[expect(clippy::cast_possible_truncation, reason = "at most HEADER_BYTES_MAX")]
        if let Some(length) = out.get_mut(elements - 1) {
            *length = words as u8;
        }
    }

    /// Appends the dependency descriptor. A structure is longer than the one-byte form can say: that packet's
    /// elements, from `elements` on, are written in the two-byte form.
    fn dependency(&self, out: &mut Vec<u8>, elements: usize, id: u8, dependency: Dependency<'_>) {
        let Dependency {
            descriptor,
            frame_number,
            active_targets,
        } = dependency;
        let start = out.len();
        let header_bytes = if self.one_byte { 1 } else { 2 };
        out.resize(start + header_bytes, 0);
        let value = out.len();
        descriptor.write(out, frame_number, active_targets);
        let Ok(length) = u8::try_from(out.len() - value) else {
            out.truncate(start);
            return;
        };
        let fits = usize::from(length) <= ONE_BYTE_VALUE_MAX;
        match out.get_mut(start..value) {
            Some([head]) if fits => *head = (id << 4) | (length - 1),
            Some([head]) => {
                *head = id;
                out.insert(value, length);
                widen(out, elements, start);
            }
            Some([head, size]) => (*head, *size) = (id, length),
            _ => {}
        }
    }

    /// What the publisher says; `playout_delay` stands in where it says nothing of that.
    fn passed_on(
        &self,
        out: &mut Vec<u8>,
        values: &ExtensionValues,
        playout_delay: Option<[u8; 3]>,
    ) {
        if let (Some(level), Some(_)) = (values.audio_level, self.audio_level) {
            let voice = u8::from(values.voice_activity.unwrap_or(false)) << 7;
            self.element(
                out,
                self.audio_level,
                &[voice | (level.unsigned_abs() & 0x7f)],
            );
        }
        if let Some(orientation) = values.video_orientation {
            self.element(out, self.orientation, &[orientation as u8]);
        }
        if let (Some(capture), Some(_)) = (values.abs_capture_time, self.capture_time) {
            let mut value = [0; 16];
            let (time, offset) = value.split_at_mut(8);
            time.copy_from_slice(&super::wallclock::ntp(capture.capture_time).to_be_bytes());
            let length = match capture.clock_offset {
                Some(clock_offset) => {
                    offset.copy_from_slice(&clock_offset.to_be_bytes());
                    16
                }
                None => 8,
            };
            self.element(
                out,
                self.capture_time,
                value.get(..length).unwrap_or(&value),
            );
        }
        if let Some(delay) = said_playout_delay(values).or(playout_delay) {
            self.element(out, self.playout_delay, &delay);
        }
        if let Some(kind) = values.video_content_type {
            self.element(out, self.content_type, &[kind]);
        }
    }

    fn element(&self, out: &mut Vec<u8>, id: Option<u8>, value: &[u8]) {
        let (Some(id), Ok(length)) = (id, u8::try_from(value.len())) else {
            return;
        };
        if length == 0 {
            return;
        }
        if self.one_byte {
            out.push((id << 4) | (length - 1));
        } else {
            out.extend_from_slice(&[id, length]);
        }
        out.extend_from_slice(value);
    }
}

/// What the publisher says of how long pictures are to be held.
fn said_playout_delay(values: &ExtensionValues) -> Option<[u8; 3]> {
    let hundredths = |delay: MediaTime| delay.rebase(Frequency::HUNDREDTHS).numer();
    let (min, max) = (values.play_delay_min?, values.play_delay_max?);
    Some(playout_delay(hundredths(min), hundredths(max)))
}

/// The value of the header extension playout-delay: 12 bits each for the least and the most, in units of 10 ms.
pub(super) fn playout_delay(min: u64, max: u64) -> [u8; 3] {
    let [.., high, middle, low] = (((min & 0xfff) << 12) | (max & 0xfff)).to_be_bytes();
    [high, middle, low]
}

/// Rewrites the elements in `from..to` from the one-byte form to the two-byte form.
fn widen(out: &mut Vec<u8>, from: usize, to: usize) {
    let (mut at, mut end) = (from, to);
    while at < end {
        let Some(head) = out.get_mut(at) else {
            return;
        };
        let (id, length) = (*head >> 4, (*head & 0x0f) + 1);
        *head = id;
        out.insert(at + 1, length);
        at += 2 + usize::from(length);
        end += 1;
    }
    if let Some(profile) = out.get_mut(from - PROFILE_BYTES..from - PROFILE_BYTES + 2) {
        profile.copy_from_slice(&TWO_BYTE_PROFILE);
    }
}

/// The profile and the length in front of the elements.
const PROFILE_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;
    use str0m::rtp::{AbsCaptureTime, VideoOrientation};

    use super::*;

    /// Send time 5, level 3, orientation 3, capture time 18, playout delay 5, content type 3, and padding.
    const EXTENSIONS_BYTES_MAX: usize = 40;
    /// All extensions in the two-byte form, and a MID of 16 bytes.
    const HEADER_BYTES_MAX: usize = FIXED_BYTES + 4 + (2 + 16) + (2 + 2) + EXTENSIONS_BYTES_MAX;

    fn map(ids: &[(u8, Extension)]) -> ExtensionMap {
        let mut map = ExtensionMap::empty();
        for (id, extension) in ids {
            map.set(*id, extension.clone());
        }
        map
    }

    const FIELDS: Fields = Fields {
        payload_type: 96,
        marker: true,
        padding: false,
        seq: 0xfffe,
        timestamp: 0xdead_beef,
        ssrc: 0x0102_0304,
    };

    fn all_extensions(first_id: u8) -> ExtensionMap {
        map(&[
            (first_id, Extension::RtpMid),
            (2, Extension::TransportSequenceNumber),
            (3, Extension::AudioLevel),
            (4, Extension::VideoOrientation),
            (5, Extension::AbsoluteCaptureTime),
            (6, Extension::PlayoutDelay),
            (7, Extension::VideoContentType),
            (8, Extension::AbsoluteSendTime),
        ])
    }

    fn values() -> ExtensionValues {
        ExtensionValues {
            audio_level: Some(-37),
            voice_activity: Some(true),
            video_orientation: Some(VideoOrientation::Deg90),
            abs_capture_time: Some(AbsCaptureTime {
                capture_time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_500),
                clock_offset: Some(-5),
            }),
            play_delay_min: Some(MediaTime::new(10, Frequency::HUNDREDTHS)),
            play_delay_max: Some(MediaTime::new(0xabc, Frequency::HUNDREDTHS)),
            video_content_type: Some(1),
            ..ExtensionValues::default()
        }
    }

    /// The elements of a header, as RFC 8285 section 4 has them read.
    fn elements(header: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let words = usize::from(u16::from_be_bytes([header[14], header[15]]));
        assert_eq!(
            header.len(),
            16 + words * 4,
            "the length is that of the extensions"
        );
        let one_byte = header[12..14] == ONE_BYTE_PROFILE;
        let (mut rest, mut found) = (&header[16..], Vec::new());
        while let Some((first, behind)) = rest.split_first() {
            rest = behind;
            if *first == 0 {
                continue;
            }
            let (id, length) = if one_byte {
                (first >> 4, usize::from(first & 15) + 1)
            } else {
                rest = &behind[1..];
                (*first, usize::from(behind[0]))
            };
            let (value, behind) = rest.split_at(length);
            found.push((id, value.to_vec()));
            rest = behind;
        }
        found
    }

    #[test]
    fn all_that_is_negotiated_is_written_in_both_forms() {
        for first_id in [1, 15] {
            let template = Template::new("mid7".into(), &all_extensions(first_id));
            let hop = Hop {
                transport_seq: Some(0x1234),
                ..Hop::default()
            };
            let mut out = Vec::new();
            template.write(&mut out, FIELDS, hop, &values(), None);
            assert!(out.len() <= HEADER_BYTES_MAX, "{}", out.len());
            let fixed = [0x90, 0xe0, 0xff, 0xfe, 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4];
            assert_eq!(out[..12], fixed);
            let capture = [0xee, 0xf4, 0x50, 0x80, 0x80, 0, 0, 0];
            let offset = (-5i64).to_be_bytes();
            let expected: [(u8, &[u8]); 7] = [
                (first_id, b"mid7"),
                (2, &[0x12, 0x34]),
                (3, &[0x80 | 37]),
                (4, &[VideoOrientation::Deg90 as u8]),
                (5, &[capture, offset].concat()),
                (6, &[0x00, 0xaa, 0xbc]),
                (7, &[1]),
            ];
            let written = elements(&out);
            let written: Vec<(u8, &[u8])> = written
                .iter()
                .map(|(id, value)| (*id, value.as_slice()))
                .collect();
            assert_eq!(written, expected);
        }
    }

    /// The descriptor of a sequence's first packet: two spatial layers, and a structure of 17 bytes or more.
    fn descriptor() -> Descriptor {
        let mut bits = format!("10000{:06b}{:05b}", 0, 1);
        for next in [2, 0, 3] {
            bits += &format!("{next:02b}");
        }
        // Indications: the smaller picture is needed by both, the larger by its own target alone.
        bits += "101000100010";
        // References: none, the frame before, the one before that. No chains.
        bits += "0";
        bits += "100000";
        bits += "100010";
        bits += "0";
        bits += "1";
        for side in [319, 179, 639, 359] {
            bits += &format!("{side:016b}");
        }
        while bits.len() % 8 != 0 {
            bits.push('0');
        }
        let packed = bits.as_bytes().chunks(8).map(|byte| {
            let byte = std::str::from_utf8(byte).unwrap();
            u8::from_str_radix(byte, 2).unwrap()
        });
        let bytes: Vec<u8> = [0x80, 0, 1].into_iter().chain(packed).collect();
        Descriptor::read(&bytes, None).unwrap()
    }

    #[test]
    fn a_long_descriptor_turns_its_packet_to_the_two_byte_form() {
        let descriptor = descriptor();
        let mut value = Vec::new();
        descriptor.write(&mut value, 77, Some(1));
        assert!(value.len() > ONE_BYTE_VALUE_MAX, "{}", value.len());
        for id in [12, 15] {
            let map = map(&[
                (1, Extension::RtpMid),
                (2, Extension::TransportSequenceNumber),
                (4, Extension::VideoOrientation),
                (id, dependency::dependency_descriptor()),
            ]);
            let template = Template::new("mid7".into(), &map);
            let hop = Hop {
                transport_seq: Some(0x1234),
                ..Hop::default()
            };
            let dependency = Some(Dependency {
                descriptor: &descriptor,
                frame_number: 77,
                active_targets: Some(1),
            });
            let mut out = vec![0xaa; 3];
            template.write(&mut out, FIELDS, hop, &values(), dependency);
            assert_eq!(out[15..17], TWO_BYTE_PROFILE);
            let expected = [
                (1, b"mid7".to_vec()),
                (2, vec![0x12, 0x34]),
                (4, vec![VideoOrientation::Deg90 as u8]),
                (id, value.clone()),
            ];
            assert_eq!(elements(&out[3..]), expected);
        }
    }

    #[test]
    fn a_short_descriptor_fits_into_either_form() {
        let structure = descriptor().structure;
        let descriptor = Descriptor::read(&[0x41, 0, 9], Some((&structure, 3))).unwrap();
        for id in [12, 16] {
            let map = map(&[(id, dependency::dependency_descriptor())]);
            let template = Template::new("0".into(), &map);
            let dependency = Some(Dependency {
                descriptor: &descriptor,
                frame_number: 0x0203,
                active_targets: None,
            });
            let mut out = Vec::new();
            template.write(&mut out, FIELDS, Hop::default(), &values(), dependency);
            assert_eq!(elements(&out), [(id, vec![0x41, 2, 3])]);
        }
    }

    #[test]
    fn how_long_pictures_are_held_is_the_publishers_to_say() {
        let template = Template::new("0".into(), &map(&[(6, Extension::PlayoutDelay)]));
        let hop = Hop {
            playout_delay: Some([1, 2, 3]),
            ..Hop::default()
        };
        for (said, written) in [
            (values(), [0, 0xaa, 0xbc]),
            (ExtensionValues::default(), [1, 2, 3]),
        ] {
            let mut out = Vec::new();
            template.write(&mut out, FIELDS, hop, &said, None);
            assert_eq!(elements(&out), [(6, written.to_vec())]);
        }
    }

    #[test]
    fn receivers_that_number_no_packets_get_send_times() {
        let map = map(&[(9, Extension::AbsoluteSendTime)]);
        let template = Template::new("0".into(), &map);
        assert!(template.wants_send_time() && !template.numbers_transport());
        let hop = Hop {
            send_time: Some(0x0001_0203),
            ..Hop::default()
        };
        let mut out = Vec::new();
        template.write(&mut out, FIELDS, hop, &ExtensionValues::default(), None);
        assert_eq!(elements(&out), [(9, vec![1, 2, 3])]);
    }

    #[test]
    fn without_negotiated_extensions_there_are_none() {
        let template = Template::new("0".into(), &ExtensionMap::empty());
        let mut out = Vec::new();
        template.write(&mut out, FIELDS, Hop::default(), &values(), None);
        assert_eq!(out.len(), FIXED_BYTES);
        assert_eq!(out[0], 0x80);
    }

    proptest! {
        #[test]
        fn any_ids_are_read_back(ids in prop::collection::hash_set(1u8..=16, 3), level in -127i8..=0) {
            let ids: Vec<u8> = ids.into_iter().collect();
            let map = map(&[
                (ids[0], Extension::RtpMid),
                (ids[1], Extension::TransportSequenceNumber),
                (ids[2], Extension::AudioLevel),
            ]);
            let template = Template::new("a".into(), &map);
            let values = ExtensionValues { audio_level: Some(level), ..ExtensionValues::default() };
            let mut out = Vec::new();
            let hop = Hop { transport_seq: Some(7), ..Hop::default() };
            template.write(&mut out, FIELDS, hop, &values, None);
            let expected = [
                (ids[0], b"a".to_vec()),
                (ids[1], vec![0, 7]),
                (ids[2], vec![level.unsigned_abs()]),
            ];
            prop_assert_eq!(elements(&out), expected);
        }
    }
}
