//! Explores every state that a model can reach, nearest first. The trace to a state where something
//! is wrong is therefore a shortest one.
//!
//! The crate `stateright` 0.31 does something similar. It cannot say "from here on it always ends",
//! which needs the moves backwards, and it brings a web server.

use std::collections::HashMap;
use std::hash::Hash;

/// One move of a model.
pub struct Move<S> {
    /// What it does, for the trace.
    pub what: String,
    /// Whether the move is a failure. Without such moves everything must come to an end.
    pub failure: bool,
    pub to: S,
}

pub trait Model {
    type State: Copy + Eq + Hash;
    fn start(&self) -> Self::State;
    fn moves(&self, state: &Self::State) -> Vec<Move<Self::State>>;
    /// Returns what is wrong with a state, if anything.
    fn wrong(&self, state: &Self::State) -> Option<&'static str>;
    /// Whether all contenders have come to an end.
    fn is_final(&self, state: &Self::State) -> bool;
}

/// The result when nothing is wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct Explored {
    pub states: usize,
    /// Number of moves on the longest of the shortest paths to a state.
    pub depth: usize,
}

struct Node {
    depth: usize,
    from: usize,
    what: String,
    /// Moves without a failure that are not yet known to lead to an end.
    open: usize,
}

struct Search<M: Model> {
    states: Vec<M::State>,
    nodes: Vec<Node>,
    known: HashMap<M::State, usize>,
    /// Moves without a failure: to, from.
    edges: Vec<(usize, usize)>,
}

/// Explores every state. Returns the first thing that is wrong, with the moves that lead to it.
pub fn explore<M: Model>(model: &M) -> Result<Explored, (&'static str, Vec<String>)> {
    let (states, nodes, known, edges) = <_>::default();
    let mut search = Search::<M> { states, nodes, known, edges };
    search.add(model.start(), 0, String::new());
    let mut at = 0;
    while at < search.states.len() {
        let state = search.states[at];
        if let Some(wrong) = model.wrong(&state) {
            return Err((wrong, search.trace(at)));
        }
        for Move { what, failure, to } in model.moves(&state) {
            let to = search.add(to, at, what);
            if !failure {
                search.edges.push((to, at));
                search.nodes[at].open += 1;
            }
        }
        if search.nodes[at].open == 0 && !model.is_final(&state) {
            return Err(("stuck", search.trace(at)));
        }
        at += 1;
    }
    search.check_ends()
}

impl<M: Model> Search<M> {
    fn add(&mut self, state: M::State, from: usize, what: String) -> usize {
        if let Some(known) = self.known.get(&state) {
            return *known;
        }
        let index = self.states.len();
        let depth = self.nodes.get(from).map_or(0, |node| node.depth + 1);
        self.known.insert(state, index);
        self.states.push(state);
        self.nodes.push(Node { depth, from, what, open: 0 });
        index
    }

    fn trace(&self, mut at: usize) -> Vec<String> {
        let mut trace = Vec::new();
        while at != 0 {
            trace.push(self.nodes[at].what.clone());
            at = self.nodes[at].from;
        }
        trace.reverse();
        trace
    }

    /// Checks that every path from every state ends once no more failures occur, no matter what
    /// failed before. It removes ends repeatedly. States that remain are on or lead into a cycle.
    fn check_ends(mut self) -> Result<Explored, (&'static str, Vec<String>)> {
        self.edges.sort_unstable();
        let mut ends: Vec<usize> =
            (0..self.nodes.len()).filter(|at| self.nodes[*at].open == 0).collect();
        let mut ended = 0;
        while let Some(end) = ends.pop() {
            ended += 1;
            let first = self.edges.partition_point(|(to, _)| *to < end);
            for (_, from) in self.edges[first..].iter().take_while(|(to, _)| *to == end) {
                self.nodes[*from].open -= 1;
                if self.nodes[*from].open == 0 {
                    ends.push(*from);
                }
            }
        }
        let depth = self.nodes.iter().map(|node| node.depth).max().unwrap_or(0);
        if let Some(circle) = (0..self.nodes.len()).find(|at| self.nodes[*at].open > 0) {
            return Err(("may go on for ever", self.trace(circle)));
        }
        assert_eq!(ended, self.states.len());
        Ok(Explored { states: ended, depth })
    }
}
