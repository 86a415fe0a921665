//! Which node a room is on, where several share the rooms among them.
//!
//! Every node knows the same list, and each room has its own order of it (rendezvous hashing): all nodes agree without
//! asking, and a node that is added or taken away moves no rooms but its own.

/// The nodes that share the rooms, by the addresses under which clients reach them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nodes {
    own: String,
    all: Vec<String>,
}

impl Nodes {
    /// `own` is this node's address, one of `all`, such as `https://a.example.org`, written in the same way.
    pub fn new(own: &str, all: &[String]) -> Self {
        Self {
            own: own.to_owned(),
            all: all.to_vec(),
        }
    }

    /// The address of the node that has the room, where that is not this one.
    pub(crate) fn elsewhere(&self, room: &str) -> Option<&str> {
        let home = self
            .all
            .iter()
            .max_by_key(|url| (weight(url, room), *url))?;
        (*home != self.own).then_some(home)
    }

    /// Whether a page of this origin is one of theirs.
    pub(crate) fn serve(&self, origin: &str) -> bool {
        self.all.iter().any(|url| url.eq_ignore_ascii_case(origin))
    }
}

/// The address of a node's WebSocket: http becomes ws, https wss.
pub(crate) fn websocket(node: &str) -> String {
    format!("{}/v1/rtc", node.replacen("http", "ws", 1))
}

/// A number for a pair of node and room. It is part of what nodes agree on, and stays as it is over versions: FNV-1a with
/// 64 bits, whose high bits a multiplication mixes once more.
fn weight(url: &str, room: &str) -> u64 {
    let bytes = url.bytes().chain([0]).chain(room.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(own: usize, count: usize) -> Nodes {
        let all: Vec<String> = (0..count)
            .map(|n| format!("https://{n}.example.org"))
            .collect();
        Nodes::new(&all[own], &all)
    }

    fn home(count: usize, room: &str) -> String {
        let elsewhere = nodes(0, count).elsewhere(room).map(str::to_owned);
        elsewhere.unwrap_or_else(|| "https://0.example.org".to_owned())
    }

    #[test]
    fn one_node_or_none_has_all_rooms() {
        assert_eq!(Nodes::default().elsewhere("yard"), None);
        assert_eq!(nodes(0, 1).elsewhere("yard"), None);
    }

    #[test]
    fn all_nodes_agree_and_each_has_its_share() {
        let rooms: Vec<String> = (0..3_000).map(|n| format!("room-{n}")).collect();
        let mut shares = [0; 3];
        for room in &rooms {
            let homes: Vec<usize> = (0..3)
                .filter(|own| nodes(*own, 3).elsewhere(room).is_none())
                .collect();
            assert_eq!(homes.len(), 1, "{room}");
            shares[homes[0]] += 1;
        }
        assert!(
            shares.iter().all(|share| (900..1_100).contains(share)),
            "{shares:?}"
        );
    }

    #[test]
    fn a_node_more_takes_rooms_and_moves_no_others() {
        for n in 0..500 {
            let room = format!("room-{n}");
            let (before, after) = (home(3, &room), home(4, &room));
            assert!(
                after == before || after == "https://3.example.org",
                "{room}"
            );
        }
    }
}
