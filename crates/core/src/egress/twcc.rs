//! Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01):
//! which packets a peer has got, and when by its own clock.

/// Packets that one report may speak of: as many as a sender remembers. More of them would let
/// one datagram cost more work, fewer would discard the report that follows a long outage.
const STATUSES_MAX: usize = 8_192;

/// Receive deltas count in these (section 3.1.5).
pub(crate) const TICK_US: i64 = 250;
/// The reference time counts in these (section 3.1).
pub(crate) const REFERENCE_US: i64 = 64_000;

/// One report. It is kept and filled again, so that a report costs no allocation.
#[derive(Debug, Default)]
pub(crate) struct Feedback {
    /// The transport-wide number that the first status is about; the others follow by one.
    pub(crate) base: u16,
    /// 24 bits, in units of 64 ms, from a start that only the receiver knows.
    pub(crate) reference_time: u32,
    /// Counts the receiver's reports: a gap is a report that was lost.
    pub(crate) number: u8,
    /// For each packet the ticks of 250 µs from the reference time to its arrival, if it has
    /// arrived.
    pub(crate) arrivals: Vec<Option<i32>>,
}

/// Reads a report from behind its media SSRC. False, and no statuses, where it is malformed.
pub(crate) fn parse(body: &[u8], out: &mut Feedback) -> bool {
    out.arrivals.clear();
    let complete = read(body, out).is_some();
    if !complete {
        out.arrivals.clear();
    }
    complete
}

fn read(body: &[u8], out: &mut Feedback) -> Option<()> {
    // Base number, count of statuses, reference time, number of this report.
    let ([b0, b1, c0, c1, r0, r1, r2, number], rest) = body.split_first_chunk::<8>()?;
    let count = usize::from(u16::from_be_bytes([*c0, *c1]));
    if count == 0 || count > STATUSES_MAX {
        return None;
    }
    out.number = *number;
    out.base = u16::from_be_bytes([*b0, *b1]);
    out.reference_time = u32::from_be_bytes([0, *r0, *r1, *r2]);
    let (chunks, mut deltas) = split_chunks(rest, count)?;
    let mut ticks = 0_i32;
    for chunk in chunks.chunks_exact(2) {
        let chunk = Chunk::read(chunk)?;
        let symbols = chunk.len().min(count - out.arrivals.len());
        for index in 0..symbols {
            let delta = match chunk.symbol(index) {
                0 => None,
                1 => {
                    let (delta, rest) = deltas.split_first()?;
                    deltas = rest;
                    Some(i32::from(*delta))
                }
                2 => {
                    let (delta, rest) = deltas.split_first_chunk::<2>()?;
                    deltas = rest;
                    Some(i32::from(i16::from_be_bytes(*delta)))
                }
                _ => return None,
            };
            // Cannot overflow: at most 8,192 steps of 16 bits.
            ticks += delta.unwrap_or(0);
            out.arrivals.push(delta.map(|_| ticks));
        }
    }
    Some(())
}

/// The deltas begin where the chunks have named all packets.
fn split_chunks(rest: &[u8], count: usize) -> Option<(&[u8], &[u8])> {
    let mut named = 0;
    for (index, chunk) in rest.chunks_exact(2).enumerate() {
        named += Chunk::read(chunk)?.len();
        if named >= count {
            return rest.split_at_checked((index + 1) * 2);
        }
    }
    None
}

/// A packet status chunk (section 3.1.2).
#[derive(Debug, Clone, Copy)]
enum Chunk {
    /// One symbol, many times.
    Run { symbol: u16, length: u16 },
    /// 14 symbols of one bit: received with a small delta, or not.
    OneBit(u16),
    /// 7 symbols of two bits.
    TwoBits(u16),
}

impl Chunk {
    fn read(bytes: &[u8]) -> Option<Self> {
        let word = u16::from_be_bytes(*bytes.first_chunk::<2>()?);
        Some(match word >> 14 {
            0b00 | 0b01 => Self::Run {
                symbol: word >> 13,
                length: word & 0x1fff,
            },
            0b10 => Self::OneBit(word),
            _ => Self::TwoBits(word),
        })
    }

    fn len(self) -> usize {
        match self {
            Self::Run { length, .. } => usize::from(length),
            Self::OneBit(_) => 14,
            Self::TwoBits(_) => 7,
        }
    }

    /// `index` is below `len`.
    fn symbol(self, index: usize) -> u16 {
        match self {
            Self::Run { symbol, .. } => symbol,
            Self::OneBit(word) => word >> (13 - index.min(13)) & 1,
            Self::TwoBits(word) => word >> (12 - 2 * index.min(6)) & 3,
        }
    }
}

