//! The segments of all paths of a priority, laid out so that a look-up among many touches little memory: for each
//! segment a place in a hash table, and one cache line that holds the segment and what ends there.

use super::entry::Entry;
use super::search::Search;
use crate::path::Segment;
use hashbrown::DefaultHashBuilder;
use std::hash::{BuildHasher, Hasher};

/// A node's place among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeId(u32);

impl NodeId {
    /// Stands for no node: what is there is nobody's child.
    const NONE: Self = Self(0);
}

/// Where patterns begin, and where those that begin with the same segments go on.
///
/// The literal children of all nodes are in one table, by parent and segment: whoever sends requests cannot add any, so
/// that it needs no hash that resists collisions.
#[derive(Debug)]
pub(super) struct Nodes {
    nodes: Vec<Node>,
    /// Open addressing; a power of two, at most half of them taken.
    slots: Vec<Slot>,
    literals: usize,
    hasher: DefaultHashBuilder,
}

/// As large as a cache line, and in one.
#[derive(Debug)]
#[repr(align(64))]
struct Node {
    segment: Text,
    /// Routes that end here, best first.
    exact: Ends,
    /// Routes that take this and all below, best first.
    prefix: Ends,
    parent: NodeId,
    below: Below,
}

/// What a node has for children: that for any segment, and whether there are literal ones.
#[derive(Clone, Copy, Debug)]
struct Below(u32);

/// A short text in place, or a longer one elsewhere.
#[derive(Debug)]
enum Text {
    Short { length: u8, bytes: [u8; Text::SHORT] },
    Long(Box<str>),
}

/// Almost always none or one.
#[derive(Debug, Default)]
enum Ends {
    #[default]
    None,
    One(Entry),
    #[expect(clippy::box_collection, reason = "rare, and must not make all others larger")]
    More(Box<Vec<Entry>>),
}

/// Whether a pattern ends where its segments do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Exact,
    Prefix,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    node: NodeId,
}

impl Slot {
    const FREE: Self = Self { hash: 0, node: NodeId::NONE };
}

impl Below {
    const LITERALS: u32 = 1 << 31;

    fn param(self) -> Option<NodeId> {
        let id = NodeId(self.0 & !Self::LITERALS);
        (id != NodeId::NONE).then_some(id)
    }

    fn has_literals(self) -> bool {
        self.0 & Self::LITERALS != 0
    }
}

impl Text {
    const SHORT: usize = 22;

    fn new(text: &str) -> Self {
        let mut bytes = [0; Self::SHORT];
        match bytes.get_mut(..text.len()) {
            Some(start) => {
                start.copy_from_slice(text.as_bytes());
                Self::Short { length: text.len() as u8, bytes }
            }
            None => Self::Long(text.into()),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => &bytes[..usize::from(*length)],
            Self::Long(text) => text.as_bytes(),
        }
    }
}

impl Ends {
    fn as_slice(&self) -> &[Entry] {
        match self {
            Self::None => &[],
            Self::One(entry) => std::slice::from_ref(entry),
            Self::More(entries) => entries,
        }
    }

    fn push(&mut self, entry: Entry) {
        match self {
            Self::None => *self = Self::One(entry),
            Self::One(first) => *self = Self::More(Box::new(vec![*first, entry])),
            Self::More(entries) => entries.push(entry),
        }
    }
}

impl Node {
    fn new(segment: &str, parent: NodeId) -> Self {
        let (exact, prefix) = Default::default();
        Self { segment: Text::new(segment), exact, prefix, parent, below: Below(0) }
    }
}

