//! Places in an arena for regions that live for a time: those alive together do not overlap.

/// Something that needs memory from its first to its last use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Size, a multiple of the alignment.
    pub bytes: u32,
    /// First and last step in which it is used.
    pub life: [u32; 2],
}

impl Region {
    const fn meets(&self, other: &Self) -> bool {
        self.life[0] <= other.life[1] && other.life[0] <= self.life[1]
    }
}

/// Offsets of regions, and how good they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packing {
    /// One a region.
    pub offsets: Vec<u32>,
    /// End of the last.
    pub bytes: u32,
    /// No packing can be smaller: the most bytes alive at one time.
    pub lower_bound: u32,
}

/// Regions up to which every order is tried.
const EXACT: usize = 10;
/// Orders after which the exact search gives up.
const MAX_TRIES: u32 = 200_000;

/// The most bytes that are alive at one time.
#[must_use]
pub fn lower_bound(regions: &[Region]) -> u32 {
    let alive = |time: u32| regions.iter().filter(|r| r.life[0] <= time && time <= r.life[1]).map(|r| r.bytes).sum();
    regions.iter().map(|region| alive(region.life[0])).max().unwrap_or(0)
}

/// Places the regions: the best of three greedy orders, and for a few regions of all orders.
///
/// First fit finds a smallest packing for some order: that by offset of a smallest packing, everything moved down as far as it goes.
#[must_use]
pub fn pack(regions: &[Region]) -> Packing {
    let bound = lower_bound(regions);
    let indices: Vec<usize> = (0..regions.len()).collect();
    let sorted = |key: &dyn Fn(&Region) -> (u32, u32)| {
        let mut order = indices.clone();
        order.sort_by_key(|&i| key(&regions[i]));
        order
    };
    let orders = [
        sorted(&|r| (u32::MAX - r.bytes, r.life[0])),
        sorted(&|r| (r.life[0], u32::MAX - r.bytes)),
        sorted(&|r| (u32::MAX - (r.life[1] - r.life[0]), u32::MAX - r.bytes)),
    ];
    let mut best: Option<(u32, Vec<u32>)> = None;
    for order in orders {
        let mut placed = vec![None; regions.len()];
        for i in order {
            placed[i] = Some(first_fit(regions, &placed, i));
        }
        keep_better(regions, &placed, &mut best);
    }
    if regions.len() <= EXACT {
        let mut search = Search { regions, bound, tries: 0, best };
        search.extend(&mut vec![None; regions.len()], 0);
        best = search.best;
    }
    let (bytes, offsets) = best.unwrap_or_default();
    Packing { offsets, bytes, lower_bound: bound }
}

struct Search<'a> {
    regions: &'a [Region],
    bound: u32,
    tries: u32,
    best: Option<(u32, Vec<u32>)>,
}

impl Search<'_> {
    fn extend(&mut self, placed: &mut Vec<Option<u32>>, peak: u32) {
        let best = self.best.as_ref().map_or(u32::MAX, |best| best.0);
        if peak >= best || best == self.bound || self.tries > MAX_TRIES {
            return;
        }
        self.tries += 1;
        if placed.iter().all(Option::is_some) {
            keep_better(self.regions, placed, &mut self.best);
            return;
        }
        for i in 0..placed.len() {
            if placed[i].is_none() {
                let offset = first_fit(self.regions, placed, i);
                placed[i] = Some(offset);
                self.extend(placed, peak.max(offset + self.regions[i].bytes));
                placed[i] = None;
            }
        }
    }
}

fn keep_better(regions: &[Region], placed: &[Option<u32>], best: &mut Option<(u32, Vec<u32>)>) {
    let offsets: Vec<u32> = placed.iter().map(|offset| offset.unwrap_or(0)).collect();
    let bytes = offsets.iter().zip(regions).map(|(offset, region)| offset + region.bytes).max().unwrap_or(0);
    if best.as_ref().is_none_or(|(least, _)| bytes < *least) {
        *best = Some((bytes, offsets));
    }
}

/// The lowest offset at which a region meets no other in space and time.
fn first_fit(regions: &[Region], placed: &[Option<u32>], index: usize) -> u32 {
    let region = &regions[index];
    let mut taken: Vec<(u32, u32)> = placed
        .iter()
        .zip(regions)
        .filter_map(|(offset, other)| offset.filter(|_| region.meets(other)).map(|start| (start, start + other.bytes)))
        .collect();
    taken.sort_unstable();
    let mut offset = 0;
    for (start, end) in taken {
        if offset + region.bytes <= start {
            break;
        }
        offset = offset.max(end);
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    fn regions() -> impl Strategy<Value = Vec<Region>> {
        let region = (1_u32..50, 0_u32..20, 0_u32..10)
            .prop_map(|(words, first, length)| Region { bytes: 4 * words, life: [first, first + length] });
        proptest::collection::vec(region, 1..14)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, rng_seed: RngSeed::Fixed(11), ..ProptestConfig::default() })]
        #[test]
        fn what_lives_together_does_not_overlap(regions in regions()) {
            let packing = pack(&regions);
            prop_assert!(packing.bytes >= packing.lower_bound);
            for i in 0..regions.len() {
                for j in 0..i {
                    let (a, b) = (packing.offsets[i], packing.offsets[j]);
                    let apart = a + regions[i].bytes <= b || b + regions[j].bytes <= a;
                    prop_assert!(apart || !regions[i].meets(&regions[j]));
                }
            }
        }
    }

    #[test]
    fn the_exact_search_beats_greedy_orders() {
        // published example of a packing that greedy-by-size misses is not at hand: three waves whose sum is tight
        let r = |bytes, first, last| Region { bytes, life: [first, last] };
        let regions = [r(4, 0, 1), r(8, 1, 2), r(4, 2, 3), r(12, 3, 4), r(4, 0, 4)];
        let packing = pack(&regions);
        assert_eq!(packing.bytes, packing.lower_bound);
    }
}
