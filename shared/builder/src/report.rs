//! The line of JSON that the builder's script prints, checked against the build. It comes from a
//! machine that ran foreign images, so it is parsed as hostile input.

use frontload_domain::names::{one_line, quoted};
use frontload_domain::pulled::{
    AncestorFate, ContainerdVersion, KernelRelease, Listing, PulledImages, check_pulled,
};
use frontload_domain::{Build, CachedImage, Digest, Error, volume};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
enum Report {
    Pulled(Success),
    Failed(Failure),
}

/// The script's report of success. `digests` are in the order of the planned images; the images'
/// names would not fit into the 24,000 characters that SSM keeps.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Success {
    containerd: ContainerdVersion,
    kernel: KernelRelease,
    digests: Vec<Digest>,
    used_bytes: u64,
    flushed: bool,
    ancestor: AncestorFate,
    listing: Digest,
}

/// Where and why the script stopped.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    step: String,
    image: String,
    reason: String,
}

/// Longest reason passed on, in characters.
const MAX_REASON: usize = 600;

/// Parses the script's output and checks it against `build`.
///
/// # Errors
/// The failure that the script reports, as the matching error; [`Error::BuilderFailed`] when the
/// output is not a report; [`Error::StoreMissing`], [`Error::DigestMismatch`],
/// [`Error::ImageIncomplete`] or [`Error::FlushFailed`] when a report of success differs from the
/// plan.
pub fn read_report(build: &Build, stdout: &str) -> Result<PulledImages, Error> {
    let line = stdout.trim();
    let report: Report = serde_json::from_str(line).map_err(|error| Error::BuilderFailed {
        build: build.id.clone(),
        reason: format!(
            "its output {} is not a report: {}",
            quoted(line),
            one_line(&error.to_string(), MAX_REASON)
        ),
    })?;
    match report {
        Report::Pulled(success) => check_pulled(build, name_images(build, success)?),
        Report::Failed(failure) => Err(name_failure(build, &failure)),
    }
}

/// Combines the planned references with the reported digests.
fn name_images(build: &Build, success: Success) -> Result<PulledImages, Error> {
    let incomplete = |image: String, reason: String| Error::ImageIncomplete {
        build: build.id.clone(),
        image,
        reason,
    };
    let (planned, reported) = (build.images.len(), success.digests.len());
    if planned != reported {
        let names: Vec<String> = build.images.iter().map(|i| i.reference.to_string()).collect();
        let reason = format!("the builder reports {reported} images, but {planned} were planned");
        return Err(incomplete(one_line(&names.join(", "), MAX_REASON), reason));
    }
    let listing = Listing::try_from(success.listing.to_string())
        .map_err(|reason| Error::StoreMissing { build: build.id.clone(), reason })?;
    let images = build.images.iter().zip(success.digests);
    Ok(PulledImages {
        containerd: success.containerd,
        kernel: success.kernel,
        images: images
            .map(|(image, digest)| CachedImage { reference: image.reference.clone(), digest })
            .collect(),
        used_bytes: success.used_bytes,
        flushed: success.flushed,
        ancestor: success.ancestor,
        listing,
    })
}

