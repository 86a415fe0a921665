use super::*;
use crate::layering::Point;
use proptest::prelude::*;

fn rung(layer: usize, height: u32, bps: u64) -> Rung {
    Rung {
        layer: Target::whole(layer),
        height,
        bps,
        guessed: false,
    }
}

fn ladder() -> Arc<Vec<Rung>> {
    Arc::new(vec![
        rung(0, 180, 150_000),
        rung(1, 360, 500_000),
        rung(2, 720, 1_500_000),
    ])
}

fn tile(height: u32, priority: u8) -> Demand {
    Demand {
        ladder: ladder(),
        height,
        min_height: 0,
        priority,
        current: None,
        paused: false,
    }
}

/// A tile that shows this layer.
fn shown(layer: usize, priority: u8) -> Demand {
    Demand {
        current: Some(Target::whole(layer)),
        ..tile(720, priority)
    }
}

/// A shared screen that has just begun: a single layer of which nothing is known.
fn new_screen() -> Demand {
    Demand {
        ladder: Arc::new(vec![Rung {
            guessed: true,
            ..rung(0, 1_080, 3_000_000)
        }]),
        min_height: 1_080,
        ..tile(1_080, 128)
    }
}

/// An estimate that has not fallen lately, and is new.
fn steady(bps: u64) -> Budget {
    lasting(bps, 0)
}

