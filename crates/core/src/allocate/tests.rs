use super::*;
use proptest::prelude::*;

fn ladder() -> Vec<Rung> {
    vec![
        Rung {
            layer: Target::whole(0),
            height: 180,
            bps: 150_000,
        },
        Rung {
            layer: Target::whole(1),
            height: 360,
            bps: 500_000,
        },
        Rung {
            layer: Target::whole(2),
            height: 720,
            bps: 1_500_000,
        },
    ]
}

fn tile(height: u32, priority: u8) -> Demand {
    Demand {
        ladder: ladder(),
        height,
        min_height: 0,
        priority,
        current: None,
    }
}

/// An estimate that has not fallen lately.
fn steady(bps: u64) -> Budget {
    Budget::Bps {
        now: bps,
        steady: bps,
    }
}

#[test]
fn no_estimate_is_not_zero() {
    let layers = |budget| {
        let grants = allocate(&[tile(720, 0), tile(180, 0)], budget).grants;
        let layers = grants.iter().map(|grant| match grant {
            Grant::Layer(target) => Some(target.layer),
            Grant::NoBandwidth | Grant::Nothing => None,
        });
        layers.collect::<Vec<_>>()
    };
    assert_eq!(layers(Budget::Unknown), [Some(0), Some(0)]);
    assert_eq!(layers(Budget::Unlimited), [Some(2), Some(0)]);
}

#[test]
fn the_most_important_tile_always_gets_its_base_layer() {
    let allocation = allocate(&[tile(720, 0), tile(720, 5)], steady(1_000));
    assert_eq!(
        allocation.grants,
        [Grant::NoBandwidth, Grant::Layer(Target::whole(0))]
    );
}

#[test]
fn all_base_layers_come_before_anybodys_second() {
    let allocation = allocate(&[tile(720, 9), tile(720, 0), tile(720, 0)], steady(700_000));
    assert_eq!(
        allocation.grants,
        [
            Grant::Layer(Target::whole(0)),
            Grant::Layer(Target::whole(0)),
            Grant::Layer(Target::whole(0))
        ]
    );
}

#[test]
fn a_tile_gets_no_more_than_it_can_show() {
    let allocation = allocate(&[tile(200, 0)], steady(100_000_000));
    assert_eq!(allocation.grants, [Grant::Layer(Target::whole(1))]);
}

#[test]
fn a_floor_protects_the_important_one() {
    let screen = Demand {
        min_height: 720,
        ..tile(720, 9)
    };
    let allocation = allocate(&[tile(720, 0), screen, tile(720, 0)], steady(2_200_000));
    assert_eq!(
        allocation.grants,
        [
            Grant::Layer(Target::whole(0)),
            Grant::Layer(Target::whole(2)),
            Grant::Layer(Target::whole(0))
        ]
    );
}

#[test]
fn a_trembling_estimate_changes_nothing() {
    let mut demand = tile(720, 0);
    demand.current = Some(Target::whole(2));
    for estimate in [1_510_000, 1_650_000, 1_830_000] {
        assert_eq!(
            allocate(std::slice::from_ref(&demand), steady(estimate)).grants,
            [Grant::Layer(Target::whole(2))]
        );
    }
    demand.current = Some(Target::whole(1));
    assert_eq!(
        allocate(std::slice::from_ref(&demand), steady(1_830_000)).grants,
        [Grant::Layer(Target::whole(1))]
    );
    assert_eq!(
        allocate(std::slice::from_ref(&demand), steady(1_850_000)).grants,
        [Grant::Layer(Target::whole(2))]
    );
}

prop_compose! {
    fn any_demand()(
        rates in prop::collection::vec(1_000u64..5_000_000, 0..4),
        height in 1u32..2_000,
        min_height in 0u32..800,
        priority: u8,
        current in prop::option::of(0usize..4),
    ) -> Demand {
        let mut rates = rates;
        rates.sort_unstable();
        let ladder = rates
            .iter()
            .enumerate()
            .map(|(layer, &bps)| Rung { layer: Target::whole(layer), height: 90 << layer, bps })
            .collect();
        Demand { ladder, height, min_height, priority, current: current.map(Target::whole) }
    }
}