impl Default for Nodes {
    fn default() -> Self {
        Self {
            nodes: vec![Node::new("", NodeId::NONE)],
            slots: vec![Slot::FREE; 8],
            literals: 0,
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl Nodes {
    /// The node where the paths of a tree begin.
    pub(super) fn add_root(&mut self) -> NodeId {
        self.add(Node::new("", NodeId::NONE))
    }

    /// Notes where a pattern ends: after those that were noted before it.
    pub(super) fn insert(&mut self, root: NodeId, segments: &[Segment], end: End, entry: Entry) {
        let mut at = root;
        for segment in segments {
            at = match segment {
                Segment::Literal(text) => self.make_literal(at, text),
                Segment::Param(_) => self.make_param(at),
            };
        }
        let node = &mut self.nodes[at.0 as usize];
        if end == End::Prefix { &mut node.prefix } else { &mut node.exact }.push(entry);
    }

    /// Gives back memory that is kept for more.
    pub(super) fn finish(&mut self) {
        self.nodes.shrink_to_fit();
    }

    /// The best route at or below a node for the rest of a path, `None` being its end.
    pub(super) fn find(&self, at: NodeId, rest: Option<&str>, search: &mut Search<'_>) -> Option<Entry> {
        let node = self.node(at);
        let prefix = node.prefix.as_slice();
        let Some(rest) = rest else {
            return search.first(node.exact.as_slice()).or_else(|| search.first(prefix));
        };
        if node.below.0 == 0 {
            return search.first(prefix);
        }
        // Byte by byte, for segments are short.
        let (segment, below) = match rest.bytes().position(|byte| byte == b'/') {
            Some(at) => (&rest[..at], Some(&rest[at + 1..])),
            None => (rest, None),
        };
        if node.below.has_literals()
            && let Some(child) = self.literal(at, segment)
            && let Some(found) = self.find(child, below, search)
        {
            return Some(found);
        }
        if let Some(child) = node.below.param()
            && !segment.is_empty()
            && let Some(found) = self.find(child, below, search)
        {
            return Some(found);
        }
        search.first(prefix)
    }

    /// Routes that may take every path that begins with these segments, and goes on with any if it is open.
    pub(super) fn covering(&self, at: NodeId, segments: &[Segment], open: bool, found: &mut Vec<usize>) {
        let node = self.node(at);
        found.extend(node.prefix.as_slice().iter().map(|entry| entry.index()));
        let Some((segment, rest)) = segments.split_first() else {
            if !open {
                found.extend(node.exact.as_slice().iter().map(|entry| entry.index()));
            }
            return;
        };
        if let Segment::Literal(text) = segment
            && let Some(child) = self.literal(at, text)
        {
            self.covering(child, rest, open, found);
        }
        if let Some(child) = node.below.param() {
            self.covering(child, rest, open, found);
        }
    }

    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    fn add(&mut self, node: Node) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(node);
        id
    }

    fn hash(&self, parent: NodeId, segment: &str) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u32(parent.0);
        hasher.write(segment.as_bytes());
        hasher.finish() as u32
    }

    fn literal(&self, parent: NodeId, segment: &str) -> Option<NodeId> {
        let hash = self.hash(parent, segment);
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot.node == NodeId::NONE {
                return None;
            }
            if slot.hash == hash {
                let node = self.node(slot.node);
                if node.parent == parent && node.segment.as_bytes() == segment.as_bytes() {
                    return Some(slot.node);
                }
            }
            at = (at + 1) & mask;
        }
    }

    fn make_literal(&mut self, parent: NodeId, segment: &str) -> NodeId {
        if let Some(known) = self.literal(parent, segment) {
            return known;
        }
        let node = self.add(Node::new(segment, parent));
        self.nodes[parent.0 as usize].below.0 |= Below::LITERALS;
        self.literals += 1;
        if self.literals * 2 > self.slots.len() {
            let larger = vec![Slot::FREE; self.slots.len() * 2];
            let slots = std::mem::replace(&mut self.slots, larger);
            for slot in slots.into_iter().filter(|slot| slot.node != NodeId::NONE) {
                self.take_slot(slot);
            }
        }
        self.take_slot(Slot { hash: self.hash(parent, segment), node });
        node
    }

    fn take_slot(&mut self, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut at = slot.hash as usize & mask;
        while self.slots[at].node != NodeId::NONE {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }

    fn make_param(&mut self, parent: NodeId) -> NodeId {
        if let Some(known) = self.node(parent).below.param() {
            return known;
        }
        let node = self.add(Node::new("", parent));
        self.nodes[parent.0 as usize].below.0 |= node.0;
        node
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_one_cache_line() {
        assert_eq!((size_of::<Node>(), align_of::<Node>()), (64, 64));
    }

    #[test]
    fn texts_are_kept_in_place_or_elsewhere() {
        for length in [0, 1, 21, 22, 23, 300] {
            let text = "ä".repeat(length).chars().take(length).collect::<String>();
            assert_eq!(Text::new(&text).as_bytes(), text.as_bytes());
            let text = "a".repeat(length);
            assert_eq!(Text::new(&text).as_bytes(), text.as_bytes());
        }
    }

    #[test]
    fn literals_of_many_nodes_are_told_apart() {
        let mut nodes = Nodes::default();
        let roots = [nodes.add_root(), nodes.add_root()];
        let names: Vec<String> = (0..1000).map(|i| i.to_string()).collect();
        let mut made: Vec<_> = roots
            .iter()
            .flat_map(|root| names.iter().map(|name| (*root, name)))
            .map(|(root, name)| (root, name, nodes.make_literal(root, name)))
            .collect();
        for (root, name, id) in &made {
            assert_eq!((nodes.literal(*root, name), nodes.make_literal(*root, name)), (Some(*id), *id));
        }
        assert_eq!(nodes.literal(roots[0], "1000"), None);
        made.dedup_by_key(|(.., id)| *id);
        assert_eq!(made.len(), 2000);
    }
}