/// The same where there has been this much for a while.
fn lasting(bps: u64, lasting: u64) -> Budget {
    Budget::Bps(Share {
        now: bps,
        steady: bps,
        lasting,
    })
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

#[test]
fn a_guess_pauses_nothing_that_has_been_measured() {
    let mut demands = vec![new_screen()];
    demands.extend([shown(0, 0), shown(0, 0), tile(180, 0)]);
    let budget = 520_000;
    let allocation = allocate(&demands, steady(budget));
    assert_eq!(
        allocation.grants,
        [Grant::Layer(Target::whole(0)); 4],
        "450 kbit/s are measured, and the screen has what is left"
    );
    assert_eq!(allocation.used_bps, budget);
}

#[test]
fn a_guess_takes_nothing_from_who_is_as_important() {
    let rungs = |demands: &[Demand]| {
        let grants = allocate(demands, steady(2_100_000)).grants;
        grants
            .into_iter()
            .map(|grant| match grant {
                Grant::Layer(target) => target.layer,
                Grant::NoBandwidth | Grant::Nothing => panic!("{grant:?}"),
            })
            .collect::<Vec<_>>()
    };
    let mut demands = [new_screen(), shown(2, 128), shown(1, 128)];
    assert_eq!(rungs(&demands), [0, 2, 1]);
    demands[1].priority = 0;
    assert_eq!(
        rungs(&demands),
        [0, 0, 1],
        "who is less important makes room"
    );
    demands[0].current = Some(Target::whole(0));
    assert_eq!(rungs(&demands), [0, 0, 1], "also when it has begun");
    // What there is plenty of, a guess takes.
    let allocation = allocate(&demands, steady(10_000_000));
    assert_eq!(allocation.used_bps, 3_000_000 + 2 * 1_500_000);
}

#[test]
fn a_tile_climbs_to_what_lasts() {
    let height = |least, budget| {
        let grants = allocate(&[shown(1, 0)], lasting(budget, least)).grants;
        grants[0] == Grant::Layer(Target::whole(2))
    };
    assert!(!height(0, 1_800_000), "it may be the best of a tremble");
    assert!(height(0, 1_850_000), "whatever trembles, there is room");
    assert!(
        height(1_580_000, 1_600_000),
        "it has been there for a while"
    );
    assert!(!height(1_580_000, 1_570_000), "and it is gone");
}

#[test]
fn a_paused_tile_comes_back_to_what_lasts() {
    let back = |least, budget| {
        let paused = Demand {
            paused: true,
            ..tile(180, 0)
        };
        let grants = allocate(&[shown(0, 0), paused], lasting(budget, least)).grants;
        grants[1] != Grant::NoBandwidth
    };
    assert!(!back(299_000, 350_000), "a high of an estimate that swings");
    assert!(back(0, 376_000), "a quarter more than both take");
    assert!(back(316_000, 320_000), "it has been there for a while");
    assert!(!back(316_000, 300_000), "and it is gone");
}

#[test]
fn who_is_more_important_takes_the_place_of_another() {
    let paused = Demand {
        paused: true,
        ..tile(180, 5)
    };
    let grants = allocate(&[shown(0, 9), shown(0, 0), paused], steady(310_000)).grants;
    assert_eq!(
        grants,
        [
            Grant::Layer(Target::whole(0)),
            Grant::NoBandwidth,
            Grant::Layer(Target::whole(0))
        ]
    );
}

/// Where rungs of a ladder stand that has three temporal layers in each of three sizes: in three streams, or in one.
fn place(at: usize, simulcast: bool) -> Target {
    let (size, temporal) = (at / 3, u8::try_from(at % 3).unwrap());
    if simulcast {
        Target {
            layer: size,
            point: Point::new(0, temporal),
        }
    } else {
        Target {
            layer: 0,
            point: Point::new(u8::try_from(size).unwrap(), temporal),
        }
    }
}

prop_compose! {
    /// Nine rungs at the most.
    fn any_demand()(
        rates in prop::collection::vec(1_000u64..5_000_000, 0..=9),
        simulcast: bool,
        height in 1u32..2_000,
        min_height in 0u32..800,
        priority: u8,
        current in prop::option::of(0usize..9),
        paused: bool,
    ) -> Demand {
        let mut rates = rates;
        rates.sort_unstable();
        let rungs = rates.iter().enumerate().map(|(at, &bps)| Rung {
            layer: place(at, simulcast),
            height: 180 << (at / 3),
            bps,
            guessed: false,
        });
        let current = current.map(|at| place(at, simulcast));
        let paused = paused && current.is_none();
        Demand { ladder: Arc::new(rungs.collect()), height, min_height, priority, current, paused }
    }
}

prop_compose! {
    /// Of which it may be that nothing has been measured yet.
    fn any_new_demand()(demand in any_demand(), guessed: bool) -> Demand {
        let ladder = demand.ladder.iter().map(|rung| Rung { guessed, ..*rung });
        Demand { ladder: Arc::new(ladder.collect()), ..demand }
    }
}

/// The rungs of these tiles, the most important one first: how many get one; how far each comes with its floor, from 1;
/// and how far in the end.
fn achieved(demands: &[Demand], budget: u64) -> (usize, Vec<usize>, Vec<usize>) {
    let grants = allocate(demands, steady(budget)).grants;
    let rungs = demands
        .iter()
        .zip(&grants)
        .map(|(demand, grant)| match grant {
            Grant::Layer(target) => {
                let mut ladder = demand.ladder.iter();
                1 + ladder.position(|rung| rung.layer == *target).unwrap()
            }
            Grant::NoBandwidth | Grant::Nothing => 0,
        });
    let rungs: Vec<usize> = rungs.collect();
    let floor = |demand: &Demand| {
        let below = demand
            .ladder
            .iter()
            .take_while(|rung| rung.height < demand.min_height);
        // With all frames of the first size that is large enough.
        (below.count() / 3 + 1) * 3
    };
    let floors = demands
        .iter()
        .zip(&rungs)
        .map(|(demand, rung)| floor(demand).min(*rung));
    let served = rungs.iter().filter(|rung| **rung > 0).count();
    (served, floors.collect(), rungs)
}

proptest! {
    #[test]
    fn never_over_budget_but_for_the_first_base_layer(
        demands in prop::collection::vec(any_new_demand(), 0..20),
        budget in 0u64..20_000_000,
    ) {
        let allocation = allocate(&demands, steady(budget));
        let largest_base = demands.iter().filter_map(|demand| demand.ladder.first()).map(|rung| rung.bps).max().unwrap_or(0);
        prop_assert!(allocation.used_bps <= budget.max(largest_base));
    }

    #[test]
    fn somebody_is_always_served(
        demands in prop::collection::vec(any_new_demand(), 1..20),
        budget in 0u64..20_000_000,
    ) {
        let allocation = allocate(&demands, steady(budget));
        let has_media = demands.iter().any(|demand| !demand.ladder.is_empty());
        let served = allocation.grants.iter().any(|grant| matches!(grant, Grant::Layer(_)));
        prop_assert_eq!(has_media, served);
    }

    #[test]
    fn more_bandwidth_never_pauses_anybody(
        demands in prop::collection::vec(any_new_demand(), 0..20),
        budget in 0u64..10_000_000,
        more in 0u64..10_000_000,
    ) {
        let paused = |budget| {
            allocate(&demands, steady(budget)).grants.iter().filter(|grant| **grant == Grant::NoBandwidth).count()
        };
        prop_assert!(paused(budget + more) <= paused(budget));
    }

    /// But for the margin that climbing and coming back leave.
    #[test]
    fn more_bandwidth_is_used(
        demands in prop::collection::vec(any_demand(), 0..20),
        budget in 0u64..10_000_000,
        more in 0u64..10_000_000,
    ) {
        let used = |budget| allocate(&demands, steady(budget)).used_bps;
        prop_assert!(percent(used(budget + more), RETURN_PERCENT) + 1 >= used(budget));
    }

    /// Of two budgets, the first tile in the order of importance that has more of one than of the other has it of the
    /// larger. Less important ones may have less of that: what they had has gone to it.
    #[test]
    fn more_bandwidth_goes_to_the_most_important_tile_that_can_use_it(
        demands in prop::collection::vec(any_demand(), 0..20),
        budget in 0u64..20_000_000,
        more in 0u64..10_000_000,
    ) {
        let mut demands = demands;
        for (demand, priority) in demands.iter_mut().zip((0..=u8::MAX).rev()) {
            demand.priority = priority;
        }
        prop_assert!(achieved(&demands, budget + more) >= achieved(&demands, budget));
    }

    #[test]
    fn a_guess_takes_no_tile_that_has_been_measured_down(
        demands in prop::collection::vec(any_demand(), 1..20),
        budget in 0u64..20_000_000,
        guess in 1_000u64..5_000_000,
    ) {
        let mut demands = demands;
        for grants in [(); 20].map(|()| allocate(&demands, steady(budget)).grants) {
            for (demand, grant) in demands.iter_mut().zip(grants) {
                let layer = match grant {
                    Grant::Layer(layer) => Some(layer),
                    Grant::NoBandwidth | Grant::Nothing => None,
                };
                demand.current = layer;
            }
        }
        let before = allocate(&demands, steady(budget)).grants;
        let mut screen = new_screen();
        Arc::make_mut(&mut screen.ladder)[0].bps = guess;
        screen.priority = 0;
        demands.push(screen);
        let after = allocate(&demands, steady(budget)).grants;
        prop_assert_eq!(&after[..before.len()], &before[..]);
    }

    #[test]
    fn nobody_starves_while_all_base_layers_fit(
        demands in prop::collection::vec(any_demand(), 0..20),
        more in 0u64..10_000_000,
    ) {
        let bases: u64 = demands.iter().filter_map(|demand| demand.ladder.first()).map(|rung| rung.bps).sum();
        let allocation = allocate(&demands, steady(percent(bases, RETURN_PERCENT) + more));
        prop_assert!(!allocation.grants.contains(&Grant::NoBandwidth));
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
            let least = percent(estimate, 90);
            let budget = Budget::Bps(Share {
                now: percent(estimate, share),
                steady: least,
                lasting: least,
            });
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
