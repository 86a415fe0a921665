//! Descriptors as libwebrtc's encoders write them.

use proptest::prelude::*;

use super::*;

/// A frame of a made-up structure: layer, indications, references.
struct Made {
    spatial: u32,
    temporal: u32,
    indications: &'static str,
    back: &'static [u32],
}

const fn made(
    spatial: u32,
    temporal: u32,
    indications: &'static str,
    back: &'static [u32],
) -> Made {
    Made {
        spatial,
        temporal,
        indications,
        back,
    }
}

/// Two spatial layers, of which the larger is predicted from the smaller in keyframes alone (L2T2_KEY). Decode
/// targets: S0T0, S0T1, S1T0, S1T1.
const L2T2_KEY: [Made; 6] = [
    made(0, 0, "SSSS", &[]),
    made(0, 0, "SS--", &[4]),
    made(0, 1, "-D--", &[2]),
    made(1, 0, "--SS", &[1]),
    made(1, 0, "--SS", &[4]),
    made(1, 1, "---D", &[2]),
];

/// The same with the larger always predicted from the smaller (L2T2).
const L2T2: [Made; 6] = [
    made(0, 0, "SSSS", &[]),
    made(0, 0, "SSRR", &[4]),
    made(0, 1, "-D-R", &[2]),
    made(1, 0, "--SS", &[1]),
    made(1, 0, "--SS", &[4, 1]),
    made(1, 1, "---D", &[2, 1]),
];

const SIZES: [(u32, u32); 2] = [(320, 180), (640, 360)];

/// Of a template: they begin with 61, so that they wrap.
fn id(template: u8) -> u8 {
    (61 + template) % 64
}

fn indication(symbol: char) -> u32 {
    match symbol {
        '-' => 0,
        'D' => 1,
        'S' => 2,
        _ => 3,
    }
}