/// Writes a report as a receiver would: runs where they are long, else vectors.
#[cfg(test)]
pub(crate) fn encode(feedback: &Feedback) -> Vec<u8> {
    let count = u16::try_from(feedback.arrivals.len()).unwrap();
    let mut body = Vec::new();
    body.extend(feedback.base.to_be_bytes());
    body.extend(count.to_be_bytes());
    body.extend(&feedback.reference_time.to_be_bytes()[1..]);
    body.push(feedback.number);
    let mut deltas = Vec::new();
    let mut ticks = 0;
    let mut symbols = Vec::new();
    for arrival in &feedback.arrivals {
        let Some(arrival) = arrival else {
            symbols.push(0);
            continue;
        };
        let delta = arrival - ticks;
        ticks = *arrival;
        if let Ok(small) = u8::try_from(delta) {
            symbols.push(1);
            deltas.push(small);
        } else {
            symbols.push(2);
            deltas.extend(i16::try_from(delta).unwrap().to_be_bytes());
        }
    }
    let mut rest = symbols.as_slice();
    while let Some(first) = rest.first() {
        let run = rest.iter().take_while(|symbol| *symbol == first).count();
        let (chunk, taken) = if run > 14 || run == rest.len() {
            let run = run.min(0x1fff);
            (first << 13 | u16::try_from(run).unwrap(), run)
        } else if rest.iter().take(14).all(|symbol| *symbol < 2) {
            vector(0x8000, rest, 14, 1)
        } else {
            vector(0xc000, rest, 7, 2)
        };
        body.extend(chunk.to_be_bytes());
        rest = &rest[taken..];
    }
    body.extend(deltas);
    body
}

#[cfg(test)]
fn vector(kind: u16, symbols: &[u16], len: usize, bits: usize) -> (u16, usize) {
    let taken = symbols.len().min(len);
    let word = (0..len).fold(0, |word, index| {
        word << bits | symbols.get(index).copied().unwrap_or(0)
    });
    (kind | word, taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(body: &[u8]) -> Option<Feedback> {
        let mut feedback = Feedback::default();
        parse(body, &mut feedback).then_some(feedback)
    }

    #[test]
    fn every_kind_of_chunk_and_delta_is_read() {
        // Numbers from 5; 12 statuses; reference time 1.
        let mut body = vec![0, 5, 0, 12, 0, 0, 1, 9];
        body.extend([0x20, 2]); // a run of 2 small
        body.extend([0x00, 3]); // a run of 3 not received
        body.extend([0b1101_1000, 0]); // two bits each: 1, 2, 0 ...
        body.extend([4, 4, 8]); // small deltas
        body.extend([0xff, 0xfc]); // a large one that goes back by 4
        let feedback = parsed(&body).unwrap();
        assert_eq!((feedback.base, feedback.reference_time), (5, 1));
        assert_eq!(feedback.number, 9);
        let mut expected = vec![None; 12];
        expected[0] = Some(4);
        expected[1] = Some(8);
        expected[5] = Some(16);
        expected[6] = Some(12);
        assert_eq!(feedback.arrivals, expected);
        body.pop();
        assert!(parsed(&body).is_none(), "a delta is missing");
    }

    #[test]
    fn a_vector_of_single_bits_is_read() {
        let body = [0, 0, 0, 14, 0, 0, 0, 0, 0b1010_0000, 0b0000_0001, 1, 2];
        let arrivals = parsed(&body).unwrap().arrivals;
        assert_eq!((arrivals[0], arrivals[13]), (Some(1), Some(3)));
        assert_eq!(arrivals.iter().flatten().count(), 2);
    }

    #[test]
    fn nonsense_is_refused_and_leaves_nothing() {
        let mut feedback = Feedback::default();
        let run_of_reserved = [0, 0, 0, 1, 0, 0, 0, 0, 0x60, 1, 0, 0];
        let runs_of_nothing = [0, 0, 0, 1, 0, 0, 0, 0, 0x20, 0, 0x20, 0];
        let count_zero = [0, 0, 0, 0, 0, 0, 0, 0, 0x20, 1, 4];
        let too_many = [0, 0, 0xff, 0xff, 0, 0, 0, 0, 0x1f, 0xff, 0x1f, 0xff];
        for body in [
            &run_of_reserved[..],
            &runs_of_nothing,
            &count_zero,
            &too_many,
            &[],
        ] {
            assert!(!parse(body, &mut feedback), "{body:?}");
            assert!(feedback.arrivals.is_empty());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut feedback = Feedback::default();
            let complete = parse(&body, &mut feedback);
            prop_assert_eq!(complete, !feedback.arrivals.is_empty());
            prop_assert!(feedback.arrivals.len() <= STATUSES_MAX);
        }

        #[test]
        fn what_is_written_is_read(
            base in any::<u16>(),
            number in any::<u8>(),
            reference_time in 0_u32..1 << 24,
            deltas in prop::collection::vec(
                prop::option::of(prop_oneof![0..256, -32_768..32_768]),
                1..400,
            ),
        ) {
            let mut ticks = 0;
            let arrivals = deltas
                .into_iter()
                .map(|delta| delta.map(|delta| { ticks += delta; ticks }))
                .collect();
            let sent = Feedback { base, reference_time, number, arrivals };
            let read = parsed(&encode(&sent)).unwrap();
            prop_assert_eq!((read.base, read.number), (sent.base, sent.number));
            prop_assert_eq!(read.reference_time, sent.reference_time);
            prop_assert_eq!(read.arrivals, sent.arrivals);
        }
    }
}
