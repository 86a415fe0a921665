//! Which layer each slot of one peer gets from the peer's bandwidth estimate. A pure function.
//!
//! Base layers of all visible tiles come first, most important tile first; then the tiles climb
//! their ladders one rung at a time, round by round, so that nobody gets a third rung while somebody
//! as important is still on the first. What doesn't fit even on its base layer is paused, least
//! important first; the most important tile always gets its base layer, whatever the estimate
//! says: a wrong estimate would else never be found out.

use crate::ladder::Rung;
use crate::layering::Target;

/// One visible tile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Layers that have media, smallest first. Empty: nothing to send yet.
    pub(crate) ladder: Vec<Rung>,
    /// Height of the tile in pixels: the first rung that fills it is the best one.
    pub(crate) height: u32,
    /// Rungs below this height are climbed before anybody less important climbs at all.
    pub(crate) min_height: u32,
    pub(crate) priority: u8,
    /// What the slot carries now.
    pub(crate) current: Option<Target>,
}

/// What one tile gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    Layer(Target),
    /// The base layer does not fit.
    NoBandwidth,
    /// The track has no layer with media: the slot waits for whatever comes first.
    Nothing,
}

/// The outcome for all tiles of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Allocation {
    /// In the order of the demands.
    pub(crate) grants: Vec<Grant>,
    /// What the grants need, in bit/s.
    pub(crate) used_bps: u64,
    /// What the tiles would take if bandwidth were plentiful, in bit/s.
    pub(crate) wanted_bps: u64,
}

/// RTP, SRTP, UDP and IP headers and resent packets on top of the payload: 5 % and a bit for small packets.
const OVERHEAD_PERCENT: u64 = 110;
/// Climbing asks for more than staying, so that an estimate that trembles by 20 % changes nothing.
const CLIMB_PERCENT: u64 = 125;

/// `budget_bps` is the estimate less audio; `None` where there is no estimate yet, which is not the same as zero.
pub(crate) fn allocate(demands: &[Demand], budget_bps: Option<u64>) -> Allocation {
    let budget = budget_bps.unwrap_or(u64::MAX);
    let mut order: Vec<usize> = (0..demands.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(demands.get(at).map_or(0, |demand| demand.priority)));
    let mut climbers: Vec<Climber<'_>> = demands.iter().map(Climber::new).collect();
    let mut used = 0;
    let mut served = false;
    for &at in &order {
        let Some(climber) = climbers
            .get_mut(at)
            .filter(|climber| !climber.demand.ladder.is_empty())
        else {
            continue;
        };
        let Some(cost) = climber.base(budget.saturating_sub(used), !served) else {
            // Nobody less important slips in: more bandwidth must never pause a tile that had some.
            break;
        };
        used += cost;
        served = true;
    }
    for floor in [true, false] {
        let mut climbed = true;
        while climbed {
            climbed = false;
            for &at in &order {
                if let Some(climber) = climbers.get_mut(at)
                    && let Some(cost) = climber.climb(budget.saturating_sub(used), floor)
                {
                    used += cost;
                    climbed = true;
                }
            }
        }
    }
    Allocation {
        grants: climbers.iter().map(Climber::grant).collect(),
        used_bps: used,
        wanted_bps: climbers.iter().map(Climber::wanted).sum(),
    }
}

/// A tile on its way up the ladder.
struct Climber<'a> {
    demand: &'a Demand,
    /// The rung it stands on.
    at: Option<usize>,
}

impl<'a> Climber<'a> {
    fn new(demand: &'a Demand) -> Self {
        Self { demand, at: None }
    }

    /// Takes the base layer if it fits or `anyway`; what it costs.
    fn base(&mut self, left: u64, anyway: bool) -> Option<u64> {
        let cost = cost(self.demand.ladder.first()?);
        if !anyway && cost > left {
            return None;
        }
        self.at = Some(0);
        Some(cost)
    }