proptest! {
    #[test]
    fn never_over_budget_but_for_the_first_base_layer(
        demands in prop::collection::vec(any_demand(), 0..20),
        budget in 0u64..20_000_000,
    ) {
        let allocation = allocate(&demands, steady(budget));
        let largest_base = demands.iter().filter_map(|demand| demand.ladder.first()).map(|rung| rung.bps).max().unwrap_or(0);
        prop_assert!(allocation.used_bps <= budget.max(largest_base));
    }

    #[test]
    fn somebody_is_always_served(
        demands in prop::collection::vec(any_demand(), 1..20),
        budget in 0u64..20_000_000,
    ) {
        let allocation = allocate(&demands, steady(budget));
        let has_media = demands.iter().any(|demand| !demand.ladder.is_empty());
        let served = allocation.grants.iter().any(|grant| matches!(grant, Grant::Layer(_)));
        prop_assert_eq!(has_media, served);
    }

    #[test]
    fn more_bandwidth_never_pauses_anybody(
        demands in prop::collection::vec(any_demand(), 0..20),
        budget in 0u64..10_000_000,
        more in 0u64..10_000_000,
    ) {
        let paused = |budget| {
            allocate(&demands, steady(budget)).grants.iter().filter(|grant| **grant == Grant::NoBandwidth).count()
        };
        prop_assert!(paused(budget + more) <= paused(budget));
    }

    /// But for the margin that climbing leaves.
    #[test]
    fn more_bandwidth_is_used(
        demands in prop::collection::vec(any_demand(), 0..20),
        budget in 0u64..10_000_000,
        more in 0u64..10_000_000,
    ) {
        let demands: Vec<Demand> = demands.into_iter().map(|demand| Demand { current: None, ..demand }).collect();
        let used = |budget| allocate(&demands, steady(budget)).used_bps;
        prop_assert!(percent(used(budget + more), CLIMB_PERCENT) + 1 >= used(budget));
    }

    #[test]
    fn nobody_starves_while_all_base_layers_fit(
        demands in prop::collection::vec(any_demand(), 0..20),
        more in 0u64..10_000_000,
    ) {
        let bases: u64 = demands.iter().filter_map(|demand| demand.ladder.first()).map(|rung| rung.bps).sum();
        let allocation = allocate(&demands, steady(percent(bases, CLIMB_TOTAL_PERCENT) + more));
        prop_assert!(!allocation.grants.contains(&Grant::NoBandwidth));
    }

    #[test]
    fn the_most_important_tile_loses_nothing_by_more_bandwidth(
        demands in prop::collection::vec(any_demand(), 1..20),
        budget in 0u64..10_000_000,
        more in 0u64..10_000_000,
    ) {
        let mut demands = demands;
        for demand in &mut demands {
            demand.current = None;
            demand.min_height = 0;
            demand.priority = demand.priority.min(254);
        }
        demands[0].priority = 255;
        let bases: u64 = demands.iter().filter_map(|demand| demand.ladder.first()).map(|rung| rung.bps).sum();
        let budget = percent(bases, CLIMB_TOTAL_PERCENT) + budget;
        let grant = |budget| match allocate(&demands, steady(budget)).grants[0] {
            Grant::Layer(target) => Some(target.layer),
            Grant::NoBandwidth | Grant::Nothing => None,
        };
        prop_assert!(grant(budget + more) >= grant(budget));
    }

    /// A tile that has come down at the worst of the noise does not climb at the best of it.
    #[test]
    fn an_estimate_that_trembles_by_ten_percent_moves_no_tile_twice(
        demand in any_demand(),
        estimate in 1_000u64..10_000_000,
        noise in prop::collection::vec(90u64..=110, 40),
    ) {
        let mut demand = demand;
        let mut layer = |share: u64| {
            let budget = percent(estimate, share);
            let grants = allocate(std::slice::from_ref(&demand), steady(budget)).grants;
            demand.current = match grants[..] {
                [Grant::Layer(layer)] => Some(layer),
                _ => None,
            };
            demand.current
        };
        let (_, _, settled) = (layer(110), layer(90), layer(100));
        for share in noise {
            prop_assert_eq!(layer(share), settled);
        }
    }
    /// Beside others a rung is little: what all take together is what has to be steady.
    #[test]
    fn an_estimate_that_trembles_by_two_percent_moves_none_of_many_tiles(
        demands in prop::collection::vec(any_demand(), 1..20),
        estimate in 1_000u64..20_000_000,
        noise in prop::collection::vec(98u64..=102, 40),
    ) {
        let mut demands = demands;
        let mut grants = |share: u64| {
            let grants = allocate(&demands, steady(percent(estimate, share))).grants;
            for (demand, grant) in demands.iter_mut().zip(&grants) {
                demand.current = match grant {
                    Grant::Layer(layer) => Some(*layer),
                    Grant::NoBandwidth | Grant::Nothing => None,
                };
            }
            grants
        };
        // One tile's change makes room for another's.
        for share in [102, 98].repeat(20) {
            grants(share);
        }
        let settled = grants(100);
        for share in noise {
            prop_assert_eq!(&grants(share), &settled);
        }
    }
    /// Many tiles stand still, too, where the estimate comes back to its lowest value again and again: what climbs fits
    /// into that.
    #[test]
    fn an_estimate_that_trembles_by_ten_percent_moves_none_of_many_tiles(
        demands in prop::collection::vec(any_demand(), 1..20),
        estimate in 1_000u64..20_000_000,
        noise in prop::collection::vec(90u64..=110, 40),
    ) {
        let mut demands = demands;
        let mut grants = |share: u64| {
            let budget = Budget::Bps {
                now: percent(estimate, share),
                steady: percent(estimate, 90),
            };
            let grants = allocate(&demands, budget).grants;
            for (demand, grant) in demands.iter_mut().zip(&grants) {
                demand.current = match grant {
                    Grant::Layer(layer) => Some(*layer),
                    Grant::NoBandwidth | Grant::Nothing => None,
                };
            }
            grants
        };
        for share in [110, 90].repeat(20) {
            grants(share);
        }
        let settled = grants(100);
        for share in noise {
            prop_assert_eq!(&grants(share), &settled);
        }
    }
}
