//! Which layer each slot of one peer gets from the peer's bandwidth estimate. A pure function.
//!
//! Base layers of all visible tiles come first, most important tile first; then the tiles climb their ladders, the
//! more important ones before the others, and those that are as important as each other one rung at a time, round by
//! round: nobody gets a third rung while another of the same importance is still on the first. What doesn't fit even
//! on its base layer is paused, least important first; the most important tile always gets its base layer, whatever
//! the estimate says: a wrong estimate would else never be found out.
//!
//! Layers change by two rates: a tile stays on its rung as long as that fits, and climbs where more would fit.
//!
//! More bandwidth never pauses a tile, and else it is monotone by importance: the first rung, in the order in which rungs
//! are handed out, that one of two budgets affords and the other does not is had of the larger one. A less important
//! tile may stand lower then than of the smaller budget, and so may all together, by the margin that climbing leaves.
//!
//! What a base layer takes that has just begun is a guess, for half a second. It gets what is left beside the base layers
//! that have been measured, and beside what those have that are as important: it stops none of them.

mod lasting;

use std::sync::Arc;

use crate::ladder::Rung;
use crate::layering::Target;

pub(crate) use lasting::Lasting;

/// One visible tile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Layers that have media, smallest first. Empty: nothing to send yet. All who watch a track share one.
    pub(crate) ladder: Arc<Vec<Rung>>,
    /// Height of the tile in pixels: the first rung that fills it is the best one.
    pub(crate) height: u32,
    /// Rungs below this height are climbed before anybody less important climbs at all.
    pub(crate) min_height: u32,
    pub(crate) priority: u8,
    /// What the slot carries now.
    pub(crate) current: Option<Target>,
    /// The slot has been paused for want of bandwidth.
    pub(crate) paused: bool,
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

/// How a peer's downlink is used, in bit/s.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Downlink {
    /// `None` while nothing is known.
    pub estimate_bps: Option<u64>,
    /// What the pictures that the slots are given take.
    pub used_bps: u64,
    /// What they would take if bandwidth were plentiful.
    pub wanted_bps: u64,
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

/// Climbing asks for this much of a rung's rate: 1.1 / 0.9, so that an estimate that trembles by 10 % to both sides does
/// not move a tile up and down. Lower would, higher leaves more of the link unused. Of what has lasted it is not asked.
const CLIMB_PERCENT: u64 = 123;
/// And for this much of what all tiles take together then: where there are many, a rung is little, and so is its margin.
/// A tile that shows nothing yet, or was paused, asks for as much before it gets its base layer. Lower would move tiles up
/// and down with what an estimate moves by between two troughs, 1 to 2 %; 123 here, too, used 74 % of a link of 3 Mbit/s for
/// nine tiles instead of 94 %.
const CLIMB_TOTAL_PERCENT: u64 = 105;

/// A tile that was paused comes back at once where there is so much more than all take then. Estimates of a link that is
/// full sink and rise by a fifth, as its queue is filled and probed; lower would let pictures come and go with that.
const RETURN_PERCENT: u64 = 125;

/// What there is to share out: the estimate less audio and what resent packets take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Budget {
    Bps(Share),
    /// It will be known in a moment, which is not the same as zero: small pictures come soonest whatever it is.
    Unknown,
    /// It will never be known.
    Unlimited,
}

/// What all tiles share, in bit/s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// What there is now, to stay within.
    pub(crate) now: u64,
    /// What that has fallen to lately, to climb with.
    pub(crate) steady: u64,
    /// The least that there has been for some seconds, which one may count on.
    pub(crate) lasting: u64,
}

/// Gives each tile what it can have of the budget.
pub(crate) fn allocate(demands: &[Demand], budget: Budget) -> Allocation {
    let mut budget = match budget {
        Budget::Bps(share) => share,
        Budget::Unknown => return smallest(demands),
        Budget::Unlimited => Share {
            now: u64::MAX,
            steady: u64::MAX,
            lasting: u64::MAX,
        },
    };
    budget.steady = budget.steady.min(budget.now);
    budget.lasting = budget.lasting.min(budget.steady);
    let mut order: Vec<usize> = (0..demands.len()).collect();
    order.sort_by_key(|&at| std::cmp::Reverse(priority(demands, at)));
    let mut climbers: Vec<Climber<'_>> = demands.iter().map(Climber::new).collect();
    let as_important = |a: &usize, b: &usize| priority(demands, *a) == priority(demands, *b);
    let ranks: Vec<&[usize]> = order.chunk_by(as_important).collect();
    let mut used = bases(&mut climbers, &order, budget);
    used += guesses(&mut climbers, &ranks, budget.now, used);
    used += climbs(&mut climbers, &ranks, budget, used);
    Allocation {
        grants: climbers.iter().map(Climber::grant).collect(),
        used_bps: used,
        wanted_bps: climbers.iter().map(Climber::wanted).sum(),
    }
}

