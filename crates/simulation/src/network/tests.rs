use super::*;

const MS: Duration = Duration::from_millis(1);

fn rtp(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 96, 0, 1, 0, 0, 0, 0];
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.resize(1_000, 0);
    packet
}

fn arrivals(config: LinkConfig, seed: u64, count: u32) -> Vec<Arrival> {
    let mut link = Link::new(config, seed);
    (0..count)
        .flat_map(|i| {
            link.send(
                MS * i,
                &[
                    20,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                    u8::try_from(i % 256).unwrap(),
                ],
            )
        })
        .collect()
}

#[test]
fn one_seed_is_one_run() {
    assert_eq!(
        arrivals(LinkConfig::messy(), 7, 500),
        arrivals(LinkConfig::messy(), 7, 500)
    );
    assert_ne!(
        arrivals(LinkConfig::messy(), 7, 500),
        arrivals(LinkConfig::messy(), 8, 500)
    );
}

#[test]
fn loss_and_duplication_are_as_configured() {
    let config = LinkConfig {
        loss: 0.2,
        ..LinkConfig::default()
    };
    let through = arrivals(config, 1, 10_000).len();
    assert!((7_800..8_200).contains(&through), "{through}");
    let config = LinkConfig {
        duplicate: 0.2,
        ..LinkConfig::default()
    };
    let through = arrivals(config, 1, 10_000).len();
    assert!((11_800..12_200).contains(&through), "{through}");
}

#[test]
fn jitter_keeps_the_order_and_reordering_breaks_it() {
    let in_order = |config| arrivals(config, 3, 1_000).is_sorted_by_key(|arrival| arrival.at);
    assert!(in_order(LinkConfig {
        jitter: 20 * MS,
        ..LinkConfig::default()
    }));
    assert!(!in_order(LinkConfig {
        reorder: 0.05,
        ..LinkConfig::default()
    }));
}

#[test]
fn a_narrow_link_delays_and_then_drops() {
    let mut link = Link::new(
        LinkConfig {
            queue: 100 * MS,
            ..LinkConfig::rate(100_000)
        },
        1,
    );
    let at: Vec<_> = (0..20)
        .flat_map(|_| link.send(Duration::ZERO, &rtp(1)))
        .map(|a| a.at)
        .collect();
    // 1,028 bytes at 100 kbit/s take 82 ms: the first, and the second that waits for it.
    assert_eq!(at.len(), 2, "{at:?}");
    assert!(
        at.is_sorted() && at.iter().all(|at| *at >= 92 * MS),
        "{at:?}"
    );
    assert_eq!(link.stats().dropped, 18);
}

#[test]
fn scripted_drops_hit_their_ssrc_alone() {
    let mut link = Link::new(LinkConfig::default(), 1);
    link.drop_next(ScriptedDrop { ssrc: 5, count: 2 });
    let through = [5, 6, 5, 5].map(|ssrc| link.send(Duration::ZERO, &rtp(ssrc)).len());
    assert_eq!(through, [0, 1, 0, 1]);
}

#[test]
fn a_queue_of_bytes_is_full_at_its_size() {
    let mut link = Link::new(
        LinkConfig {
            queue: Duration::from_secs(10),
            queue_bytes: Some(3_000),
            ..LinkConfig::rate(100_000)
        },
        1,
    );
    let through: usize = (0..20)
        .map(|_| link.send(Duration::ZERO, &rtp(1)).len())
        .sum();
    assert_eq!(through, 2, "1,028 bytes each");
}

#[test]
fn a_black_hole_takes_large_packets_alone() {
    let mut link = Link::new(
        LinkConfig {
            mtu: Some(1_000),
            ..LinkConfig::default()
        },
        1,
    );
    assert_eq!(link.send(Duration::ZERO, &rtp(1)).len(), 0);
    assert_eq!(link.send(Duration::ZERO, &[0; 900]).len(), 1);
}

#[test]
fn bursts_take_their_share_and_come_in_rows() {
    let bursts = Bursts {
        share: 0.1,
        length: 200 * MS,
    };
    let config = LinkConfig {
        bursts: Some(bursts),
        ..LinkConfig::default()
    };
    let mut link = Link::new(config, 5);
    let lost: Vec<bool> = (0..200_000)
        .map(|i| link.send(MS * i, &[0; 20]).is_empty())
        .collect();
    let share = lost.iter().filter(|lost| **lost).count();
    assert!((16_000..24_000).contains(&share), "{share} of 200,000");
    let rows = lost.windows(2).filter(|pair| pair[1] && !pair[0]).count();
    assert!((70..140).contains(&rows), "{rows} rows in 200 s");
}

#[test]
fn a_trace_carries_what_it_says() {
    let mut link = Link::new(LinkConfig::default(), 1);
    let trace = Trace::parse("# made up\n0 800\n1000 0\n1500 1600\n2000 1600\n").unwrap();
    link.set_config(
        Duration::ZERO,
        LinkConfig {
            trace: Some(trace),
            delay: Duration::ZERO,
            queue: Duration::from_secs(9),
            ..LinkConfig::default()
        },
    );
    // 1,000 bytes on the wire take 10 ms at 800 kbit/s, wait out the pause, and take 5 ms at 1,600 kbit/s.
    let arrives = |link: &mut Link, at| link.send(at, &[0; 972])[0].at;
    assert_eq!(arrives(&mut link, 100 * MS), 110 * MS);
    assert_eq!(arrives(&mut link, 1_000 * MS), 1_505 * MS);
    assert_eq!(arrives(&mut link, 1_995 * MS), 2_000 * MS);
    assert_eq!(arrives(&mut link, 2_100 * MS), 2_110 * MS, "starts over");
    assert_eq!(link.rate_at(1_200 * MS), Some(0));
}
