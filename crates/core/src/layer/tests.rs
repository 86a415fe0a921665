use str0m::rtp::vla::{
    ResolutionAndFramerate, SimulcastStreamAllocation, SpatialLayerAllocation,
    TemporalLayerAllocation,
};

use super::*;

fn received(numbers: &[u64]) -> (Vec<bool>, Layer) {
    let mut layer = Layer::new(None);
    let mut taken = Vec::new();
    for &seq in numbers {
        let follows = layer.follows(seq);
        if follows {
            layer.count(seq);
        }
        taken.push(follows);
    }
    (taken, layer)
}

#[test]
fn a_leap_begins_a_stream_of_its_own() {
    let (taken, layer) = received(&[5, 6, 3_006, 23_006, 23_007]);
    assert_eq!(taken, [true; 5]);
    assert_eq!(layer.stream, 1);
}

#[test]
fn whip_46_frames_that_are_shown_earlier_are_counted() {
    let mut layer = Layer::new(None);
    // Decoded as I P B B; each frame has two packets, and one is sent again.
    let packets = [
        (1, 0, false),
        (2, 0, true),
        (3, 9_000, false),
        (4, 9_000, true),
        (5, 3_000, false),
        (6, 3_000, true),
        (3, 9_000, false),
        (7, 6_000, true),
        (8, 12_000, true),
    ];
    for (seq, timestamp, ends_frame) in packets {
        layer.note_order(seq, timestamp, ends_frame);
        layer.count(seq);
    }
    assert_eq!(layer.reordered, 2);
}

#[test]
fn whip_46_an_encoder_that_is_set_right_is_no_trouble_any_more() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut layer = Layer::new(None);
    layer.note_order(1, 3_000, true);
    layer.count(1);
    layer.tick(at(0));
    assert!(!layer.reorders(at(0)));
    layer.note_order(2, 0, true);
    layer.tick(at(1));
    assert!(layer.reorders(at(1)) && layer.reorders(at(10)));
    layer.tick(at(11));
    assert!(!layer.reorders(at(11)));
}

#[test]
fn what_is_far_behind_or_made_up_is_not_taken() {
    let made_up = u64::MAX - 25_535;
    let (taken, layer) = received(&[50_000, 49_000, 40_000, made_up, 1 << 48, 50_001]);
    assert_eq!(taken, [true, true, false, false, false, true]);
    assert_eq!(layer.stream, 0);
}

fn declared(index: u8, kbps: &[&[u64]]) -> VideoLayersAllocation {
    let streams = kbps.iter().map(|temporal| SimulcastStreamAllocation {
        spatial_layers: vec![SpatialLayerAllocation {
            temporal_layers: temporal
                .iter()
                .map(|kbps| TemporalLayerAllocation {
                    cumulative_kbps: *kbps,
                })
                .collect(),
            resolution_and_framerate: Some(ResolutionAndFramerate {
                width: 640,
                height: 360,
                framerate: 30,
            }),
        }],
    });
    VideoLayersAllocation {
        current_simulcast_stream_index: index,
        simulcast_streams: streams.collect(),
    }
}

#[test]
fn what_the_publisher_declares_stands_in_until_it_is_measured() {
    let now = Instant::now();
    let mut layer = Layer::new(None);
    assert!(!layer.declare(&declared(0, &[&[100], &[500]]), false));
    assert_eq!(layer.bps(), 0, "which of the streams it is, is not known");
    layer.declare(&declared(1, &[&[100], &[300, 500]]), true);
    assert_eq!((layer.bps(), layer.size()), (500_000, Some((640, 360))));
    layer.measure(&Frame::PLAIN, Part::of_frame(12_500, now), 0);
    layer.tick(now + Duration::from_millis(250));
    assert_eq!(layer.bps(), 400_000);
}

#[test]
fn a_layer_that_is_declared_to_have_stopped_is_not_waited_for() {
    let now = Instant::now();
    let mut layer = Layer::new(None);
    layer.measure(&Frame::PLAIN, Part::of_frame(1_000, now), 0);
    assert!(!layer.declare(&declared(0, &[&[100], &[500]]), true));
    assert!(layer.is_active(now));
    assert!(layer.declare(&declared(1, &[&[], &[500]]), false));
    assert!(!layer.is_active(now));
}