/// Base layers, most important tile first, as far as they fit; what they cost.
fn bases(climbers: &mut [Climber<'_>], order: &[usize], budget: Share) -> u64 {
    let mut used = 0;
    let mut served = false;
    let is_shown = |at: &usize| {
        let climber = climbers.get(*at);
        climber.is_some_and(|climber| climber.demand.current.is_some())
    };
    let last_shown = order.iter().rposition(is_shown);
    for (place, &at) in order.iter().enumerate() {
        let Some(climber) = climbers
            .get_mut(at)
            .filter(|climber| !climber.demand.ladder.is_empty())
        else {
            continue;
        };
        let room = Room {
            used,
            budget,
            given_way: last_shown.is_some_and(|last| place < last),
        };
        let Some(cost) = climber.base(room, !served) else {
            // Nobody less important slips in: more bandwidth must never pause a tile that had some.
            break;
        };
        used += cost;
        // Of what has not been measured nobody knows that it is any.
        served |= cost > 0;
    }
    used
}

/// Base layers of which nothing is known get what is left beside what others hold that are as important; what they
/// count for.
fn guesses(climbers: &mut [Climber<'_>], ranks: &[&[usize]], budget: u64, used: u64) -> u64 {
    let (mut held, mut guessed) = (0, 0);
    for peers in ranks {
        let holds = |at: &usize| climbers.get(*at).map(Climber::held);
        held += peers.iter().filter_map(holds).sum::<u64>();
        for at in *peers {
            if let Some(climber) = climbers.get_mut(*at) {
                guessed += climber.guess(budget.saturating_sub(used + guessed + held));
            }
        }
    }
    guessed
}

/// Rung by rung up to the floors, then up to what fills the tiles; what that costs.
fn climbs(climbers: &mut [Climber<'_>], ranks: &[&[usize]], budget: Share, used: u64) -> u64 {
    let mut more = 0;
    for floor in [true, false] {
        for peers in ranks {
            let mut climbed = true;
            while climbed {
                climbed = false;
                for at in *peers {
                    if let Some(climber) = climbers.get_mut(*at)
                        && let Some(cost) = climber.climb(used + more, budget, floor)
                    {
                        more += cost;
                        climbed = true;
                    }
                }
            }
        }
    }
    more
}

/// The smallest picture of each, with all its frames.
fn smallest(demands: &[Demand]) -> Allocation {
    let mut climbers: Vec<Climber<'_>> = demands.iter().map(Climber::new).collect();
    let used = climbers.iter_mut().filter_map(Climber::stay_small).sum();
    Allocation {
        grants: climbers.iter().map(Climber::grant).collect(),
        used_bps: used,
        wanted_bps: climbers.iter().map(Climber::wanted).sum(),
    }
}

fn priority(demands: &[Demand], at: usize) -> u8 {
    demands.get(at).map_or(0, |demand| demand.priority)
}

/// What there is for the next base layer.
#[derive(Clone, Copy)]
struct Room {
    used: u64,
    budget: Share,
    /// Somebody less important is shown, and gives way: no margin is needed to come in his place.
    given_way: bool,
}

/// A tile on its way up the ladder.
struct Climber<'a> {
    demand: &'a Demand,
    ladder: &'a [Rung],
    /// The rung that the slot carries now.
    stands: Option<usize>,
    /// The rung that it has climbed to.
    at: Option<usize>,
    /// What that counts for.
    cost: u64,
}

impl<'a> Climber<'a> {
    fn new(demand: &'a Demand) -> Self {
        let ladder = demand.ladder.as_slice();
        let carried = |current| ladder.iter().position(|rung| rung.layer == current);
        Self {
            demand,
            ladder,
            stands: demand.current.and_then(carried),
            at: None,
            cost: 0,
        }
    }

    /// Takes the base layer if it fits beside what is used, or `anyway`; what it costs. Of a guess, that comes later.
    fn base(&mut self, room: Room, anyway: bool) -> Option<u64> {
        let base = self.ladder.first()?;
        let cost = if base.guessed { 0 } else { base.bps };
        let all = room.used + cost;
        let fits = |percents: u64, budget: u64| percent(all, percents) <= budget;
        let goes_on = self.demand.current.is_some() || base.guessed || room.given_way;
        let Share {
            now,
            steady,
            lasting,
        } = room.budget;
        let fits = match self.demand.paused {
            _ if goes_on => fits(100, now),
            false => fits(CLIMB_TOTAL_PERCENT, steady),
            true => fits(RETURN_PERCENT, steady) || fits(CLIMB_TOTAL_PERCENT, lasting),
        };
        if !anyway && !fits {
            return None;
        }
        self.at = Some(0);
        self.cost = cost;
        Some(cost)
    }

    /// What the rung that the slot carries now takes on top of the base layer, as far as that is known.
    fn held(&self) -> u64 {
        let stands = self.at.and(self.stands);
        let rung = stands.and_then(|stands| self.ladder.get(stands));
        let known = rung.filter(|rung| !rung.guessed);
        known.map_or(0, |rung| rung.bps.saturating_sub(self.cost))
    }

    /// Counts a base layer of which nothing is known for so much at the most; what it counts for.
    fn guess(&mut self, most: u64) -> u64 {
        let base = self.at.and_then(|_| self.ladder.first());
        let guessed = base.filter(|base| base.guessed);
        let cost = guessed.map_or(0, |base| base.bps.min(most));
        self.cost += cost;
        cost
    }

    /// Takes the best rung of the smallest picture; what it costs.
    fn stay_small(&mut self) -> Option<u64> {
        let size = self.ladder.first()?.layer;
        let as_large = |rung: &Rung| rung.layer.shows_as_much_as(size);
        self.at = self.ladder.iter().rposition(as_large);
        self.cost = self.ladder.get(self.at?)?.bps;
        Some(self.cost)
    }

    /// Climbs one rung if that is wanted and fits beside what is used; what it costs on top.
    fn climb(&mut self, used: u64, budget: Share, floor: bool) -> Option<u64> {
        let at = self.at?;
        let here = self.ladder.get(at)?;
        let next = self.ladder.get(at + 1)?;
        let enough = if floor {
            self.demand.min_height
        } else {
            self.demand.height
        };
        if here.height >= enough && !next.layer.shows_as_much_as(here.layer) {
            return None;
        }
        let more = next.bps.saturating_sub(self.cost);
        let fits = if self.stands.is_some_and(|stands| stands > at) {
            used + more <= budget.now
        } else {
            let own = used + percent(next.bps, CLIMB_PERCENT).saturating_sub(self.cost);
            let all = percent(used + more, CLIMB_TOTAL_PERCENT);
            all.max(own) <= budget.steady || all <= budget.lasting
        };
        if !fits {
            return None;
        }
        self.at = Some(at + 1);
        self.cost += more;
        Some(more)
    }

    fn grant(&self) -> Grant {
        match self.at.and_then(|at| self.ladder.get(at)) {
            Some(rung) => Grant::Layer(rung.layer),
            None if self.ladder.is_empty() => Grant::Nothing,
            None => Grant::NoBandwidth,
        }
    }

    fn wanted(&self) -> u64 {
        let rung = self.ladder.get(self.best());
        rung.map_or(0, |rung| rung.bps)
    }

    /// The best rung of the smallest picture that fills the tile, or of the largest.
    fn best(&self) -> usize {
        let ladder = self.ladder;
        let last = ladder.len().saturating_sub(1);
        let filling = ladder
            .iter()
            .position(|rung| rung.height >= self.demand.height)
            .unwrap_or(last);
        let Some(size) = ladder.get(filling).map(|rung| rung.layer) else {
            return last;
        };
        let as_large = ladder
            .iter()
            .rposition(|rung| rung.layer.shows_as_much_as(size));
        as_large.unwrap_or(filling)
    }
}

fn percent(value: u64, percent: u64) -> u64 {
    value.saturating_mul(percent) / 100
}

#[cfg(test)]
mod tests;