/// Maps the script's failure to an error. `ctr` shows the kind of a failure only in its message;
/// those of containerd 1.6 to 2.1 were recorded from real runs.
fn name_failure(build: &Build, failure: &Failure) -> Error {
    let volume_gib = build.volume_gib;
    let needed_gib = volume::size_needed(volume_gib, build.download_bytes);
    let image = one_line(&failure.image, 400);
    let reason = one_line(&failure.reason, MAX_REASON);
    let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if says(&["no space left on device"]) {
        return Error::VolumeFull {
            build: build.id.clone(),
            image,
            reason,
            volume_gib,
            needed_gib,
        };
    }
    let build = build.id.clone();
    match failure.step.as_str() {
        "time" => Error::PullTimedOut { build, reason: format!("{image}: {reason}") },
        "token" => Error::RegistryDenied { build, image, reason },
        "flush" => Error::FlushFailed { build, reason },
        "store" => Error::StoreMissing { build, reason },
        "platform" => Error::PlatformMissing { image, reason },
        "check" if says(&["has digest"]) => Error::DigestMismatch { build, image, reason },
        "check" => Error::ImageIncomplete { build, image, reason },
        // containerd is not running, or stopped during the pull (grpc-go `transport`).
        "pull" if says(&["containerd.sock", "error reading from server"]) => {
            Error::BuilderFailed { build, reason: format!("{image}: {reason}") }
        }
        "pull" if says(&["no match for platform"]) => Error::PlatformMissing { image, reason },
        "pull" if says(&["401 Unauthorized", "403 Forbidden", "authorization failed"]) => {
            Error::RegistryDenied { build, image, reason }
        }
        "pull" if says(&["unexpected commit digest", "digest mismatch"]) => {
            Error::DigestMismatch { build, image, reason }
        }
        "pull" if reason.ends_with("not found") && !says(&["httpReadSeeker"]) => {
            Error::ImageNotFound { image, reason }
        }
        "pull" => Error::RegistryFailed { build, image, reason },
        _ => Error::BuilderFailed {
            build,
            reason: format!("{}: {image} {reason}", quoted(&failure.step)),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use frontload_domain::testing::sample;

    fn good() -> Value {
        let build = sample();
        let image = &build.images[0];
        json!({
            "outcome": "pulled",
            "containerd": "1.6.20~ds1",
            "kernel": "6.12.40",
            "digests": [image.digest],
            "flushed": true,
            "usedBytes": 1234,
            "ancestor": "none",
            "listing": image.digest
        })
    }

    fn name_of(report: &Value) -> String {
        let result = read_report(&sample(), &report.to_string());
        result.map_or_else(|error| error.name().to_owned(), |_| "pulled".to_owned())
    }

    #[test]
    fn a_report_of_what_was_planned_is_accepted() {
        assert_eq!(name_of(&good()), "pulled");
    }

    #[test]
    fn a_report_without_flush_is_refused() {
        let mut report = good();
        report["flushed"] = json!(false);
        assert_eq!(name_of(&report), "FlushFailed");
        report.as_object_mut().unwrap().remove("flushed");
        assert_eq!(name_of(&report), "BuilderFailed");
    }

    #[test]
    fn a_report_of_other_images_or_digests_is_refused() {
        let mut report = good();
        report["digests"][0] = json!(format!("sha256:{}", "b".repeat(64)));
        assert_eq!(name_of(&report), "DigestMismatch");
        report["digests"] = json!([]);
        assert_eq!(name_of(&report), "ImageIncomplete");
    }

    #[test]
    fn the_listing_of_an_empty_store_is_refused() {
        let mut report = good();
        report["listing"] = json!(Digest::of(b""));
        assert_eq!(name_of(&report), "StoreMissing");
    }

    #[test]
    fn surrounding_text_a_second_report_and_a_truncated_report_are_refused() {
        let report = good().to_string();
        let cut = format!("{}\n---Output truncated---", &report[..report.len() / 2]);
        for output in
            [format!("x\n{report}"), format!("{report}\nx"), format!("{report}\n{report}"), cut]
        {
            let error = read_report(&sample(), &output).unwrap_err();
            assert_eq!(error.name(), "BuilderFailed", "{output}");
        }
    }

    #[test]
    fn a_kept_ancestor_without_a_planned_one_is_refused() {
        let mut report = good();
        report["ancestor"] = json!("kept");
        assert_eq!(name_of(&report), "BuilderFailed");
    }

    #[test]
    fn a_full_volume_is_reported_with_a_sufficient_size() {
        let reason = "write /x: no space left on device";
        let report = json!({"outcome": "failed", "step": "pull", "image": "r", "reason": reason});
        let error = read_report(&sample(), &report.to_string()).unwrap_err().to_string();
        assert!(error.contains("100 GiB volume") && error.contains("at least 150"), "{error}");
    }

    #[test]
    fn output_that_is_not_a_report_is_refused() {
        for output in ["", "Killed", "{}", "{\"outcome\":\"pulled\"}", "[1]"] {
            let error = read_report(&sample(), output).unwrap_err();
            assert_eq!(error.name(), "BuilderFailed", "{output}");
        }
    }

    #[test]
    fn a_stopped_containerd_is_not_a_registry_failure() {
        for reason in [
            "failed to dial \"/run/containerd/containerd.sock\": connection error",
            "rpc error: code = Unavailable desc = error reading from server: EOF",
        ] {
            let report =
                json!({"outcome": "failed", "step": "pull", "image": "r", "reason": reason});
            assert_eq!(name_of(&report), "BuilderFailed", "{reason}");
        }
    }

    /// The message of `ctr` 1.6.20 in each case, and the name of the error.
    #[test]
    fn containerds_messages_map_to_error_names() {
        let cases = [
            (
                "failed to resolve reference \"r\": pulling from host h failed with status code [manifests v1]: 401 Unauthorized",
                "RegistryDenied",
            ),
            (
                "failed to resolve reference \"r\": pulling from host h failed with status code [manifests v1]: 403 Forbidden",
                "RegistryDenied",
            ),
            (
                "failed to resolve reference \"r\": pulling from host h failed with status code [manifests v1]: 500 Internal Server Error",
                "RegistryFailed",
            ),
            ("failed to resolve reference \"r\": r: not found", "ImageNotFound"),
            (
                "failed to copy: httpReadSeeker: failed open: could not fetch content descriptor sha256:0 from remote: not found",
                "RegistryFailed",
            ),
            (
                "failed commit on ref \"layer-sha256:0\": commit failed: unexpected commit digest sha256:1, expected sha256:0: failed precondition",
                "DigestMismatch",
            ),
            (
                "failed to extract layer sha256:0: write /x: no space left on device: unknown",
                "VolumeFull",
            ),
            ("no match for platform in manifest sha256:0: not found", "PlatformMissing"),
            (
                "failed to do request: Head \"https://h\": dial tcp 127.0.0.1:444: connect: connection refused",
                "RegistryFailed",
            ),
        ];
        for (reason, name) in cases {
            let report =
                json!({"outcome": "failed", "step": "pull", "image": "r", "reason": reason});
            assert_eq!(name_of(&report), name, "{reason}");
        }
        for (step, name) in [
            ("token", "RegistryDenied"),
            ("time", "PullTimedOut"),
            ("platform", "PlatformMissing"),
            ("check", "ImageIncomplete"),
            ("flush", "FlushFailed"),
            ("store", "StoreMissing"),
            ("mask", "BuilderFailed"),
        ] {
            let report = json!({"outcome": "failed", "step": step, "image": "r", "reason": "x"});
            assert_eq!(name_of(&report), name, "{step}");
        }
    }

    proptest! {
        #[test]
        fn no_output_of_a_builder_makes_the_parser_panic(output in ".{0,200}") {
            let _ = read_report(&sample(), &output);
        }
    }
}