    /// Climbs one rung if that is wanted and fits; what it costs on top.
    fn climb(&mut self, left: u64, floor: bool) -> Option<u64> {
        let at = self.at?;
        let here = self.demand.ladder.get(at)?;
        let next = self.demand.ladder.get(at + 1)?;
        let enough = if floor {
            self.demand.min_height
        } else {
            self.demand.height
        };
        if here.height >= enough && !next.layer.shows_as_much_as(here.layer) {
            return None;
        }
        let more = cost(next).saturating_sub(cost(here));
        let standing = self
            .demand
            .ladder
            .iter()
            .position(|rung| Some(rung.layer) == self.demand.current)
            .is_some_and(|current| current > at);
        let asked = if standing {
            more
        } else {
            percent(cost(next), CLIMB_PERCENT).saturating_sub(cost(here))
        };
        if asked > left {
            return None;
        }
        self.at = Some(at + 1);
        Some(more)
    }

    fn grant(&self) -> Grant {
        match self.at.and_then(|at| self.demand.ladder.get(at)) {
            Some(rung) => Grant::Layer(rung.layer),
            None if self.demand.ladder.is_empty() => Grant::Nothing,
            None => Grant::NoBandwidth,
        }
    }

    fn wanted(&self) -> u64 {
        let ladder = &self.demand.ladder;
        let filling = ladder
            .iter()
            .find(|rung| rung.height >= self.demand.height)
            .or_else(|| ladder.last());
        let best = filling.and_then(|filling| {
            let mut downwards = ladder.iter().rev();
            downwards.find(|rung| rung.layer.shows_as_much_as(filling.layer))
        });
        best.map_or(0, cost)
    }
}

fn cost(rung: &Rung) -> u64 {
    percent(rung.bps, OVERHEAD_PERCENT)
}

fn percent(value: u64, percent: u64) -> u64 {
    value.saturating_mul(percent) / 100
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn no_estimate_is_not_zero() {
        let allocation = allocate(&[tile(720, 0), tile(180, 0)], None);
        assert_eq!(
            allocation.grants,
            [
                Grant::Layer(Target::whole(2)),
                Grant::Layer(Target::whole(0))
            ]
        );
    }

    #[test]
    fn the_most_important_tile_always_gets_its_base_layer() {
        let allocation = allocate(&[tile(720, 0), tile(720, 5)], Some(1_000));
        assert_eq!(
            allocation.grants,
            [Grant::NoBandwidth, Grant::Layer(Target::whole(0))]
        );
    }

    #[test]
    fn all_base_layers_come_before_anybodys_second() {
        let allocation = allocate(&[tile(720, 9), tile(720, 0), tile(720, 0)], Some(700_000));
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
        let allocation = allocate(&[tile(200, 0)], Some(100_000_000));
        assert_eq!(allocation.grants, [Grant::Layer(Target::whole(1))]);
    }

    #[test]
    fn a_floor_protects_the_important_one() {
        let screen = Demand {
            min_height: 720,
            ..tile(720, 9)
        };
        let allocation = allocate(&[tile(720, 0), screen, tile(720, 0)], Some(2_450_000));
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
        for estimate in [1_660_000, 1_800_000, 2_000_000] {
            assert_eq!(
                allocate(std::slice::from_ref(&demand), Some(estimate)).grants,
                [Grant::Layer(Target::whole(2))]
            );
        }
        demand.current = Some(Target::whole(1));
        assert_eq!(
            allocate(std::slice::from_ref(&demand), Some(1_800_000)).grants,
            [Grant::Layer(Target::whole(1))]
        );
        assert_eq!(
            allocate(std::slice::from_ref(&demand), Some(2_100_000)).grants,
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
            let allocation = allocate(&demands, Some(budget));
            let largest_base = demands.iter().filter_map(|demand| demand.ladder.first()).map(cost).max().unwrap_or(0);
            prop_assert!(allocation.used_bps <= budget.max(largest_base));
        }

        #[test]
        fn somebody_is_always_served(
            demands in prop::collection::vec(any_demand(), 1..20),
            budget in 0u64..20_000_000,
        ) {
            let allocation = allocate(&demands, Some(budget));
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
                allocate(&demands, Some(budget)).grants.iter().filter(|grant| **grant == Grant::NoBandwidth).count()
            };
            prop_assert!(paused(budget + more) <= paused(budget));
        }
    }
}
