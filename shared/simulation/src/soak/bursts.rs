//! Bounds how many builds the requests for one cache and architecture may cause.
//!
//! A burst is a series of requests, each within the quiet time of the previous one. A burst causes
//! one build, plus one for each time that the waiting limit fits between its first and last
//! request. All bursts of a run together keep to that bound. A single burst may cause twice as
//! many: a build that was requested in one burst and delayed by another build may fall into the
//! next burst. Each death allows one more build. So does each look of the schedule during a burst,
//! because the look takes the burst's place. Builds of the looks themselves are not counted.

use super::time::Millis;

/// When a cache's requests count as one burst.
#[derive(Clone, Copy, Debug)]
pub struct Debounce {
    pub quiet: Millis,
    pub limit: Millis,
}

/// A request that was registered, and whether it was built.
#[derive(Clone, Debug)]
pub struct PushRequest {
    pub at: Millis,
    pub build: String,
}

/// Milliseconds between the start of a claim, from which its debounce counts, and the arrival of
/// its request in the table.
const ARRIVAL: Millis = 10_000;

/// Splits requests, in the order of their arrival, into bursts.
pub fn part(requests: &[PushRequest], debounce: Debounce) -> Vec<&[PushRequest]> {
    requests.chunk_by(|one, next| next.at - one.at < debounce.quiet).collect()
}

/// How many builds one burst may cause.
pub fn allowed(burst: &[PushRequest], debounce: Debounce) -> usize {
    let (Some(first), Some(last)) = (burst.first(), burst.last()) else { return 0 };
    let more = (last.at - first.at + ARRIVAL).checked_div(debounce.limit).unwrap_or_default();
    1 + usize::try_from(more).unwrap()
}

/// Whether a look of the schedule may come between a burst's requests and their build.
pub fn touches(burst: &[PushRequest], look: Millis, debounce: Debounce) -> bool {
    let (Some(first), Some(last)) = (burst.first(), burst.last()) else { return false };
    (first.at..=last.at + debounce.limit).contains(&(look + ARRIVAL))
}

#[test]
fn a_burst_ends_after_the_quiet_time_and_a_long_one_is_built_repeatedly() {
    let debounce = Debounce { quiet: 60_000, limit: 600_000 };
    let request = |seconds: u64| PushRequest { at: seconds * 1000, build: String::new() };
    let close: Vec<PushRequest> = (0..30).map(|n| request(n * 59)).collect();
    let apart = [request(0), request(60), request(119)];
    let shown = |requests: &[PushRequest]| {
        let bursts = part(requests, debounce);
        bursts.iter().map(|burst| (burst.len(), allowed(burst, debounce))).collect::<Vec<_>>()
    };
    assert_eq!(shown(&close), [(30, 3)]);
    assert_eq!(shown(&apart), [(1, 1), (2, 1)]);
}
