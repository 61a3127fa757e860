//! Warnings: failures that fail no step, as sentences in a report.

use std::fmt::Display;

use frontload_domain::names::one_line;

/// Most sentences of one kind in a report, and most characters of each. State passed from state to
/// state is at most 256 KiB (Step Functions quotas), for a hundred builds together.
const MAX_SENTENCES: usize = 4;
const MAX_SENTENCE: usize = 400;

/// The first ones, shortened, and the number of the others. The log has them all.
pub fn sentences(all: &[impl Display]) -> Vec<String> {
    for one in all {
        tracing::warn!("{one}");
    }
    let first = all.iter().take(MAX_SENTENCES);
    let mut sentences: Vec<String> =
        first.map(|one| one_line(&one.to_string(), MAX_SENTENCE)).collect();
    if all.len() > MAX_SENTENCES {
        sentences.push(format!("{} more are in the function's log", all.len() - MAX_SENTENCES));
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_warnings_are_reported_and_the_rest_counted() {
        assert_eq!(sentences(&[""; 0]), [""; 0]);
        assert_eq!(sentences(&["a\nb"; MAX_SENTENCES]), ["ab"; MAX_SENTENCES]);
        let sentences = sentences(&vec!["x".repeat(10_000); MAX_SENTENCES + 7]);
        assert_eq!(sentences[MAX_SENTENCES], "7 more are in the function's log");
        assert_eq!((sentences.len(), sentences[0].len()), (MAX_SENTENCES + 1, MAX_SENTENCE));
    }
}