/// Writes flags and a structure with one chain.
fn with_structure(templates: &[Made], template: u8, extra: impl Fn(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = vec![0x80 | id(template), 0x12, 0x34];
    let mut writer = Writer::new(&mut out);
    writer.put(STRUCTURE, FLAG_BITS);
    writer.put(61, 6);
    writer.put(3, 5);
    for (at, frame) in templates.iter().enumerate() {
        let next = match templates.get(at + 1) {
            None => 3,
            Some(next) if next.spatial > frame.spatial => 2,
            Some(next) => next.temporal - frame.temporal,
        };
        writer.put(next, 2);
    }
    for frame in templates {
        for symbol in frame.indications.chars() {
            writer.put(indication(symbol), 2);
        }
    }
    for frame in templates {
        for back in frame.back {
            writer.put(0x10 | (back - 1), 5);
        }
        writer.put(0, 1);
    }
    // One chain of 0 to 4: ns(5) of 1; protected by ns(1), which takes no bits.
    writer.put(1, 2);
    for _ in templates {
        writer.put(1, 4);
    }
    writer.put(1, 1);
    for (width, height) in SIZES {
        writer.put(width - 1, 16);
        writer.put(height - 1, 16);
    }
    extra(&mut writer);
    out
}

fn structure(templates: &[Made]) -> Arc<Structure> {
    let bytes = with_structure(templates, 0, |_| {});
    Descriptor::read(&bytes, None).unwrap().structure
}

fn read(structure: &Arc<Structure>, bytes: &[u8]) -> Result<Descriptor, Unreadable> {
    Descriptor::read(bytes, Some((structure, structure.all_targets())))
}

fn written(descriptor: &Descriptor, frame_number: u16, active: Option<u32>) -> Vec<u8> {
    let mut out = Vec::new();
    descriptor.write(&mut out, frame_number, active);
    out
}

#[test]
fn a_structure_tells_who_needs_what() {
    let bytes = with_structure(&L2T2_KEY, 0, |_| {});
    let first = Descriptor::read(&bytes, None).unwrap();
    assert!(first.begins_sequence && first.frame.starts && !first.frame.ends);
    assert_eq!(first.frame_number, 0x1234);
    assert_eq!(first.frame.needed, Points::ALL);
    assert_eq!(first.structure.size(1), Some((640, 360)));
    let points: Vec<_> = first.structure.operating_points().collect();
    assert_eq!(
        points,
        [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(s, t)| Point::new(s, t))
    );
    let small = read(&first.structure, &[id(2), 0, 5]).unwrap();
    assert_eq!(small.frame.layer, Point::new(0, 1));
    assert!(small.frame.needed.contains(Point::new(0, 1)));
    assert!(!small.frame.needed.contains(Point::new(0, 0)));
    assert!(!small.frame.needed.contains(Point::new(1, 1)));
    assert!(small.references.all(|back| back == 2));
    let large = read(&first.structure, &[id(4), 0, 5]).unwrap();
    assert_eq!(large.frame.layer, Point::new(1, 0));
    assert!(large.frame.needed.contains(Point::WHOLE));
    assert!(large.frame.switch.contains(Point::new(1, 1)));
}

#[test]
fn who_has_the_larger_layer_can_go_back_only_where_it_needs_the_smaller() {
    assert!(!structure(&L2T2_KEY).nested);
    assert!(structure(&L2T2).nested);
    assert_eq!(structure(&L2T2_KEY).within(Point::WHOLE), 0b1100);
    assert_eq!(structure(&L2T2).within(Point::WHOLE), 0b1111);
    assert_eq!(structure(&L2T2).within(Point::new(0, 7)), 0b0011);
}

#[test]
fn a_short_descriptor_keeps_its_length_and_gets_a_number() {
    let structure = structure(&L2T2);
    let descriptor = read(&structure, &[id(2), 0xff, 0xff]).unwrap();
    assert_eq!(written(&descriptor, 7, None), [id(2), 0, 7]);
}

#[test]
fn receivers_are_told_what_is_left_for_them() {
    let bytes = with_structure(&L2T2, 0, |_| {});
    let first = Descriptor::read(&bytes, None).unwrap();
    let active = first.told_active(Point::new(0, 1));
    assert_eq!(active, Some(0b0011));
    let out = written(&first, 9, active);
    let again = Descriptor::read(&out, None).unwrap();
    assert_eq!((again.frame_number, again.active), (9, 0b0011));
    assert_eq!(again.structure, first.structure);
    let delta = read(&first.structure, &[0x80 | id(2), 0, 1]).unwrap();
    assert_eq!(
        delta.told_active(Point::WHOLE),
        None,
        "no frame of the base layer"
    );
}

#[test]
fn what_a_frame_says_of_itself_counts_more_than_its_template() {
    let structure = structure(&L2T2);
    let mut bytes = vec![0x80 | 61, 0, 3];
    let mut writer = Writer::new(&mut bytes);
    writer.put(
        CUSTOM_INDICATIONS | CUSTOM_REFERENCES | CUSTOM_CHAINS,
        FLAG_BITS,
    );
    for symbol in "S---".chars() {
        writer.put(indication(symbol), 2);
    }
    writer.put(0b10_0001_0001, 10);
    writer.put(0, 2);
    writer.put(200, 8);
    let descriptor = read(&structure, &bytes).unwrap();
    assert!(!descriptor.frame.needed.contains(Point::WHOLE));
    assert!(descriptor.references.all(|back| back == 18));
    let out = written(&descriptor, 3, None);
    assert_eq!(out, bytes);
    let told = written(&descriptor, 3, Some(0b0101));
    let again = read(&structure, &told).unwrap();
    assert_eq!(again.active, 0b0101);
    assert_eq!(again.frame, descriptor.frame);
    assert_eq!(again.references, descriptor.references);
}

#[test]
fn what_cannot_be_read_says_why() {
    assert_eq!(
        Descriptor::read(&[0x80, 0, 1], None),
        Err(Unreadable::NoStructure)
    );
    let structure = structure(&L2T2);
    assert_eq!(
        read(&structure, &[30, 0, 1]),
        Err(Unreadable::NoStructure),
        "a template of another structure"
    );
    assert_eq!(read(&structure, &[61, 0]), Err(Unreadable::Malformed));
    assert_eq!(
        read(&structure, &[61, 0, 1, 0x80]),
        Err(Unreadable::Malformed)
    );
}

/// Nothing that comes later can make sense of it.
#[test]
fn a_template_that_the_packets_own_structure_lacks_is_malformed() {
    let mut bytes = with_structure(&L2T2_KEY, 0, |_| {});
    bytes[0] = (bytes[0] & !TEMPLATE_ID) | ((bytes[0] + 40) & TEMPLATE_ID);
    assert_eq!(
        Descriptor::read(&bytes, None).map(|read| read.frame),
        Err(Unreadable::Malformed)
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, number: u16, active: Option<u32>) {
        let structure = structure(&L2T2_KEY);
        let (alone, knowing) = (Descriptor::read(&bytes, None), read(&structure, &bytes));
        for descriptor in [alone, knowing].into_iter().flatten() {
            let _ = written(&descriptor, number, active);
            for point in Point::all() {
                let _ = descriptor.told_active(point);
            }
        }
    }

    #[test]
    fn a_damaged_structure_does_not_panic(at in 0usize..60, bits: u8) {
        let mut bytes = with_structure(&L2T2_KEY, 0, |_| {});
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= bits;
        }
        if let Ok(descriptor) = Descriptor::read(&bytes, None) {
            let again = written(&descriptor, descriptor.frame_number, None);
            let again = Descriptor::read(&again, None);
            prop_assert_eq!(again.map(|again| again.structure), Ok(descriptor.structure));
        }
    }
}
